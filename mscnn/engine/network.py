"""One loaded backbone on one device: labels, class activation maps, and the multi-scale lens.

One model serves all users. A lock lets one request at a time through it, because hooks on a shared
model are not re-entrant; methods with a forward for each channel run on a copy outside of the lock.

More than 600 lines: one short method, and what its arguments mean, for each thing to be asked of a
network.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, SupportsIndex, TypeVar, cast

import numpy as np
import torch
from torch import nn

from mscnn.engine import cuts, trust
from mscnn.engine.device import is_out_of_memory
from mscnn.errors import DeviceError, OptionError, UnknownLayerError, UnsupportedModelError
from mscnn.geometry import Floats
from mscnn.maps.methods import Call, get_method
from mscnn.maps.single_pass import RawMaps, Targets
from mscnn.models import registry
from mscnn.models.hub import IsCancelled as IsCancelled
from mscnn.models.loading import LoadedModel
from mscnn.models.probabilities import check_finite, probabilities
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import NetworkInput, Preprocessor
from mscnn.results.cuts import Ablation, CapCurve
from mscnn.results.explanation import CamMap, Explanation, PhotoInfo, Prediction, Score
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import AttentionReport, EffectiveField, PhotoBox, ScaleReport, SweepCurve
from mscnn.results.trust import Trust
from mscnn.scales import attention, effective, receptive_field, splits, sweep, topology
from mscnn.scales.families import UnitPoint, find_point
from mscnn.trust.plan import Plan

logger = logging.getLogger(__name__)

TOP1 = ("top1", "top-1", "")
ONE_CLASS = "One class is explained at a time; give a name, an index or top1."
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Photo = Any
"""A path, bytes, file object, PIL image or ``(h, w, 3)`` uint8 array (see ``load_photo``), or, but
for ``sweep`` and ``trust``, which cut it anew, what ``Network.preprocess`` made of one."""
Progress = Callable[[int, int], None]
T = TypeVar("T")
A = TypeVar("A", RawMaps, splits.RawScales, attention.RawAttention)


class Network:
    """A loaded backbone that says what a photo shows, where, and at which scale.

    Everywhere, ``photo`` is a ``Photo``, called ``name`` in the result (default: the path given);
    ``target`` is a class, by index or name, or ``"top1"``, the best one; ``split`` is counted from
    0 in timm's order. A photo that cannot be read raises ``ImageError``, a class that the model
    does not have ``UnknownClassError``, a network without any ``UnsupportedModelError``, one that
    gives no finite numbers ``WeightsError``, and a device that fails ``DeviceError``.

    Args:
        loaded: model, labels and weights, on the CPU.
        device: where to run; the CPU where its memory does not suffice, with a notice.
        precision: ``"fp32"``, or ``"bf16"`` to let the forward run in bfloat16 on a GPU.
    """

    _traced_field: ReceptiveField | UnsupportedModelError | None = None
    """What tracing gave, an error included, kept because every batch of a sweep needs it."""
    _usual_fill: Mapping[str, torch.Tensor] | None = None
    """What replaces cut channels: their means over the examples, once measured."""
    _usual_inputs: frozenset[int] = frozenset()
    """Hashes of what the network sees of these examples."""

    def __init__(self, loaded: LoadedModel, device: torch.device, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"The precision {precision!r} is unknown; choose fp32 or bf16.")
        self.loaded, self.name = loaded, loaded.name
        self.labels, self.weights, self.stages = loaded.labels, loaded.weights, loaded.stages
        self.spec = registry.find(loaded.name)
        self.preprocess = Preprocessor(loaded.data_config)
        self.precision = precision
        self.notices = tuple(filter(None, loaded.notices))
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
            self.guarded(lambda: self._place(self.device))

    def to_device(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device and in its dtype."""
        return x.to(self.device, self._dtype)

    def copy_of_model(self) -> nn.Module:
        """Copy the model between two requests, so that the copy carries no request's hooks."""
        with self._lock:
            return copy.deepcopy(self.model)

    def guarded(self, work: Callable[[], T]) -> tuple[T, float]:
        """Run under the lock; move to the CPU once when the device's memory does not suffice.

        Returns the result, and the seconds it took without waiting for the lock.
        """
        with self._lock:
            return self._in_memory(work)

    def _apart(self, work: Callable[[nn.Module], T]) -> tuple[T, float]:
        """Like ``guarded``, on a copy of the model and without the lock."""
        return self._in_memory(lambda: work(self.copy_of_model()))

    def _in_memory(self, work: Callable[[], T]) -> tuple[T, float]:
        device = self.device
        try:
            return timed(work)
        except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is the former
            if not is_out_of_memory(error):
                raise
            if device.type == "cpu":
                raise DeviceError(
                    "There is not enough memory for this model; choose a smaller one."
                ) from None
            logger.warning("%s: %s", self.name, error)
        # Outside of the handler, whose traceback holds on to the tensors on the device.
        self._leave_device()
        return self._in_memory(work)

    def _leave_device(self) -> None:
        with self._lock:
            was = self.device.type
            if was == "cpu":  # another request was here first
                return
            self._place(torch.device("cpu"))
            if was == "cuda":
                torch.cuda.empty_cache()
            moved = f"The {was} device ran out of memory, so {self.name} now runs on the CPU."
            self.notices = (*self.notices, moved)

    @property
    def last_stage(self) -> str:
        """Module name of the last convolutional stage."""
        return self.stages[-1]

    @property
    def linear(self) -> nn.Linear | None:
        """The head's linear layer, where the model is said to end in pooling and one of these."""
        head = self.model.get_submodule(self.loaded.head) if self.loaded.head else None
        return head if isinstance(head, nn.Linear) else None

    def layer(self, name: str) -> str:
        """Settle a layer's name: a module name, a stage number (``"4"``) or ``"last"``.

        Raises ``UnknownLayerError``: the model has no such layer; the message lists the stages.
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

    def _check_map(self, layer: str, raw: Floats) -> None:
        """Raise ``UnknownLayerError`` for the map of a layer that keeps its channels last."""
        # (B, h, w, C) was taken for (B, C, h, w).
        if len(set(self.preprocess.view_size)) < len(set(raw.shape)):
            raise UnknownLayerError(
                f"The layer {layer!r} keeps its channels last; choose a stage or a block."
            )

    def targets(self, wanted: Sequence[str | int] | str | int) -> Targets:
        """Settle the classes to explain: indices, names, ``"top1"`` or ``"top5"``."""
        self._check_classes()
        given: Any = wanted  # an array of several indices claims to be an index, too
        one = isinstance(given, (str, SupportsIndex)) and not getattr(given, "ndim", 0)
        items = [given] if one else list(given)
        if not items:
            raise OptionError('No class was named; give a class, "top1" or "top5".')
        if items in (["top5"], ["top-5"]):
            return Targets(best=5)
        return Targets(["top1" if i in TOP1 else self.labels.resolve(i) for i in items])

    def _check_classes(self) -> None:
        """Raise ``UnsupportedModelError`` for a network without a head, which has no classes."""
        if not len(self.labels):
            raise UnsupportedModelError(
                f"{self.name} has no classes: its head was taken off (num_classes is 0), so it can "
                "name nothing; use it for features, or fine-tune it."
            )

    def _one_target(self, target: str | int) -> Targets:
        chosen = self.targets([target])
        if len(chosen.indices) != 1:
            raise OptionError(ONE_CLASS)
        return chosen

    def _index_of(self, target: str | int, photo: Photo) -> int:
        """Settle one class: ``"top1"`` is the photo's best one."""
        (wanted,) = self._one_target(target).indices
        return self.predict(photo, top_k=1).top[0].index if wanted == "top1" else int(wanted)

    def _shown(self, photo: Photo) -> NetworkInput:
        """Prepare a photo, unless it is what ``preprocess`` made of one."""
        return photo if isinstance(photo, NetworkInput) else self.preprocess(load_photo(photo))

    def _answer(
        self,
        photo: Photo,
        name: str | None,
        work: Callable[[nn.Module, torch.Tensor, NetworkInput], A],
        *,
        top_k: int = 5,
        slow: bool = False,
    ) -> tuple[A, Prediction, NetworkInput]:
        """Read and prepare a photo, compute, and word the prediction that came with it.

        ``work`` gets the model, its input and what that shows. ``slow`` works on a copy of the
        model, while others go on.
        """
        if top_k < 1:
            raise OptionError(f"top-k is {top_k}; it must be 1 or more.")
        image = photo if isinstance(photo, NetworkInput) else load_photo(photo)
        shown, prepared_s = timed(lambda: self._shown(image))

        def on(model: nn.Module) -> A:
            return work(model, self.to_device(shown.x), shown)

        raw, run_s = self._apart(on) if slow else self.guarded(lambda: on(self.model))
        named = photo_name(photo) if name is None else name
        return raw, self.prediction_of(shown, raw.logits, top_k, named, prepared_s + run_s), shown

    def score_of(self, index: int, probabilities: Any) -> Score:
        """A class with its name; ``probabilities``: ``(classes,)`` in 0..1."""
        return Score(index, self.labels.display(index), float(probabilities[index]))

    def _score(self, index: int, logits: Floats) -> Score:
        return self.score_of(index, probabilities(logits))

    def prediction_of(
        self, net_input: NetworkInput, logits: Any, top_k: int, name: str, seconds: float
    ) -> Prediction:
        """The prediction as a result; ``logits``: ``(classes,)`` float32."""
        chances = probabilities(logits)
        best = np.argsort(-logits, kind="stable")[:top_k]
        geometry, notice = net_input.geometry, " ".join(net_input.notices) or None
        return Prediction(
            photo=PhotoInfo(name, *geometry.photo, geometry.crop, notice), model=self.name,
            weights=self.weights, device=str(self.device), logits=logits, seconds=seconds,
            top=tuple(self.score_of(int(i), chances) for i in best),
        )  # fmt: skip

    def predict(self, photo: Photo, *, top_k: int = 5, name: str | None = None) -> Prediction:
        """Classify one photo; ``top_k``, from 1, is how many classes to return."""
        self._check_classes()

        def work(_: nn.Module, x: torch.Tensor, __: NetworkInput) -> RawMaps:
            return RawMaps(self._forward(x), (), {})

        return self._answer(photo, name, work, top_k=top_k)[1]

    @torch.inference_mode()
    def _forward(self, x: torch.Tensor) -> Floats:
        logits: Floats = self.model(x)[0].float().cpu().numpy()
        return logits

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

        Raises ``UnknownLayerError``, ``MethodError``, ``OptionError``, ``Cancelled``.

        Args:
            layers: one or several layer names; the last stage where None.
            targets: one or several classes (index or name), ``"top1"``, or ``"top5"``.
            method: a name of ``mscnn.maps.methods.METHODS``.
            top_k: how many classes the prediction lists.
            on_progress, is_cancelled: called with (done, total), and polled, in slow methods.
        """
        chosen, wanted = get_method(method), self.targets(targets)
        asked = [layers] if isinstance(layers, str) else list(layers or ["last"])
        names = list(dict.fromkeys(self.layer(layer) for layer in asked))
        head: dict[str, Any] = {"linear": self.linear, "last": self.last_stage}
        call = Call(on_progress, is_cancelled)

        def work(model: nn.Module, x: torch.Tensor, _: NetworkInput) -> RawMaps:
            return chosen.compute(model, x, names, wanted, call=call, **head)

        raw, prediction, shown = self._answer(photo, name, work, top_k=top_k, slow=chosen.is_slow)
        for (layer, _), cam in raw.maps.items():
            self._check_map(layer, cam)
        scores = tuple(self._score(target, raw.logits) for target in raw.targets)
        maps = tuple(
            CamMap(layer, target, chosen.name, raw.maps[layer, target], shown.geometry)
            for layer in names
            for target in raw.targets
        )
        seconds = prediction.seconds
        return Explanation(prediction, shown.view, scores, maps, seconds, self.notices)

    def seconds_per_forward(self, photo: Photo, *, repeats: int = 3) -> float:
        """Median wall time of one forward of a prepared photo, after one to warm up."""
        return float(np.median(self._forward_times(photo, repeats)))

    def _forward_times(self, photo: Photo, repeats: int) -> list[float]:
        """Wall time, s, of each of some forwards of a prepared photo, after one to warm up."""
        x = self._shown(photo).x
        return [
            self.guarded(lambda: self._forward(self.to_device(x)))[1] for _ in range(repeats + 1)
        ][1:]

    def _estimate(self, method: str, photo: Photo, layer: str) -> float:
        """Wall time, s, that a map of one class will take here, from its first batches."""
        # Imported late: the package brings SciPy, scikit-learn and OpenCV with it.
        from mscnn.maps.packaged import seconds_needed

        x, name = self._shown(photo).x, self.layer(layer)
        return self._apart(lambda m: seconds_needed(m.float(), x.to(self.device), name, method))[0]

    def receptive_field(self) -> ReceptiveField:
        """Theoretical receptive fields of all stages, blocks and splits.

        Raises ``UnsupportedModelError``: the way through this model cannot be followed.
        """
        # A folder that training wrote may bear any name, that of a listed model included.
        listed = None if self.weights.kind == "folder" else receptive_field.known(self.name)
        found = listed or self._traced_field
        if found is None:
            found = self._traced_field = self._trace()
        if isinstance(found, UnsupportedModelError):
            # Raised itself, the one that is kept would keep every caller's frames as well.
            raise UnsupportedModelError(str(found))
        return found

    def _trace(self) -> ReceptiveField | UnsupportedModelError:
        px = int(self.loaded.data_config["input_size"][-1])
        try:
            # Under the lock no request's hooks are on the model; the tracer copies no weight.
            graph, _ = self.guarded(lambda: topology.trace(self.model, self.stages, px))
        except UnsupportedModelError as error:
            return error.with_traceback(None)
        return receptive_field.fields(graph, model=self.name, input_px=px)

    def _field_or_none(self) -> ReceptiveField | None:
        """The theoretical fields where they are known; the lens works without them too."""
        try:
            return self.receptive_field()
        except UnsupportedModelError:
            return None

    def scales(
        self, photo: Photo, *, target: str | int = "top1", name: str | None = None
    ) -> ScaleReport:
        """Say through which splits the evidence for a class passed, in every block.

        One forward and one backward. Raises ``UnsupportedModelError``: the model is not built of
        residual blocks.
        """
        chosen, field = self._one_target(target), self._field_or_none()

        def work(model: nn.Module, x: torch.Tensor, shown: NetworkInput) -> splits.RawScales:
            return splits.split_evidence(model, x, chosen, self.stages, field, shown.geometry)

        raw, prediction, shown = self._answer(photo, name, work)
        label = self._score(raw.target, raw.logits)
        seconds = prediction.seconds
        return ScaleReport(prediction, label, raw.blocks, shown.view, seconds, self.notices)

    def split_attention(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        references: Sequence[Photo] = (),
        name: str | None = None,
    ) -> AttentionReport:
        """Read the split-attention gates of a ResNeSt, and the map of each radix branch.

        ``references`` are photos to average the gates over, for comparison. Raises
        ``UnsupportedModelError``: the model has no split attention.
        """
        chosen = self._one_target(target)
        means = attention.mean_gates([self._gates(reference) for reference in references])

        def work(model: nn.Module, x: torch.Tensor, shown: NetworkInput) -> attention.RawAttention:
            return attention.gated_maps(model, x, chosen, shown.geometry, means)

        raw, prediction, _ = self._answer(photo, name, work)
        label = self._score(raw.target, raw.logits)
        return AttentionReport(prediction, label, raw.blocks, len(references), prediction.seconds)

    def _gates(self, photo: Photo) -> dict[str, Floats]:
        x = self._shown(photo).x
        return self.guarded(lambda: attention.gates(self.model, self.to_device(x)))[0]

    def effective_receptive_field(
        self,
        photo: Photo | Sequence[Photo],
        *,
        point: tuple[float, float] = (0.5, 0.5),
        layer: str = "last",
        split: int | None = None,
        trained: bool = True,
    ) -> EffectiveField:
        """Measure what of its input a unit uses: the gradient of its activation to the input.

        Raises ``PointError``: the network did not see that point; ``UnknownLayerError``,
        ``OptionError``.

        Args:
            photo: one photo, or several to average over; the first is the one shown.
            point: ``(x, y)``, fractions 0..1 of the upright photo; the unit under it is measured.
            layer, split: a stage, or a block such as ``"layer2.1"``; a split of the block, or
                None for the layer's output.
            trained: False for the same architecture with random weights.
        """
        photos = list(photo) if isinstance(photo, (list, tuple)) else [photo]
        if not photos:
            raise OptionError("No photo was given; give at least one.")
        unit = find_point(self.model, self.layer(layer), split)
        inputs = [self._shown(p) for p in photos]
        geometry = inputs[0].geometry
        at_px = effective.seen_point(point, geometry)
        theory = effective.theory_of(self._field_or_none(), unit.layer, unit.split)

        def work(model: nn.Module) -> effective.Measured:
            xs = [self.to_device(shown.x) for shown in inputs]
            return effective.unit_gradient(model, xs, unit, at_px, theory)

        if trained:
            measured, seconds = self.guarded(lambda: work(self.model))
        else:
            random, _ = self._apart(effective.with_random_weights)
            measured, seconds = self._in_memory(lambda: work(random.to(self.device, self._dtype)))
        return effective.as_field(
            measured, theory=theory, at=unit, model=self.name, inputs=len(inputs), trained=trained,
            view=inputs[0].view, geometry=geometry, seconds=seconds,
        )  # fmt: skip

    def sweep(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        box: PhotoBox | None = None,
        factors: Sequence[float] = sweep.FACTORS,
        canvas: str = "mean",
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> SweepCurve:
        """Show the network the photo, or a box of it, at many sizes on a plain canvas.

        ``"top1"`` is the best class of the whole photo. Raises ``BoxError``: the box is empty or
        tiny; ``OptionError``: see ``mscnn.scales.sweep.Plan``.

        Args:
            box: the part to show, fractions 0..1 of the upright photo; all of it where None.
            factors: longer side of the object over the side of the network's input.
            canvas: what surrounds it: a name of ``mscnn.scales.canvas.CANVASES``.
            on_progress: called with (sizes done, in total).
            is_cancelled: polled between batches; what was done until then is returned.
        """
        call = Call(on_progress, is_cancelled)
        plan = sweep.Plan(factors=tuple(factors), canvas=canvas, box=box)
        image = load_photo(photo)
        index = self._index_of(target, image)
        measure = partial(
            sweep.measure, self.model, target=index, place=self.to_device, stages=self.stages,
            linear=self.linear, field=self._field_or_none(),
        )  # fmt: skip
        steps, seconds = [], 0.0
        for batch in plan.batches(image, self.preprocess):
            if call.cancelled:
                break
            done, took = self.guarded(partial(measure, batch))
            steps.extend(done)
            seconds += took
            call.progress(len(steps), len(plan.factors))
        octaves = mean = None
        if len(steps) == len(plan.factors):
            octaves, mean = sweep.score(plan.factors, [s.probability for s in steps])
        label = self.labels.display(index)
        return SweepCurve(
            self.name, index, label, tuple(steps), octaves, mean, seconds=seconds,
            is_only=len(self.labels) == 1,
        )  # fmt: skip

    def ablate(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        block: str | None = None,
        fill: str = "mean",
        references: Sequence[Photo] | None = None,
        name: str | None = None,
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Ablation:
        """Cut each split of one block, or of all blocks, and say what the class loses without it.

        Raises ``UnsupportedModelError``, ``UnknownLayerError``, ``OptionError``, ``Cancelled``.

        Args:
            fill: what replaces a cut split: ``"mean"`` over ``references`` (photographs;
                None for the built-in examples but ``photo``), or ``"zero"``.
            on_progress, is_cancelled: called with (cuts done, in total), and polled, per batch.
        """
        named, call = photo_name(photo) if name is None else name, Call(on_progress, is_cancelled)
        return cuts.ablation(self, photo, target, block, fill, references, named, call)

    def cap(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        limits: Sequence[int] | None = None,
        draws: int = 0,
        seed: int = 0,
        fill: str = "mean",
        references: Sequence[Photo] | None = None,
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> CapCurve:
        """Cut all splits that can see more than a limit, for several limits.

        ``limits`` are px of the network's input (None for at most 12 of the splits' own sizes);
        ``draws`` random cuts of as many channels are the control, from ``seed`` on. For the rest
        see ``ablate`` and ``mscnn.scales.cuts``.
        """
        call = Call(on_progress, is_cancelled)
        return cuts.capped(self, photo, target, limits, draws, seed, fill, references, call)

    def trust(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        plan: Plan | None = None,
        name: str | None = None,
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Trust:
        """Find out how far maps of one class can be believed; see ``mscnn.trust``.

        Raises ``UnknownLayerError``, ``MethodError``, ``OptionError``, ``BoxError``, and
        ``Cancelled`` only before the first map was done.

        Args:
            plan: which maps, and what to find out; one Grad-CAM, and everything, where None.
                ``mscnn.trust.plan.GRID`` sets methods and layers beside one another.
            on_progress, is_cancelled: called with (forwards and maps done, in total), and polled;
                what was done until then is returned.
        """
        named, call = photo_name(photo) if name is None else name, Call(on_progress, is_cancelled)
        return trust.Trusting(self, photo, target, plan or Plan(), named, call).run()

    def trust_seconds(
        self, photo: Photo, *, target: str | int = "top1", plan: Plan | None = None
    ) -> float:
        """Wall time, s, that ``trust`` will take here; some of the work is done and timed."""
        return trust.Trusting(self, photo, target, plan or Plan(), "", Call()).estimate()

    def features(
        self,
        photos: Sequence[Photo] | Photo,
        *,
        stage: str | None = None,
        split: int | None = None,
        batch_size: int = 32,
    ) -> Floats:
        """Return the pooled features of one or several photographs.

        ``stage`` and ``split`` are those of ``feature_point``; ``batch_size`` photographs at a time
        are decoded and in memory. Returns ``(n, d)`` float32; one photo gives one row. Raises
        ``UnknownLayerError``, ``UnsupportedModelError``, ``OptionError``.
        """
        items = list(photos) if isinstance(photos, (list, tuple)) else [photos]
        if not items:
            raise OptionError("No photo was given; give at least one.")
        if batch_size < 1:
            raise OptionError(f"The batch size is {batch_size}; it must be 1 or more.")
        point = self.feature_point(stage, split)
        rows: list[Floats] = []
        for start in range(0, len(items), batch_size):
            x = torch.cat([self._shown(photo).x for photo in items[start : start + batch_size]])
            rows.append(self.guarded(partial(self.pooled, x, point))[0])
        return np.concatenate(rows)

    def feature_point(self, stage: str | None = None, split: int | None = None) -> UnitPoint | None:
        """Settle where features are read; None for what the head classifies.

        ``stage`` is a stage, a block such as ``"layer3.1"``, or another layer, ``split`` one of the
        block's. Raises ``UnknownLayerError``: there is none such; ``UnsupportedModelError``: the
        model has no residual blocks; ``OptionError``: a split is named without its block.
        """
        if stage is not None:
            return find_point(self.model, self.layer(stage), split)
        if split is not None:
            raise OptionError("A split belongs to a block; name the block too, as layer3.1 is one.")
        return None

    @torch.inference_mode()
    def pooled(self, x: torch.Tensor, point: UnitPoint | None) -> Floats:
        """Average what a part of the network holds over positions: ``(B, 3, H, W)`` to ``(B, d)``.

        Without a point it is what the head classifies: timm's ``forward_head`` with ``pre_logits``.
        ``UnknownLayerError``: the layer gives neither a map nor a vector; ``WeightsError``: the
        network gives no finite numbers.
        """
        x, model = self.to_device(x), cast("Any", self.model)
        if point is None:
            found = model.forward_head(model.forward_features(x), pre_logits=True)
        else:
            found = point.read(model, x, maps_only=False)
        if found.dim() not in (2, 4):
            raise UnknownLayerError(
                f"The layer {point.layer if point else 'head'!r} gives neither a map nor a vector, "
                "so it has no pooled features; name a stage or a block."
            )
        flat = found.float().mean((2, 3)) if found.dim() == 4 else found.float()
        check_finite(flat)
        return cast("Floats", flat.cpu().numpy())


def photo_name(photo: Photo) -> str:
    """What to call a photo in results: its path as given, or "" where it has none."""
    return os.fsdecode(photo) if isinstance(photo, (str, os.PathLike)) else ""


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Run ``work``; return its result and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
