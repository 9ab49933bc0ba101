"""Frozen results on NumPy: what the engine returns and every front end draws.

No torch here, so that drawing, tables and ``--help`` start at once. Coordinates are
``(left, top, right, bottom)`` in px of the upright photo (EXIF orientation applied), with
``right`` and ``bottom`` exclusive, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from mscnn.errors import UnknownLayerError
from mscnn.geometry import Box, FloatMap, ViewGeometry, resize_map
from mscnn.results.schema import HIDDEN, JsonDict, column, computed, document

RgbArray = npt.NDArray[np.uint8]
"""``(h, w, 3)`` uint8, RGB."""

WeightsKind = Literal["file", "folder", "bundled", "hub-cache", "hub"]

SPREAD_UNIT = "evidence, 1 = an even spread"
"""Unit of ``density``."""
COMPARE_PX = 224
"""Maps are compared on the photo at this longer side; they are far coarser than that."""


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Which weights gave a result.

    Attributes:
        source: how a user would name them: a file name, ``assets/weights/x.safetensors``
            or ``timm/res2net50d.in1k``; never an absolute path of the server.
        sha256: hex digest of the weights file, 64 characters.
    """

    kind: WeightsKind = field(metadata=HIDDEN)
    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Score:
    """One class and its probability in 0..1: softmax, or sigmoid where there is one logit."""

    index: int
    label: str
    probability: float


