"""What the Zoom tab draws and says: the object's box, curves, tables and sentences; no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from mscnn.draw.boxes import Frame, draw_frames
from mscnn.draw.charts import lines_chart
from mscnn.engine.lens_options import parse_box
from mscnn.errors import MscnnError
from mscnn.models import registry
from mscnn.models.sources import locate
from mscnn.page.compare_view import rounded, title
from mscnn.page.handlers import fitted
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import PhotoBox, Sweep, SweepCurve, SweepStep, size_px
from mscnn.scales.canvas import check_box

OBJECT_PX = 560
CHART_PX = 700
BOX_COLOUR = "#e69f00"
SCORE_HEADERS = ("Model", "Class", "At least half of its best (octaves)", "Mean probability (%)",
                 "Best probability (%)", "Best size (% of view)", "Seconds", "Note")  # fmt: skip
STEP_HEADERS = ("Model", "Size (% of view)", "Size (px)", "Probability (%)", "Rank",
                "Evidence on the object / even spread", "Evidence-weighted field (px)")  # fmt: skip
NUMERIC = frozenset((*SCORE_HEADERS[2:7], *STEP_HEADERS[1:]))
WHOLE = "The object is the whole photo. Click one corner of it to draw a box."
FIRST = "Now click the opposite corner."
BOXED = "The object is what the box holds. Click again to start a new box."
X_LABEL = "longer side of the object, % of the network's input"
LINES = (
    ("probability", "Probability of {label} at each size", "probability, %"),
    ("energy", "How much of the evidence lies on the object", "evidence / even spread"),
    ("field", "Evidence-weighted receptive field", "px of the network's input"),
)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Picking:
    """How far a visitor has drawn the box.

    Attributes:
        photo: ``(h, w, 3)`` uint8, longer side ``OBJECT_PX``.
        corner: the first corner, shares of the photo, while the second is awaited.
        box: the box, shares of the photo; None for the whole photo.
    """

    photo: RgbArray = field(repr=False)
    corner: Point | None = None
    box: PhotoBox | None = None

    @property
    def hint(self) -> str:
        """What to do next."""
        return FIRST if self.corner else BOXED if self.box else WHOLE


def picking(photo: Image.Image) -> Picking:
    """Start with the whole photo."""
    return Picking(fitted(photo, OBJECT_PX))


def clicked(shown: Picking, click: Sequence[float]) -> Picking:
    """Take a click on the photo for a corner; every second one completes a box.

    Args:
        shown: how far the box is drawn.
        click: ``(x, y)``, px of ``object_picture``.

    Raises:
        BoxError: the two corners make no box.
    """
    height, width = shown.photo.shape[:2]
    x = min(max((click[0] + 0.5) / width, 0.0), 1.0)
    y = min(max((click[1] + 0.5) / height, 0.0), 1.0)
    if shown.corner is None:
        return replace(shown, corner=(x, y), box=None)
    (left, right), (top, bottom) = sorted((shown.corner[0], x)), sorted((shown.corner[1], y))
    check_box((left, top, right, bottom))
    return replace(shown, corner=None, box=(left, top, right, bottom))


def typed(shown: Picking, text: str) -> Picking:
    """Take the box from a text; an empty one is the whole photo.

    Raises:
        BoxError: it is no box.
    """
    return replace(shown, corner=None, box=parse_box(text))


def box_text(box: PhotoBox | None) -> str:
    """A box as ``parse_box`` reads it, in percent; empty for the whole photo."""
    if box is None:
        return ""
    # The percent sign keeps a small box in the corner from being read as shares.
    return ", ".join(f"{100 * edge:.1f}".removesuffix(".0") for edge in box) + " %"


def object_picture(shown: Picking) -> RgbArray:
    """The photo with the box, or with the corner that was clicked."""
    height, width = shown.photo.shape[:2]
    frames = []
    if shown.box is not None:
        left, top, right, bottom = shown.box
        box = (left * width, top * height, right * width, bottom * height)
        frames = [Frame(box, "the object", BOX_COLOUR)]
    corner = shown.corner and (shown.corner[0] * width, shown.corner[1] * height)
    return draw_frames(shown.photo, frames, point=corner)


def object_alt(shown: Picking) -> str:
    """What a screen reader says of the picture."""
    if shown.corner is not None:
        x, y = shown.corner
        return f"The photo, with one corner marked at {x:.0%} from the left, {y:.0%} from the top."
    if shown.box is None:
        return "The photo; all of it is the object."
    left, top, right, bottom = shown.box
    return (
        f"The photo; the object is the box from {left:.0%} to {right:.0%} of its width and "
        f"{top:.0%} to {bottom:.0%} of its height."
    )


def default_models(model: str) -> list[str]:
    """The page's model and its fair baseline, where both are on this machine."""
    spec = registry.find(model)
    partner = spec.baseline if spec is not None else None
    try:
        here = bool(partner) and all(
            locate(name).kind != "download" for name in (model, str(partner))
        )
    except MscnnError:
        here = False
    return [model, str(partner)] if here else [model]


