"""The graph of a loaded network: what ``mscnn.scales.receptive_field`` needs to know of it.

Nothing is computed but shapes: a copy of the network without its weights runs once on torch's
``meta`` device, and ``mscnn.scales.dataflow`` follows the places of the picture through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.models.architecture import on_meta
from mscnn.scales.blocks import BlockTap, block_taps
from mscnn.scales.dataflow import Tracker
from mscnn.scales.graph import Graph, Node
from mscnn.scales.tracks import Local, Lost, Track

# Deep enough for a stride of 64, and not square, so that rows are never taken for columns.
_ROWS, _COLUMNS = 256, 320


def trace(model: nn.Module, stages: Sequence[str]) -> Graph:
    """Return the graph of a network, with taps at its stages, blocks and splits.

    The splits of a Res2Net block are what is concatenated before its last convolution; any
    other block has one split, the input of that convolution. Blocks that cannot be followed are
    left out, and so is global context (gates, statistics of whole maps). A kernel that is not
    square counts with its wider side in both directions.

    Args:
        model: any network of convolutions, on any device; is not changed.
        stages: module names of its stages.

    Raises:
        UnsupportedModelError: something between the picture and a stage cannot be followed.
    """
    bare = on_meta(model)
    modules = dict(bare.named_modules())
    missing = [stage for stage in stages if stage not in modules]
    if missing:
        raise UnsupportedModelError(f"This model has no module {missing[0]} to take as a stage.")
    try:
        blocks = block_taps(bare, stages)
    except UnsupportedModelError:
        blocks = ()
    x = torch.empty(1, _channels(bare), _ROWS, _COLUMNS, device="meta")
    tracker = Tracker(x)
    seen = _Seen(tracker)
    seen.watch(bare, stages, blocks)
    failure: Exception | None = None
    with torch.no_grad(), tracker:
        try:
            bare(x)
        except Exception as error:
            # The network is anybody's, and may refuse this size of input; what ran until then
            # may be all that is needed.
            failure = error
    taps = {stage: seen.node(stage, failure) for stage in stages}
    followed = tuple(block for block in blocks if seen.add_block(block, taps))
    kept, taps = _pruned(tracker.nodes, taps)
    return Graph(kept, taps, {block.block: block.kind for block in followed})


@dataclass
class _Seen:
    """Where the places of each tap come from, noted while the network runs."""

    tracker: Tracker
    tracks: dict[str, Track] = field(default_factory=dict)

    def watch(self, model: nn.Module, stages: Sequence[str], blocks: Iterable[BlockTap]) -> None:
        """Hook a throw-away copy of the network."""
        for name in [*stages, *(block.block for block in blocks)]:
            model.get_submodule(name).register_forward_hook(
                lambda _m, _args, output, name=name: self._see(name, output)
            )
        for block in blocks:
            model.get_submodule(block.block).register_forward_pre_hook(
                lambda _m, args, name=f"{block.block}/input": self._see(name, args[0])
            )
            model.get_submodule(block.module).register_forward_pre_hook(
                lambda _m, args, block=block: self._see_splits(block, args[0])
            )

    def _see(self, name: str, value: Any) -> None:
        self.tracks[name] = self.tracker.track(value)

    def _see_splits(self, block: BlockTap, value: torch.Tensor) -> None:
        tracks = self.tracker.parts(value) if block.splits > 1 else (self.tracker.track(value),)
        if len(tracks) != block.splits:
            return  # put together in another way
        for index, track in enumerate(tracks):
            if track is not None:
                self.tracks[f"{block.block}/split{index}"] = track

    def add_block(self, block: BlockTap, taps: dict[str, int]) -> bool:
        """Add the taps of a block; False, and none added, where one of them was lost."""
        names = [block.block, *(f"{block.block}/split{i}" for i in range(block.splits))]
        found = {name: self.tracks.get(name) for name in [*names, f"{block.block}/input"]}
        local = {name: track.node for name, track in found.items() if isinstance(track, Local)}
        if not all(name in local for name in names):
            return False
        taps |= local
        return True

    def node(self, name: str, failure: Exception | None) -> int:
        """Return the node that a tap sees.

        Raises:
            UnsupportedModelError: the tap was not reached, or its places were lost.
        """
        track = self.tracks.get(name)
        if isinstance(track, Local):
            return track.node
        if isinstance(track, Lost):
            reason = track.reason
        elif track is not None:
            reason = "mixes the whole picture there"
        elif failure is not None:
            reason = f"could not be run ({type(failure).__name__})"
        else:
            reason = "does not run it as a module"
        raise UnsupportedModelError(
            f"The receptive field of {name} is not known: on the way there, this model {reason}."
        )


def _pruned(nodes: Sequence[Node], taps: dict[str, int]) -> tuple[tuple[Node, ...], dict[str, int]]:
    """Drop the nodes that no tap depends on."""
    needed = set(taps.values()) | {0}
    for number in range(len(nodes) - 1, -1, -1):
        if number in needed:
            needed.update(nodes[number].inputs)
    new = {old: number for number, old in enumerate(sorted(needed))}
    kept = (replace(nodes[old], inputs=tuple(new[i] for i in nodes[old].inputs)) for old in new)
    return tuple(kept), {name: new[old] for name, old in taps.items()}


def _channels(model: nn.Module) -> int:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
