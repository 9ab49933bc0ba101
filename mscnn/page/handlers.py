"""What the page computes, free of gradio: requests in, arrays and texts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from mscnn.draw.overlay import overlay, with_legend
from mscnn.engine.network import Network
from mscnn.engine.pipeline import Engine
from mscnn.errors import MscnnError
from mscnn.http.uploads import need_photo as need_photo
from mscnn.maps.agreement import density
from mscnn.maps.methods import METHODS
from mscnn.models import registry
from mscnn.models.architecture import typed_bytes
from mscnn.models.sources import locate
from mscnn.results.explanation import CamMap, Explanation, RgbArray

DRAWN_PX = 900
"""Longer side of the picture on the page, at most; ``LEAST_PX`` at least."""
LEAST_PX, STAGE_PX = 640, 420
UNIT = "evidence, 1 = an even spread"
NO_PHOTO = "There is no photo yet; upload one, or choose an example."
IsCancelled = Callable[[], bool]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What one visitor sees on the Look tab.

    Attributes:
        model: the name it was asked by; an owner's folder answers to its own, which is shorter.
        photo: ``(h, w, 3)`` uint8, with a longer side of ``LEAST_PX`` to ``DRAWN_PX``.
        explanation: prediction and maps; grows as more classes are asked for.
        target, layer: which map is shown.
    """

    model: str
    photo: RgbArray
    explanation: Explanation
    target: int
    layer: str

    @property
    def cam(self) -> CamMap:
        """The map that is shown."""
        return self.explanation.map(self.layer, self.target)

    @property
    def label(self) -> str:
        """Name of the class that is shown."""
        return next(s.label for s in self.explanation.targets if s.index == self.target)


def look(
    engine: Engine,
    photo: Image.Image,
    model: str,
    method: str,
    *,
    on_progress: Progress | None = None,
    is_cancelled: IsCancelled | None = None,
) -> Look:
    """Classify and explain a photo: five classes at the price of one for Grad-CAM, else one."""
    explanation = engine.explain(
        photo,
        model,
        targets="top5" if method == "gradcam" else "top1",
        method=method,
        name="",
        on_progress=on_progress,
        is_cancelled=is_cancelled,
    )
    first = explanation.maps[0]
    size = first.geometry.drawn_size(DRAWN_PX, LEAST_PX)
    return Look(model, resized(photo, size), explanation, first.target, first.layer)


