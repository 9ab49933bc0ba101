"""One backbone on one device, asked for labels and class activation maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from mscnn.engine.placement import Placement, timed
from mscnn.errors import OptionError, UnknownLayerError
from mscnn.maps.methods import get_method
from mscnn.maps.single_pass import RawMaps, Targets, grad_cam
from mscnn.models import registry
from mscnn.models.loading import LoadedModel
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import NetworkInput, Preprocessor
from mscnn.results.explanation import CamMap, Explanation, PhotoInfo, Prediction, Score

Photo = Any
"""A path, bytes, file object, PIL image or ``(h, w, 3)`` uint8 array; see ``load_photo``."""
Progress = Callable[[int, int], None]
IsCancelled = Callable[[], bool]


class Classifier(Placement):
    """A loaded backbone that says what a photo shows, and where; see ``Placement``."""

    def __init__(self, loaded: LoadedModel, device: torch.device, precision: str = "fp32") -> None:
        super().__init__(loaded, device, precision)
        self.labels, self.weights, self.stages = loaded.labels, loaded.weights, loaded.stages
        self.spec = registry.find(loaded.name)
        self.preprocess = Preprocessor(loaded.data_config)

    @property
    def last_stage(self) -> str:
        """Module name of the last convolutional stage."""
        return self.stages[-1]

    @property
    def linear(self) -> torch.nn.Linear | None:
        """The head's linear layer, where the model is said to end in pooling and one of these."""
        head = self.model.get_submodule(self.loaded.head) if self.loaded.head else None
        return head if isinstance(head, torch.nn.Linear) else None

    def layer(self, name: str) -> str:
        """Settle a layer's name: a module name, a stage number (``"4"``) or ``"last"``.

        Raises:
            UnknownLayerError: the model has no such layer; the message lists the stages.
        """
        wanted = str(name).strip()
        if wanted in ("", "last"):
            return self.last_stage
        for stage, module in enumerate(self.stages, 1):
            if wanted in (str(stage), f"stage{stage}"):
                return module
        if wanted in dict(self.model.named_modules()):
            return wanted
        raise UnknownLayerError(
            f"{self.name} has no layer {wanted!r}; choose one of {', '.join(self.stages)}, or a "
            f"block of one such as {self.stages[-1]}.0."
        )

    def targets(self, wanted: Sequence[str | int] | str | int) -> Targets:
        """Settle the classes to explain: indices, names, ``"top1"`` or ``"top5"``.

        Raises:
            UnknownClassError: the model has no such class, or a name fits several.
        """
        items = [wanted] if isinstance(wanted, (str, SupportsIndex)) else list(wanted)
        if not items:
            raise OptionError('No class was named; give a class, "top1" or "top5".')
        if items in (["top5"], ["top-5"]):
            return Targets(best=5)
        top1 = ("top1", "top-1", "")
        return Targets(["top1" if i in top1 else self.labels.resolve(i) for i in items])

    def predict(self, photo: Photo, *, top_k: int = 5, name: str | None = None) -> Prediction:
        """Classify one photo.

        Args:
            photo: see ``Photo``.
            top_k: how many classes to return, 1 to the number of classes.
            name: what to call the photo in the result; default is the path given.

        Raises:
            ImageError, OptionError, DeviceError.
        """
        if top_k < 1:
            raise OptionError(f"top-k is {top_k}; it must be 1 or more.")
        image, named = open_photo(photo, name)
        net_input, prepared_s = timed(lambda: self.preprocess(image))
        logits, run_s = self.guarded(lambda: self._forward(net_input))
        return self.prediction_of(net_input, logits, top_k, named, prepared_s + run_s)

    def explain(
        self,
        photo: Photo,
        *,
        layers: Sequence[str] | str | None = None,
        targets: Sequence[str | int] | str | int = "top1",
        method: str = "gradcam",
        top_k: int = 5,
        name: str | None = None,
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Explanation:
        """Classify one photo and map where the evidence for some classes lies.

        Args:
            photo: see ``Photo``.
            layers: one or several layer names; the last stage where None.
            targets: one or several classes (index or name), ``"top1"``, or ``"top5"``.
            method: a name of ``mscnn.maps.methods.METHODS``.
            top_k: how many classes the prediction lists.
            name: what to call the photo in the result.
            on_progress: called with (done, total) during slow methods.
            is_cancelled: polled during slow methods.

        Raises:
            ImageError, UnknownClassError, UnknownLayerError, MethodError, OptionError,
            DeviceError, Cancelled.
        """
        if top_k < 1:
            raise OptionError(f"top-k is {top_k}; it must be 1 or more.")
        chosen_method = get_method(method).name
        chosen_targets = self.targets(targets)
        wanted = [layers] if isinstance(layers, str) else list(layers or ["last"])
        names = list(dict.fromkeys(self.layer(layer) for layer in wanted))
        image, named = open_photo(photo, name)
        net_input, prepared_s = timed(lambda: self.preprocess(image))

        def work() -> RawMaps:
            if chosen_method == "gradcam":
                return self._grad_cam(net_input, names, chosen_targets)
            return self._packaged(
                net_input, names, chosen_targets, chosen_method, on_progress, is_cancelled
            )

        raw, run_s = self.guarded(work)
        seconds = prepared_s + run_s
        prediction = self.prediction_of(net_input, raw.logits, top_k, named, seconds)
        probabilities = softmax(raw.logits.astype(np.float64))
        maps = tuple(
            CamMap(layer, target, chosen_method, raw.maps[layer, target], net_input.geometry)
            for layer in names
            for target in raw.targets
        )
        scores = tuple(self.score_of(i, probabilities) for i in raw.targets)
        return Explanation(prediction, net_input.view, scores, maps, seconds, self.notices)

    def seconds_per_forward(self, photo: Photo, *, repeats: int = 3) -> float:
        """Median wall time of one forward of a prepared photo, after one to warm up."""
        net_input = self.preprocess(open_photo(photo, None)[0])
        times = [self.guarded(lambda: self._forward(net_input))[1] for _ in range(repeats + 1)]
        return float(np.median(times[1:]))

    @torch.inference_mode()
    def _forward(self, net_input: NetworkInput) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.model(self.to_device(net_input.x))[0].float().cpu().numpy()  # type: ignore[no-any-return]

    def _grad_cam(self, net_input: NetworkInput, names: list[str], targets: Targets) -> RawMaps:
        x = self.to_device(net_input.x)
        return grad_cam(self.model, x, names, targets, linear=self.linear, last=self.last_stage)

    def _packaged(
        self,
        net_input: NetworkInput,
        names: list[str],
        targets: Targets,
        method: str,
        on_progress: Progress | None,
        is_cancelled: IsCancelled | None,
    ) -> RawMaps:
        # Imported late: the package brings SciPy, scikit-learn and OpenCV with it.
        from mscnn.maps.packaged import packaged_maps

        return packaged_maps(
            self.model,
            self.to_device(net_input.x),
            names,
            targets,
            method,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )

    def score_of(self, index: int, probabilities: Any) -> Score:
        """A class with its name; ``probabilities``: ``(classes,)`` in 0..1."""
        return Score(index, self.labels.display(index), float(probabilities[index]))

    def prediction_of(
        self, net_input: NetworkInput, logits: Any, top_k: int, name: str, seconds: float
    ) -> Prediction:
        """The answer as a result; ``logits``: ``(classes,)`` float32."""
        probabilities = softmax(logits.astype(np.float64))
        best = np.argsort(-logits, kind="stable")[:top_k]
        width, height = net_input.geometry.photo
        return Prediction(
            photo=PhotoInfo(name, width, height, net_input.geometry.crop),
            model=self.name,
            weights=self.weights,
            device=str(self.device),
            top=tuple(self.score_of(int(i), probabilities) for i in best),
            logits=logits,
            seconds=seconds,
        )


def open_photo(photo: Photo, name: str | None) -> tuple[Image.Image, str]:
    """Decode a photo, and settle what to call it."""
    return load_photo(photo), photo_name(photo) if name is None else name


def photo_name(photo: Photo) -> str:
    """What to call a photo in results: its path as given, or "" where it has none."""
    return os.fsdecode(photo) if isinstance(photo, (str, os.PathLike)) else ""
