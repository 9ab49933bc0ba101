"""The scores of one map, as ``mscnn.results.trust.METRICS`` lists them.

* deletion, insertion (RISE, Petsiuk et al., BMVC 2018, arXiv:1806.07421): pixels go by the signed
  map, before its ReLU, enlarged bilinearly to the view; equal ones in random order. The area under
  the curve is the trapezoid rule's, 0..1.
* average drop, increase (Chattopadhay et al., WACV 2018, arXiv:1710.11063): of one photo, so a
  fraction, and 0 or 1. The normalised input is multiplied by the map, ReLU'd and scaled to 0..1, as
  in the grad-cam package: what is hidden turns to the mean colour, not to black.
* ROAD (Rong et al., ICML 2022, arXiv:2202.00449): ``mscnn.maps.packaged.road``.
* infidelity (Yeh et al., NeurIPS 2019, arXiv:1901.09392): the perturbations are squares covered
  with the mean colour, on grids of 4 x 4 and 8 x 8. A class activation map adds up to the logit, so
  what it foretells is its sum over the square. It has no scale, so the best factor >= 0 is applied,
  and the result divided by what a map of zeros gets.
  Not the same paper's max-sensitivity: that is a perfect 0 for every map that does not look at the
  photo, as controls are. ``checks`` has stability instead.
* complexity (Bhatt et al., IJCAI 2020, arXiv:2005.00631): entropy of the map's fractional
  contributions, after its ReLU, on the view.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import entropy

from mscnn.geometry import Doubles, FloatMap

GRIDS = (4, 8)


def order(on_view: FloatMap, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Rank the pixels of a map, ``(H, W)``: 0 for the strongest."""
    flat = on_view.ravel()
    ranks = np.empty(flat.size, np.int32)
    ranks[np.lexsort((rng.random(flat.size), -flat))] = np.arange(flat.size, dtype=np.int32)
    return ranks.reshape(on_view.shape)


def in_part(
    x: torch.Tensor, cover: torch.Tensor, ranks: npt.NDArray[np.int32], steps: int
) -> torch.Tensor:
    """Cover the strongest 1 to ``steps - 1`` parts of an input, then show nothing else of it.

    ``x`` and ``cover`` are ``(1, 3, H, W)``, ``ranks`` those of ``order``. Returns
    ``(2 (steps - 1), 3, H, W)``: deletion, insertion.
    """
    counts = np.rint(np.arange(1, steps) * (ranks.size / steps))
    strongest = torch.from_numpy(ranks < counts[:, None, None])[:, None]
    return torch.cat([torch.where(strongest, cover, x), torch.where(strongest, x, cover)])


def area_under(curve: Doubles) -> float:
    """Area under equally spaced probabilities over 0..1."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def dimmed(x: torch.Tensor, on_view: FloatMap) -> torch.Tensor:
    """Multiply an input with a map, ``(H, W)`` >= 0, scaled so that its largest value is 1."""
    return x * torch.from_numpy(on_view / (on_view.max() or 1)).to(x)


def drop(before: float, after: float) -> float:
    """What fraction of a probability is lost, 0..1."""
    return max(before - after, 0.0) / before if before > 0 else 0.0


def squares(height: int, width: int) -> npt.NDArray[np.bool_]:
    """``(n, H, W)``: the pixels of each square of the grids."""
    masks = []
    for side in GRIDS:
        rows, columns = np.arange(height) * side // height, np.arange(width) * side // width
        places = rows[:, None] * side + columns
        masks += [places == place for place in range(side**2)]
    return np.stack(masks)


def infidelity(on_view: FloatMap, masks: npt.NDArray[np.bool_], losses: Doubles) -> float | None:
    """Compare what a signed map foretells with what the logit loses; both for each square.

    Returns 0..1; None where the logit does not depend on any square.
    """
    foretold = masks.reshape(len(masks), -1) @ on_view.ravel().astype(np.float64)
    size, lost = float(foretold @ foretold), float(losses @ losses)
    if not lost > 0:
        return None
    along = max(float(foretold @ losses), 0.0)
    return 1 - along**2 / (size * lost) if size > 0 else 1.0


def complexity(on_view: FloatMap) -> float:
    """Entropy, in nats, of a map >= 0; 0 for one of zeros."""
    return float(entropy(on_view.ravel())) if on_view.any() else 0.0
