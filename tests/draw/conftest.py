"""Finding words on a picture: they are drawn here anew and compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
Places = list[tuple[int, int, int, int]]
FindWords = Callable[..., Places]


def _find(
    picture: np.ndarray,
    words: str,
    size: int,
    *,
    colour: tuple[int, int, int] = (32, 33, 36),
    bold: bool = False,
) -> Places:
    font = ImageFont.truetype(FONTS / f"DejaVuSans{'-Bold' * bold}.ttf", size)
    paper = Image.new("RGB", (1600, 80), "white")
    ImageDraw.Draw(paper).text((20, 20), words, colour, font, anchor="la")
    drawn = np.asarray(paper)
    rows, columns = np.nonzero((drawn < 255).any(axis=-1))
    # With a blank border, so that "8" is not found in "88".
    found = drawn[rows.min() : rows.max() + 1, columns.min() - 1 : columns.max() + 2]
    height, width = (n - m + 1 for n, m in zip(picture.shape[:2], found.shape[:2], strict=True))
    if min(height, width) < 1:
        return []
    inked = np.argwhere((found < 255).any(axis=-1))
    np.random.default_rng(0).shuffle(inked)
    places = np.argwhere(np.ones((height, width), bool))
    for y, x in inked:
        if not len(places):
            return []
        at = picture[places[:, 0] + y, places[:, 1] + x]
        places = places[(at == found[y, x]).all(axis=-1)]
    blank = np.argwhere((found == 255).all(axis=-1))
    return [
        (int(x), int(y), int(x) + found.shape[1], int(y) + found.shape[0])
        for y, x in places
        if (picture[y + blank[:, 0], x + blank[:, 1]] == 255).all()
    ]


@pytest.fixture
def find_words() -> FindWords:
    """Return ``find(picture, words, size, colour=, bold=)``: boxes where the words stand whole."""
    return _find
