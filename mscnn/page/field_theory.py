"""What the Receptive field tab says of theory: charts, tables and sentences; no gradio, no torch.

Registry models are answered from a table. Any other model must be loaded first, and one that is
not on this machine is not downloaded for this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mscnn.draw.charts import growth_chart, spectrum_chart
from mscnn.engine.pipeline import Engine
from mscnn.errors import MscnnError
from mscnn.models import registry
from mscnn.page import handlers
from mscnn.page.compare_view import rounded, title
from mscnn.page.scales_view import ARROW, KINDS, place
from mscnn.results.explanation import RgbArray
from mscnn.results.receptive_field import BlockField, ReceptiveField, StageField
from mscnn.scales import receptive_field as fields

MAX_BESIDE = 3
CHART_PX = 760
VIEWS = (("Growth over depth", "growth"), ("Number of paths per size", "paths"))
STAGE_HEADERS = ("Model", "Stage", "Stride (px)", "Smallest (px)", "Smallest (% of input)",
                 "Largest (px)", "Largest (% of input)", "Different sizes", "Paths")  # fmt: skip
BLOCK_HEADERS = ("Model", "Block", "How its splits relate", "Split", "Smallest (px)",
                 "Largest (px)", "Largest (% of input)", "Different sizes", "Paths",
                 "Way to the split")  # fmt: skip
# Numbers of paths are text: a browser would round them.
NUMERIC = frozenset((*STAGE_HEADERS[2:8], *BLOCK_HEADERS[4:8]))
ATTENTION_NOTE = (
    "ResNeSt's attention looks at the whole map at once, so strictly every unit can see "
    "everything. That is left out here: the sizes are those of the local path."
)


NOT_HERE = (
    "{name} is not on this machine, and its receptive fields are in no table. Run it once on the "
    "Look tab, and they are worked out here."
)


@dataclass(frozen=True, slots=True)
class Theory:
    """The theoretical fields of the page's model and of those beside it.

    Attributes:
        first: that of the page's model, where it is known.
        found: all that are known, in the order of the models.
        waiting: models on this machine that must be loaded before theirs are.
        notes: what to say of the others.
    """

    first: ReceptiveField | None = field(default=None, repr=False)
    found: tuple[ReceptiveField, ...] = field(default=(), repr=False)
    waiting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def models_of(model: str, beside: Sequence[str] | None) -> tuple[str, ...]:
    """The page's model and those beside it, each once."""
    full = map(registry.full_name, (model or "", *(beside or ())))
    return tuple(dict.fromkeys(name.strip() for name in full if name.strip()))


def partner(model: str) -> list[str]:
    """The fair baseline of a registry model, as the list of models beside it."""
    spec = registry.find(model)
    return [spec.baseline] if spec is not None and spec.baseline else []


def gather(
    engine: Engine, models: Sequence[str], load: Callable[[str], ReceptiveField] | None = None
) -> Theory:
    """Find the theoretical fields of models; never downloads.

    Args:
        engine: it knows which models are on this machine.
        models: the page's model first.
        load: works out what no table has, from the weights; None to leave those waiting.
    """
    found: dict[str, ReceptiveField] = {}
    waiting, notes = [], []
    for name in models:
        known = fields.known(name)
        try:
            if known is not None:
                found[name] = known
            elif handlers.must_download(engine, [name]):
                notes.append(NOT_HERE.format(name=name))
            elif load is None:
                waiting.append(name)
            else:
                found[name] = load(name)
        except MscnnError as error:
            notes.append(str(error))
    first = found.get(models[0]) if models else None
    return Theory(first, tuple(found.values()), tuple(waiting), tuple(notes))


def chart(found: Sequence[ReceptiveField], view: str) -> RgbArray:
    """Draw growth over depth, or the number of paths per size."""
    inputs_px = [f.input_px for f in found]
    if view == "paths":
        sizes = [(title(f.model), f.stages[-1].spectrum.sizes) for f in found]
        heading = "How many paths to the last stage see how much"
        return spectrum_chart(sizes, inputs_px=inputs_px, title=heading, width_px=CHART_PX).picture
    return growth_chart(
        [(title(f.model), [(n, s.rf_min_px, s.rf_max_px) for n, s in _steps(f)]) for f in found],
        inputs_px=inputs_px, title="How much a unit can see, from the first block to the last",
        width_px=CHART_PX,
    ).picture  # fmt: skip


def _steps(found: ReceptiveField) -> list[tuple[str, BlockField | StageField]]:
    """Blocks in order of depth; stages where the model has no blocks of a known kind."""
    if found.blocks:
        return [(block.block, block) for block in found.blocks]
    return [(stage.stage, stage) for stage in found.stages]


