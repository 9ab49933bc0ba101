"""``mscnn explain``: where in a photo the evidence for a class lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, progress, settle_model, share
from mscnn.results.explanation import CamMap, Explanation


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Photo.")],
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
    from mscnn.draw.files import DrawingOptions, check_folder, write_explanation
    from mscnn.maps.methods import get_method
    from mscnn.photos.imaging import load_photo

    # What can be refused at once is refused before a model is loaded.
    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    target, method = options.one_class(target), get_method(method).name
    check_folder(out)
    photo = load_photo(image)
    model = settle_model(model)
    engine = open_engine(device, [model], weights)
    with progress(method, "forward") as report:
        explanation = engine.explain(
            photo,
            model,
            weights=weights,
            layers=layer,
            targets=target,
            method=method,
            name=image,
            on_progress=report,
        )
    cam = explanation.maps[0]
    files = write_explanation(out, explanation, cam, photo, drawing=drawing)
    if json:
        print_json(_document(explanation, cam, out, files))
        return
    typer.echo(_as_text(explanation, cam, out, files))


def _document(
    explanation: Explanation, cam: CamMap, out: Path, files: list[str]
) -> dict[str, object]:
    from mscnn.results import serialise

    return {
        **serialise.prediction_dict(explanation.prediction),
        "class": serialise.score_dict(explanation.targets[0]),
        "layer": cam.layer,
        "method": cam.method,
        "map": serialise.map_dict(cam),
        "seconds": explanation.seconds,
        "notices": list(explanation.notices),
        "out": str(out),
        "files": files,
    }


def _as_text(explanation: Explanation, cam: CamMap, out: Path, files: list[str]) -> str:
    prediction, target = explanation.prediction, explanation.targets[0]
    best = prediction.top[0]
    lines = [
        f"{prediction.photo.name}  ({prediction.model}, {prediction.weights.source}, "
        f"{prediction.device})",
        f"  first answer  {best.label} {share(best.probability)}",
        f"  map of        {target.label} {share(target.probability)}, {cam.layer}, {cam.method}",
        f"  written       {out}: {', '.join(files)}",
        *(f"  note          {notice}" for notice in explanation.notices),
    ]
    return "\n".join(lines)
