"""Charts of how far a map can be believed; see ``charts`` for what they have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mscnn.draw import figures as look
from mscnn.results.trust import Kind, MapTrust
from mscnn.trust.plan import BASELINES, CHANGES, STEM, method_of

KINDS: dict[Kind, str] = {
    "map": "the map", "blob": "a blob in the middle", "blurred": "the map, blurred",
    "random": "random maps",
}  # fmt: skip
"""The maps that are set beside one another, in words."""
_LINES: dict[Kind, dict[str, Any]] = {
    "map": {"color": look.SERIES[0], "linewidth": 2.6},
    "blob": {"color": look.SERIES[1], "linewidth": 1.8, "linestyle": "--"},
    "blurred": {"color": look.SERIES[2], "linewidth": 1.8, "linestyle": "-."},
    "random": {"color": look.SOFT, "linewidth": 1.4, "linestyle": ":"},
}
_HEAD = re.compile(r"(.*\.)?(fc|head|classif(ier)?|last_linear)(\..*)?")
"""What timm calls the layer of a classifier, or what holds it: ``head.proj``."""
_COVERS = {"mean": "plain colour", "blur": "blur"}


def map_title(made: MapTrust) -> str:
    """Return a map's method and stage as people say them."""
    return f"{method_of(made.method).title}, {look.place(made.layer)}"


def trust_chart(
    made: MapTrust,
    label: str,
    *,
    baselines: Sequence[str] = BASELINES,
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw the class's probability while a map's strongest pixels are covered, and shown.

    Each of ``baselines`` that was scored, at least one, has two panels; beside the map's own line
    are those of its controls, and a band from the lowest to the highest of the random ones. Marks:
    ``deletion_mean:blob`` (curve and kind).
    """
    curves = made.candidates[0].curves if made.candidates else {}
    names = [f"{what}_{cover}" for cover in baselines for what in ("deletion", "insertion")]
    shown = [name for name in names if name in curves]
    usual = f"Probability of {label}: {map_title(made)}"
    figure = look.new_figure(width, 15 + 165 * len(shown), usual, title)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, shown, strict=True):
        _curves(axis, made, name)
    look.style(axes[-1], x="of all pixels, %, those first that are strongest on the map")
    count = sum(c.kind == "random" for c in made.candidates)
    present = {kind: words for kind, words in KINDS.items() if kind != "random" or count}
    handles: list[Any] = [Line2D([], [], **_LINES[kind]) for kind in present]
    if count:
        handles.append(Patch(color=look.SOFT, alpha=0.15))
        present["random"] = f"random maps: mean of {count}"
    look.legend(figure, handles, [*present.values(), *["random maps: lowest to highest"][:count]])
    return figure


def _curves(axis: Axes, made: MapTrust, name: str) -> None:
    what, cover = name.split("_")
    covered = what == "deletion"
    verb = "covered with" if covered else "shown on"
    better = "lower" if covered else "higher"
    look.style(axis, title=f"Strongest pixels {verb} {_COVERS[cover]}, % ({better} is better)")
    for kind, line in reversed(_LINES.items()):  # the map's own on top
        drawn = [100 * c.curves[name] for c in made.candidates if c.kind == kind]
        if not drawn:
            continue
        mean, x = np.mean(drawn, axis=0), np.linspace(0, 100, len(drawn[0]))
        if kind == "random":
            low, high = np.min(drawn, axis=0), np.max(drawn, axis=0)
            axis.fill_between(x, low, high, color=look.SOFT, alpha=0.15, linewidth=0)
        (found,) = axis.plot(x, mean, **line)
        words = f"{KINDS[kind]}: {np.trapezoid(mean, dx=1 / (len(mean) - 1)):.1f} % on average"
        look.mark(found, f"{name}:{kind}", words[0].upper() + words[1:])
    axis.set_xlim(0, 100)
    axis.set_ylim(0, max(10.0, 1.08 * axis.get_ylim()[1]))


def checks_chart(
    made: MapTrust,
    *,
    checks: Sequence[str] = ("randomisation", "stability"),
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw how alike a map stays: as the weights are lost, and as the photo is changed.

    Of ``checks`` those that were not done are left out. Marks: ``check:0`` and so on.
    """
    steps = made.randomisation.steps if made.randomisation else ()
    bars: list[tuple[str, float | None]] = []
    if "randomisation" in checks:
        bars += [(f"random: {part_title(s.part)}", s.similarity) for s in steps]
    if "stability" in checks:
        bars += [(f"photo {CHANGES[s.change]}", s.correlation) for s in made.stability]
    figure = look.new_figure(width, 45 + 21 * len(bars), map_title(made), title)
    axis = figure.subplots()
    look.style(axis, x="rank correlation (1: the same map)", grid="x")
    for row, (name, value) in enumerate(bars):
        words = "flat" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
        length = value or 0.0
        (bar,) = axis.barh(row, length, 0.62, color=look.SERIES[0])
        look.mark(bar, f"check:{row}", f"{name}: {words}")
        look.note(axis, words, (max(length, 0.0), row), xytext=(4, 0), va="center")
    axis.set_yticks(range(len(bars)), [name for name, _ in bars])
    axis.set_xlim(min(0.0, *(1.1 * (value or 0.0) for _, value in bars), 0.0), 1.12)
    axis.axvline(0, color=look.SOFT, linewidth=1)
    axis.invert_yaxis()
    return figure


def part_title(part: str) -> str:
    """Return what a part of a network is called: ``RandomStep.part``."""
    if part == STEM:
        return "the first layers"
    return "the classifier" if _HEAD.fullmatch(part) else look.stage_title(part)
