"""What is to be found out about which maps, checked before any model is loaded; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mscnn.errors import OptionError
from mscnn.maps.methods import METHODS, Method, get_method
from mscnn.results.scales import PhotoBox
from mscnn.scales.canvas import check_box, check_canvas

PARTS = ("scores", "randomisation", "stability", "localisation")
"""What can be found out: the first by ``mscnn.trust.scores``, the others by ``checks``."""
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
CHANGES = {
    "flip": "flipped", "shift": "shifted", "zoom": "enlarged a little", "noise": "made noisy",
}  # fmt: skip
"""What is done to the photo, and in words; see ``mscnn.trust.checks``."""
STEM = "stem"
"""What of a network is neither its head nor a stage."""
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
        against: classes to set the class in contrast to; its probability is then that among them.
        parts: names of ``PARTS``; none for the maps alone.
        baselines, steps: what covers the photo, and in how many steps it does or is taken off.
        draws: how many random maps to compare with.
        road: percentiles above which ROAD fills in; none to leave it out. At 224 px it takes
            seconds to fill in more than half.
        box: the object, fractions of the upright photo; all of it where None.
        canvas, factors: where and at what sizes it is placed; see ``mscnn.scales.sweep.Plan``.
    """

    methods: tuple[str, ...] = ()
    layers: tuple[str, ...] = ("last",)
    against: tuple[str | int, ...] = ()
    parts: tuple[str, ...] = PARTS
    baselines: tuple[str, ...] = BASELINES
    steps: int = 20
    draws: int = 9
    road: tuple[int, ...] = (90, 70, 50)
    box: PhotoBox | None = None
    canvas: str = "mean"
    factors: tuple[float, ...] = (0.6, 0.4, 0.25)
    seed: int = 0

    def __post_init__(self) -> None:
        for several in ("methods", "layers", "against", "parts", "baselines", "road", "factors"):
            given = getattr(self, several)
            each = dict.fromkeys([given] if isinstance(given, str) else given)
            object.__setattr__(self, several, tuple(each))
        if self.against:
            # Beside one class the two are the same.
            known = self.methods or tuple(CONTRASTS)[: len(self.against)]
            _check("contrast", known, CONTRASTS)
        else:
            known = tuple(get_method(name).name for name in self.methods or ("gradcam",))
        object.__setattr__(self, "methods", tuple(dict.fromkeys(known)))
        _check("check", self.parts, PARTS)
        _check("cover", self.baselines, BASELINES)
        for what, value, low, high in (
            ("step count", self.steps, 2, 200), ("number of random maps", self.draws, 1, 99),
            ("seed", self.seed, 0, 2**32 - 1), *(("percentile", p, 1, 99) for p in self.road),
        ):  # fmt: skip
            if not low <= value <= high:
                raise OptionError(f"The {what} is {value}; give {low} to {high}.")
        if not all((self.layers, self.baselines, self.factors)):
            raise OptionError("Give at least one layer, one cover and one size.")
        if not all(0.05 <= factor <= 1 for factor in self.factors):
            raise OptionError("Sizes of the object must be 0.05 to 1 times the network's input.")
        check_canvas(self.canvas)
        if self.box is not None:
            check_box(self.box)


def _check(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise OptionError(f"There is no {what} {name!r}; choose one of {', '.join(known)}.")


def method_of(name: str) -> Method:
    """A method or a contrast by its name."""
    return CONTRASTS.get(name) or METHODS[name]


GRID = Plan(
    methods=tuple(name for name, method in METHODS.items() if not method.is_slow),
    layers=(STAGES,), parts=("scores",), baselines=("blur",), steps=8, draws=5, road=(),
)  # fmt: skip
"""Which method, which layer: all methods that take seconds, at all stages, in brief."""
BRIEF = replace(GRID, methods=("gradcam",), layers=("last",))
"""What is found out of each photo of a folder by itself: the scores, as in the grid."""
