"""Trust: whether the map can be believed, beside maps that cannot know anything of the photo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from markupsafe import Markup

from mscnn.draw.figures import inline_svg
from mscnn.draw.files import trust_files
from mscnn.draw.trust import KINDS, checks_chart, part_title, trust_chart
from mscnn.engine.network import Network
from mscnn.errors import Cancelled
from mscnn.geometry import FloatMap
from mscnn.http.uploads import cache_file
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.messages import Message, facts, map_message, percent, picture, render, stage_name
from mscnn.page.request import Request
from mscnn.results.trust import CONTROLS, METRICS, Kind, Located, MapTrust, RankRow, Trust
from mscnn.scales.canvas import pixels_of
from mscnn.trust.plan import GRID, PARTS, Plan, method_of
from mscnn.trust.verdict import in_short, said_of_checks

LONG = 20.0
"""From so many seconds on the page asks first."""
NAMES = {
    "deletion_mean": "Strongest places covered: what is left of the class",
    "deletion_blur": "Strongest places blurred: what is left",
    "insertion_mean": "Only the strongest places shown",
    "insertion_blur": "Only the strongest places sharp",
    "average_drop": "The rest dimmed: what is lost",
    "road": "How much more its strongest places matter than its weakest",
    "infidelity": "Error about what each square is worth (0 to 1)",
}
"""The scores that decide, in plain words."""
BEATS = ("no better than random", "beats random", "beats random and blob", "beats all three")
COLUMNS: tuple[Kind, ...] = ("map", "random", "blob", "blurred")
_WHAT = {"": "Map", "scores": "Scoring", "checks": "Checking", "grid": "Methods and stages"}


def answer(request: Request, context: Context) -> Iterator[Message]:
    """The map alone, then its scores, then the checks, then other methods, where asked for."""
    work = _Work(request, context)
    need = work.question()
    if need is not None and work.known("") is None and method_of(request.method).is_slow:
        raise need
    parts = [p for p in work.plans if need is None or not p or work.known(p) is not None]
    done: dict[str, Trust] = {}
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        try:
            done[part] = work.find(part)
            stopped = done[part].partial
        except Cancelled:
            if not done:
                raise
            stopped = True
        if stopped:
            rest = NeedsConsent("Stopped; what was done until then is shown.", "Do the rest")
            yield work.message(done, need=rest)
            return
        if following is None:
            yield work.message(done, need=need)
        elif work.known(following) is None:
            yield {**work.message(done, waiting=True), "more": True}


class _Work:
    """What is to be found out for a request, each part computed where it is not there yet."""

    def __init__(self, request: Request, context: Context) -> None:
        self.request, self.context = request, context
        self.photo, self.network = context.photo(request), context.network(request)
        index = context.target(request, self.network)
        self.target: str | int = "top1" if index is None else index
        layer = context.layer(request, self.network)
        rival = str(request.options.get("against", "")).strip()
        against, methods = ((rival,), ()) if rival else ((), (request.method,))
        common = Plan(methods=methods, layers=(layer,), against=against, parts=())
        checks = tuple(part for part in PARTS if part != "scores")
        self.plans = {
            "": common, "scores": replace(common, parts=("scores",)),
            "checks": replace(common, parts=checks, box=request.box),
        }  # fmt: skip
        if request.options.get("grid"):
            several = () if rival else GRID.methods
            self.plans["grid"] = replace(GRID, methods=several, against=against)

    def _key(self, part: str) -> tuple[Any, ...]:
        return self.photo.digest, model_key(self.network), self.target, self.plans[part]

    def known(self, part: str) -> Trust | None:
        """Return what was found before; None where it was not."""

        def missing() -> Trust:
            raise LookupError

        try:
            return self.context.cached(("trust", *self._key(part)), missing)
        except LookupError:
            return None

    def find(self, part: str) -> Trust:
        """Do one part; after Stop it is partial, and the next request does it all."""
        key, context = ("trust", *self._key(part)), self.context
        found = context.cached(
            key,
            lambda: self.network.trust(
                self.photo.image, target=self.target, plan=self.plans[part], name=self.photo.name,
                on_progress=partial(context.progress, what=_WHAT[part]),
                is_cancelled=context.is_cancelled,
            ),
        )  # fmt: skip
        if found.partial:
            context.results.drop(key)
        return found

    def question(self) -> NeedsConsent | None:
        """What to ask before the parts that are not there yet, where they take long."""
        parts = [part for part in self.plans if part and self.known(part) is None]
        if self.request.agreed or not parts:
            return None
        seconds = sum(
            self.context.cached(
                ("trust seconds", *self._key(part)),
                lambda part=part: self.network.trust_seconds(
                    self.photo.image, target=self.target, plan=self.plans[part]
                ),
            )
            for part in parts
        )
        if seconds <= LONG:
            return None
        what = "all methods at all stages" if parts == ["grid"] else "this map"
        takes = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
        return NeedsConsent(f"To check {what} takes about {takes} here.", f"Check {what}")

    def found(self, done: Mapping[str, Trust]) -> Trust:
        """The map with all that is known of it."""
        found, checked = done.get("scores", done[""]), done.get("checks")
        if checked is None:
            return found
        made = {name: getattr(checked.maps[0], name) for name in PARTS if name != "scores"}
        return replace(
            found, maps=(replace(found.maps[0], **made),), box=checked.box,
            partial=found.partial or checked.partial, seconds=found.seconds + checked.seconds,
            notices=tuple(dict.fromkeys((*found.notices, *checked.notices))),
        )  # fmt: skip

    def message(
        self, done: Mapping[str, Trust], *, need: NeedsConsent | None = None, waiting: bool = False
    ) -> Message:
        """Everything that is known so far, as an answer."""
        found, request, grid = self.found(done), self.request, done.get("grid")
        made, label, width = found.maps[0], found.target.label, request.chart_px
        maps, title = list(self._maps(found)), f"{method_of(made.method).title}, "
        title += stage_name(made.layer)
        steps = made.randomisation.steps if made.randomisation else ()
        chart = checked = ""
        if made.candidates:
            drawn = trust_chart(made, label, baselines=("mean",), title="", width=width)
            chart = Markup(inline_svg(drawn, f"Probability of {label}, map and controls"))
        if made.stability:
            drawn = checks_chart(made, panels=("stability",), title="", width=width)
            checked = Markup(inline_svg(drawn, "How alike the map stays"))
        html = render(
            "trust.html", found=found, made=made, label=label, title=title, waiting=waiting,
            lead=in_short(made.verdict) if made.candidates else "", chart=chart, checked=checked,
            kinds=[kind for kind in COLUMNS if any(c.kind == kind for c in made.candidates)],
            names=KINDS, rows=list(_rows(made)), said=said_of_checks(made),
            steps=[(f"weights/{s.part}", part_title(s.part), s.similarity) for s in steps],
            located=_located(made), places=_places(made), ranks=_ranks(found.ranks),
            metrics={n: METRICS[n] for n in made.beside()}, beside=made.beside(),
            grid=grid and self._grid(grid), wanted="grid" in self.plans, facts=facts(self.network),
            method=method_of(made.method),
        )  # fmt: skip
        if grid is not None:
            maps += [
                _message(m, m.cam.raw, _cell(m), in_short(m.verdict)) for m in grid.maps if m.cam
            ]
        view: Message = {"maps": maps, "frame": maps[0]["rect"], "pick": "box"}
        if request.box is not None:
            rect = pixels_of(request.box, self.photo.image.size)
            view["boxes"] = [{"rect": rect, "title": "The object", "tone": 1}]
        if request.static and made.cam is not None:
            view["pictures"] = {"map": cache_file("overlay.png", picture(self.photo, made.cam))}
        return {
            "html": html, "label": label, "top": found.prediction.top[0].label, "view": view,
            "need": need and need.message,
        }  # fmt: skip

    def _maps(self, found: Trust) -> Iterator[Message]:
        """The map, one of each kind of control, and the maps of random weights."""
        made, label = found.maps[0], found.target.label
        if made.cam is None:
            return
        own = f"Bright parts spoke for {label}: this is the map that is checked."
        yield _message(made, made.cam.raw, "map", own)
        for one in made.candidates:
            if one.kind != "map" and not one.draw:
                yield _message(made, one.raw, one.kind, f"A control. {CONTROLS[one.kind]}")
        for step in made.randomisation.steps if made.randomisation else ():
            said = f"Random weights down to here: {part_title(step.part)}."
            yield _message(made, step.raw, f"weights/{step.part}", said)

    def _grid(self, grid: Trust) -> Message:
        network, best = self.network, grid.recommended
        rank = {(r.method, r.layer): r.mean for r in grid.ranks if r.kind == "map"}
        rows: dict[str, list[Message]] = {}
        for made in grid.maps:
            level, where = made.verdict.level, {"layer": _state_layer(network, made.layer)}
            mean = rank.get((made.method, made.layer))
            rows.setdefault(method_of(made.method).title, []).append({
                "id": _cell(made), "words": made.note or BEATS[level or 0],
                "change": where if grid.against else {"method": made.method, **where},
                "seconds": f"{made.map_seconds:.2f} s", "note": made.note, "level": level,
                "rank": "" if mean is None else f"{mean:.1f}", "scores": made.scores,
                "best": best is not None and (made.method, made.layer) == (best.method, best.layer),
                "stage": stage_name(made.layer),
            })  # fmt: skip
        reason = best.reason if best else ""
        return {
            "rows": rows, "stages": list(map(stage_name, network.stages)),
            "reason": re.sub(r"\blayer(\d+)", r"stage \1", reason),
        }  # fmt: skip


def _message(made: MapTrust, raw: FloatMap, map_id: str, caption: str) -> Message:
    assert made.cam is not None
    cam = replace(made.cam, raw=raw)
    return map_message(cam, map_id=map_id, title=caption.partition(":")[0], caption=caption)


def _cell(made: MapTrust) -> str:
    return f"grid/{made.method}/{made.layer}"


def _state_layer(network: Network, layer: str) -> str:
    return "last" if layer == network.last_stage else str(network.stages.index(layer) + 1)


def _rows(made: MapTrust) -> Iterator[Message]:
    """The scores that decide: the name, which way is better, and (text, is best) by kind."""
    for name, values in made.beside().items():
        if name not in NAMES:
            continue
        higher = METRICS[name].higher_is_better
        best = max(values.values()) if higher else min(values.values())
        form = "{:.2f}".format if name == "infidelity" else percent
        cells = [(form(values[k]), values[k] == best) for k in COLUMNS if k in values]
        better = "higher is better" if higher else "lower is better"
        yield {"name": NAMES[name], "better": better, "cells": cells}


def _located(made: MapTrust) -> dict[str, list[tuple[str, ...]]]:
    found = made.localisation
    if found is None:
        return {}

    def rows(located: tuple[Located, ...]) -> list[tuple[str, ...]]:
        return [
            (KINDS[one.kind], percent(one.pointing_game), _number(one.energy_ratio, 1))
            for one in located
        ]

    shown = {"At all known places": found.mean, "In your box on the photo itself": found.box}
    return {name: rows(located) for name, located in shown.items() if located}


def _places(made: MapTrust) -> list[tuple[str, ...]]:
    placed = made.localisation.placements if made.localisation else ()
    return [
        (
            f"{one.factor:.2g}\N{MULTIPLICATION SIGN}", one.position, percent(one.probability),
            "yes" if one.located[0].pointing_game else "no",
            _number(one.located[0].energy_ratio, 1),
        )
        for one in placed
    ]  # fmt: skip


def _ranks(ranks: tuple[RankRow, ...]) -> Message:
    names = [n for n in METRICS if ranks and getattr(ranks[0].ranks, n) is not None]
    rows = [
        (KINDS[r.kind], _number(r.mean, 1), *(f"{getattr(r.ranks, n):g}" for n in names))
        for r in ranks
    ]
    return {"heads": ("Map", "Mean", *(METRICS[n].title for n in names)), "rows": rows}


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """Scores, maps, charts and manifest of the map that is shown."""
    work = _Work(request, context)
    found = work.found({part: work.find(part) for part in work.plans if part != "grid"})
    return f"mscnn-trust-{work.network.name}-{found.target.label}", trust_files(found)


LENS = Lens(
    "trust", "Trust", "Can I believe this map?", answer, files=files,
    needs=("photo", "model", "target", "layer", "method", "box", "options"),
)  # fmt: skip
