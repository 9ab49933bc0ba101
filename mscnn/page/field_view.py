"""What the Receptive field tab says of one unit: what was asked, tables, sentences; no gradio."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mscnn.draw.sheet import PixelBox
from mscnn.errors import PointError
from mscnn.page.compare_view import rounded, title
from mscnn.page.field_theory import default_layer, layer_choices, split_choices
from mscnn.page.handlers import resized
from mscnn.page.scales_view import place
from mscnn.results.explanation import RgbArray
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import EffectiveField, Square

DRAWN_PX = 680
WEIGHTS = (("trained", "trained"), ("random", "random"), ("both side by side", "both"))
MEASURES = (
    ("the gradient itself (Luo et al. 2016)", "raw"),
    ("its logarithm (RepLKNet, 2022)", "log"),
)
HEADERS = ("Model", "Unit", "Weights", "Photos", "Share held (%)", "Square, gradient (px)",
           "Gradient (% of input)", "Square, log (px)", "Log (% of input)",
           "Most it can see (px)", "Most (% of input)")  # fmt: skip
NUMERIC = frozenset(HEADERS[3:])
Point = tuple[float, float]
"""``(x, y)`` as shares 0..1 of the upright photo."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a visitor wants to see.

    Attributes:
        split: a number, or ``"all"``.
        beside: also measure every other split of the block.
        weights: ``"trained"``, ``"random"`` or ``"both"``.
        many: average over the example photographs, too.
    """

    model: str
    layer: str
    split: str
    beside: bool
    weights: str
    many: bool
    point: Point


@dataclass(frozen=True, slots=True)
class Shown:
    """What one visitor sees.

    Attributes:
        photo: ``(h, w, 3)`` uint8, longer side ``DRAWN_PX``.
        fields: what was measured; the first one is drawn large.
        placed: where the photo lies on the large picture, px of that picture.
        notes: what could not be done as asked.
    """

    asked: Asked
    photo: RgbArray = field(repr=False)
    fields: tuple[EffectiveField, ...] = field(repr=False)
    placed: PixelBox = (0, 0, 1, 1)
    notes: tuple[str, ...] = ()


class Inputs(NamedTuple):
    """What the tab's controls hold, in the order in which they are handed over."""

    photo: Any
    model: str
    layer: str | None
    split: str | None
    beside: bool
    weights: str
    many: bool
    point: str
    measure: str
    opacity: float
    cmap: str

    def asked(self) -> Asked:
        """What they ask for.

        Raises:
            PointError: the point cannot be read.
        """
        return Asked(
            self.model, self.layer or "", self.split or "all", self.beside, self.weights,
            self.many, parse_point(self.point),
        )  # fmt: skip


def is_photo_of(small: RgbArray, photo: Image.Image) -> bool:
    """Whether a drawn photo was made from this one."""
    height, width = small.shape[:2]
    return np.array_equal(resized(photo, (width, height)), small)


