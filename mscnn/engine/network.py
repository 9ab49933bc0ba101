"""The thin model wrapper: labels, maps, and the multi-scale lens on one loaded backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.special import softmax

from mscnn.engine import pooling
from mscnn.engine.classifier import Classifier, IsCancelled, Photo, Progress, open_photo, photo_name
from mscnn.engine.placement import timed
from mscnn.errors import OptionError, PointError, UnsupportedModelError
from mscnn.maps.single_pass import Targets
from mscnn.photos.preprocess import NetworkInput
from mscnn.results.scales import (
    AttentionReport,
    BlockAttention,
    EffectiveField,
    PhotoBox,
    ScaleReport,
    SweepCurve,
)
from mscnn.scales import attention, effective, receptive_field, splits, sweep, topology, untrained
from mscnn.scales.receptive_field import ReceptiveField

__all__ = ["IsCancelled", "Network", "Photo", "Progress", "photo_name"]


class Network(Classifier):
    """A loaded backbone: ``predict``, ``explain``, and the multi-scale lens."""

    _traced_field: ReceptiveField | UnsupportedModelError | None = None
    """What tracing gave, an error included: every batch of a sweep asks again."""

    def receptive_field(self) -> ReceptiveField:
        """Theoretical receptive fields of all stages, blocks and splits.

        Raises:
            UnsupportedModelError: the way through this model cannot be followed.
        """
        # A folder that training wrote may bear any name, that of a listed model included.
        listed = None if self.weights.kind == "folder" else receptive_field.known(self.name)
        found = listed or self._traced_field
        if found is None:
            found = self._traced_field = self._trace()
        if isinstance(found, UnsupportedModelError):
            raise found
        return found

    def features(
        self,
        photos: Sequence[Photo] | Photo,
        *,
        stage: str | None = None,
        split: int | None = None,
        batch_size: int = 32,
    ) -> pooling.Vectors:
        """Return ``(n, d)`` float32 pooled features; see ``mscnn.engine.pooling.features``."""
        return pooling.features(self, photos, stage=stage, split=split, batch_size=batch_size)

    def scales(
        self, photo: Photo, *, target: str | int = "top1", name: str | None = None
    ) -> ScaleReport:
        """Say through which splits the evidence for a class passed, in every block.

        One forward and one backward.

        Args:
            photo: see ``Photo``.
            target: a class (index or name), or ``"top1"``.
            name: what to call the photo in the result.

        Raises:
            ImageError, UnknownClassError, UnsupportedModelError, DeviceError.
        """
        chosen = self._one_target(target)
        image, named = open_photo(photo, name)
        net_input, prepared_s = timed(lambda: self.preprocess(image))
        raw, run_s = self.guarded(
            lambda: splits.split_evidence(
                self.model, self.to_device(net_input.x), chosen, self.stages
            )
        )
        seconds = prepared_s + run_s
        probabilities = softmax(raw.logits.astype(np.float64))
        return ScaleReport(
            prediction=self.prediction_of(net_input, raw.logits, 5, named, seconds),
            target=self.score_of(raw.target, probabilities),
            blocks=splits.with_fields(raw, self._field_or_none(), net_input.geometry),
            view=net_input.view,
            seconds=seconds,
            notices=self.notices,
        )

    def split_attention(
        self,
        photo: Photo,
        *,
        target: str | int = "top1",
        references: Sequence[Photo] = (),
        name: str | None = None,
    ) -> AttentionReport:
        """Read the split-attention gates of a ResNeSt, and the map of each radix branch.

        Args:
            photo: see ``Photo``.
            target: a class (index or name), or ``"top1"``.
            references: photos to average the gates over, for comparison.
            name: what to call the photo in the result.

        Raises:
            UnsupportedModelError: the model has no split attention.
            ImageError, UnknownClassError, DeviceError.
        """
        chosen = self._one_target(target)
        image, named = open_photo(photo, name)
        net_input, prepared_s = timed(lambda: self.preprocess(image))
        raw, run_s = self.guarded(
            lambda: attention.gated_maps(self.model, self.to_device(net_input.x), chosen)
        )
        means = attention.mean_gates([self._gates(reference) for reference in references])
        probabilities = softmax(raw.logits.astype(np.float64))
        seconds = prepared_s + run_s
        blocks = tuple(
            BlockAttention(
                block=b.block,
                radix=b.radix,
                cardinality=b.cardinality,
                gates=b.gates,
                entropy_bits=attention.entropy_bits(b.gates),
                reference=means.get(b.block),
                maps=b.maps,
                target=raw.target,
                geometry=net_input.geometry,
            )
            for b in raw.blocks
        )
        return AttentionReport(
            prediction=self.prediction_of(net_input, raw.logits, 5, named, seconds),
            target=self.score_of(raw.target, probabilities),
            blocks=blocks,
            references=len(references),
            seconds=seconds,
        )

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

        Args:
            photo: one photo, or several to average over; the first is the one shown.
            point: ``(x, y)``, shares 0..1 of the upright photo's width and height; the unit under
                it is measured.
            layer: a stage, or a block such as ``"layer2.1"``.
            split: 0-based split of a block, timm's order; None for the layer's output.
            trained: False for the same architecture with random weights.

        Raises:
            PointError: the network did not see that point.
            UnknownLayerError, OptionError, ImageError, DeviceError.
        """
        photos = list(photo) if isinstance(photo, (list, tuple)) else [photo]
        if not photos:
            raise OptionError("No photo was given; give at least one.")
        tap = effective.find_tap(self.model, self.layer(layer), split)
        inputs = [self.preprocess(open_photo(p, "")[0]) for p in photos]
        geometry = inputs[0].geometry
        x_px, y_px = geometry.to_view(point[0] * geometry.photo[0], point[1] * geometry.photo[1])
        width, height = geometry.view
        if not (0 <= x_px < width and 0 <= y_px < height):
            raise PointError(
                "The network did not see that point: it lies outside the framed part of the "
                "photo. Choose a point inside the frame."
            )
        model = self.model
        if not trained:
            model, _ = self.guarded(lambda: untrained.with_random_weights(self.model))
        field = self._field_or_none()
        theory = effective.theory_of(field, tap)
        measured, seconds = self.guarded(
            lambda: effective.unit_gradient(
                model.to(self.device),
                [self.to_device(i.x) for i in inputs],
                tap,
                (x_px, y_px),
                theory,
            )
        )
        return effective.as_field(
            measured,
            field=field,
            tap=tap,
            model=self.name,
            inputs=len(inputs),
            trained=trained,
            view=inputs[0].view,
            geometry=geometry,
            seconds=seconds,
        )

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

        Args:
            photo: see ``Photo``.
            target: a class (index or name), or ``"top1"``: the best class of the whole photo.
            box: the part to show, shares 0..1 of the upright photo; all of it where None.
            factors: longer side of the object over the side of the network's input.
            canvas: what surrounds it: a name of ``mscnn.scales.sweep.CANVASES``.
            on_progress: called with (sizes done, in total).
            is_cancelled: polled between batches; what was done until then is returned.

        Raises:
            BoxError: the box is empty or tiny.
            OptionError, ImageError, UnknownClassError, DeviceError.
        """
        plan = sweep.Plan(factors=tuple(factors), canvas=canvas, box=box)
        image, _ = open_photo(photo, "")
        chosen = self._one_target(target)
        if chosen.indices == ("top1",):
            chosen = Targets([self.predict(image, top_k=1).top[0].index])
        index = int(chosen.indices[0])
        measure = partial(
            sweep.measure,
            self.model,
            target=index,
            place=self.to_device,
            stages=self.stages,
            linear=self.linear,
            field=self._field_or_none(),
        )
        steps, seconds = [], 0.0
        for batch in plan.batches(image, self.preprocess):
            if is_cancelled is not None and is_cancelled():
                break
            done, took = self.guarded(partial(measure, batch))
            steps.extend(done)
            seconds += took
            if on_progress is not None:
                on_progress(len(steps), len(plan.factors))
        octaves, mean = sweep.score(steps) if len(steps) == len(plan.factors) else (None, None)
        return SweepCurve(
            model=self.name,
            target=index,
            label=self.labels.display(index),
            steps=tuple(steps),
            octaves=octaves,
            mean_probability=mean,
            seconds=seconds,
        )

    def _trace(self) -> ReceptiveField | UnsupportedModelError:
        px = int(self.loaded.data_config["input_size"][-1])
        try:
            # Under the lock no request's hooks are on the model; the tracer copies no weight.
            graph, _ = self.guarded(lambda: topology.trace(self.model, self.stages))
        except UnsupportedModelError as error:
            return error.with_traceback(None)
        return receptive_field.fields(graph, model=self.name, input_px=px)

    def _one_target(self, target: str | int) -> Targets:
        chosen = self.targets([target])
        if len(chosen.indices) != 1:
            raise OptionError("One class is explained at a time; give a name, an index or top1.")
        return chosen

    def _gates(self, photo: Photo) -> dict[str, np.ndarray]:
        x: NetworkInput = self.preprocess(open_photo(photo, "")[0])
        found, _ = self.guarded(lambda: attention.gates(self.model, self.to_device(x.x)))
        return found

    def _field_or_none(self) -> ReceptiveField | None:
        """The theoretical fields where they are known; the lens works without them too."""
        try:
            return self.receptive_field()
        except UnsupportedModelError:
            return None
