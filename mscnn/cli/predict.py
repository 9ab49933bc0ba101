"""``mscnn predict``: the best classes of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, progress, settle_model, share
from mscnn.errors import ImageError, OptionError
from mscnn.results.explanation import Prediction


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
    if top_k < 1:
        raise OptionError(f"--top-k is {top_k}; it must be 1 or more.")
    predictions = _predict_all(images, settle_model(model), weights, top_k, device)
    if json:
        from mscnn.results.serialise import predictions_dict

        print_json(predictions_dict(predictions))
        return
    typer.echo("\n\n".join(_as_text(prediction) for prediction in predictions))


def _predict_all(
    images: list[str], model: str, weights: Path | None, top_k: int, device: str
) -> list[Prediction]:
    from mscnn.photos.imaging import load_photo

    engine = open_engine(device, [model], weights)
    predictions = []
    with progress("photos", "photo") as report:
        for done, path in enumerate(images):
            try:
                photo = load_photo(path)
            except ImageError as error:
                if len(images) == 1:
                    raise
                # The sentence has the file's own name only, which several of them may share.
                raise ImageError(f"Photo {done + 1} of {len(images)}, {path}: {error}") from error
            predictions.append(
                engine.predict(photo, model, weights=weights, top_k=top_k, name=path)
            )
            if len(images) > 1:
                report(done + 1, len(images))
    return predictions


def _as_text(prediction: Prediction) -> str:
    head = (
        f"{prediction.photo.name}  "
        f"({prediction.model}, {prediction.weights.source}, {prediction.device})"
    )
    rows = [f"  {share(s.probability):>7}  {s.label}  [{s.index}]" for s in prediction.top]
    return "\n".join([head, *rows])