def parse_point(text: str) -> Point:
    """Read a point such as ``"50, 50"``, percent of the photo's width and height.

    Raises:
        PointError: these are not two numbers from 0 to 100.
    """
    parts = [part for part in re.split(r"[\s,;%]+", text.strip().strip("()[]")) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(math.isfinite(n) and 0 <= n <= 100 for n in numbers):
        raise PointError(
            "The point is not two numbers from 0 to 100; give x and y in percent of the photo, "
            "such as 50, 50."
        )
    # The right and the lower edge belong to the last pixel.
    x, y = (min(number / 100, 1 - 1e-6) for number in numbers)
    return x, y


def point_text(point: Point) -> str:
    """A point as ``parse_point`` reads it."""
    return ", ".join(f"{100 * share:.1f}".removesuffix(".0") for share in point)


def point_at(click: Sequence[float], placed: PixelBox) -> Point:
    """The point of the photo under a click on a picture.

    Args:
        click: ``(x, y)``, px of the picture.
        placed: where the photo lies on it.

    Raises:
        PointError: the click was beside the photo, on its margin.
    """
    left, top, right, bottom = placed
    # A click names a pixel; its middle is meant.
    x = (click[0] + 0.5 - left) / (right - left)
    y = (click[1] + 0.5 - top) / (bottom - top)
    if not (0 <= x < 1 and 0 <= y < 1):
        raise PointError("That click was beside the photo; click a place on the photo itself.")
    return x, y


def settled(asked: Asked, theory: ReceptiveField | None) -> tuple[Asked, tuple[str, ...]]:
    """Fit what was asked to the model; returns what is measured, and sentences on what is not.

    Args:
        asked: it may be meant for another model.
        theory: the model's fields; None where they are not known.
    """
    if theory is None:
        asked = replace(asked, layer="last", split="all", beside=False)
        return asked, ("How far its parts can see is not known; this is its last stage.",)
    layers = {name for _, name in layer_choices(theory)}
    layer = asked.layer if asked.layer in layers else default_layer(theory)
    choices = [value for _, value in split_choices(theory, layer)]
    split = asked.split if layer == asked.layer and asked.split in choices else "all"
    notes: tuple[str, ...] = ()
    if asked.beside and len(choices) < 2:
        at_end = any(stage.stage == layer for stage in theory.stages)
        reason = "choose one of the stage's blocks" if at_end else "this block has one path"
        notes = (f"There are no splits to show side by side here: {reason}.",)
    beside = asked.beside and len(choices) > 1
    return replace(asked, layer=layer, split=split, beside=beside), notes


def units(asked: Asked, theory: ReceptiveField | None) -> list[tuple[int | None, bool]]:
    """What to measure as (split, trained), the one drawn large first."""
    splits = [asked.split]
    if asked.beside and theory is not None:
        splits += [v for _, v in split_choices(theory, asked.layer) if v != asked.split]
    trained = {"trained": (True,), "random": (False,)}.get(asked.weights, (True, False))
    return [(None if s == "all" else int(s), t) for s in splits for t in trained]


def unit_name(measured: EffectiveField) -> str:
    """The unit in words, such as "stage 4, block 2, split 1"."""
    stage = re.fullmatch(r"layer(\d+)", measured.layer)
    words = f"stage {stage[1]}" if stage else place(measured.layer)
    return words if measured.split is None else f"{words}, split {measured.split}"


def weights_name(measured: EffectiveField) -> str:
    """What weights the unit had."""
    return "trained" if measured.trained else "random"


def input_px(measured: EffectiveField) -> int:
    """Side of what the network sees, px."""
    return max(measured.geometry.view)


def side_px(measured: EffectiveField) -> int | None:
    """Side of the theoretical field, px."""
    box = measured.theoretical
    return None if box is None else round(box[2] - box[0])


def squares_of(measured: EffectiveField, measure: str) -> tuple[Square, ...]:
    """The squares on the gradient, or on its logarithm."""
    return measured.log_squares if measure == "log" else measured.squares


def rows(measured: Sequence[EffectiveField]) -> list[list[Any]]:
    """One row per unit and share; unknown values are empty."""
    found = []
    for one in measured:
        whole, most = input_px(one), side_px(one)
        head = [title(one.model), unit_name(one), weights_name(one), one.inputs]
        pairs = zip(one.squares, one.log_squares, strict=True)
        for raw, log in pairs:
            sides = (raw.side_px, log.side_px, most)
            cells = [c for px in sides for c in (px, None if px is None else _percent(px, whole))]
            found.append([*head, round(100 * raw.share), *cells])
        if not one.squares:
            share = None if most is None else _percent(most, whole)
            found.append([*head, None, None, None, None, None, most, share])
    return found


def _percent(px: int, whole: int) -> float | None:
    return rounded(100 * px / whole, 1)


def caption(shown: Shown, measure: str) -> str:
    """What the large picture shows, in plain words (Markdown)."""
    one = shown.fields[0]
    whole, most = input_px(one), side_px(one)
    head = f"**A unit of {unit_name(one)}** in {title(one.model)}"
    if not one.trained:
        head += " with random weights"
    text = f"{head}: how far it can see is not known."
    if most is not None:
        text = f"{head} can see at most **{most} px** (the input is {whole} px wide)"
        text += ", so its box reaches past what the network sees." if most > whole else "."
    squares = {round(100 * s.share): s.side_px for s in squares_of(one, measure)}
    if squares:
        what = "of the logarithm of what moves it" if measure == "log" else "of what moves it"
        text += (
            f" Half {what} lies within **{squares[50]} px**, nine tenths within "
            f"**{squares[90]} px**."
        )
    else:
        text += " No pixel of this photo moves it: the unit is switched off here."
    if one.inputs > 1:
        text += f" Averaged over {one.inputs} photos."
    return text + "".join(f" {note}" for note in shown.notes)


def alt_text(one: EffectiveField, point: Point, measure: str) -> str:
    """What a screen reader says of a picture."""
    most = side_px(one)
    squares = ", ".join(
        f"{round(100 * s.share)} % within {s.side_px} px" for s in squares_of(one, measure)
    )
    where = f"{100 * point[0]:.0f} % from the left and {100 * point[1]:.0f} % from the top"
    box = "not known" if most is None else f"{most} px"
    return (
        f"Receptive field on the photo: {unit_name(one)} of {title(one.model)}, "
        f"{weights_name(one)} weights, {where}. It can see {box} of {input_px(one)} px; "
        f"of its gradient: {squares or 'nothing'}."
    )
