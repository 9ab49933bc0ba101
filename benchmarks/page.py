"""What the page adds to a photo: ``python -m benchmarks.page``.

From an upload that lies on the disk to the message with the first map, the parts that no network
takes: reading the request, decoding, the served copy, the model, five maps, the panel's HTML. The
unit is decoding and one forward of the same model in the same process. Each turn has a photo of
its own, so nothing is remembered. ``whole`` goes on to the last message, with the maps of all
stages.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from gradio.utils import get_upload_folder
from PIL import Image

from benchmarks.timing import Candidate, Units, command
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.page.answering import Answering
from mscnn.page.jobs import Job
from mscnn.page.photos import PhotoStore
from mscnn.photos.imaging import load_photo
from scripts.running import lion

SIZES = {"12 Mpx": (4000, 3000), "256 px": (256, 192)}
LIMITS = {f"first map, {size}": 2.5 for size in SIZES}
UNITS: Units = {
    f"{row}, {size}": (f"{row}, {size}", f"bare, {size}")
    for size in SIZES
    for row in ("first map", "whole")
}


def uploads(size: tuple[int, int]) -> Iterator[str]:
    """Yield paths of one photo in gradio's upload folder, each file with other bytes."""
    folder = Path(tempfile.mkdtemp(dir=Path(get_upload_folder())))
    with Image.open(lion()) as photo:
        photo.resize(size).save(folder / "photo.jpg", quality=90)
    content = (folder / "photo.jpg").read_bytes()
    for number in itertools.count():
        path = folder / f"{number}.jpg"
        path.write_bytes(content + number.to_bytes(4, "big"))  # behind the end of the picture
        yield str(path)


def candidates(model: str, repeats: int) -> dict[str, Candidate]:
    """The page, and decoding and a forward; see ``benchmarks.timing.command``."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    engine = Engine(Session("cpu", offline=True))
    network = engine.session.network(model)
    answering = Answering(engine, PhotoStore(), lambda: model)

    def bare(path: str) -> object:
        with torch.inference_mode():
            return network.model(network.preprocess(load_photo(path)).x)

    def asked(path: str, *, whole: bool) -> object:
        request = {"serial": 1, "lens": "look", "photo": path, "model": model, "changed": "photo"}
        for message in answering._answers(request, Job(), lambda _: None):
            if message.get("view", {}).get("maps") and not whole:
                return message
        return message

    running: dict[str, Candidate] = {}
    for name, size in SIZES.items():
        photos = [path for path, _ in zip(uploads(size), range(3 * (repeats + 1)), strict=False)]
        left = iter(photos)
        running[f"bare, {name}"] = lambda left=left: bare(next(left))  # type: ignore[misc]
        for row, whole in (("first map", False), ("whole", True)):
            running[f"{row}, {name}"] = lambda left=left, whole=whole: asked(  # type: ignore[misc]
                next(left), whole=whole
            )
    return running


if __name__ == "__main__":
    model = "starter_res2net"
    command("benchmarks.page", candidates, models=model, repeats=15, limits=LIMITS, units=UNITS)
