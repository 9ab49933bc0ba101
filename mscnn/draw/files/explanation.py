"""The files of one map: ``overlay.png, heatmap.png, cam.npy, manifest.json``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from PIL import Image

from mscnn.draw.files.drawing import MAX_PX, MIN_PX, DrawingOptions, as_image, drawn
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import bare_name, header, json_bytes, npy_bytes
from mscnn.draw.overlay import heatmap, overlay, with_legend
from mscnn.maps.agreement import density
from mscnn.photos.imaging import to_png_bytes
from mscnn.results import serialise
from mscnn.results.explanation import CamMap, Explanation, JsonDict, RgbArray
from mscnn.results.serialise import SPREAD_UNIT

NO_EVIDENCE = "Nothing in this layer speaks for the class, so the map is empty."


def explanation_manifest(
    explanation: Explanation,
    cam: CamMap,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
    max_px: int = MAX_PX,
) -> JsonDict:
    """What ``manifest.json`` says of one map; of paths only the photo's own name.

    Args:
        explanation: holds ``cam``.
        cam: one of ``explanation.maps``.
        drawing: None for the usual colours and opacity.
        created: with a time zone; None for now.
        max_px: longer side of the drawn photo, which the top of the colour scale belongs to.
    """
    drawing = drawing or DrawingOptions()
    prediction = serialise.prediction_dict(explanation.prediction)
    image = prediction["image"]
    prediction["image"] = {"name": bare_name(image.pop("path")), **image}
    target = next(score for score in explanation.targets if score.index == cam.target)
    top = float(density(cam, max_px, MIN_PX).max())
    packages = ("torch", "timm") if cam.method == "gradcam" else ("torch", "timm", "grad-cam")
    return {
        **header(created, packages),
        **prediction,
        "class": serialise.score_dict(target),
        "layer": cam.layer,
        "method": cam.method,
        "map": {"file": "cam.npy", "dtype": "float32", **serialise.map_dict(cam)},
        "colour_scale": {
            **{"min": 0.0, "max": top, "unit": SPREAD_UNIT},
            "colour_map": drawing.colour_map,
            "opacity": drawing.opacity,
        },
        "notices": [*explanation.notices, *([] if top > 0 else [NO_EVIDENCE])],
    }


def explanation_files(
    explanation: Explanation,
    cam: CamMap,
    photo: Image.Image | RgbArray,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of one map.

    Args:
        explanation: holds ``cam``.
        cam: one of ``explanation.maps``.
        photo: the whole upright photo, RGB; pictures are drawn at its size, but between
            ``MIN_PX`` and ``MAX_PX`` on the longer side.
        drawing: None for the usual colours and opacity.
        created: with a time zone; None for now.
    """
    drawing, photo = drawing or DrawingOptions(), as_image(photo)
    max_px = min(MAX_PX, max(photo.size))
    manifest = explanation_manifest(
        explanation, cam, drawing=drawing, created=created, max_px=max_px
    )
    heat, vmax, cmap = (
        density(cam, max_px, MIN_PX),
        manifest["colour_scale"]["max"],
        drawing.colour_map,
    )
    pixels, crop = drawn(photo, cam, max_px, MIN_PX)
    painted = overlay(pixels, heat, vmax=vmax, opacity=drawing.opacity, cmap=cmap, crop=crop)
    title = _title(manifest)
    scale = {"vmax": vmax, "unit": SPREAD_UNIT, "cmap": cmap, "title": title}
    plain = with_legend(heatmap(heat, vmax=vmax, cmap=cmap), transparent=False, **scale)
    return {
        "overlay.png": to_png_bytes(with_legend(painted, **scale)),
        "heatmap.png": to_png_bytes(plain),
        "cam.npy": npy_bytes(cam.raw),
        "manifest.json": json_bytes(manifest),
    }


def write_explanation(
    folder: Path,
    explanation: Explanation,
    cam: CamMap,
    photo: Image.Image | RgbArray,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> list[str]:
    """Write the files of one map into ``folder``; see ``explanation_files`` and ``write_files``.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    files = explanation_files(explanation, cam, photo, drawing=drawing, created=created)
    write_files(folder, files)
    return list(files)


def _title(manifest: JsonDict) -> str:
    label, probability = manifest["class"]["label"], manifest["class"]["probability"]
    chance = "" if probability is None else f" ({probability:.1%})"
    return f"{label}{chance}: {manifest['model']}, {manifest['layer']}, {manifest['method']}"
