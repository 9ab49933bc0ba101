"""Trust: whether the map can be believed, beside maps that know less of the photo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from markupsafe import Markup

from mscnn.draw.figures import inline_svg
from mscnn.draw.files import trust_files
from mscnn.draw.trust import KINDS, checks_chart, map_title, part_title, trust_chart
from mscnn.errors import BoxError, Cancelled, UnknownClassError
from mscnn.geometry import FloatMap
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.messages import Message, facts, map_message, model_title, render, stage_name
from mscnn.page.request import Box, Request
from mscnn.results.trust import CONTROLS, METRICS, MapTrust, Trust
from mscnn.scales.canvas import check_box, pixels_of
from mscnn.trust.checks import rect_of
from mscnn.trust.plan import GRID, PARTS, Plan, method_of
from mscnn.trust.verdict import in_short, said_of_checks

LONG = 20.0
"""From this many seconds on, the page asks first."""
NAMES = {
    "deletion_mean": "Strongest pixels covered: what is left of the class",
    "deletion_blur": "Strongest pixels blurred: what is left",
    "insertion_mean": "Only the strongest pixels shown",
    "insertion_blur": "Only the strongest pixels sharp",
    "average_drop": "The rest dimmed: what is lost",
    "road": "How much more its strongest pixels matter than its weakest",
    "infidelity": "Error about what each square is worth (0 to 1)",
}
"""The scores that decide, in plain words."""
BEATS = ("no better than random", "beats random", "beats random and blob", "beats all three")


def answer(request: Request, context: Context) -> Iterator[Message]:
    """The map alone, then its scores, then the checks, then other methods, where asked for."""
    work = _Work(request, context)
    need = work.question()
    if need is not None and not work.knows("") and method_of(request.method).is_slow:
        raise need
    parts = [part for part in work.plans if need is None or not part or work.knows(part)]
    done: dict[str, Trust] = {}
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        try:
            done[part] = work.find(part)
        except Cancelled:
            if not done:
                raise
        if part not in done or done[part].partial:
            rest = NeedsConsent("What was done so far is shown.", "Do the rest")
            yield work.message(done, rest)
            return
        if not following:
            yield work.message(done, need)
        elif not work.knows(following):
            yield {**work.message(done, following=following), "more": True}


class _Work:
    """What is to be found out for a request, each part computed where it is not there yet."""

    def __init__(self, request: Request, context: Context) -> None:
        self.request, self.context = request, context
        self.photo, self.network = context.photo(request), context.network(request)
        index = context.target(request, self.network)
        self.target: str | int = "top1" if index is None else index
        rival = self._rival(index)
        self.box = self._box()
        against, methods = ((rival,), ()) if rival else ((), (request.method,))
        layers = (context.layer(request, self.network),)
        alone = Plan(methods=methods, layers=layers, against=against, parts=())
        checks = tuple(part for part in PARTS if part != "scores")
        self.plans = {
            "": alone, "scores": replace(alone, parts=("scores",)),
            "checks": replace(alone, parts=checks, box=self.box),
        }  # fmt: skip
        if request.options.get("grid"):
            several = () if rival else GRID.methods
            self.plans["grid"] = replace(GRID, methods=several, against=against)

    def _box(self) -> Box | None:
        """The object; a box of Zoom's may lie in what was cut off before this network looked."""
        box, network = self.request.box, self.network
        if box is None:
            return None
        check_box(box)
        key = ("input", *self.photo.key, model_key(network))
        shown = self.context.cached(key, lambda: network.preprocess(self.photo.image))
        try:
            rect_of(box, shown.geometry)
        except BoxError:
            self.context.notices.append(
                f"{model_title(network.name)} sees too little of the box, so the whole photo "
                "is taken here; draw another one inside the frame."
            )
            return None
        return box

    def _rival(self, index: int | None) -> str:
        """The class to set it against; one of another network or photo may not fit any more."""
        rival, network = str(self.request.options.get("against", "")).strip(), self.network
        if not rival or self.request.changed == "options.against":  # the visitor has just typed it
            return rival
        if index is None:
            key = ("top1", self.photo.digest, model_key(network))
            predict = partial(network.predict, self.photo.image, top_k=1)
            index = self.context.cached(key, predict).top[0].index
        why = f"“{rival}” is the class itself"
        try:
            if network.labels.resolve(rival) != index:
                return rival
        except UnknownClassError:
            why = f"{model_title(network.name)} has no class “{rival}”"
        self.context.notices.append(f"{why}, so nothing is contrasted; choose another class.")
        return ""

    def _key(self, part: str, of: str = "trust") -> tuple[Any, ...]:
        return of, *self.photo.key, model_key(self.network), self.target, self.plans[part]

    def knows(self, part: str) -> bool:
        """Whether a part was done before."""
        return self._key(part) in self.context.results

    def find(self, part: str) -> Trust:
        """Do one part; after Stop it is partial, and the next request does it all."""
        context = self.context
        trust = partial(
            self.network.trust, self.photo.image, target=self.target, plan=self.plans[part],
            name=self.photo.name, on_progress=partial(context.progress, what=part.capitalize()),
            is_cancelled=context.is_cancelled,
        )  # fmt: skip
        return context.cached(self._key(part), trust, lambda found: not found.partial)

    def question(self) -> NeedsConsent | None:
        """What to ask before the parts that are not there yet, where they take long."""
        parts = [part for part in self.plans if part and not self.knows(part)]
        if self.context.is_agreed(self.request) or not parts:
            return None
        seconds = 0.0
        for part in parts:
            how: Any = {"target": self.target, "plan": self.plans[part]}
            estimate = partial(self.network.trust_seconds, self.photo.image, **how)
            seconds += self.context.cached(self._key(part, "trust seconds"), estimate)
        if seconds <= LONG:
            return None
        what = "all methods at all stages" if parts == ["grid"] else "this map"
        takes = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
        return NeedsConsent(f"Checking {what} takes about {takes} here.", f"Check {what}")

    def found(self, done: Mapping[str, Trust]) -> Trust:
        """The map with all that is known of it."""
        found, checked = done.get("scores", done[""]), done.get("checks")
        if checked is None:
            return found
        made = {name: getattr(checked.maps[0], name) for name in PARTS if name != "scores"}
        notices = tuple(dict.fromkeys((*found.notices, *checked.notices)))
        maps = (replace(found.maps[0], **made),)
        return replace(
            found, maps=maps, box=checked.box, notices=notices,
            partial=found.partial or checked.partial, seconds=found.seconds + checked.seconds,
        )  # fmt: skip

    def message(
        self, done: Mapping[str, Trust], need: NeedsConsent | None = None, following: str = ""
    ) -> Message:
        """Everything that is known so far, as an answer."""
        found, request, grid = self.found(done), self.request, done.get("grid")
        shown = (*found.maps, *(grid.maps if grid else ()))
        self.context.methods |= dict.fromkeys(one.method for one in shown)
        made, label, how = found.maps[0], found.target.label, {"width": request.chart_px}
        chart = checked = ""
        if made.candidates:
            drawn = trust_chart(made, label, baselines=("mean",), title="", **how)
            chart = Markup(inline_svg(drawn, f"Probability of {label}, map and controls"))
        if made.stability:
            drawn = checks_chart(made, checks=("stability",), title="", **how)
            checked = Markup(inline_svg(drawn, "How alike the map stays"))
        html = render(
            "trust.html", found=found, made=made, title=map_title(made), following=following,
            lead=in_short(made.verdict) if made.candidates else "", chart=chart, checked=checked,
            beside=made.beside(), names=NAMES, metrics=METRICS, of_kind=KINDS, of_part=part_title,
            titles=[METRICS[name].title for name in made.beside()],
            said=dict.fromkeys(PARTS, "") | said_of_checks(made),
            grid=grid and self._grid(grid), beats=BEATS, wanted="grid" in self.plans,
            boxed=self.box is not None,
            facts=facts(self.network), method=method_of(made.method),
        )  # fmt: skip
        maps = list(self._maps(found, grid))
        view: Message = {"maps": maps, "frame": maps[0]["rect"], "pick": "box"}
        if self.box is not None:
            rect = pixels_of(self.box, self.photo.image.size)
            view["boxes"] = [{"rect": rect, "title": "The object", "tone": 1}]
        return {
            "html": html, "label": label, "top": found.prediction.top[0].label, "view": view,
            "need": need and need.message,
        }  # fmt: skip

    def _maps(self, found: Trust, grid: Trust | None) -> Iterator[Message]:
        """The map, one of each kind of control, those of random weights, and of other methods."""
        made = found.maps[0]
        own = f"The map that is checked: {map_title(made)}, for {found.target.label}."
        last = made.layer == self.network.last_stage
        yield _message(made, made.cam.raw if made.cam else None, "map", own, last=last)
        for one in made.candidates:
            if one.kind != "map" and not one.draw:
                yield _message(made, one.raw, one.kind, f"A control. {CONTROLS[one.kind]}")
        for step in made.randomisation.steps if made.randomisation else ():
            said = f"Random weights from the classifier down to: {part_title(step.part)}."
            yield _message(made, step.raw, f"weights/{step.part}", said)
        for cell in grid.maps if grid else ():
            if cell.cam is not None:
                yield _message(cell, cell.cam.raw, _cell(cell), in_short(cell.verdict))

    def _grid(self, grid: Trust) -> Message:
        """The cells, (made, id, what it sets, mean rank), by method; and the best one."""
        network, best = self.network, grid.recommended
        rank = {(row.method, row.layer): row.mean for row in grid.ranks if row.kind == "map"}
        rows: dict[str, list[tuple[MapTrust, str, Message, float | None]]] = {}
        for made in grid.maps:
            last, number = made.layer == network.last_stage, network.stages.index(made.layer) + 1
            change = {} if grid.against else {"method": made.method}
            change["layer"] = "last" if last else str(number)
            cell = (made, _cell(made), change, rank.get((made.method, made.layer)))
            rows.setdefault(method_of(made.method).title, []).append(cell)
        return {
            "rows": rows, "stages": list(map(stage_name, network.stages)),
            "best": best and f"grid/{best.method}/{best.layer}",
            "reason": re.sub(r"\blayer(\d+)", r"stage \1", best.reason if best else ""),
        }  # fmt: skip


