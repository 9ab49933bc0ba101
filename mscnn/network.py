"""The thin model wrapper: one backbone on one device, asked for labels and maps."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, TypeVar

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from mscnn import registry
from mscnn.device import is_out_of_memory
from mscnn.errors import DeviceError, OptionError, UnknownLayerError
from mscnn.explain.methods import get_method
from mscnn.explain.single_pass import RawMaps, Targets, grad_cam
from mscnn.imaging import load_photo
from mscnn.preprocess import NetworkInput, Preprocessor
from mscnn.types import CamMap, Explanation, PhotoInfo, Prediction, Score
from mscnn.weights import LoadedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")
Photo = Any
"""A path, bytes, file object, PIL image or ``(h, w, 3)`` uint8 array; see ``load_photo``."""
Progress = Callable[[int, int], None]
IsCancelled = Callable[[], bool]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Network:
    """A loaded backbone.

    One network serves all users: a lock lets one request through at a time, because hooks on a
    shared model are not re-entrant.

    Args:
        loaded: model, labels and weights, on the CPU.
        device: where to run.
        precision: ``"fp32"``, or ``"bf16"`` to let the forward run in bfloat16 on a GPU.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"The precision {precision!r} is unknown; choose fp32 or bf16.")
        self.loaded = loaded
        self.name, self.labels = loaded.name, loaded.labels
        self.weights, self.stages = loaded.weights, loaded.stages
        self.spec = registry.find(loaded.name)
        self.precision = precision
        self.device = device
        self.notices: tuple[str, ...] = ()
        self._preprocess = Preprocessor(loaded.data_config)
        self._lock = threading.RLock()
        self.move_to(device)

    def _place(self, device: torch.device) -> None:
        dtype = PRECISIONS[self.precision] if device.type == "cuda" else torch.float32
        self.model = self.loaded.model.to(device=device, dtype=dtype)
        self.device, self._dtype = device, dtype

    def move_to(self, device: torch.device) -> None:
        """Go on computing on another device; back on the CPU where its memory does not suffice."""
        with self._lock:
            self.device = device  # so that a failure counts as this device's, not the old one's
            self._guarded(lambda: self._place(self.device))

    @property
    def last_stage(self) -> str:
        """Module name of the last convolutional stage."""
        return self.stages[-1]

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
        image, named = _open(photo, name)
        net_input, prepared_s = _timed(lambda: self._preprocess(image))
        logits, run_s = self._guarded(lambda: self._forward(net_input))
        return self._prediction(net_input, logits, top_k, named, prepared_s + run_s)

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
            method: a name of ``mscnn.explain.methods.METHODS``.
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
        image, named = _open(photo, name)
        net_input, prepared_s = _timed(lambda: self._preprocess(image))

        def work() -> RawMaps:
            if chosen_method == "gradcam":
                return self._grad_cam(net_input, names, chosen_targets)
            return self._packaged(
                net_input, names, chosen_targets, chosen_method, on_progress, is_cancelled
            )

        raw, run_s = self._guarded(work)
        seconds = prepared_s + run_s
        prediction = self._prediction(net_input, raw.logits, top_k, named, seconds)
        probabilities = softmax(raw.logits.astype(np.float64))
        maps = tuple(
            CamMap(layer, target, chosen_method, raw.maps[layer, target], net_input.geometry)
            for layer in names
            for target in raw.targets
        )
        scores = tuple(self._score(i, probabilities) for i in raw.targets)
        return Explanation(prediction, net_input.view, scores, maps, seconds, self.notices)

    def seconds_per_forward(self, photo: Photo, *, repeats: int = 3) -> float:
        """Median wall time of one forward of a prepared photo, after one to warm up."""
        net_input = self._preprocess(_open(photo, None)[0])
        times = [self._guarded(lambda: self._forward(net_input))[1] for _ in range(repeats + 1)]
        return float(np.median(times[1:]))

    def copy_of_model(self) -> torch.nn.Module:
        """Copy the model between two requests, so that the copy carries no request's hooks."""
        with self._lock:
            return copy.deepcopy(self.model)

    def _x(self, net_input: NetworkInput) -> torch.Tensor:
        return net_input.x.to(self.device, self._dtype)

    @torch.inference_mode()
    def _forward(self, net_input: NetworkInput) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.model(self._x(net_input))[0].float().cpu().numpy()  # type: ignore[no-any-return]

    def _grad_cam(self, net_input: NetworkInput, names: list[str], targets: Targets) -> RawMaps:
        head = self.loaded.head
        linear = self.model.get_submodule(head) if head else None
        return grad_cam(
            self.model,
            self._x(net_input),
            names,
            targets,
            linear=linear if isinstance(linear, torch.nn.Linear) else None,
            last=self.last_stage,
        )

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
        from mscnn.explain.packaged import packaged_maps

        return packaged_maps(
            self.model,
            self._x(net_input),
            names,
            targets,
            method,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )

    def _guarded(self, work: Callable[[], T]) -> tuple[T, float]:
        """Run under the lock; move to the CPU once when the device's memory does not suffice.

        Returns:
            The result, and the seconds it took without waiting for the lock.
        """
        with self._lock:
            try:
                return _timed(work)
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is the former
                if not is_out_of_memory(error):
                    raise
                if self.device.type == "cpu":
                    raise DeviceError(
                        "There is not enough memory for this model; choose a smaller one."
                    ) from None
                logger.warning("%s: %s", self.name, error)
            # Outside of the handler, whose traceback holds on to the tensors on the device.
            self._leave_device()
            return self._guarded(work)

    def _leave_device(self) -> None:
        was = self.device.type
        self._place(torch.device("cpu"))
        if was == "cuda":
            torch.cuda.empty_cache()
        self.notices = (f"The {was} device ran out of memory, so {self.name} now runs on the CPU.",)

    def _score(self, index: int, probabilities: Any) -> Score:
        return Score(index, self.labels.display(index), float(probabilities[index]))

    def _prediction(
        self, net_input: NetworkInput, logits: Any, top_k: int, name: str, seconds: float
    ) -> Prediction:
        probabilities = softmax(logits.astype(np.float64))
        best = np.argsort(-logits, kind="stable")[:top_k]
        width, height = net_input.geometry.photo
        return Prediction(
            photo=PhotoInfo(name, width, height, net_input.geometry.crop),
            model=self.name,
            weights=self.weights,
            device=str(self.device),
            top=tuple(self._score(int(i), probabilities) for i in best),
            logits=logits,
            seconds=seconds,
        )


def _open(photo: Photo, name: str | None) -> tuple[Image.Image, str]:
    return load_photo(photo), photo_name(photo) if name is None else name


def photo_name(photo: Photo) -> str:
    """What to call a photo in results: its path as given, or "" where it has none."""
    return os.fsdecode(photo) if isinstance(photo, (str, os.PathLike)) else ""


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
