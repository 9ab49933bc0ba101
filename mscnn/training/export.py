"""A model folder in timm's own format: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from timm.models import save_for_hf
from torch import nn


def export_folder(model: nn.Module, folder: Path, labels: Sequence[str]) -> None:
    """Write a model folder; ``timm.create_model("local-dir:<folder>", pretrained=True)`` loads it.

    Args:
        model: a timm model, on any device.
        folder: created if it does not exist.
        labels: class names in index order, stored as ``label_names``.
    """
    # safetensors refuses the channels_last layout that training uses.
    plain = copy.deepcopy(model).cpu()
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    save_for_hf(
        plain,
        str(folder),
        model_config={"num_classes": len(labels), "label_names": list(labels)},
        safe_serialization=True,
    )