def value_of(step: SweepStep, line: str) -> float | None:
    """What one of ``LINES`` draws."""
    if line == "probability":
        return step.probability
    return step.energy_ratio if line == "energy" else step.weighted_rf_px


def charts(sweep: Sweep) -> dict[str, tuple[RgbArray, str]]:
    """The curves as (picture, alternative text) by name; those without any value are left out."""
    drawn = {}
    for name, heading, y_label in LINES:
        curves = [
            (title(c.model), [(100 * s.factor, _scaled(value_of(s, name), name)) for s in c.steps])
            for c in sweep.curves if c.steps
        ]  # fmt: skip
        # A network without splits has no evidence-weighted field, and no line.
        curves = [(n, points) for n, points in curves if any(y is not None for _, y in points)]
        if not curves:
            continue
        words = heading.format(label=sweep.label)
        even = name == "energy"
        chart = lines_chart(
            curves, x_label=X_LABEL, y_label=y_label, title=words, log_x=True, invert_x=True,
            y_range=(0, 100) if name == "probability" else None,
            reference=1.0 if even else None, reference_label="an even spread" if even else "",
            width_px=CHART_PX,
        )  # fmt: skip
        drawn[name] = chart.picture, _chart_alt(sweep, name, words)
    return drawn


def _scaled(value: float | None, line: str) -> float | None:
    """In the unit of the axis."""
    return 100 * value if value is not None and line == "probability" else value


def _chart_alt(sweep: Sweep, line: str, words: str) -> str:
    parts = []
    for curve in sweep.curves:
        found = [(v, s.factor) for s in curve.steps if (v := value_of(s, line)) is not None]
        if not found:
            continue
        (most, at), (least, lowest_at) = max(found), min(found)
        parts.append(
            f"{title(curve.model)} is highest, {_number(most, line)}, at {at:.0%} and lowest, "
            f"{_number(least, line)}, at {lowest_at:.0%} of the view"
        )
    return f"{words}: {'; '.join(parts)}."


def _number(value: float, line: str) -> str:
    return {"probability": f"{value:.1%}", "energy": f"{value:.2f}"}.get(line, f"{value:.0f} px")


def score_rows(sweep: Sweep) -> list[list[Any]]:
    """One row per model; unknown values are empty."""
    found = []
    for curve in sweep.curves:
        best = max(curve.steps, key=lambda s: s.probability, default=None)
        found.append([
            title(curve.model),
            curve.label,
            rounded(curve.octaves, 2),
            _percent(curve.mean_probability),
            _percent(best.probability if best else None),
            _percent(best.factor if best else None),
            rounded(curve.seconds, 2),
            curve.note,
        ])  # fmt: skip
    return found


def step_rows(sweep: Sweep) -> list[list[Any]]:
    """One row per model and size; unknown values are empty."""
    return [
        [
            title(curve.model),
            _percent(step.factor),
            size_px(step),
            _percent(step.probability),
            step.rank,
            rounded(step.energy_ratio),
            rounded(step.weighted_rf_px, 1),
        ]
        for curve in sweep.curves
        for step in curve.steps
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else rounded(100 * share, 1)


def summary(sweep: Sweep, *, stopped: bool = False) -> str:
    """What came out, in plain words (Markdown)."""
    lines = [f"Asked for **{sweep.label or 'no class'}**, on the canvas *{sweep.canvas}*."]
    if stopped:
        lines[0] += " Stopped: what was done until then is shown."
    lines += [sentence(curve) for curve in sweep.curves]
    return "\n\n".join(lines)


def sentence(curve: SweepCurve) -> str:
    """What one model made of the sizes."""
    name = f"**{title(curve.model)}**"
    if not curve.steps:
        return f"{name}: {curve.note or 'nothing was done.'}"
    best = max(curve.steps, key=lambda s: s.probability)
    text = f"{name} is surest ({best.probability:.1%}) at {best.factor:.0%} of the view"
    if curve.octaves is not None:
        text += f" and stays above half of that over {curve.octaves:.1f} octaves"
    known = [step for step in curve.steps if step.rank == 1]
    if known:
        low, high = min(s.factor for s in known), max(s.factor for s in known)
        text += f"; it is its first answer at {len(known)} of {len(curve.steps)} sizes"
        text += f", between {low:.0%} and {high:.0%}" if low < high else f", at {low:.0%}"
    else:
        text += "; it is its first answer at no size"
    return f"{text}." + (f" {curve.note}" if curve.note else "")
