"""Measure the starters on a small fixed set of pictures: ``python -m scripts.accuracy``.

64 pictures, cut from four photographs that lie in installed packages: each whole and cropped to
three sizes around its subject, each mirrored too, each also darker. They are far too few, and too
much alike, to say how good a network is, for which the manifest has the 10,000 official
validation images. They are enough to notice, on any machine, that weights, preprocessing or
class names are no longer those that were measured.

``MANIFEST.json`` keeps how many were right, as ``accuracy.fixed_set``; ``--write`` measures anew.
Exit code 1 where a starter is off by more than ``SLACK`` pictures.

``--data DIR`` takes a Tiny-ImageNet-200 folder instead and measures the 10,000 official validation
images, in half a minute for each starter: they must give the manifest's ``accuracy``, and
``--write`` stores how often each probability was right as ``reliability``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageEnhance, ImageOps

from mscnn.data.evaluation import evaluate
from mscnn.data.loading import Loading
from mscnn.engine.session import Session
from mscnn.models import manifest
from mscnn.models.labels import wordnet_lemmas
from mscnn.photos.imaging import load_photo
from scripts.bundle import add_to_manifest

Counts = dict[str, int]
CLOSE = 0.003
"""Share of right answers by which float16 may differ from the weights as they were trained."""
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
SET = "Tiny-ImageNet-200, the official 10,000 validation images"


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


def official(model: str, root: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Predict Tiny-ImageNet's validation images; return top-1 and top-5, and the reliability.

    The labels are read from ``val/val_annotations.txt``: ``file<TAB>wnid<TAB>box...``.
    """
    network = Session("cpu", offline=True).network(model)
    lines = (root / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t")[:2] for line in lines if line.strip()]
    index = {wnid: network.labels.names.index(wordnet_lemmas([wnid])[0]) for _, wnid in rows}
    answers, top5 = [], 0
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        views = [
            network.preprocess(load_photo(root / "val" / "images" / file)).x for file, _ in some
        ]
        with torch.inference_mode():
            found = network.model(torch.cat(views)).double().softmax(1).topk(5)
        for (_, wnid), best, classes in zip(
            some, found.values, found.indices.tolist(), strict=True
        ):
            answers.append((float(best[0]), classes[0] == index[wnid]))
            top5 += index[wnid] in classes
    top1 = sum(right for _, right in answers)
    accuracy = {"top1": top1 / len(rows), "top5": top5 / len(rows), "images": len(rows)}
    return accuracy, reliability(answers)


def reliability(answers: Sequence[tuple[float, bool]], bins: int = 10) -> dict[str, Any]:
    """Return the document that ``mscnn.models.reliability`` reads.

    Args:
        answers: per image the top-1 probability, and whether that class was right.
        bins: of equal width; each holds its upper edge.
    """
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for answer in answers:
        groups[max(math.ceil(answer[0] * bins) - 1, 0)].append(answer)
    rows = [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "images": len(group),
            "right": sum(right for _, right in group),
            "mean_probability": round(sum(p for p, _ in group) / len(group), 6) if group else None,
        }
        for number, group in enumerate(groups)
    ]
    return {"set": SET, "images": len(answers), "bins": rows}


def _write(model: str, found: Mapping[str, Any], accuracy: Mapping[str, Any] | None = None) -> None:
    """Change fields of a starter's entry, and fields of its ``accuracy``."""
    path = manifest.weights_folder() / manifest.NAME
    entries = json.loads(path.read_text(encoding="utf-8"))["weights"]
    entry = next(entry for entry in entries if entry["model"] == model)
    entry |= {**found, "accuracy": {**(entry["accuracy"] or {}), **(accuracy or {})}}
    add_to_manifest(entry, manifest.load_manifest()[model].labels)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.accuracy")
    parser.add_argument("--data", type=Path, help="a Tiny-ImageNet-200 folder to measure on")
    parser.add_argument("--write", action="store_true", help="store what is found in the manifest")
    parser.add_argument("--models", default="", help="starters, with commas; all by default")
    options = parser.parse_args(argv)
    entries = manifest.load_manifest()
    models = options.models.split(",") if options.models else list(entries)
    if unknown := sorted({*models} - {*entries}):
        parser.error(f"--models: {', '.join(unknown)} is not bundled")
    if options.data is not None:
        return _official(options.data, models, options.write)
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_folder(Path(scratch) / "pictures")
        for model in models:
            found = measured(model, folder)
            sys.stdout.write(f"{model}: {json.dumps(found)}, recorded {recorded(model)}\n")
            if options.write:
                _write(model, {}, {"fixed_set": found})
            else:
                wrong += not agrees(found, recorded(model))
    return int(wrong > 0)


def _official(root: Path, models: Sequence[str], write: bool) -> int:
    wrong = 0  # other weights, or other images
    for model in models:
        entry = manifest.load_manifest()[model]
        found, measured_bins = official(model, root)
        known = {key: (entry.accuracy or {}).get(key) for key in found}
        sys.stdout.write(f"{model}: {json.dumps(found)}, recorded {json.dumps(known)}\n")
        if write and abs(found["top1"] - (known["top1"] or 0)) < CLOSE:
            of_the_file = {**found, "weights": "the float16 file, computed in float32"}
            _write(model, {"reliability": measured_bins}, of_the_file)
        else:
            wrong += found != known or _counts(entry.reliability) != _counts(measured_bins)
    return int(wrong > 0)


def _counts(document: Mapping[str, Any] | None) -> list[tuple[int, int]]:
    return [(row["images"], row["right"]) for row in (document or {"bins": []})["bins"]]


if __name__ == "__main__":
    sys.exit(main())
