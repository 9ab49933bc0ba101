"""How far maps of one photo and class can be believed: runs ``mscnn.trust`` on a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from mscnn.errors import (
    Cancelled,
    MethodError,
    OptionError,
    UnknownLayerError,
    UnsupportedModelError,
)
from mscnn.geometry import Doubles, FloatMap, Floats, resize_map
from mscnn.maps.agreement import spearman
from mscnn.maps.methods import Call
from mscnn.maps.single_pass import Targets, grad_cam
from mscnn.models.fitting import classifiers
from mscnn.models.probabilities import check_finite, probabilities
from mscnn.photos.imaging import load_photo
from mscnn.results import trust as results
from mscnn.results.explanation import CamMap
from mscnn.results.trust import Candidate, Kind, MapTrust, Scores, Trust
from mscnn.scales.canvas import background, cut, paste, whole
from mscnn.trust import checks, scores, verdict
from mscnn.trust.controls import controls
from mscnn.trust.plan import BASELINES, CHANGES, STAGES, Plan, method_of

if TYPE_CHECKING:
    from mscnn.engine.network import Network, Photo

BATCH = 16
"""Pictures per forward, so that Stop answers soon and memory stays low."""
LITTLE = 0.01
"""Probability of the class below which a notice says that there is little to explain."""
STOPPED = "Stopped before the first map was done."


def pairs_of(network: Network, plan: Plan) -> list[tuple[str, str]]:
    """Return method and layer of each map that a plan asks for; ``UnknownLayerError``."""
    named = [network.stages if asked == STAGES else (asked,) for asked in plan.layers]
    layers = dict.fromkeys(network.layer(layer) for group in named for layer in group)
    return list(product(plan.methods, layers))


class Trusting:
    """One photo, class and plan, a batch at a time under the network's lock.

    Raises what ``Network.trust`` does, before anything that takes long.
    """

    def __init__(
        self, network: Network, photo: Photo, target: str | int, plan: Plan, name: str, call: Call
    ) -> None:
        self.network, self.plan, self.call = network, plan, call
        self.pairs = pairs_of(network, plan)
        chosen = [network._one_target(target), *(network.targets(one) for one in plan.against)]
        self.image = network.preprocess.as_seen(load_photo(photo))
        self.shown = network.preprocess(self.image)
        self.content = cut(self.image, plan.box or whole())
        self.view_size, self.box = self.shown.geometry.view, None
        if plan.box is not None and "localisation" in plan.parts:
            self.box = checks.rect_of(plan.box, self.shown.geometry)
        self.prediction = network.predict(self.shown, name=name)
        logits = torch.from_numpy(self.prediction.logits)
        self.chosen = [index for one in chosen for index in one.choose(logits)]
        self.index = self.chosen[0]
        if len(set(self.chosen)) < len(self.chosen):
            raise OptionError("A class was named twice; it can only be contrasted with others.")
        self.maps: list[MapTrust] = []
        self.refused: MethodError | UnknownLayerError | None = None
        self.notices: list[str] = []
        self.done, self.seconds = 0, self.prediction.seconds
        self.squares = scores.squares(*self.view_size[::-1])
        self.head = next(iter(classifiers(network.model)), "")
        self.work = self._work()

    def _work(self) -> tuple[int, int, int]:
        """Pictures through the network, maps, and pictures to fill in for ROAD."""
        plan, forwards, fillings, count = self.plan, 0, 0, len(self.pairs)
        if "scores" in plan.parts:
            candidates = count * (3 + plan.draws)
            fillings = candidates * 2 * len(plan.road)
            forwards = candidates * (len(plan.baselines) * 2 * (plan.steps - 1) + 1) + fillings
            forwards += 1 + len(BASELINES) + len(self.squares)
        parts = {
            "randomisation": len(self.network.stages) + 1 + bool(self.head),
            "stability": len(CHANGES),
            "localisation": len(plan.factors) * len(checks.POSITIONS),
        }
        return forwards, count * (1 + sum(parts.get(part, 0) for part in plan.parts)), fillings

    def estimate(self) -> float:
        """Wall time, s, that ``run`` will take: some of it is done and timed."""
        forwards, maps, fillings = self.work
        batch = self.shown.x.expand(4, -1, -1, -1)
        self._answers(batch)  # the first forward of a size is slower
        self.seconds = 0.0
        self._answers(batch)
        total = forwards * self.seconds / len(batch)
        for method in self.plan.methods:
            total += self._seconds_of(method) * maps / len(self.plan.methods)
        if fillings:
            _packaged()  # so that the clock does not count its import
            began, noise = time.perf_counter(), np.random.default_rng(0)
            no_answer = torch.zeros(1, len(self.prediction.logits))
            self._road(noise.random(self.view_size[::-1], np.float32), lambda _: no_answer)
            total += fillings * (time.perf_counter() - began) / (2 * len(self.plan.road))
        return total

    def _seconds_of(self, method: str) -> float:
        """Wall time, s, of a map at the first layer that has one; 0 where ``run`` notes why not."""
        for layer in dict.fromkeys(layer for _, layer in self.pairs):
            try:
                if method_of(method).is_slow:
                    return self.network._estimate(method, self.shown, layer)
                self._map(method, layer, self.shown.x)  # the first may import what it needs
                return self._map(method, layer, self.shown.x)[2]
            except (MethodError, UnknownLayerError):
                if len(self.pairs) == 1:
                    raise
        return 0.0

    def run(self) -> Trust:
        """Do what the plan says; see ``Network.trust``."""
        stopped = False
        try:
            if "scores" in self.plan.parts:
                self._prepare_scores()
            for method, layer in self.pairs:
                self._one(method, layer)
        except Cancelled:
            if not self.maps:
                raise Cancelled(STOPPED) from None
            stopped = True
        if self.refused is not None and all(made.cam is None for made in self.maps):
            raise self.refused
        ranks = verdict.ranks(self.maps)
        network, logits = self.network, self.prediction.logits
        target, *against = (network._score(index, logits) for index in self.chosen)
        if target.probability < LITTLE:
            self.notices.append(
                f"The network gives {target.label} only {target.probability:.2%}, so there is "
                "little for a map to explain."
            )
        return Trust(
            prediction=self.prediction, target=target, against=tuple(against), box=self.plan.box,
            steps=self.plan.steps, draws=self.plan.draws, seed=self.plan.seed,
            maps=tuple(self.maps), ranks=ranks, disagreement=verdict.disagreement(ranks),
            recommended=verdict.recommend(self.maps, ranks), view=self.shown.view,
            partial=stopped, seconds=self.seconds,
            notices=(*network.notices, *dict.fromkeys(self.notices)),
        )  # fmt: skip

    def _one(self, method: str, layer: str) -> None:
        try:
            raw, _, took = self._map(method, layer, self.shown.x)
        except (MethodError, UnknownLayerError) as error:
            self.refused, why = error, str(error)
            self.maps.append(MapTrust(method, layer, 0.0, None, verdict.undecided(why), note=why))
            return
        cam = CamMap(layer, self.index, method, raw, self.shown.geometry)
        self.maps.append(MapTrust(method, layer, took, cam, verdict.undecided()))
        for part, work in (
            ("scores", self._score), ("randomisation", self._randomise),
            ("stability", self._change), ("localisation", self._place),
        ):  # fmt: skip
            if part in self.plan.parts:
                work(method, layer, raw)

    def _found(self, **found: Any) -> None:
        """Keep what was found about the last map at once, so that Stop loses little."""
        self.maps[-1] = replace(self.maps[-1], **found)

    # --- asking the network ------------------------------------------------------------------

    def _tick(self, done: int) -> None:
        self.done += done
        self.call.progress(self.done, sum(self.work[:2]))

    def _answers(self, pictures: torch.Tensor) -> Doubles:
        """``(n, classes)`` logits of inputs ``(n, 3, H, W)`` on the CPU, a batch at a time."""
        rows = []
        for batch in pictures.split(BATCH):
            self.call.check(STOPPED)
            logits, took = self.network.guarded(partial(self._forward, batch))
            rows.append(logits)
            self.seconds += took
            self._tick(len(batch))
        return np.concatenate(rows)

    @torch.inference_mode()
    def _forward(self, batch: torch.Tensor) -> Doubles:
        logits = self.network.model(self.network.to_device(batch)).float()
        check_finite(logits)
        found: Doubles = logits.cpu().numpy().astype(np.float64)
        return found

    def _chances(self, logits: npt.NDArray[Any]) -> Doubles:
        """Probability of the class, ``(n,)``: among those in contrast, else among all."""
        logits = np.atleast_2d(logits)
        if len(self.chosen) > 1:
            return probabilities(logits[:, self.chosen])[:, 0]
        return probabilities(logits)[:, self.index]

    def _map(
        self, method: str, layer: str, x: torch.Tensor, other: nn.Module | None = None
    ) -> tuple[FloatMap, Floats, float]:
        """One signed map, the logits, and the seconds; of an ``other`` model, where given."""
        network, call = self.network, Call(None, self.call.is_cancelled)
        call.check(STOPPED)

        def work(model: nn.Module) -> tuple[FloatMap, Floats]:
            head = model.get_submodule(network.loaded.head or "") if network.linear else None
            how: dict[str, Any] = {"last": network.last_stage, "linear": head}
            placed = network.to_device(x)
            if method == "difference":
                made = grad_cam(model, placed, [layer], Targets(self.chosen), **how)
                # Grad-CAM is linear in the score, so this is the map of the difference.
                own, *rest = (made.maps[layer, index] for index in self.chosen)
                return own - np.mean(rest, axis=0, dtype=np.float32), made.logits
            one = Targets([self.index])
            if method == "finercam":
                how = {"method": "gradcam", "others": self.chosen[1:]}
                made = _packaged().packaged_maps(model, placed, [layer], one, **how)
            else:
                made = method_of(method).compute(model, placed, [layer], one, call=call, **how)
            return made.maps[layer, self.index], made.logits

        if other is not None:
            found, took = network._in_memory(lambda: work(other.to(network.device, network._dtype)))
        elif method_of(method).is_slow:
            found, took = network._apart(work)
        else:
            found, took = network.guarded(lambda: work(network.model))
        network._check_map(layer, found[0])
        self.seconds += took
        self._tick(1)
        return np.nan_to_num(found[0]), found[1], took

    # --- scores ------------------------------------------------------------------------------

    def _prepare_scores(self) -> None:
        """Ask what does not depend on the map: the ends of the curves, and the squares."""
        preprocess, photo = self.network.preprocess, Image.fromarray(self.shown.view)
        self.covers = {
            name: preprocess.tensor_of(
                background(photo, photo, name, self.view_size, preprocess.mean_colour)
            )
            for name in BASELINES
        }
        x, ends = self.shown.x, len(self.covers) + 1
        covered = torch.where(torch.from_numpy(self.squares)[:, None], self.covers["mean"], x)
        logits = self._answers(torch.cat([x, *self.covers.values(), covered]))
        self.ends = dict(zip(("photo", *self.covers), self._chances(logits[:ends]), strict=True))
        others = logits[:, self.chosen[1:]].mean(axis=1) if len(self.chosen) > 1 else 0
        wanted = logits[:, self.index] - others
        self.losses = wanted[0] - wanted[ends:]

    def _score(self, _method: str, _layer: str, raw: FloatMap) -> None:
        rng, found = np.random.default_rng(self.plan.seed), tuple[Candidate, ...]()
        unfinished = verdict.undecided("Stopped before all controls were scored.")
        for kind, draw, cam in (("map", None, raw), *controls(raw, self.plan.draws, rng)):
            found = (*found, self._candidate(kind, draw, cam))
            self._found(candidates=found, verdict=unfinished)
        self._found(verdict=verdict.verdict(found))

    def _candidate(self, kind: Kind, draw: int | None, raw: FloatMap) -> Candidate:
        plan, x, photo = self.plan, self.shown.x, self.ends["photo"]
        signed, positive = (resize_map(cam, *self.view_size) for cam in (raw, np.maximum(raw, 0)))
        ranks = scores.order(signed, np.random.default_rng(plan.seed))
        curves: dict[str, Doubles] = {}
        for name in plan.baselines:
            cover, covered = self.covers[name], self.ends[name]
            pictures = scores.in_part(x, cover, ranks, plan.steps)
            deleted, inserted = np.split(self._chances(self._answers(pictures)), 2)
            curves[f"deletion_{name}"] = np.array([photo, *deleted, covered])
            curves[f"insertion_{name}"] = np.array([covered, *inserted, photo])
        dimmed = float(self._chances(self._answers(scores.dimmed(x, positive)))[0])
        road = None
        if plan.road:
            strength = (1 - ranks / ranks.size).astype(np.float32)
            road = self._road(strength, lambda x: torch.from_numpy(self._answers(x)))
        found = Scores(
            **{name: scores.area_under(curve) for name, curve in curves.items()}, road=road,
            average_drop=scores.drop(float(photo), dimmed), increase=float(dimmed > photo),
            infidelity=scores.infidelity(signed, self.squares, self.losses),
            complexity=scores.complexity(positive),
        )  # fmt: skip
        return Candidate(kind, draw, found, raw, curves)

    def _road(self, strength: FloatMap, answer: Callable[[torch.Tensor], torch.Tensor]) -> float:
        def chance(logits: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(self._chances(logits.numpy()))[0]

        plan = self.plan
        given = self.shown.x, strength, plan.road, plan.seed
        return float(_packaged().road(answer, chance, *given))

    # --- checks ------------------------------------------------------------------------------

    def _randomise(self, method: str, layer: str, raw: FloatMap) -> None:
        network, steps = self.network, tuple[results.RandomStep, ...]()
        (model, _), last = network._apart(lambda copied: copied.cpu()), raw
        cascade = checks.cascade(model, network.stages, self.head, self.plan.seed)
        try:
            for part in cascade:
                last, _, _ = self._map(method, layer, self.shown.x, model)
                model.cpu()
                steps = (*steps, results.RandomStep(part, spearman(raw, last), last))
                self._found(randomisation=results.Randomisation(steps, None))
        except UnsupportedModelError as error:
            self.notices.append(str(error))
            return
        before, after = (resize_map(cam, *self.view_size) for cam in (raw, last))
        self._found(randomisation=results.Randomisation(steps, checks.emprt(before, after)))

    def _change(self, method: str, layer: str, raw: FloatMap) -> None:
        rng, steps = np.random.default_rng(self.plan.seed), tuple[results.StabilityStep, ...]()
        before = resize_map(raw, *self.view_size)
        for change in CHANGES:
            view = checks.changed(self.shown.view, change, rng)
            cam, logits, _ = self._map(method, layer, self.network.preprocess.tensor_of(view))
            back = checks.put_back(resize_map(cam, *self.view_size), change)
            both = ~np.isnan(back)
            correlation = spearman(before[both], back[both])
            chance = float(self._chances(logits)[0])
            steps = (*steps, results.StabilityStep(change, correlation, chance, back))
            self._found(stability=steps)

    def _place(self, method: str, layer: str, raw: FloatMap) -> None:
        plan, preprocess = self.plan, self.network.preprocess
        rng = np.random.default_rng(plan.seed)
        empty = background(
            self.image, self.content, plan.canvas, self.view_size, preprocess.mean_colour
        )
        empty = np.asarray(preprocess.as_seen(Image.fromarray(empty)))

        def everywhere(cam: FloatMap, rect: tuple[int, int, int, int]) -> Any:
            every = [("map", None, cam), *controls(cam, plan.draws, rng)]
            return checks.mean_located(
                [checks.located(kind, control, rect, self.view_size) for kind, _, control in every]
            )

        box = everywhere(raw, self.box) if self.box is not None else ()
        placed: tuple[results.Placement, ...] = ()
        for factor in plan.factors:
            for position, at in checks.POSITIONS.items():
                view, rect = paste(self.content, factor, empty, at)
                cam, logits, _ = self._map(method, layer, preprocess.tensor_of(view))
                chance = float(self._chances(logits)[0])
                located = everywhere(cam, rect)
                placed = (
                    *placed,
                    results.Placement(factor, position, rect, chance, located, cam, view),
                )
                mean = checks.mean_located([one for done in placed for one in done.located])
                self._found(localisation=results.Localisation(mean, box, placed))


def _packaged() -> Any:
    # Imported late: the package brings SciPy, scikit-learn and OpenCV with it.
    from mscnn.maps import packaged

    return packaged
