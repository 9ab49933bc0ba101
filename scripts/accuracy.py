"""Measure the starters on a small fixed set of pictures: ``python -m scripts.accuracy``.

64 pictures, cut from four photographs that lie in installed packages: each whole and cropped to
three sizes around its subject, each mirrored too, each also darker. They are far too few, and too
much alike, to say how good a network is, for which the manifest has the 10,000 official
validation images. They are enough to notice, on any machine, that weights, preprocessing or
class names are no longer those that were measured.

``MANIFEST.json`` keeps how many were right, as ``accuracy.fixed_set``; ``--write`` measures anew.
Exit code 1 where a starter is off by more than ``SLACK`` pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from mscnn.data.evaluation import evaluate
from mscnn.data.loading import Loading
from mscnn.engine.session import Session
from mscnn.models import manifest
from mscnn.photos.imaging import load_photo
from scripts.bundle import add_to_manifest

Counts = dict[str, int]
SLACK = 1
"""Pictures that may fall on the other side on a processor that adds in another order."""

# Class, package, file, and the middle of the subject as shares of width and height.
PHOTOS = (
    ("lion", "gradio", "media_assets/images/lion.jpg", (0.42, 0.5)),
    ("tabby", "skimage", "data/chelsea.png", (0.5, 0.45)),
    ("espresso", "skimage", "data/coffee.png", (0.46, 0.5)),
    ("military uniform", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (0.5, 0.6)),
)
SHARES = (1.0, 0.85, 0.7, 0.55)
"""Of the photo's shorter side; 1 is the whole photo."""
LIGHT = (1.0, 0.6)


def make_folder(root: Path) -> Path:
    """Write the pictures as ``root/<class>/<number>.png``, without loss; return ``root``."""
    for name, package, file, middle in PHOTOS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"The package {package} is not installed; see requirements.txt.")
        photo = load_photo(Path(spec.origin).parent / file)
        folder = root / name
        folder.mkdir(parents=True)
        for number, picture in enumerate(_variants(photo, middle)):
            picture.save(folder / f"{number:02}.png")
    return root


def _variants(photo: Image.Image, middle: tuple[float, float]) -> list[Image.Image]:
    cuts = [photo, *(_crop(photo, middle, share) for share in SHARES[1:])]
    both = [turned for cut in cuts for turned in (cut, ImageOps.mirror(cut))]
    return [ImageEnhance.Brightness(cut).enhance(light) for cut in both for light in LIGHT]


def _crop(photo: Image.Image, middle: tuple[float, float], share: float) -> Image.Image:
    """A square around ``middle``, moved to lie on the photo."""
    side = round(share * min(photo.size))
    left, top = (
        min(max(round(at * length - side / 2), 0), length - side)
        for at, length in zip(middle, photo.size, strict=True)
    )
    return photo.crop((left, top, left + side, top + side))


def measured(model: str, folder: Path) -> Counts:
    """Evaluate a bundled model on the CPU; return ``images``, ``top1`` and ``top5`` as counts."""
    network = Session("cpu", offline=True).network(model)
    found = evaluate(network, folder, loading=Loading(batch_size=16, workers=0))
    return {
        "images": found.images,
        "top1": round(found.top1 * found.images),
        "top5": round(found.top5 * found.images),
    }


def recorded(model: str) -> Counts | None:
    """Return what the manifest says of the model, None where it was never measured."""
    accuracy = manifest.load_manifest()[model].accuracy or {}
    counts: Counts | None = accuracy.get("fixed_set")
    return counts


def agrees(found: Counts, known: Counts | None) -> bool:
    """Whether the counts are those of the manifest, up to ``SLACK``."""
    return known is not None and all(
        abs(found[key] - known[key]) <= (0 if key == "images" else SLACK) for key in found
    )


def _write(model: str, found: Counts) -> None:
    path = manifest.weights_folder() / manifest.NAME
    entries = json.loads(path.read_text(encoding="utf-8"))["weights"]
    entry = next(entry for entry in entries if entry["model"] == model)
    entry["accuracy"] = {**(entry["accuracy"] or {}), "fixed_set": found}
    add_to_manifest(entry, manifest.load_manifest()[model].labels)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.accuracy")
    parser.add_argument("--write", action="store_true", help="store the counts in the manifest")
    write = parser.parse_args(argv).write
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_folder(Path(scratch) / "pictures")
        for model in manifest.load_manifest():
            found = measured(model, folder)
            sys.stdout.write(f"{model}: {json.dumps(found)}, recorded {recorded(model)}\n")
            if write:
                _write(model, found)
            else:
                wrong += not agrees(found, recorded(model))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
