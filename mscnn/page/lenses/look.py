"""Look: what the network thinks the photo shows, and where the evidence for it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mscnn.draw.files import DrawingOptions, explanation_files
from mscnn.draw.overlay import COLOUR_MAPS
from mscnn.engine.network import Network
from mscnn.errors import MethodError
from mscnn.maps.methods import METHODS
from mscnn.models.reliability import UNMEASURED, reliability_of
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.messages import Message, facts, map_message, render, stage_name
from mscnn.page.photos import Photo
from mscnn.page.request import Request
from mscnn.results.explanation import CamMap, Explanation, Score

SURE_CLASS_SPECIFIC = "Bright parts of the photo spoke for {label}."
NOTHING_SPEAKS = "Nothing in the photo speaks for {label}: all of its evidence is negative."
ANY_CLASS = "Bright parts of the photo stand out in the maps of this stage, whatever the class."
STANDS_IN = " This is {title}: {asked} at every stage would take too long."


def answer(request: Request, context: Context) -> Iterator[Message]:
    """Five classes with their maps of the last stage first, then all their stages."""
    photo, network = context.photo(request), context.network(request)
    found = _Found(photo, network, request.method, context)
    context.layer(request, network)
    index = context.target(request, network)
    found.consent(request, index)
    # Of a slow method each class costs as much: the best one's map comes along where it is there.
    best = index is None or not METHODS[request.method].is_slow or found.knows(None)
    first = found.last_stage(None if best else index)
    asked = found.last_stage(index) if index is not None and best else first
    shown = asked.targets[0]
    explanations = [first] if asked is first else [first, asked]
    yield found.message(explanations, shown, more=True)
    # One class at a time: other visitors' requests get the network in between.
    classes = [shown, *(s for s in first.targets if s.index != shown.index)]
    for score in classes if METHODS[found.stages_method].one_pass else classes[:1]:
        if context.is_cancelled():
            return
        try:
            explanations.append(found.stages(score.index))
        except MethodError as error:  # of a map too large for the method: the last stage stands
            context.notices.append(str(error))
            break
        if score is shown and len(classes) > 1:
            yield found.message(explanations, shown, more=True)
    yield found.message(explanations, shown, more=False)


class _Found:
    """The maps of one photo, model and method, computed where they are not there yet."""

    def __init__(self, photo: Photo, network: Network, method: str, context: Context) -> None:
        self.photo, self.network, self.method, self.context = photo, network, method, context
        self.key = (*photo.key, model_key(network))
        # A forward per channel for each stage would take minutes: Grad-CAM stands in.
        self.stages_method = "gradcam" if METHODS[method].is_slow else method
        # Prepared once for all the classes: a large photo takes longer than a small network.
        self.input = context.cached(("input", *self.key), lambda: network.preprocess(photo.image))

    def consent(self, request: Request, target: int | None) -> None:
        """Ask before a method that takes minutes, unless the map of the class is there."""
        method = METHODS[self.method]
        if not method.is_slow or self.context.is_agreed(request) or self.knows(target):
            return
        seconds = self.network._estimate(self.method, self.photo.image, "last")
        raise NeedsConsent(
            f"{method.title} measures every channel: about {seconds:.0f} s here.",
            f"Start {method.title}",
        )

    def last_stage(self, target: int | None) -> Explanation:
        """The five best classes (one, where each costs), or another one, at the last stage."""
        return self._explained(self._at_last(target), None, self.method)

    def knows(self, target: int | None) -> bool:
        """Whether ``last_stage`` is there already."""
        return self._key_of(self._at_last(target), None, self.method) in self.context.results

    def _at_last(self, target: int | None) -> list[str | int]:
        best = "top5" if METHODS[self.method].one_pass else "top1"
        return [best] if target is None else [target]

    def _key_of(
        self, targets: list[str | int], layers: list[str] | None, method: str
    ) -> tuple[Any, ...]:
        return "explain", *self.key, tuple(targets), tuple(layers or ()), method

    def stages(self, target: int) -> Explanation:
        """One class at the other stages, by another method where the one asked for is slow."""
        names = list(self.network.stages)
        names.remove(self.network.last_stage)
        return self._explained([target], names, self.stages_method)

    def _explained(
        self, targets: list[str | int], layers: list[str] | None, method: str
    ) -> Explanation:
        context = self.context
        context.methods[method] = None
        tell = partial(context.progress, what=f"{METHODS[method].title}: channels measured")
        return context.cached(
            self._key_of(targets, layers, method),
            lambda: self.network.explain(
                self.input, targets=targets[0] if len(targets) == 1 else targets,
                layers=layers, method=method, name=self.photo.name, on_progress=tell,
                is_cancelled=context.is_cancelled,
            ),
        )  # fmt: skip

    def message(self, explanations: list[Explanation], shown: Score, *, more: bool) -> Message:
        """Everything that is known so far, as an answer."""
        prediction, network = explanations[0].prediction, self.network
        labels = {s.index: s.label for e in explanations for s in (*e.targets, *prediction.top)}
        cams = {(cam.layer, cam.target, cam.method): cam for e in explanations for cam in e.maps}
        maps = [self._map(cam, labels[cam.target]) for cam in cams.values()]
        sizes = {cam.layer: "{1} x {0}".format(*cam.raw.shape) for cam in cams.values()}
        stages = [
            (str(n), layer == network.last_stage, sizes.get(layer))
            for n, layer in enumerate(network.stages, 1)
        ]
        spec = network.spec  # the note speaks of the starters
        html = render(
            "look.html", scores=prediction.top, stages=stages, facts=facts(network),
            method=METHODS[self.method],
            note=self.photo.note if spec is not None and spec.group == "starter" else "",
            probabilities=[(s.label, f"{100 * s.probability:.3f} %") for s in prediction.top],
            sizes=[(f"Stage {number}", size) for number, _, size in stages if size],
            seen=_seen(explanations[0]), notices=explanations[0].notices,
            sure=self._sure(prediction.top[0].probability),
        )  # fmt: skip
        view = {"maps": maps, "frame": maps[0]["rect"]}
        return {
            "html": html, "label": shown.label, "top": prediction.top[0].label, "view": view,
            "more": more,
        }  # fmt: skip

    def _sure(self, probability: float) -> Message:
        """How often answers as sure as this one were right, where that was measured."""
        place, weights = self.context.adopt["model"], self.network.weights
        if weights.kind == "folder":
            place = Path(self.context.engine.session.place(place))
        known = reliability_of(place, weights)
        if known is None:
            return {"doubt": False, "sentence": UNMEASURED}
        return {"doubt": known.is_unsure(probability), "sentence": known.sentence(probability)}

    def _map(self, cam: CamMap, label: str) -> Message:
        number = str(self.network.stages.index(cam.layer) + 1)
        sentence = SURE_CLASS_SPECIFIC if float(cam.raw.max()) > 0 else NOTHING_SPEAKS
        if not METHODS[cam.method].class_specific:
            sentence = ANY_CLASS
        title = stage_name(number)
        if cam.method != self.method:
            method, asked = METHODS[cam.method].title, METHODS[self.method].title
            title += f", {method}"
            sentence += STANDS_IN.format(title=method, asked=asked)
        return map_message(
            cam, label=label, stage=number, last=cam.layer == self.network.last_stage,
            title=title, caption=sentence.format(label=label),
        )  # fmt: skip


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """The map that is shown: picture, raw numbers and manifest, as a ZIP."""
    photo, network = context.photo(request), context.network(request)
    found = _Found(photo, network, request.method, context)
    index = context.target(request, network)
    found.consent(request, index)
    explanation = found.last_stage(index)
    target, layer = explanation.targets[0], context.layer(request, network)
    if layer != network.last_stage:
        explanation = found.stages(target.index)
    cam, label, look = explanation.map(layer, target.index), target.label, drawing(request)
    packed = context.recorded(
        explanation_files(explanation, cam, photo.image, drawing=look), request, [network],
        "explain", model=network.name, layer=layer, target=label, method=cam.method, **asdict(look),
    )  # fmt: skip
    return f"mscnn-{network.name}-{label}-{layer}", packed


def drawing(request: Request) -> DrawingOptions:
    """The viewer's opacity and colours, for a file."""
    opacity, colours = request.options.get("opacity"), request.options.get("colours")
    return DrawingOptions(
        opacity=min(max(opacity, 0.0), 1.0) if isinstance(opacity, float) else 0.65,
        colour_map=colours if isinstance(colours, str) and colours in COLOUR_MAPS else "inferno",
    )


def _seen(explanation: Explanation) -> float:
    """Which fraction of the photo lay inside what the network saw."""
    photo = explanation.prediction.photo
    left, top, right, bottom = photo.crop
    width = min(right, photo.width) - max(left, 0)
    height = min(bottom, photo.height) - max(top, 0)
    return width * height / (photo.width * photo.height)


LENS = Lens(
    "look", "Look", "What does the network think this is, and where did it look?", answer,
    needs=("photo", "model", "method", "target", "layer"), covers=("target", "layer"), files=files,
)  # fmt: skip
