"""What cutting splits costs, as a multiple of plain batched forwards.

    python -m benchmarks.cuts
    python -m benchmarks.cuts --models res2net50_26w_4s --repeats 31 --threads 2 --json

* ``4 splits``: the logits without each split of one block, over the batch of 5 inputs that this is.
* ``cap, 12 limits``: logits and last-stage maps under twelve caps, over a batch of 12.

Everything runs at 224 px, float32, on the CPU, in eval mode. ``benchmarks.timing`` says how it is
timed.
"""

from __future__ import annotations

from torch import nn

from benchmarks.scales import STAGES, TARGET, bare_forward, network_input
from benchmarks.timing import Candidate, Units, build, command
from mscnn.scales import cuts, receptive_field
from mscnn.scales.families import hook_points

LIMITS = {"4 splits": 1.2, "cap, 12 limits": 1.2}
"""The ratios that mscnn promises at most."""
UNITS: Units = {
    "4 splits": ("4 splits", "5 forwards"),
    "cap, 12 limits": ("cap, 12 limits", "12 forwards"),
}


def candidates(name: str, _repeats: int) -> dict[str, Candidate]:
    """What is timed, by name."""
    model, x, field = build(name), network_input(), receptive_field.known(name)
    points = hook_points(model, STAGES)
    assert field is not None
    fill = cuts.fill_of(model, points, [])
    block = [point for point in points if point.block == "layer3.1"]
    splits = [{}, *cuts.each_split(model, block)]
    caps = [cuts.cap(model, points, field, limit) for limit in cuts.limits(field)]
    linear = model.get_submodule("fc")
    assert isinstance(linear, nn.Linear)
    assert (len(splits), len(caps)) == (5, 12)
    return {
        "5 forwards": bare_forward(model, network_input(5)),
        "12 forwards": bare_forward(model, network_input(12)),
        "4 splits": lambda: cuts.logits_without(model, x, splits, fill),
        "cap, 12 limits": lambda: cuts.maps_without(
            model, x, caps, fill, TARGET, STAGES[-1], linear
        ),
    }


if __name__ == "__main__":
    models = "res2net50_26w_4s"
    command("benchmarks.cuts", candidates, models=models, repeats=9, limits=LIMITS, units=UNITS)
