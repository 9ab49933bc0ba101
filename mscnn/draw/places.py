"""Where a label goes: inside the picture, and on no other label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mscnn.draw.sheet import PixelBox


def overlap(one: PixelBox, other: PixelBox) -> bool:
    """Say whether two boxes share a pixel."""
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]


def free_place(
    size: tuple[int, int],
    wanted: Iterable[tuple[int, int]],
    *,
    bounds: PixelBox,
    taken: Sequence[PixelBox],
    busy: npt.NDArray[np.bool_] | None = None,
) -> PixelBox | None:
    """Find a place for a label.

    Args:
        size: ``(width, height)`` of the label, px.
        wanted: upper left corners, best first; each is first moved into ``bounds``.
        bounds: the label lies in here.
        taken: the label overlaps none of these.
        busy: ``(h, w)``, True where the picture shows what a label should rather not cover. Of the
            wanted places the one that covers least of it is taken.

    Returns:
        The label's box; where no wanted place is free, the free one nearest to the first wanted.
        None where there is no room at all.
    """
    width, height = size
    if width > bounds[2] - bounds[0] or height > bounds[3] - bounds[1]:
        return None
    places = [_moved_in(corner, size, bounds) for corner in wanted]
    free = [place for place in places if not any(overlap(place, box) for box in taken)]
    if free:
        return min(free, key=lambda place: _covered(place, busy))
    start = places[0] if places else (*bounds[:2], 0, 0)
    rest = [place for place in _raster(size, bounds, taken)]
    free = [place for place in rest if not any(overlap(place, box) for box in taken)]
    return min(free, key=lambda p: abs(p[0] - start[0]) + abs(p[1] - start[1]), default=None)


def traced(
    lines: Iterable[Sequence[tuple[float, float]]], size: tuple[int, int], reach: int
) -> npt.NDArray[np.bool_]:
    """Return where lines run, for ``free_place``.

    Args:
        lines: their points, px.
        size: ``(width, height)`` of the picture.
        reach: px around a line that count as its own.

    Returns:
        ``(h, w)``, True on lines.
    """
    trace = Image.new("1", size)
    pen = ImageDraw.Draw(trace)
    for line in lines:
        pen.line([(round(x), round(y)) for x, y in line], fill=1, width=2 * reach + 1)
    return np.array(trace)


def _moved_in(corner: tuple[int, int], size: tuple[int, int], bounds: PixelBox) -> PixelBox:
    left = min(max(corner[0], bounds[0]), bounds[2] - size[0])
    top = min(max(corner[1], bounds[1]), bounds[3] - size[1])
    return left, top, left + size[0], top + size[1]


def _covered(place: PixelBox, busy: npt.NDArray[np.bool_] | None) -> int:
    left, top, right, bottom = place
    return 0 if busy is None else int(busy[top:bottom, left:right].sum())


def _raster(
    size: tuple[int, int], bounds: PixelBox, taken: Sequence[PixelBox]
) -> Iterable[PixelBox]:
    """Yield places against the edges of the bounds and of what is taken.

    If there is room at all, then there is room against such edges: any free place can be pushed
    left and up until it touches one.
    """
    lefts = {bounds[0], *(box[2] for box in taken)}
    tops = {bounds[1], *(box[3] for box in taken)}
    for left in sorted(lefts):
        for top in sorted(tops):
            place = (left, top, left + size[0], top + size[1])
            if place == _moved_in((left, top), size, bounds):
                yield place
