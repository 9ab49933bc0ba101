"""``mscnn explain``: where in a photo the evidence for a class lies."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import heading, open_engine, progress, settle_model, share, tell
from mscnn.results.explanation import Explanation
from mscnn.results.schema import JsonDict, document


def explain(
    image: options.Image,
    out: options.Out,
    model: options.Model = None,
    layer: Annotated[
        str,
        typer.Option(
            "--layer", help="Layer to look at: layer1 to layer4, a block such as layer4.0, or last."
        ),
    ] = "last",
    target: options.Target = "top1",
    method: Annotated[
        str, typer.Option("--method", help="gradcam or another method; a wrong name lists them.")
    ] = "gradcam",
    weights: options.Weights = None,
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Draw where in a photo the evidence for a class lies.

    Writes overlay.png, heatmap.png, cam.npy (the raw map: signed, float32, at the layer's own
    resolution) and manifest.json into --out. Pictures have at most 2048 px on their longer side.
    Files of these names are replaced; after an error nothing is left half written.
    """
    from mscnn.draw.files import explanation_files
    from mscnn.maps.methods import get_method
    from mscnn.results.writing import write

    # What can be refused at once is refused before a model is loaded.
    drawing = options.drawing(opacity, colour_map)
    target, method = options.one_class(target), get_method(method).name
    photo = options.open_photo(image, out)
    name = settle_model(model)
    engine = open_engine(device, [name], weights)
    with progress(method, "forward") as report:
        found = engine.explain(
            photo, name, weights=weights, layers=layer, targets=target, method=method, name=image,
            on_progress=report,
        )  # fmt: skip
    files = write(out, explanation_files(found, found.maps[0], photo, drawing=drawing))
    tell(json, lambda: _document(found), lambda: _lines(found), out, files)


def _document(found: Explanation) -> JsonDict:
    shown, (cam, *_) = document(found), found.maps
    return {
        **document(found.prediction),
        "class": shown["targets"][0],
        **{"layer": cam.layer, "method": cam.method},
        "map": shown["maps"][0],
        **{key: shown[key] for key in ("seconds", "notices")},
    }


def _lines(found: Explanation) -> list[str]:
    best, target, cam = found.prediction.top[0], found.targets[0], found.maps[0]
    return [
        heading(found.prediction),
        f"  top-1         {best.label} {share(best.probability)}",
        f"  map of        {target.label} {share(target.probability)}, {cam.layer}, {cam.method}",
        *(f"  note          {notice}" for notice in found.notices),
    ]
