"""The explanation methods by name: what they cost and what computes them; no torch.

A method of your own is a row here and a function, wherever ``by`` says it is; the Python API, the
command line, HTTP and the page take it from this table.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from mscnn.errors import Cancelled, MethodError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mscnn.maps.single_pass import RawMaps, Targets

Cost = Literal["forward", "gradient", "per-channel"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a request reports to, (done, total), and how it learns that it should stop."""

    on_progress: Callable[[int, int], None] | None = None
    is_cancelled: Callable[[], bool] | None = None

    def progress(self, done: int, total: int) -> None:
        """Report what is done."""
        if self.on_progress is not None:
            self.on_progress(done, total)

    @property
    def cancelled(self) -> bool:
        """Whether to stop."""
        return self.is_cancelled is not None and self.is_cancelled()

    def check(self, sentence: str = "Stopped; the last result is kept.") -> None:
        """Raise ``Cancelled`` where the request should stop."""
        if self.cancelled:
            raise Cancelled(sentence)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a class activation map.

    Attributes:
        name, title: as the command line and the API take it, and as the page shows it.
        cost: ``forward`` needs no gradient, ``gradient`` one backward, ``per-channel`` one
            forward for each channel of the layer (thousands: minutes on a CPU).
        class_specific: False where the map is the same for every class.
        by: ``"module:function"`` that computes the maps; see ``compute``.
        packages: whose versions a result depends on.
        one_pass: whether further classes and layers cost next to nothing.
    """

    name: str
    title: str
    cost: Cost
    class_specific: bool
    paper: str
    summary: str
    by: str = "mscnn.maps.packaged:packaged_maps"
    packages: tuple[str, ...] = ("torch", "timm", "grad-cam")
    one_pass: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it takes a forward for each channel, and so runs on a copy of the model."""
        return self.cost == "per-channel"

    def compute(
        self,
        model: nn.Module,
        x: torch.Tensor,
        layers: Sequence[str],
        targets: Targets,
        *,
        linear: nn.Linear | None = None,
        last: str | None = None,
        call: Call | None = None,
    ) -> RawMaps:
        """Compute the maps of some layers, by module name, and classes of one input.

        The function named by ``by`` gets the same arguments, and ``method``, this method's name.
        The model is in eval mode with frozen parameters, and left as it was, whatever happens;
        ``x`` is ``(1, 3, H, W)`` on its device and in its dtype. Classes are settled from the
        model's own logits. ``last`` and ``linear`` are the name of the last stage, and the head's
        linear layer, where the model is said to end in ``last`` -> average over positions ->
        ``linear``.
        """
        module, _, function = self.by.partition(":")
        compute: Any = getattr(import_module(module), function)
        head = {"linear": linear, "last": last, "call": call or Call()}
        return cast("RawMaps", compute(model, x, layers, targets, method=self.name, **head))


_ROWS = (
    Method("gradcam", "Grad-CAM", "gradient", True,
           "Selvaraju et al., ICCV 2017, arXiv:1610.02391",
           "Channels weighted by how much the class would gain from more of each.",
           by="mscnn.maps.single_pass:grad_cam", packages=("torch", "timm"), one_pass=True),
    Method("gradcam++", "Grad-CAM++", "gradient", True,
           "Chattopadhay et al., WACV 2018, arXiv:1710.11063",
           "Like Grad-CAM, with weights meant for several objects of one class."),
    Method("hirescam", "HiResCAM", "gradient", True, "Draelos and Carin 2020, arXiv:2011.08891",
           "Gradient times activation at each position, without averaging over positions."),
    Method("layercam", "LayerCAM", "gradient", True, "Jiang et al., IEEE TIP 2021",
           "Positive gradient times activation at each position; made for early layers."),
    Method("xgradcam", "XGradCAM", "gradient", True, "Fu et al., BMVC 2020, arXiv:2008.02312",
           "Grad-CAM with weights scaled by the activations."),
    Method("gradcam-elementwise", "Grad-CAM element-wise", "gradient", True, "grad-cam package",
           "Gradient times activation at each position, negative products dropped first."),
    Method("eigengradcam", "EigenGradCAM", "gradient", True, "grad-cam package",
           "First principal component of gradient times activation."),
    Method("eigencam", "EigenCAM", "forward", False,
           "Muhammad and Yeasin, IJCNN 2020, arXiv:2008.00299",
           "First principal component of the activations; the same for every class."),
    Method("kpcacam", "KPCA-CAM", "forward", False, "Karmani et al. 2024, arXiv:2410.00267",
           "EigenCAM with a kernel; the same for every class."),
    Method("scorecam", "ScoreCAM", "per-channel", True,
           "Wang et al., CVPRW 2020, arXiv:1910.01279",
           "Each channel weighted by the class's score when only what activates it is shown."),
    Method("ablationcam", "AblationCAM", "per-channel", True, "Desai and Ramaswamy, WACV 2020",
           "Each channel weighted by what the class loses without it."),
)  # fmt: skip
METHODS: dict[str, Method] = {method.name: method for method in _ROWS}


def get_method(name: str) -> Method:
    """Look a method up by name or title, ignoring case.

    Raises ``MethodError``: no such method; the message lists what there is.
    """
    wanted = name.strip().lower()
    for method in METHODS.values():
        if wanted in (method.name, method.title.lower()):
            return method
    near = difflib.get_close_matches(wanted, METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MethodError(f"There is no method {name!r}; choose one of {', '.join(METHODS)}.{hint}")