def _message(
    made: MapTrust, raw: FloatMap | None, map_id: str, caption: str, **more: Any
) -> Message:
    if made.cam is None or raw is None:
        raise ValueError("there is no map")
    return map_message(
        replace(made.cam, raw=raw), map_id=map_id, title=map_title(made), caption=caption, **more
    )  # fmt: skip


def _cell(made: MapTrust) -> str:
    return f"grid/{made.method}/{made.layer}"


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """The files of the map that is shown, with the grid; what was not agreed to is not there."""
    work = _Work(request, context)
    wanted = [part for part in work.plans if request.agreed or not part or work.knows(part)]
    done = {part: work.find(part) for part in wanted}
    found = work.found(done)
    name, label, made = work.network.name, found.target.label, found.maps[0]
    parts = [part for part in PARTS if ("scores" if part == "scores" else "checks") in wanted]
    packed = trust_files(found, done.get("grid"))
    if parts:
        packed = context.recorded(
            packed, request, [work.network], "trust", model=name, target=label,
            methods=made.method, layers=made.layer, against=[one.label for one in found.against],
            box=",".join(map(str, found.box or ())), parts=",".join(parts),
        )  # fmt: skip
    return f"mscnn-trust-{name}-{label}", packed


LENS = Lens(
    "trust", "Trust", "Can I believe this map?", answer, files=files,
    needs=("photo", "model", "target", "layer", "method", "box", "options"),
)  # fmt: skip
