"""A model folder in timm's own format: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import nn

from mscnn.training.checkpoint import cannot_save


def export_folder(model: nn.Module, folder: Path, labels: Sequence[str]) -> None:
    """Write a model folder; ``timm.create_model("local-dir:<folder>", pretrained=True)`` loads it.

    Both files are complete before the first takes its place.

    Args:
        model: a timm model, on any device.
        folder: created if it does not exist.
        labels: class names in index order, stored as ``label_names``.

    Raises:
        TrainingError: the folder cannot be written.
    """
    # safetensors refuses the channels_last layout that training uses.
    plain = copy.deepcopy(model).cpu().requires_grad_(True)
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".model-") as made:
            save_for_hf(
                plain,
                made,
                model_config={"num_classes": len(labels), "label_names": list(labels)},
                safe_serialization=True,
            )
            for name in ("model.safetensors", "config.json"):
                (Path(made) / name).replace(folder / name)
    except (OSError, SafetensorError) as error:
        raise cannot_save("the model", error) from error