def chart_alt(found: Sequence[ReceptiveField], view: str) -> str:
    """What a screen reader says of the chart."""
    what = "Number of paths per receptive field" if view == "paths" else "Growth over depth"
    parts = []
    for f in found:
        last = f.stages[-1].spectrum
        text = f"{title(f.model)} ends with {last.rf_min_px} to {last.rf_max_px} px"
        parts.append(f"{text} over {last.distinct} sizes" if view == "paths" else text)
    inputs = dict.fromkeys(f.input_px for f in found)
    widths = " and ".join(str(px) for px in inputs)
    return f"{what}: {'; '.join(parts)}. The input is {widths} px wide."


def summary(theory: Theory) -> str:
    """What the chart says in plain words, and what is left out (Markdown)."""
    lines = []
    for f in theory.found:
        last = f.stages[-1].spectrum
        sizes = f"**{last.distinct} different sizes**" if last.distinct > 1 else "**one size**"
        lines.append(
            f"A unit at the end of **{title(f.model)}** can see up to **{last.rf_max_px} px** "
            f"along one side; the input is {f.input_px} px wide. It is reached on "
            f"{paths_text(last.paths)} paths of {sizes}, from {last.rf_min_px} px up."
        )
    families = {spec.family for f in theory.found if (spec := registry.find(f.model))}
    if "resnest" in families:
        lines.append(ATTENTION_NOTE)
    if theory.waiting:
        lines.append(f"Working out {', '.join(title(name) for name in theory.waiting)}.")
    lines += theory.notes
    return "\n\n".join(lines)


def paths_text(paths: int) -> str:
    """A number of paths for a sentence: exact below a thousand million, then rounded."""
    if paths < 10**9:
        return f"{paths:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    digits, _, power = f"{Decimal(paths):.1e}".partition("e+")
    return f"about {digits} \N{MULTIPLICATION SIGN} 10^{power}"


def stage_rows(found: Sequence[ReceptiveField]) -> list[list[Any]]:
    """One row per model and stage; the number of paths is exact, as text."""
    return [
        [
            title(f.model), stage.stage, stage.stride_px, stage.rf_min_px,
            _percent(stage.rf_min_px, f), stage.rf_max_px, _percent(stage.rf_max_px, f),
            stage.spectrum.distinct, str(stage.spectrum.paths),
        ]
        for f in found
        for stage in f.stages
    ]  # fmt: skip


def block_rows(found: Sequence[ReceptiveField]) -> list[list[Any]]:
    """One row per model, block and split; the number of paths is exact, as text."""
    return [
        [
            title(f.model), block.block, KINDS[block.kind], str(split.index), split.rf_min_px,
            split.rf_max_px, _percent(split.rf_max_px, f), split.spectrum.distinct,
            str(split.spectrum.paths), f" {ARROW} ".join(split.path),
        ]
        for f in found
        for block in f.blocks
        for split in block.splits
    ]  # fmt: skip


def _percent(px: int, of: ReceptiveField) -> float | None:
    return rounded(100 * px / of.input_px, 1)


def layer_choices(found: ReceptiveField) -> list[tuple[str, str]]:
    """Stages and blocks as (text, module name), in order of depth: each stage after its blocks."""
    choices = []
    left = list(found.blocks)
    for number, stage in enumerate(found.stages, 1):
        inside = [b for b in left if b.block.startswith(f"{stage.stage}.")]
        for block in inside:
            words = place(block.block)
            name = f"{words[0].upper()}{words[1:]}" if words != block.block else block.block
            choices.append((f"{name} · sees up to {block.rf_max_px} px", block.block))
            left.remove(block)
        text = f"Stage {number}, its end · sees up to {stage.rf_max_px} px"
        choices.append((text, stage.stage))
    return choices + [(block.block, block.block) for block in left]


def default_layer(found: ReceptiveField) -> str:
    """The last block; the last stage where there are no blocks."""
    return found.blocks[-1].block if found.blocks else found.stages[-1].stage


def split_choices(found: ReceptiveField, layer: str) -> list[tuple[str, str]]:
    """The splits of a layer as (text, number), after ``("all together", "all")``."""
    choices = [("all together", "all")]
    block = next((b for b in found.blocks if b.block == layer), None)
    if block is None or len(block.splits) < 2:
        return choices
    for split in block.splits:
        text = f"split {split.index} · sees up to {split.rf_max_px} px"
        choices.append((text, str(split.index)))
    return choices
