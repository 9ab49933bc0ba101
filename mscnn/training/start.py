"""From the options of a command to a finished run."""

from __future__ import annotations

from pathlib import Path

import torch

from mscnn.errors import OutputError, TrainingError
from mscnn.training import checkpoint
from mscnn.training.dataset import find_images
from mscnn.training.evaluate import Accuracy
from mscnn.training.loop import Listener, Trainer
from mscnn.training.recipe import Recipe


def start_training(
    data: Path,
    architecture: str,
    out: Path,
    recipe: Recipe,
    device: str,
    resume: bool,
    listener: Listener | None = None,
) -> Accuracy:
    """Train ``architecture`` on the images under ``data`` and leave the result in ``out``.

    Raises:
        TrainingError: ``out`` already holds a run and ``resume`` is False.
        OutputError: ``out`` cannot be made.
        DatasetError, UnknownModelError, DeviceError: the input cannot be used.
    """
    if (out / checkpoint.NAME).is_file() and not resume:
        raise TrainingError(
            f"{str(out)!r} already holds a run; add --resume to go on, or give another --out."
        )
    images = find_images(data)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {str(out)!r} cannot be made; give another --out.") from error
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    trainer = Trainer(architecture, images, out, recipe, torch.device(name))
    if resume:
        trainer.resume()
    return trainer.run(listener)
