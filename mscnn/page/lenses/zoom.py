"""Zoom: one thing at many sizes, and down to which of them each network still knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from markupsafe import Markup
from PIL import Image

from mscnn.draw.charts import sweep_chart
from mscnn.draw.figures import inline_svg
from mscnn.draw.files import sweep_files
from mscnn.draw.sheets import film_scale
from mscnn.engine.network import Network
from mscnn.engine.pipeline import MAX_SWEPT, same_class
from mscnn.errors import BoxError, ImageError, MscnnError, OptionError
from mscnn.geometry import ViewGeometry
from mscnn.http.uploads import cache_file
from mscnn.models import registry
from mscnn.page.lens import Context, Lens, model_key
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import Message, map_message, model_title, percent, render, webp
from mscnn.page.photos import Photo
from mscnn.page.request import Request
from mscnn.results.explanation import CamMap, is_answer
from mscnn.results.scales import PhotoBox, Sweep, SweepCurve, SweepStep, size_px
from mscnn.scales.canvas import CANVASES, check_canvas, pixels_of, whole
from mscnn.scales.sweep import FACTORS

START = min(range(len(FACTORS)), key=lambda k: abs(FACTORS[k] - 1))
"""The size that is shown first."""


def answer(request: Request, context: Context) -> Iterator[Message]:
    """Curves, pictures and maps of one network after the other."""
    names = _names(request, context)
    context.consent_to_download(request, names)
    for sweep in _sweeps(request, context, names):
        yield _message(sweep, request, context.photo(request), names)


def _names(request: Request, context: Context) -> list[str]:
    """The page's network, and those chosen beside it, or else its fair baseline if that is here."""
    names = context.several(request)
    spec = registry.find(names[0])
    if len(names) == 1 and spec and spec.baseline and context.is_here(spec.baseline):
        names.append(spec.baseline)
    if len(names) > MAX_SWEPT:
        context.notices.append(f"Zoom shows {MAX_SWEPT} networks at most: the first ones.")
    return names[:MAX_SWEPT]


def _sweeps(request: Request, context: Context, names: Sequence[str]) -> Iterator[Sweep]:
    """What is there after each network; each curve is kept for all visitors."""
    canvas = str(request.options.get("canvas", "mean"))
    check_canvas(canvas)
    done = Sweep("", FACTORS, canvas, request.box or whole(), (), partial=True)
    first = context.network(request, names[0])
    index = context.target(request, first)
    for number, name in enumerate(names):
        try:
            network, own = context.network(request, name), index
            if number and done.curves[0].target is not None:
                own = same_class(first.labels, done.curves[0].target, network.labels)
            step = partial(_tell, context, number, len(names), model_title(name))
            curve = _curve(network, own, done, context, context.photo(request), step)
            # The visitor's name: two folders of the owner's may be called the same.
            curve = replace(curve, model=registry.full_name(name))
        except MscnnError as error:
            # Not the network's fault: no other one does with this photo or box either.
            if not number or isinstance(error, (BoxError, ImageError, OptionError)):
                raise
            curve = SweepCurve(name, None, "", (), None, None, str(error))
        stopped, curves = context.is_cancelled(), (*done.curves, curve)
        missing = stopped or len(curves) < len(names)
        done = replace(done, label=done.label or curve.label, curves=curves, partial=missing)
        yield done
        if stopped:
            return


def _tell(context: Context, nth: int, of: int, title: str, done: int, total: int | None) -> None:
    sizes = total or len(FACTORS)
    context.progress(nth * sizes + done, of * sizes, f"{title}: sizes")


def _curve(
    network: Network, index: int | None, asked: Sweep, context: Context, photo: Photo, tell: Any
) -> SweepCurve:
    key = ("zoom", photo.digest, model_key(network), index, asked.box, asked.canvas)
    return context.cached(
        key,
        lambda: network.sweep(
            photo.image, target="top1" if index is None else index, box=asked.box,
            canvas=asked.canvas, on_progress=tell, is_cancelled=context.is_cancelled,
        ),
        lambda curve: len(curve.steps) == len(FACTORS),
    )  # fmt: skip


def _message(sweep: Sweep, request: Request, photo: Photo, names: Sequence[str]) -> Message:
    shown = [curve for curve in sweep.curves if curve.steps]
    captions = [_caption(shown, sweep.label, k) for k in range(len(FACTORS))]
    top, _ = film_scale(sweep)
    maps = [
        _map(curve, k, captions[k], max(top, 1.0), sweep.box, photo)
        for curve in shown for k in range(len(curve.steps))
    ]  # fmt: skip
    maps.sort(key=lambda m: m["group"] != str(START))
    view: Message = {"maps": maps, "pick": "box"}
    if len(shown) > 1:
        view["columns"] = [{"title": model_title(c.model), "key": c.model} for c in shown]
    slider = [{"map": f"{shown[0].model}/{k}", "text": times(step)}
              for k, step in enumerate(shown[0].steps)] if shown else []  # fmt: skip
    chart = partial(sweep_chart, sweep, title="", width=request.chart_px)
    alt = " ".join([f"Probability of {sweep.label} at each size.", *map(known_down_to, shown)])
    html = render(
        "zoom.html", sweep=sweep, whole=sweep.box == whole(), slider=slider, start=START,
        sentences=list(map(known_down_to, sweep.curves)),
        waiting=[model_title(name) for name in names[len(sweep.curves):]],
        chart=Markup(inline_svg(chart(panels=("probability",)), alt)),
        folded=Markup(inline_svg(chart(panels=("energy", "field")), "Where the evidence lies")),
        scores=list(map(_score_row, sweep.curves)), canvas=CANVASES[sweep.canvas],
        rows=[_step_row(curve, step) for curve in shown for step in curve.steps],
    )  # fmt: skip
    return {"html": html, "label": sweep.label, "view": view, "more": sweep.partial}


