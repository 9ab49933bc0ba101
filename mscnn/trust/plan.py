"""What is to be found out about which maps, checked before any model is loaded; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mscnn.errors import MethodError, OptionError
from mscnn.maps.methods import METHODS, Method, get_method
from mscnn.results.scales import PhotoBox
from mscnn.scales.canvas import check_box, check_canvas

PARTS = {
    "scores": "Covering and showing the photo in the map's order, beside three controls.",
    "randomisation": "The map of a network whose weights are drawn anew, part by part.",
    "stability": "The map of the photo flipped, shifted, enlarged a little, and with noise.",
    "localisation": "The map of the object at known places of a plain canvas.",
}
"""What can be found out: name to one plain sentence."""
BASELINES = ("mean", "blur")
"""What covers the photo: names of ``mscnn.scales.canvas.CANVASES``."""
CONTRASTS = {
    "difference": Method("difference", "Difference of logits", "gradient", True,
        "Selvaraju et al., ICCV 2017, arXiv:1610.02391",
        "Grad-CAM of the class's logit less the mean of the others'."),
    "finercam": Method("finercam", "FinerCAM", "gradient", True,
        "Zhang et al., CVPR 2025, arXiv:2501.11309",
        "The same, with each other class weighted by its probability."),
}  # fmt: skip
"""The methods for one class in contrast to others; beside one class they are the same."""
EVERY = METHODS | CONTRASTS
STAGES = "stages"
"""As a layer: all stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to find out.

    Raises ``OptionError``, ``MethodError``, ``BoxError``.

    Attributes:
        methods: names of ``METHODS``, or of ``CONTRASTS`` where there is something ``against``;
            empty for Grad-CAM, or for what suits the contrast.
        layers: as ``Network.layer`` takes them, or ``"stages"``.
        against: classes to set the class in contrast to; the scores are then of its probability
            among these and itself.
        parts: names of ``PARTS``; none for the maps alone.
        baselines: what covers the photo, of ``BASELINES``.
        steps: in how many steps; a curve costs two forwards a step.
        draws: how many random maps to compare with.
        road: percentiles for ROAD, which fills in the strongest and weakest above them; none to
            leave it out. Filling in most of a photo of 224 px takes seconds.
        box: the object, fractions of the upright photo; all of it where None.
        canvas: what surrounds it when it is placed, of ``mscnn.scales.canvas.CANVASES``.
        factors: sizes at which it is placed: its longer side over the shorter one of the view.
        seed: of everything random.
    """

    methods: tuple[str, ...] = ()
    layers: tuple[str, ...] = ("last",)
    against: tuple[str | int, ...] = ()
    parts: tuple[str, ...] = tuple(PARTS)
    baselines: tuple[str, ...] = BASELINES
    steps: int = 20
    draws: int = 9
    road: tuple[int, ...] = (90, 70, 50)
    box: PhotoBox | None = None
    canvas: str = "mean"
    factors: tuple[float, ...] = (0.6, 0.4, 0.25)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.against:
            # Beside one class the two are the same.
            known = self.methods or tuple(CONTRASTS)[: len(self.against)]
            if wrong := [name for name in known if name not in CONTRASTS]:
                raise MethodError(
                    f"{wrong[0]!r} does not set classes in contrast; choose {_either(CONTRASTS)}."
                )
        else:
            known = tuple(get_method(name).name for name in self.methods or ("gradcam",))
        object.__setattr__(self, "methods", tuple(dict.fromkeys(known)))
        for part in self.parts:
            if part not in PARTS:
                raise OptionError(f"There is no check {part!r}; choose {_either(PARTS)}.")
        if not self.baselines or not set(self.baselines) <= set(BASELINES):
            raise OptionError(f"What covers the photo must be {_either(BASELINES)}.")
        for what, value, low, high in (
            ("number of steps", self.steps, 2, 200), ("number of random maps", self.draws, 1, 99),
            *(("percentile", value, 1, 99) for value in self.road),
        ):  # fmt: skip
            if not low <= value <= high:
                raise OptionError(f"The {what} is {value}; give {low} to {high}.")
        if not self.layers:
            raise OptionError('No layer was named; give one, "last" or "stages".')
        if not self.factors or not all(0.05 <= factor <= 1 for factor in self.factors):
            raise OptionError("Sizes of the object must be 0.05 to 1 times the network's input.")
        check_canvas(self.canvas)
        if self.box is not None:
            check_box(self.box)


GRID = Plan(
    methods=tuple(name for name, method in METHODS.items() if not method.is_slow),
    layers=(STAGES,), parts=("scores",), baselines=("blur",), steps=8, draws=5, road=(),
)  # fmt: skip
"""Which method, which layer: all methods that take seconds, at all stages, in brief."""


def _either(names: object) -> str:
    *others, last = list(names)  # type: ignore[call-overload]
    return f"{', '.join(others)} or {last}"
