"""``mscnn sweep``: one object at many sizes through one to four models."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, progress, share
from mscnn.errors import Cancelled, MscnnError
from mscnn.results.scales import Sweep, SweepCurve

INTERRUPTED = 130  # 128 + the number of SIGINT, as ``mscnn.cli.entry`` has it


def sweep(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Photo.")],
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
    from mscnn.draw.files import DrawingOptions, check_folder, write_sweep
    from mscnn.draw.files.manifest import bare_name
    from mscnn.engine.lens_options import parse_box, parse_sizes
    from mscnn.engine.pipeline import MAX_SWEPT
    from mscnn.photos.imaging import load_photo
    from mscnn.scales.sweep import FACTORS, Plan

    # What can be refused at once is refused before a model is loaded.
    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    names = options.model_names(models, 1, MAX_SWEPT)
    target = options.one_class(target)
    plan = Plan(factors=parse_sizes(sizes) or FACTORS, canvas=canvas, box=parse_box(box))
    check_folder(out)
    photo = load_photo(image)
    lens = open_engine(device, names)
    with stopped_by_ctrl_c() as is_cancelled, progress("sizes", "size") as report:

        def show(model: str, done: int, total: int) -> None:
            report(names.index(model) * total + done, len(names) * total)

        result = lens.sweep(
            photo, names, target=target, box=plan.box, factors=plan.factors, canvas=plan.canvas,
            on_progress=show, is_cancelled=is_cancelled,
        )  # fmt: skip
    _check_done(result)
    files = write_sweep(out, result, name=bare_name(image), drawing=drawing)
    if json:
        from mscnn.results.serialise_lens import sweep_dict

        head = {"image": {"path": image, "width": photo.width, "height": photo.height}}
        print_json({**head, **sweep_dict(result), "out": str(out), "files": files})
    else:
        typer.echo(_as_text(result, out, files))
    if result.partial:
        raise typer.Exit(INTERRUPTED)


def _check_done(result: Sweep) -> None:
    """Stop where there is nothing to write: on a page the reason is a note."""
    if any(curve.steps for curve in result.curves):
        return
    note = next((curve.note for curve in result.curves if curve.note), "")
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


def _as_text(result: Sweep, out: Path, files: Sequence[str]) -> str:
    left, top, right, bottom = result.box
    box = f"{left:.0%} to {right:.0%} across and {top:.0%} to {bottom:.0%} down of the photo"
    lines = [f"class {result.label}, canvas {result.canvas}, {box}"]
    width = max(len(curve.model) for curve in result.curves)
    lines += [f"  {curve.model:<{width}}  {_summary(curve)}" for curve in result.curves]
    lines += ["", *_table([curve for curve in result.curves if curve.steps])]
    lines += ["stopped early; what was done is kept"] if result.partial else []
    return "\n".join([*lines, f"written {out}: {', '.join(files)}"])


def _summary(curve: SweepCurve) -> str:
    if curve.octaves is None or curve.mean_probability is None:
        return curve.note or "stopped before all sizes were done"
    best = max(curve.steps, key=lambda step: step.probability)
    return (
        f"at least half of its best over {curve.octaves:.1f} octaves, "
        f"best {share(best.probability)} at {best.factor:.2g}x, "
        f"mean {share(curve.mean_probability)}"
    )


def _table(curves: Sequence[SweepCurve]) -> list[str]:
    """One row per size: probability and rank by each model."""
    cells = [["size", *(curve.model for curve in curves)]]
    longest = max(curves, key=lambda curve: len(curve.steps))
    for number, size in enumerate(step.factor for step in longest.steps):
        row = [f"{size:.2f}x"]
        for curve in curves:
            step = curve.steps[number] if number < len(curve.steps) else None
            row.append(f"{share(step.probability)} ({step.rank})" if step else "-")
        cells.append(row)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(["", *(f"{text:>{width}}" for text, width in zip(row, widths, strict=True))])
        for row in cells
    ]
