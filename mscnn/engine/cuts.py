"""What a network answers without some of its splits: one photo, one class, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mscnn.errors import OptionError, UnsupportedModelError
from mscnn.maps.agreement import spearman
from mscnn.maps.methods import Call
from mscnn.models.examples import examples
from mscnn.models.probabilities import probabilities
from mscnn.results.cuts import Ablation, CapCurve, CapStep, SplitCut
from mscnn.results.explanation import is_answer
from mscnn.scales import cuts
from mscnn.scales.families import HookPoint, hook_points

if TYPE_CHECKING:
    from mscnn.engine.network import Network, Photo

STOPPED = "Stopped before all cuts were done."


def ablation(
    network: Network,
    photo: Photo,
    target: str | int,
    block: str | None,
    fill: str,
    references: Sequence[Photo] | None,
    name: str,
    call: Call,
) -> Ablation:
    """See ``Network.ablate``."""
    shown = network._shown(photo)
    report = network.scales(shown, target=target, name=name)
    wanted = report.blocks if block is None else (report.block(block),)
    names = {found.block for found in wanted}
    work = _Cutting(network, shown.x, fill, references, call)
    points = [point for point in work.points if point.block in names]
    every = cuts.each_split(network.model, points)
    logits = np.concatenate([*work.batches(cuts.logits_without, [{}, *every])])
    index, chances = report.target.index, probabilities(logits)
    splits = [(found.block, split) for found in wanted for split in found.splits]
    done = tuple(
        SplitCut(
            block=block_name, index=split.index, rf_max_px=split.rf_max_px,
            evidence=split.evidence, share=split.share,
            logit_change=float(logits[row, index] - logits[0, index]),
            probability_change=float(chances[row, index] - chances[0, index]),
            top=network.score_of(int(logits[row].argmax()), chances[row]),
        )
        for row, (block_name, split) in enumerate(splits, 1)
    )  # fmt: skip
    falls = spearman([cut.evidence for cut in done], [-cut.logit_change for cut in done])
    return Ablation(
        report.prediction, report.target, fill, work.references, done, falls,
        report.seconds + work.seconds, report.notices,
    )  # fmt: skip


def capped(
    network: Network,
    photo: Photo,
    target: str | int,
    limits: Sequence[int] | None,
    draws: int,
    seed: int,
    fill: str,
    references: Sequence[Photo] | None,
    call: Call,
) -> CapCurve:
    """See ``Network.cap``."""
    if draws < 0:
        raise OptionError(f"The number of random cuts is {draws}; it must be 0 or more.")
    field, shown = network.receptive_field(), network._shown(photo)
    index = network._index_of(target, shown)
    work = _Cutting(network, shown.x, fill, references, call)
    known = {block.block for block in field.blocks}
    if not all(point.block in known for point in work.points):
        raise UnsupportedModelError(
            f"How far the parts of {network.name} see is not known, so it cannot be capped."
        )
    asked, channels = cuts.limits(field, limits), cuts.widths(network.model, work.points)
    caps = [cuts.cap(network.model, work.points, field, limit) for limit in asked]
    rng = np.random.default_rng(seed)
    # All controls of one draw together, so that a run that is stopped has whole draws.
    controls = [cuts.at_random(c, work.points, channels, rng) for _ in range(draws) for c in caps]
    work.total = len(caps) + len(controls)
    mapped = partial(
        cuts.maps_without, target=index, last=network.last_stage, linear=network.linear
    )
    both = zip(*work.batches(mapped, caps), strict=True)
    logits, maps = (np.concatenate(rows) for rows in both)
    chances = probabilities(logits)
    drawn = [np.empty((0, logits.shape[1])), *work.batches(cuts.logits_without, controls)]
    control = probabilities(np.concatenate(drawn))[:, index].reshape(draws, len(caps))
    low, mean, high = _interval(control)
    total = sum(channels.values())
    steps = tuple(
        CapStep(
            limit_px=limit, cut_channels=sum(int(m.sum()) for m in cut.values()) / total,
            logit=float(logits[i, index]), probability=float(chances[i, index]),
            top=network.score_of(int(logits[i].argmax()), chances[i]),
            control_mean=mean[i], control_low=low[i], control_high=high[i], raw=maps[i],
        )
        for i, (limit, cut) in enumerate(zip(asked, caps, strict=True))
    )  # fmt: skip
    return CapCurve(
        model=network.name, target=index, label=network.labels.display(index),
        input_px=int(shown.x.shape[-1]), steps=steps,
        needed_px=needed_px(steps, index, chances.shape[1]),
        probabilities=chances, control=control, geometry=shown.geometry, seconds=work.seconds,
        whole_blocks=not cuts.has_splits(work.points),
    )  # fmt: skip


def needed_px(steps: Sequence[CapStep], target: int, classes: int) -> int | None:
    """The smallest limit from which on, up to the largest, the class is the network's answer."""
    needed = None
    for step in reversed(steps):
        if step.top.index != target or not is_answer(step.probability, is_only=classes == 1):
            break
        needed = step.limit_px
    return needed


