"""What the scores of a map cost, as a multiple of the forwards that they cannot do without.

    python -m benchmarks.trust
    python -m benchmarks.trust --models resnet50 --repeats 9 --threads 2 --json

``deletion and insertion``: both curves of one map in 20 steps, from the map at its layer's
resolution to both areas, over 40 forwards of prepared inputs in the same batches of 16. 224 px,
float32, on the CPU, frozen parameters. ``benchmarks.timing`` says how it is timed.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax

from benchmarks.scales import network_input
from benchmarks.timing import Candidate, Units, build, command
from mscnn.engine.trust import BATCH
from mscnn.geometry import resize_map
from mscnn.trust.scores import area_under, in_part, order

TARGET, STEPS, PX = 281, 20, 224
LIMITS = {"deletion and insertion": 1.2}
"""The ratios that mscnn promises at most."""
UNITS: Units = {"deletion and insertion": ("deletion and insertion", "40 batched forwards")}


def candidates(name: str, _repeats: int) -> dict[str, Candidate]:
    """Return what is timed, by name."""
    model, x = build(name), network_input(px=PX)
    cover, rng = torch.zeros_like(x), np.random.default_rng(0)
    raw = rng.standard_normal((7, 7)).astype(np.float32)

    @torch.inference_mode()
    def answers(pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([model(batch) for batch in pictures.split(BATCH)])

    def made() -> torch.Tensor:
        ranks = order(resize_map(raw, PX, PX), rng)
        # The two ends, which all maps share, are counted here as well.
        return torch.cat([x, in_part(x, cover, ranks, STEPS), cover])

    def curves() -> object:
        pictures = made()
        chances = softmax(answers(pictures).numpy().astype(np.float64), axis=1)[:, TARGET]
        photo, covered = chances[0], chances[-1]
        deleted, inserted = chances[1:STEPS], chances[STEPS:-1]
        return [
            area_under(np.array(curve))
            for curve in ([photo, *deleted, covered], [covered, *inserted, photo])
        ]

    ready = made()
    return {"40 batched forwards": lambda: answers(ready), "deletion and insertion": curves}


if __name__ == "__main__":
    models = "resnet50,res2net50_26w_4s"
    command("benchmarks.trust", candidates, models=models, repeats=5, limits=LIMITS, units=UNITS)