def resized(photo: Image.Image, size: tuple[int, int]) -> RgbArray:
    """The photo at ``(width, height)``, as ``(h, w, 3)`` uint8."""
    return np.asarray(photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def fitted(photo: Image.Image, longer_px: int) -> RgbArray:
    """The photo with a longer side of exactly ``longer_px``, as ``(h, w, 3)`` uint8."""
    factor = longer_px / max(photo.size)
    width, height = (max(1, round(side * factor)) for side in photo.size)
    return resized(photo, (width, height))


def estimate_seconds(network: Network, photo: Image.Image, method: str) -> float:
    """Wall time of one last-stage map by ``method``, from one measured forward."""
    from mscnn.engine.pipeline import estimate_seconds

    return estimate_seconds(method, network, photo)


def at_layer(shown: Look, layer: str) -> Look:
    """The same class at another layer whose map is there."""
    return replace(shown, layer=layer)


def choose_class(
    engine: Engine,
    photo: Image.Image,
    shown: Look,
    wanted: str | int,
    *,
    on_progress: Progress | None = None,
    is_cancelled: IsCancelled | None = None,
) -> Look:
    """Show another class, computing its map only where it is not there yet."""
    network = engine.session.network(shown.model)
    target = network.labels.resolve(wanted)
    last = network.last_stage
    method = shown.cam.method
    if not _has(shown.explanation, last, target):
        more = network.explain(
            photo, targets=[target], method=method,
            name="", on_progress=on_progress, is_cancelled=is_cancelled,
        )  # fmt: skip
        shown = replace(shown, explanation=_merged(shown.explanation, more))
    return replace(shown, target=target, layer=last)


def with_stages(engine: Engine, photo: Image.Image, shown: Look) -> Look:
    """Add the maps of all stages for the class shown.

    Methods that cost a forward per channel would take minutes here; Grad-CAM stands in for them.
    """
    network = engine.session.network(shown.model)
    method = shown.cam.method
    if METHODS[method].cost == "per-channel":
        method = "gradcam"
    missing = [s for s in network.stages if not _has(shown.explanation, s, shown.target)]
    if not missing:
        return shown
    more = network.explain(photo, layers=missing, targets=[shown.target], method=method, name="")
    return replace(shown, explanation=_merged(shown.explanation, more))


def stage_maps(engine: Engine, shown: Look) -> list[CamMap]:
    """The maps of the class shown, first stage first."""
    network = engine.session.network(shown.model)
    return [
        shown.explanation.map(stage, shown.target)
        for stage in network.stages
        if _has(shown.explanation, stage, shown.target)
    ]


def _has(explanation: Explanation, layer: str, target: int) -> bool:
    return any(cam.layer == layer and cam.target == target for cam in explanation.maps)


def _merged(old: Explanation, new: Explanation) -> Explanation:
    known = {score.index for score in old.targets}
    targets = old.targets + tuple(s for s in new.targets if s.index not in known)
    return replace(old, targets=targets, maps=old.maps + new.maps)


def picture(
    photo: RgbArray, cam: CamMap, *, opacity: float, cmap: str, title: str = ""
) -> RgbArray:
    """Draw a map on the photo, with its colour scale below and a title above."""
    height, width = photo.shape[:2]
    heat = density(cam, max(width, height), max(width, height))
    top = max(float(heat.max()), 1.0)
    drawn = overlay(
        photo,
        heat,
        vmax=top,
        opacity=opacity,
        cmap=cmap,
        crop=cam.geometry.crop_on((width, height)),
    )
    return with_legend(drawn, vmax=top, unit=UNIT, cmap=cmap, title=title)


def stage_pictures(
    engine: Engine, shown: Look, *, opacity: float, cmap: str
) -> list[tuple[RgbArray, str]]:
    """One small picture per stage, with a caption in plain words."""
    pictures = []
    for number, cam in enumerate(stage_maps(engine, shown), 1):
        small = resized(Image.fromarray(shown.photo), cam.geometry.drawn_size(STAGE_PX, STAGE_PX))
        rows, columns = cam.raw.shape
        caption = f"Stage {number}: {columns} x {rows} places"
        if cam.method != shown.cam.method:
            caption += " (Grad-CAM)"
        drawn = picture(small, cam, opacity=opacity, cmap=cmap, title=caption)
        pictures.append((drawn, f"{caption}, map for {shown.label}"))
    return pictures


def alt_text(shown: Look) -> str:
    """What a screen reader says of the overlay."""
    heat = shown.cam.on_photo(shown.cam.geometry.drawn_size(100))
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    title = METHODS[shown.cam.method].title
    if not heat.max() > 0:
        return f"{title} map of {shown.cam.layer} for {shown.label}: no place speaks for it."
    vertical = ("top", "middle", "bottom")[min(2, 3 * int(row) // heat.shape[0])]
    side = ("left", "centre", "right")[min(2, 3 * int(column) // heat.shape[1])]
    return (
        f"{title} map of {shown.cam.layer} for {shown.label} on the photo; "
        f"the strongest evidence is at the {vertical} {side}."
    )


def caption(shown: Look) -> str:
    """One sentence on what the overlay shows (Markdown)."""
    title = METHODS[shown.cam.method].title
    if not METHODS[shown.cam.method].class_specific:
        return f"Bright places stand out in the network's last maps ({title}), whatever the class."
    if not float(shown.cam.raw.max()) > 0:
        return f"No place speaks for **{shown.label}** here: its whole map is negative ({title})."
    return f"Bright places spoke for **{shown.label}** ({title}, {shown.cam.layer})."


def status(shown: Look) -> str:
    """Model, device, time and weights of the result (Markdown)."""
    explanation, prediction = shown.explanation, shown.explanation.prediction
    spec = registry.find(prediction.model)
    parts = [
        f"**{spec.title if spec else prediction.model}**",
        f"{prediction.device.upper()}, {1000 * explanation.seconds:.0f} ms",
        f"weights `{prediction.weights.source}` (sha256 `{prediction.weights.sha256[:12]}…`)",
    ]
    left, top, right, bottom = prediction.photo.crop
    seen = (min(right, prediction.photo.width) - max(left, 0)) * (
        min(bottom, prediction.photo.height) - max(top, 0)
    )
    share = seen / (prediction.photo.width * prediction.photo.height)
    if share < 0.995:
        parts.append(f"it saw the framed {share:.0%} of the photo")
    return " · ".join(parts) + "".join(f"\n\n{notice}" for notice in explanation.notices)


def model_note(engine: Engine, name: str) -> str:
    """What a newcomer should know before choosing a model (Markdown)."""
    spec = registry.find(name)
    try:
        where = locate(engine.session.place(name))
        size = download_size(name) if where.kind == "download" else ""
    except MscnnError as error:
        return str(error)
    lines = []
    if spec is not None:
        facts = [f"{spec.params / 1e6:.1f} M parameters", f"{spec.gmacs:.2g} GMACs"]
        facts.append(f"{spec.input_px} px input, {spec.classes} classes")
        if spec.top1 is not None:
            facts.append(f"top-1 {spec.top1:.1%}")
        lines += [spec.summary, " · ".join(facts)]
        lines.append(f"Licence: {spec.licence}; {spec.licence_note}")
    if size:
        lines.append(f"**Not on this machine yet: {size} to download first.**")
    return "\n\n".join(line for line in lines if line)


def download_size(name: str) -> str:
    """How much must be downloaded, in words.

    Raises:
        UnknownModelError, UnsupportedModelError: for a typed name, before anything is downloaded.
    """
    size = locate(name).download_bytes
    return f"{(typed_bytes(name) if size is None else size) / 1e6:.0f} MB"


def must_download(engine: Engine, names: Sequence[str]) -> list[str]:
    """Those of the models whose weights are not on this machine.

    Raises:
        UnknownModelError, WeightsError: one of them is no model.
    """
    places = [(name, engine.session.place(name)) for name in names if name]
    return [name for name, place in places if locate(place).kind == "download"]


def scores(shown: Look) -> dict[str, float]:
    """The top five for the label component."""
    return {score.label: score.probability for score in shown.explanation.prediction.top}
