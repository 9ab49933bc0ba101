"""``mscnn predict``: the best classes of photos."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import heading, open_engine, progress, settle_model, share, tell
from mscnn.errors import ImageError, OptionError
from mscnn.results.explanation import Prediction
from mscnn.results.schema import document


def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Photos.")],
    model: options.Model = None,
    weights: options.Weights = None,
    top_k: Annotated[int, typer.Option("--top-k", help="Classes to list for each photo.")] = 5,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Name what is on photos.

    All or nothing: when one photo cannot be read, the error names it and nothing is printed.
    """
    from mscnn.photos.imaging import load_photo

    if top_k < 1:
        raise OptionError(f"--top-k is {top_k}; it must be 1 or more.")
    name = settle_model(model)
    engine = open_engine(device, [name], weights)
    found: list[Prediction] = []
    with progress("photos", "photo") as report:
        for number, path in enumerate(images, 1):
            try:
                photo = load_photo(path)
            except ImageError as error:
                if len(images) == 1:
                    raise
                # The sentence has the file's own name only, which several of them may share.
                raise ImageError(f"Photo {number} of {len(images)}, {path}: {error}") from error
            found.append(engine.predict(photo, name, weights=weights, top_k=top_k, name=path))
            if len(images) > 1:
                report(number, len(images))
    tell(json, lambda: {"results": [document(one) for one in found]}, lambda: _lines(found))


def _lines(found: list[Prediction]) -> list[str]:
    lines: list[str] = []
    for prediction in found:
        lines += ["", heading(prediction)] if lines else [heading(prediction)]
        lines += [f"  {share(s.probability):>7}  {s.label}  [{s.index}]" for s in prediction.top]
    return lines
