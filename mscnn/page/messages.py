"""The parts of an answer that the viewer draws: maps as raw numbers, frames, templates."""

from __future__ import annotations

import base64
import functools
import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw

from mscnn.draw.figures import model_title as model_title
from mscnn.draw.figures import place
from mscnn.draw.overlay import DrawingOptions, difference_overlay, overlay
from mscnn.engine.network import Network
from mscnn.geometry import FloatMap, ViewGeometry, resize_map
from mscnn.http.uploads import in_upload_folder
from mscnn.maps.agreement import density
from mscnn.page.photos import Photo
from mscnn.photos.imaging import image_bytes, load_photo, thumbnail_of
from mscnn.results.explanation import CamMap, is_answer
from mscnn.results.receptive_field import BlockField, SplitField, StageField

Message = dict[str, Any]
TEMPLATES = Path(__file__).with_name("templates")
TONES = ("#fbbf24", "#34d399", "#60a5fa", "#f472b6")
"""Of boxes, as ``viewer.js`` has them."""
TOP_PX = 224
"""The top of a map's colour scale is measured at this longer side of the photo."""


@functools.cache
def environment() -> jinja2.Environment:
    """The page's templates; every value in them is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"percent": percent, "stage": stage_name}
    made.globals["is_answer"] = is_answer
    return made


def render(template: str, **values: Any) -> str:
    """Fill ``templates/<template>``."""
    return environment().get_template(template).render(**values)


@functools.cache
def help_html(lens: str) -> str:
    """Return ``templates/<lens>.md`` as HTML, "" where there is none."""
    path = TEMPLATES / f"{lens}.md"
    if not path.is_file():
        return ""
    return str(MarkdownIt("commonmark").render(path.read_text(encoding="utf-8")))


@functools.cache
def words_html(lens: str) -> str:
    """Return the glossary's definitions of the words that a lens uses, as HTML."""
    text = " ".join(path.read_text(encoding="utf-8") for path in TEMPLATES.glob(f"{lens}.*"))
    found, text = [], " ".join(text.split())
    for entry in (TEMPLATES / "glossary.md").read_text(encoding="utf-8").split("\n\n"):
        words = entry[2 : entry.index(".**")].replace(", ", "|")
        found += [entry] if re.search(rf"(?i)\b({words})", text) else []
    return str(MarkdownIt("commonmark").render("\n\n".join(found)))