def is_answer(probability: float, *, is_only: bool) -> bool:
    """Whether a best class is an answer: an only one always is the best, and may be improbable."""
    return probability > 0.5 or not is_only


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """The photo a result speaks of.

    Attributes:
        name: the file's name as the user gave it (a path for the command line), or "".
        width, height: of the upright photo as it was read, px.
        crop: what of the photo the network saw. May reach past the photo's edges where the
            preprocessing pads.
        notice: what is to be known of how it was read; None in most cases.
    """

    name: str = field(metadata=column("path", convert=lambda name: name or None))
    width: int
    height: int
    crop: Box = field(metadata=column(digits=3))
    notice: str | None = field(default=None, metadata=column(heading="", optional=True))


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one photo, most probable first.

    Attributes:
        logits: ``(classes,)`` float32, before softmax or sigmoid.
        seconds: wall time of preprocessing and forward on ``device``.
    """

    photo: PhotoInfo = field(metadata=column("image"))
    model: str
    weights: WeightsInfo
    device: str
    top: tuple[Score, ...]
    logits: npt.NDArray[np.float32] = field(repr=False, metadata=HIDDEN)
    seconds: float = field(default=0.0, metadata=HIDDEN)


def _summary(raw: FloatMap) -> JsonDict:
    numbers = {"min": raw.min(), "max": raw.max(), "sum": raw.sum(dtype="float64")}
    return {"shape": list(raw.shape), **numbers}


@dataclass(frozen=True, slots=True)
class CamMap:
    """A class activation map of one layer (module name) and class.

    Attributes:
        method: a name of ``mscnn.maps.methods.METHODS``.
        raw: ``(h, w)`` float32 at the layer's own resolution, signed, before any ReLU, in units
            of the logit (for ``gradcam`` over a global average pool and one linear layer, the
            cells add up to the class's logit less its bias). Normalisation happens when drawing.
        geometry: where the network's input lies on the photo.
    """

    layer: str
    target: int
    method: str
    raw: FloatMap = field(metadata=column(flatten=True, heading="", convert=_summary))
    geometry: ViewGeometry = field(repr=False, metadata=HIDDEN)

    @property
    @computed("highest")
    def _highest(self) -> JsonDict:
        return {"value": density(self).max(), "unit": SPREAD_UNIT}

    def on_view(self) -> FloatMap:
        """ReLU(raw), resized bilinearly to the network's input: ``(H, W)`` float32, >= 0."""
        width, height = self.geometry.view
        return resize_map(np.maximum(self.raw, 0), width, height)

    def on_photo(self, size: tuple[int, int] | None = None) -> FloatMap:
        """ReLU(raw) on the photo or, ``(width, height)``, at another size; 0 outside the crop."""
        return self.geometry.project(self.on_view(), size)


def density(cam: CamMap, max_px: int | None = COMPARE_PX, min_px: int = 1) -> FloatMap:
    """Evidence per area, in units of an even spread.

    ``ReLU(raw)`` divided by its mean over the view: 1 where a position holds as much as if the
    whole view held the same, so maps of different models, resolutions and logit scales share one
    scale. ``min_px`` and ``max_px`` (None for the photo's own) bound the longer side. Returns
    ``(height, width)`` float32, 0 outside the crop; all 0 for a map without positive evidence.
    """
    mean = float(cam.on_view().mean())
    on_photo = cam.on_photo(cam.geometry.drawn_size(max_px, min_px))
    return on_photo / mean if mean > 0 else np.zeros_like(on_photo)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction with its maps, one per layer and class asked for.

    ``view`` is ``(H, W, 3)`` uint8 RGB, the pixels the network saw, before normalisation.
    """

    prediction: Prediction = field(metadata=column(flatten=True))
    view: RgbArray = field(repr=False, metadata=HIDDEN)
    targets: tuple[Score, ...]
    maps: tuple[CamMap, ...] = field(repr=False)
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    def map(self, layer: str, target: int) -> CamMap:
        """Return the map of one layer and class index.

        Raises ``UnknownLayerError``: that pair was not computed; the message lists what was.
        """
        for cam in self.maps:
            if cam.layer == layer and cam.target == target:
                return cam
        known = ", ".join(f"{cam.layer}/{cam.target}" for cam in self.maps)
        raise UnknownLayerError(
            f"There is no map of layer {layer!r} for class {target}; there are maps of {known}."
        )


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a loaded model besides its answer.

    Attributes:
        gmacs: multiply-accumulates of one forward at ``input_px``, in 10^9.
        top1: published or measured top-1 accuracy in 0..1, None where there is none.
    """

    params: int
    gmacs: float | None
    input_px: int
    top1: float | None = field(metadata=column(heading="top1_published"))
    top1_source: str = field(metadata=column(empty=""))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two maps of one photo and class agree.

    Attributes:
        spearman: rank correlation over the pixels both networks saw, -1..1; None if a map is flat.
        iou_top20: intersection over union of each map's strongest 20 % of these pixels, 0..1.
    """

    first: str
    second: str
    spearman: float | None
    iou_top20: float | None


def _compared(explanation: Explanation | None) -> JsonDict:
    """What the document of a comparison says of one model's explanation; the rest is the same."""
    known = document(explanation) if explanation else {}
    return {
        "weights": known.get("weights"),
        "device": known.get("device"),
        "crop": known.get("image", {}).get("crop"),
        "top": known.get("top", []),
        "target": next(iter(known.get("targets", ())), None),
        "map": next(iter(known.get("maps", ())), None),
    }


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One column of a comparison.

    Attributes:
        explanation: with one map of the compared class; without maps where the model does not
            know that class; None where the model could not be used at all.
        latency_ms: shortest wall time of one forward of at least ten warm runs; None where it was
            not run.
        note: why something is missing, fit to show; "" where nothing is.
        latency_range_ms: shortest and longest of these runs.
        threads: how many threads PyTorch computed with; None on a GPU.
    """

    model: str
    explanation: Explanation | None = field(
        metadata=column(flatten=True, heading="", convert=_compared)
    )
    facts: ModelFacts | None = field(metadata=column(flatten=True))
    latency_ms: float | None
    note: str = ""
    latency_range_ms: tuple[float, float] | None = field(
        default=None, metadata=column(heading="", before="note")
    )
    threads: int | None = field(default=None, metadata=column(before="note"))

    @property
    @computed(None, heading="latency_max_ms", before="threads")
    def _latency_max_ms(self) -> float | None:
        return self.latency_range_ms[1] if self.latency_range_ms else None

    @property
    def cam(self) -> CamMap | None:
        """The map of the compared class, where there is one."""
        return self.explanation.maps[0] if self.explanation and self.explanation.maps else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same photo and class through several models, in the order asked for.

    Attributes:
        layer: ``"last"`` or a layer name, the same for all.
        agreements: one per pair of models that have a map.
        scale_max: common top of the colour scale, in ``SPREAD_UNIT``.
        hint: whether the models are a fair pair, and why.
    """

    label: str = field(metadata=column("class"))
    layer: str
    columns: tuple[ComparedModel, ...] = field(metadata=column("models"))
    agreements: tuple[Agreement, ...]
    scale_max: float = field(
        metadata=column(
            "colour_scale",
            before="hint",
            convert=lambda top: {"min": 0.0, "max": top, "unit": SPREAD_UNIT},
        )
    )
    hint: str = field(default="", metadata=column(before="models"))

    @property
    @computed("image", before="class")
    def _image(self) -> JsonDict | None:
        # Without what of it each network saw; None where no model could be used.
        photos = (c.explanation.prediction.photo for c in self.columns if c.explanation)
        shown = document(photo) if (photo := next(photos, None)) else None
        return shown and {key: shown[key] for key in shown if key != "crop"}
