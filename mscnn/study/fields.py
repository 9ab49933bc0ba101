"""The effective receptive field of every split of a hierarchy, trained and with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mscnn.engine.network import Network, Photo
from mscnn.photos.imaging import load_photo
from mscnn.results.study import SplitField
from mscnn.scales.effective import with_random_weights
from mscnn.study.statistics import interval

HALF = 0.5


def split_fields(
    network: Network,
    photos: Sequence[Path],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[SplitField, ...]:
    """Measure the splits of every block with a hierarchy (side by side they see the same).

    Args:
        network: the model; one without splits gives nothing.
        photos: measured one by one, so that the spread over photographs is known.
        on_progress: called with (splits done, in total).
    """
    field = network.receptive_field()
    wanted = [(b.block, s) for b in field.blocks if b.kind == "hierarchy" for s in b.splits]
    if not wanted:
        return ()
    images = [load_photo(path) for path in photos]
    random, _ = network.guarded(lambda: with_random_weights(network.model))
    untrained = Network(replace(network.loaded, model=random), network.device, network.precision)
    found = []
    for number, (block, split) in enumerate(wanted, 1):
        sides = [
            interval([_half_side(net, image, block, split.index) for image in images])
            for net in (network, untrained)
        ]
        found.append(SplitField(block, split.index, split.rf_max_px, *sides))
        if on_progress is not None:
            on_progress(number, len(wanted))
    return tuple(found)


def _half_side(network: Network, photo: Photo, block: str, split: int) -> float:
    """Side of the square that holds half of the gradient, px; NaN for a unit that is off."""
    measured = network.effective_receptive_field(photo, layer=block, split=split)
    return next((float(s.side_px) for s in measured.squares if s.share == HALF), float("nan"))
