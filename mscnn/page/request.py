"""What a visitor asks for: one checked value, made from JSON that anyone may have written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mscnn.engine.pipeline import MAX_COMPARED
from mscnn.errors import ImageError, OptionError
from mscnn.http.uploads import in_upload_folder
from mscnn.maps.methods import get_method

GONE = "That photo is no longer here; choose it again."
UNREADABLE = "The page sent a request that cannot be read; reload the page and try again."
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Option = str | float | bool | tuple[str | float | bool, ...]
MAX_SERIAL = 2**31
_MAX_TEXT, _MAX_ITEMS, _MAX_OPTIONS = 300, 32, 24
_MAX_CLASS = 10_000
"""Letters of a class's name: those of a model of one's own may be whole sentences."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no file name, or no UTF-8, can hold: NUL, and halves of a letter, which JSON may have."""


@dataclass(frozen=True, slots=True)
class Request:
    """One state of a visitor's page, with the lens that is to answer.

    Attributes:
        serial: counts the page's requests; the answer carries it back.
        lens: id of the lens in front.
        photo: an upload, in gradio's upload folder; None for an example.
        example: id of an example, or "".
        model: a model's name, "" for the page's first.
        models: of the lenses that compare.
        target: a class's name, or "" for the top-1 prediction.
        layer: ``"last"`` or a stage number.
        method: a name of ``METHODS``.
        point: ``(x, y)``, fractions 0..1 of the photo's width and height.
        box: ``(left, top, right, bottom)``, fractions likewise.
        options: the lens's own settings.
        agreed: the visitor pressed the button that names what it costs.
        changed: what of the state was changed last, such as ``"photo"``; ``"open"`` for a link.
        static: the browser has no canvas; send a drawn picture.
    """

    serial: int
    lens: str
    photo: Path | None = None
    example: str = ""
    model: str = ""
    models: tuple[str, ...] = ()
    target: str = ""
    layer: str = "last"
    method: str = "gradcam"
    point: Point | None = None
    box: Box | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    agreed: bool = False
    changed: str = ""
    static: bool = False

    @property
    def chart_px(self) -> int:
        """Width of the panel, for charts that fill it."""
        width = self.options.get("width")
        return round(min(max(width, 320), 680)) if isinstance(width, float) else 440

    @classmethod
    def parse(cls, data: Any) -> Request:
        """Check what a browser sent.

        Raises:
            OptionError: it is no request, or a value is not accepted.
            ImageError: the photo was not uploaded here, or is no longer here.
            MethodError: there is no such method.
        """
        _check(isinstance(data, dict))
        serial = data.get("serial")
        _check(type(serial) is int and 0 <= serial < MAX_SERIAL)
        point, box = _fractions(data, "point", 2), _fractions(data, "box", 4)
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise OptionError("That box is empty; drag a larger one.")
        return cls(
            serial=serial, lens=_text(data, "lens"),
            photo=_upload(_text(data, "photo", longest=4096)), example=_text(data, "example"),
            model=_text(data, "model").strip(), models=_names(data.get("models")),
            target=_text(data, "target", longest=_MAX_CLASS).strip(),
            layer=_layer(_text(data, "layer")),
            method=get_method(_text(data, "method") or "gradcam").name,
            point=None if point is None else (point[0], point[1]),
            box=None if box is None else (box[0], box[1], box[2], box[3]),
            options=_options(data.get("options")), agreed=data.get("agreed") is True,
            changed=_text(data, "changed"), static=data.get("static") is True,
        )  # fmt: skip


def _check(is_sound: bool) -> None:
    if not is_sound:
        raise OptionError(UNREADABLE)


def _text(data: Mapping[str, Any], key: str, *, longest: int = _MAX_TEXT) -> str:
    value = data.get(key)
    if value is None:
        return ""
    _check(isinstance(value, str) and len(value) <= longest and not _NO_TEXT.search(value))
    return str(value)


def _upload(path: str) -> Path | None:
    if not path:
        return None
    found = in_upload_folder(path)
    if not found.is_file():
        raise ImageError(GONE)
    return found


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    _check(isinstance(value, list) and all(isinstance(name, str) for name in value))
    _check(not any(map(_NO_TEXT.search, value)))
    if len(value) > MAX_COMPARED:
        raise OptionError(f"Choose at most {MAX_COMPARED} networks.")
    return tuple(name.strip()[:_MAX_TEXT] for name in value if name.strip())


def _layer(value: str) -> str:
    if value in ("", "last"):
        return "last"
    if value not in tuple("123456789"):
        raise OptionError("That is no stage; choose one of those on the page.")
    return value


def _fractions(data: Mapping[str, Any], key: str, count: int) -> tuple[float, ...] | None:
    value = data.get(key)
    if value is None:
        return None
    _check(isinstance(value, list) and len(value) == count)
    for item in value:  # NaN is refused too: no comparison with it holds
        _check(type(item) in (int, float) and 0 <= item <= 1)
    return tuple(map(float, value))


def _options(value: Any) -> dict[str, Option]:
    if value is None:
        return {}
    _check(isinstance(value, dict) and len(value) <= _MAX_OPTIONS)
    found: dict[str, Option] = {}
    for key, item in value.items():
        if item is None:
            continue
        _check(isinstance(key, str) and len(key) <= _MAX_TEXT)
        is_list = isinstance(item, list)
        _check(not is_list or len(item) <= _MAX_ITEMS)
        found[key] = tuple(map(_option, item)) if is_list else _option(item)
    return found


def _option(item: Any) -> str | float | bool:
    if isinstance(item, bool):
        return item
    if isinstance(item, str) and len(item) <= _MAX_CLASS and not _NO_TEXT.search(item):
        return item
    # Python reads whole numbers of any length; one of a visitor's fits a float.
    _check(isinstance(item, int | float) and abs(item) < 1e12 and math.isfinite(item))
    return float(item)