def _interval(control: npt.NDArray[np.float64]) -> tuple[list[Any], list[Any], list[Any]]:
    """Low, mean and high of ``(draws, steps)``; None for each step without draws."""
    if not len(control):
        none = [None] * control.shape[1]
        return none, none, none
    low, high = np.percentile(control, [2.5, 97.5], axis=0)
    return low.tolist(), control.mean(axis=0).tolist(), high.tolist()


def _hash(x: torch.Tensor) -> int:
    return hash(x.numpy().tobytes())


class _Cutting:
    """Cuts of one network for one input, a batch at a time under the network's lock."""

    def __init__(
        self,
        network: Network,
        x: torch.Tensor,
        fill: str,
        references: Sequence[Photo] | None,
        call: Call,
    ) -> None:
        if fill not in cuts.FILLS:
            raise OptionError(f"The fill {fill!r} is unknown; choose {' or '.join(cuts.FILLS)}.")
        self.network, self.x, self.call = network, x, call
        self.points: tuple[HookPoint, ...] = hook_points(network.model, network.stages)
        photos = list(references) if references is not None else [e.path for e in examples()]
        photos = [] if fill == "zero" else photos
        if fill == "mean" and not photos:
            raise OptionError("There is no photograph to take the mean of; choose the fill zero.")
        self.references, self.done, self.total, self.seconds = len(photos), 0, 0, 0.0
        usual = references is None and fill == "mean"
        self.fill = network._usual_fill if usual else None
        if self.fill is None:
            xs = [network._shown(photo).x for photo in photos]
            self.fill = self._mean(xs)
            if usual:
                network._usual_inputs, network._usual_fill = frozenset(map(_hash, xs)), self.fill
        if usual and self.references > 1 and _hash(x) in network._usual_inputs:
            # The photo must not be among what replaces it.
            count, own = self.references, self._mean([x])
            self.references = count - 1
            self.fill = {
                module: (count * mean - own[module]) / self.references
                for module, mean in self.fill.items()
            }

    def _mean(self, xs: Sequence[torch.Tensor]) -> cuts.Fill:
        network = self.network
        found: cuts.Fill = self._timed(
            lambda: cuts.fill_of(network.model, self.points, [network.to_device(x) for x in xs])
        )
        return found

    def _timed(self, work: Callable[[], Any]) -> Any:
        result, seconds = self.network.guarded(work)
        self.seconds += seconds
        return result

    def _on(self, work: Callable[..., Any], batch: Sequence[cuts.Cut]) -> Any:
        return work(self.network.model, self.network.to_device(self.x), batch, self.fill)

    def batches(self, work: Callable[..., Any], wanted: Sequence[cuts.Cut]) -> Iterator[Any]:
        """Yield what ``work`` returns for a batch of cuts: arrays with a row for each."""
        self.total = max(self.total, self.done + len(wanted))
        for start in range(0, len(wanted), cuts.BATCH):
            self.call.check(STOPPED)
            batch = wanted[start : start + cuts.BATCH]
            yield self._timed(partial(self._on, work, batch))
            self.done += len(batch)
            self.call.progress(self.done, self.total)
