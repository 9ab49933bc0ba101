"""``mscnn sweep``: one object at many sizes through one to four models."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import aligned, open_engine, progress, share, tell
from mscnn.errors import Cancelled, MscnnError
from mscnn.results.scales import Sweep, SweepCurve
from mscnn.results.schema import document

INTERRUPTED = 130  # 128 + the number of SIGINT, as ``mscnn.cli.entry`` has it


def sweep(
    image: options.Image,
    models: Annotated[
        str,
        typer.Option("--models", metavar="A,B", help="One to four models, separated by commas."),
    ],
    out: options.Out,
    target: options.Target = "top1",
    box: Annotated[
        str,
        typer.Option(
            "--box",
            metavar="L,T,R,B",
            help="The object: left, top, right and bottom in percent of the photo's width and "
            "height (25,10,75,90), or as shares 0 to 1.  [default: the whole photo]",
            show_default=False,
        ),
    ] = "",
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes",
            help="How many sizes from 2 down to 0.1 times the network's input, or a list such as "
            "2,1,0.5,0.25.",
        ),
    ] = "12",
    canvas: Annotated[
        str,
        typer.Option("--canvas", help="What surrounds the object: mean, grey, blur, edge, noise."),
    ] = "mean",
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Show one object at many sizes to several networks.

    Tells at which sizes they still know it. Sizes are drawn with the Lanczos filter, not with each
    network's own preprocessing, so the answer at 1 differs a little from predict's. The class top1
    is the first model's best one for the whole photo. Writes sweep.png (probability, share of the
    evidence on the object and evidence-weighted receptive field by size), film.png (the maps),
    sweep.csv, sweep.json and manifest.json into --out. Ctrl-C stops and keeps what was done; the
    exit code is 130 then.
    """
    from mscnn.draw.files import sweep_files
    from mscnn.engine.lens_options import parse_box, parse_sizes
    from mscnn.engine.pipeline import MAX_SWEPT
    from mscnn.results.writing import bare_name, write
    from mscnn.scales.sweep import FACTORS, Plan

    # What can be refused at once is refused before a model is loaded.
    drawing = options.drawing(opacity, colour_map)
    names = options.model_names(models, 1, MAX_SWEPT)
    target = options.one_class(target)
    plan = Plan(factors=parse_sizes(sizes) or FACTORS, canvas=canvas, box=parse_box(box))
    photo = options.open_photo(image, out)
    lens = open_engine(device, names)
    with stopped_by_ctrl_c() as is_cancelled, progress("sizes", "size") as report:

        def show(model: str, done: int, total: int) -> None:
            report(names.index(model) * total + done, len(names) * total)

        found = lens.sweep(
            photo, names, target=target, box=plan.box, factors=plan.factors, canvas=plan.canvas,
            on_progress=show, is_cancelled=is_cancelled,
        )  # fmt: skip
    _check_done(found)
    files = write(out, sweep_files(found, name=bare_name(image), drawing=drawing))
    head = {"image": {"path": image, "width": photo.width, "height": photo.height}}
    tell(json, lambda: {**head, **document(found)}, lambda: _lines(found), out, files)
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _check_done(found: Sweep) -> None:
    """Stop where there is nothing to write: on a page the reason is a note."""
    if any(curve.steps for curve in found.curves):
        return
    note = next((curve.note for curve in found.curves if curve.note), "")
    raise MscnnError(note) if note else Cancelled("Stopped before the first size was done.")


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only set a flag, which is yielded; the second ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set  # Python delivers signals to the main thread only
        return

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _lines(found: Sweep) -> list[str]:
    left, top, right, bottom = found.box
    box = f"{left:.0%} to {right:.0%} across and {top:.0%} to {bottom:.0%} down of the photo"
    width = max(len(curve.model) for curve in found.curves)
    curves = [curve for curve in found.curves if curve.steps]
    rows = [["", "size", *(curve.model for curve in curves)]]
    for number, step in enumerate(max(curves, key=lambda curve: len(curve.steps)).steps):
        cells = [curve.steps[number : number + 1] for curve in curves]
        found_at = (f"{share(c[0].probability)} ({c[0].rank})" if c else "-" for c in cells)
        rows.append(["", f"{step.factor:.2f}x", *found_at])
    return [
        f"class {found.label}, canvas {found.canvas}, {box}",
        *(f"  {curve.model:<{width}}  {_summary(curve)}" for curve in found.curves),
        "",
        *aligned(rows),
        *(["stopped early; what was done is kept"] if found.partial else []),
    ]


def _summary(curve: SweepCurve) -> str:
    if curve.octaves is None or curve.mean_probability is None:
        return curve.note or "stopped before all sizes were done"
    best = max(curve.steps, key=lambda step: step.probability)
    return (
        f"at least half of its best over {curve.octaves:.1f} octaves, "
        f"best {share(best.probability)} at {best.factor:.2g}x, "
        f"mean {share(curve.mean_probability)}"
    )
