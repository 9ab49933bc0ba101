"""The explanation methods by name, with what they cost; plain data, no torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from mscnn.errors import MethodError

Cost = Literal["forward", "gradient", "per-channel"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a class activation map.

    Attributes:
        name: as the command line and the API take it.
        title: as the page shows it.
        cost: ``forward`` needs no gradient, ``gradient`` one backward, ``per-channel`` one
            forward for each channel of the layer (thousands: minutes on a CPU).
        class_specific: False where the map is the same for every class.
        paper: where it comes from.
        summary: one plain sentence.
    """

    name: str
    title: str
    cost: Cost
    class_specific: bool
    paper: str
    summary: str


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradcam",
            "Grad-CAM",
            "gradient",
            True,
            "Selvaraju et al., ICCV 2017, arXiv:1610.02391",
            "Channels weighted by how much the class would gain from more of each.",
        ),
        Method(
            "gradcam++",
            "Grad-CAM++",
            "gradient",
            True,
            "Chattopadhay et al., WACV 2018, arXiv:1710.11063",
            "Like Grad-CAM, with weights meant for several objects of one class.",
        ),
        Method(
            "hirescam",
            "HiResCAM",
            "gradient",
            True,
            "Draelos and Carin 2020, arXiv:2011.08891",
            "Gradient times activation at each place, without averaging over places.",
        ),
        Method(
            "layercam",
            "LayerCAM",
            "gradient",
            True,
            "Jiang et al., IEEE TIP 2021",
            "Positive gradient times activation at each place; made for early layers.",
        ),
        Method(
            "xgradcam",
            "XGradCAM",
            "gradient",
            True,
            "Fu et al., BMVC 2020, arXiv:2008.02312",
            "Grad-CAM with weights scaled by the activations.",
        ),
        Method(
            "gradcam-elementwise",
            "Grad-CAM element-wise",
            "gradient",
            True,
            "grad-cam package",
            "Gradient times activation at each place, negative products dropped first.",
        ),
        Method(
            "eigengradcam",
            "EigenGradCAM",
            "gradient",
            True,
            "grad-cam package",
            "First principal component of gradient times activation.",
        ),
        Method(
            "eigencam",
            "EigenCAM",
            "forward",
            False,
            "Muhammad and Yeasin, IJCNN 2020, arXiv:2008.00299",
            "First principal component of the activations; the same for every class.",
        ),
        Method(
            "kpcacam",
            "KPCA-CAM",
            "forward",
            False,
            "Karmani et al. 2024, arXiv:2410.00267",
            "EigenCAM with a kernel; the same for every class.",
        ),
        Method(
            "scorecam",
            "ScoreCAM",
            "per-channel",
            True,
            "Wang et al., CVPRW 2020, arXiv:1910.01279",
            "Each channel weighted by the class's score when only its place is shown.",
        ),
        Method(
            "ablationcam",
            "AblationCAM",
            "per-channel",
            True,
            "Desai and Ramaswamy, WACV 2020",
            "Each channel weighted by what the class loses without it.",
        ),
    )
}


def get_method(name: str) -> Method:
    """Look a method up by name or title, ignoring case.

    Raises:
        MethodError: no such method; the message lists what there is.
    """
    wanted = name.strip().lower()
    for method in METHODS.values():
        if wanted in (method.name, method.title.lower()):
            return method
    near = difflib.get_close_matches(wanted, METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MethodError(f"There is no method {name!r}; choose one of {', '.join(METHODS)}.{hint}")