def percent(fraction: float) -> str:
    """``0.034`` -> ``"3.4 %"``: two digits below ten, none of false precision above."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99 < value < 100:  # not "100 %" for what is not certain
        return f"{int(value * 10) / 10:.1f} %"
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def stage_name(layer: str) -> str:
    """``"4"`` or ``"layer4"`` -> ``"Stage 4"``, ``"layer3.1"`` -> ``"Stage 3, block 2"``."""
    return place(f"layer{layer}" if layer.isdigit() else layer)


def packed(values: FloatMap, *, half: bool = False) -> str:
    """``(h, w)`` numbers as base64 of little-endian float32, or float16."""
    raw = np.ascontiguousarray(values, dtype="<f2" if half else "<f4").tobytes()
    return base64.b64encode(raw).decode("ascii")


def rect_of(geometry: ViewGeometry) -> list[float]:
    """What the network saw: left, top, right, bottom in photo px; may reach past its edges."""
    return [round(value, 3) for value in geometry.crop]


def map_message(cam: CamMap, *, map_id: str = "", **more: Any) -> Message:
    """Return what the viewer needs of a map.

    Args:
        cam: its raw numbers are sent, and the scale that turns them into evidence per area (see
            ``mscnn.maps.agreement.density``).
        map_id: how ``data-show`` names it; ``layer/class`` where empty.
        more: further fields of the protocol, or others in place of those made here.
    """
    if "divisor" not in more:
        mean = float(cam.on_view().mean())
        more["divisor"] = mean if mean > 0 else 1.0
        more.setdefault("top", max(float(density(cam, TOP_PX).max()), 1.0))
    return {
        "id": map_id or f"{cam.layer}/{cam.target}",
        "layer": cam.layer,
        "class": cam.target,
        "shape": list(cam.raw.shape),
        "data": packed(cam.raw),
        "rect": rect_of(cam.geometry),
        "unit": "times an even spread",
        "alt": alt_text(cam),
        **more,
    }


def field_message(
    known: StageField | BlockField | SplitField, geometry: ViewGeometry, title: str, **more: Any
) -> Message:
    """The receptive field of every unit of a map, for the viewer; ``more`` fields of it."""
    return {
        "title": title, "stride": [known.stride_px] * 2, "view": list(geometry.view),
        "start": [(known.low + known.high) / 2] * 2, "size": [known.high - known.low] * 2,
        "grid": [math.ceil(side / known.stride_px) for side in geometry.view],
        "rect": rect_of(geometry), **more,
    }  # fmt: skip


def alt_text(cam: CamMap) -> str:
    """Where on the photo a map is strongest, for a screen reader."""
    heat = cam.on_photo(cam.geometry.drawn_size(100))
    if not heat.max() > 0:
        return "No position speaks for it."
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    vertical = ("top", "middle", "bottom")[min(2, 3 * int(row) // heat.shape[0])]
    side = ("left", "centre", "right")[min(2, 3 * int(column) // heat.shape[1])]
    return f"The strongest evidence is at the {vertical} {side}."


def drawn(
    sent: Message, photo: Photo, look: DrawingOptions, px: int = 900, *, whole: bool = True
) -> bytes:
    """Draw a map as the viewer would: WebP of ``px`` on the longer side of all of its picture.

    Where not ``whole``, of what of it the network saw.
    """
    own = sent.get("photo")
    small = thumbnail_of(load_photo(in_upload_folder(own["path"])) if own else photo.image, px)
    full = (own["width"], own["height"]) if own else photo.image.size

    def place(rect: list[float]) -> list[int]:
        return [round(edge * small.size[k % 2] / full[k % 2]) for k, edge in enumerate(rect)]

    left, top, right, bottom = place(sent["rect"])
    view = max(right - left, 1), max(bottom - top, 1)
    geometry = ViewGeometry(small.size, small.size, (left, top), view)
    kind, crop = "<f2" if sent.get("half") else "<f4", geometry.crop_on(small.size)
    values = np.frombuffer(base64.b64decode(sent["data"]), kind).reshape(sent["shape"])
    values = values.astype(np.float32) / sent["divisor"]
    values = values if sent.get("signed") else np.maximum(values, 0)
    heat = geometry.project(resize_map(values, *view), small.size)
    how: Any = {"vmax": sent["top"], "opacity": look.opacity, "crop": crop}
    how |= {} if sent.get("signed") else {"cmap": look.colour_map}
    paint = difference_overlay if sent.get("signed") else overlay
    picture = Image.fromarray(paint(np.asarray(small), heat, **how))
    for box in sent.get("boxes", ()):
        for colour, part in (("black", 180), (TONES[box["tone"] - 1], 300)):
            width = max(1, px // part)
            ImageDraw.Draw(picture).rectangle(place(box["rect"]), outline=colour, width=width)
    return webp(picture if whole else picture.crop(crop))


def webp(image: Image.Image) -> bytes:
    """Encode a picture for a page."""
    return image_bytes(image, "WEBP", quality=85)


def facts(network: Network) -> list[tuple[str, str]]:
    """What is worth knowing of a model, as rows of (name, value)."""
    spec = network.spec
    rows = [("Model", model_title(network.name))]
    if spec is not None:
        rows += [
            ("What it is", spec.summary),
            ("Size", f"{spec.params / 1e6:.1f} million parameters, {spec.input_px} px input"),
            ("Knows", f"{len(network.labels)} classes"),
        ]
        if spec.top1 is not None:
            rows.append(("Right on validation pictures", f"{spec.top1:.1%}"))
    return [
        *rows,
        ("Weights", network.weights.source),
        ("Their sha256", network.weights.sha256),
        ("Computed on", str(network.device).upper()),
    ]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def bare(name: str) -> str:
    """A name for a file that is saved: no path, no dots around it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[-100:]
