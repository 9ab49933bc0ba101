"""Results of split attention: the gates of a ResNeSt for one photo."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mscnn.geometry import ViewGeometry
from mscnn.types import CamMap, Prediction, Score


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Split attention (ResNeSt) of one block for one photo.

    The gate weighs channels of branches that all see the same area; it has no map and selects no
    scale.

    Attributes:
        block: module name, such as ``"layer3.1"``.
        radix, cardinality: as in the paper; channel c belongs to cardinal group
            ``c // (channels / cardinality)``.
        gates: ``(radix, channels)`` float32 in 0..1; adds up to 1 over ``radix`` (softmax), or, for
            radix 1, a sigmoid without competition.
        entropy_bits: mean over channels of the entropy over ``radix``, 0..log2(radix); None for
            radix 1, where there is no distribution.
        reference: ``(radix, channels)`` mean gates over reference photos; None where not asked for.
        maps: ``(radix, h, w)`` float32: per radix branch, sum over channels of
            mean gradient x gate x branch, signed; they add up to the map of the gated sum.
    """

    block: str
    radix: int
    cardinality: int
    gates: npt.NDArray[np.float32] = field(repr=False)
    entropy_bits: float | None
    reference: npt.NDArray[np.float32] | None = field(repr=False)
    maps: npt.NDArray[np.float32] = field(repr=False)
    target: int
    geometry: ViewGeometry = field(repr=False)

    def decided(self, count: int = 10) -> tuple[tuple[int, int, float], ...]:
        """The most decided channels: (channel, winning radix, its gate), most decided first.

        For radix 1: the channels whose gate lies farthest from one half.
        """
        best = self.gates.argmax(0)
        top = self.gates.max(0)
        rank = top if self.radix > 1 else np.abs(self.gates[0] - 0.5)
        order = np.argsort(-rank, kind="stable")[:count]
        return tuple((int(c), int(best[c]), float(top[c])) for c in order)

    def cam(self, branch: int) -> CamMap:
        """The gated map of one radix branch."""
        layer = f"{self.block}/radix{branch}"
        return CamMap(layer, self.target, "radixcam", self.maps[branch], self.geometry)


@dataclass(frozen=True, slots=True)
class AttentionReport:
    """Split attention of all blocks of a ResNeSt for one photo and class.

    Attributes:
        references: how many photos ``BlockAttention.reference`` was averaged over; 0 for none.
    """

    prediction: Prediction
    target: Score
    blocks: tuple[BlockAttention, ...]
    references: int
    seconds: float = 0.0