def times(step: SweepStep) -> str:
    """A size, as the chart has it: 1 fills the network's view."""
    return f"{step.factor:.2g}\N{MULTIPLICATION SIGN}"


def _caption(curves: Sequence[SweepCurve], label: str, k: int) -> str:
    found = [(model_title(c.model), c.steps[k]) for c in curves if k < len(c.steps)]
    if not found:
        return ""
    said = (f"{title} {percent(s.probability)}, rank {s.rank}" for title, s in found)
    return f"{label} at {times(found[0][1])}: {'; '.join(said)}."


def _map(
    curve: SweepCurve, k: int, caption: str, top: float, box: PhotoBox, photo: Photo
) -> Message:
    """The map of one size, on the picture that the network saw."""
    step = curve.steps[k]
    height, width = step.view.shape[:2]
    path = cache_file("size.webp", webp(Image.fromarray(step.view)))
    own = {"path": path, "width": width, "height": height}
    size = (width, height)
    cam = CamMap(
        "last", curve.target or 0, "gradcam", step.raw, ViewGeometry(size, size, (0, 0), size)
    )
    return map_message(
        cam, map_id=f"{curve.model}/{k}", group=str(k), column=curve.model, top=top,
        title=f"{model_title(curve.model)} at {times(step)}", caption=caption,
        photo={**own, "whole": whole_on(step, box, photo.image.size)},
    )  # fmt: skip


def whole_on(step: SweepStep, box: PhotoBox, photo: tuple[int, int]) -> list[float]:
    """Where the whole photo would lie on a composed picture: left, top, right, bottom, px.

    Args:
        step: its longer side of ``box`` is ``factor`` of the view's shorter one, centred, as in
            ``mscnn.scales.canvas.paste``.
        box: the part that was pasted.
        photo: ``(width, height)``, px.
    """
    height, width = step.view.shape[:2]
    left, top, right, bottom = pixels_of(box, photo)
    scale = max(1, round(step.factor * min(width, height))) / max(right - left, bottom - top)
    x, y = width / 2 - scale * (left + right) / 2, height / 2 - scale * (top + bottom) / 2
    return [round(edge, 3) for edge in (x, y, x + scale * photo[0], y + scale * photo[1])]


def known_down_to(curve: SweepCurve) -> str:
    """At which sizes the class is a network's answer."""
    title, first = model_title(curve.model), [step for step in curve.steps if step.rank == 1]
    known = [step for step in first if is_answer(step.probability, is_only=curve.is_only)]
    if not curve.steps:
        return f"{title}: {curve.note or 'nothing was done.'}"
    if not known:
        return f"{title} says “{curve.label}” at no size."
    if len(known) == len(FACTORS):
        return f"{title} says “{curve.label}” at every size, down to {times(known[-1])}."
    return (
        f"{title} says “{curve.label}” down to {times(known[-1])}: its top-1 at "
        f"{len(known)} of {len(curve.steps)} sizes."
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _score_row(curve: SweepCurve) -> Sequence[Any]:
    best = max(curve.steps, key=lambda step: step.probability, default=None)
    return (
        model_title(curve.model), curve.label, _number(curve.octaves, "{:.2f}"),
        _number(curve.mean_probability, "{:.1%}"), f"{best.probability:.1%}" if best else "",
        times(best) if best else "", f"{curve.seconds:.2f}", curve.note,
    )  # fmt: skip


def _step_row(curve: SweepCurve, step: SweepStep) -> Sequence[Any]:
    return (
        model_title(curve.model), times(step), size_px(step), f"{step.probability:.1%}", step.rank,
        _number(step.energy_ratio, "{:.2f}"), _number(step.weighted_rf_px, "{:.1f}"),
    )  # fmt: skip


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """Curves, film strip and numbers of the sweep that is shown."""
    names = _names(request, context)
    *_, sweep = _sweeps(request, context, names)
    look = drawing(request)
    made = sweep_files(sweep, name=context.photo(request).name, drawing=look)
    done = zip(names, sweep.curves, strict=False)
    networks = [context.network(request, name) for name, curve in done if curve.steps]
    made = context.recorded(
        made, request, networks, "sweep", models=[network.name for network in networks],
        target=sweep.label, box=",".join(map(str, sweep.box)), canvas=sweep.canvas,
        sizes=",".join(map(str, sweep.factors)), **asdict(look),
    )  # fmt: skip
    return f"mscnn-zoom-{sweep.label}", made


LENS = Lens(
    "zoom", "Zoom", "At which sizes is it still known?", answer, needs=("photo", "model",
    "models", "target", "box", "options"), files=files,
)  # fmt: skip
