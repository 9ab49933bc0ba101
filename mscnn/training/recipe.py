"""The settings of one training run, validated once and stored beside its result."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mscnn.errors import OptionError

T = TypeVar("T")
AMP_CHOICES = ("none", "bf16", "fp16")
SCHEDULES = ("cosine", "wsd", "poly", "constant")
_WARMUP_EPOCHS = 0.5
# timm reads the first four as whole numbers, and takes an unknown set for its usual one.
_RANDAUGMENT = re.compile(
    r"rand(-((m|n|mmax|inc)\d+|(p|mstd)\d+(\.\d+)?|t(weights|3aw|3a)))*", re.ASCII
)
# Changing one of these would show a held-out photo to the network, show some photos twice in an
# epoch, or leave the optimiser's memory without its parameters.
FIXED = ("seed", "val_share", "batch_size", "opt", "freeze", "layer_decay", "ema")
CHANGES_NOTHING = ("workers", "threads")


def _option(default: T, text: str, low: float | None = None, high: float | str | None = None) -> T:
    """Declare a field with the help and range of its option; ``high`` may name another field."""
    found: T = field(default=default, metadata={"help": text, "low": low, "high": high})
    return found


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; two runs with equal recipes, data and model give the same weights.

    Each field is an option of ``mscnn train``; their order is that of ``training.json``.
    """

    epochs: int = _option(10, "How often all images are seen.", 1, 100_000)
    batch_size: int = _option(256, "Images per step, over all processes together.", 2, 65_536)
    lr: float = _option(0.02, "Largest learning rate of the run.", 1e-8, 100)
    # muon (Jordan et al. 2024, as timm implements it, with AdamW for biases and norms) needs far
    # fewer epochs than SGD on these small nets.
    opt: str = _option("muon", "Optimiser, by timm's name.")
    weight_decay: float = _option(
        0.01, "Pull of the weights towards zero; none for biases and norms.", 0, 10
    )
    schedule: str = _option(
        "wsd", "How the learning rate goes down: wsd (at the end), cosine, poly or constant."
    )
    decay: float = _option(0.35, "Last fraction of the run, in which wsd falls.", 0.001, 1)
    warmup_epochs: float = _option(
        _WARMUP_EPOCHS, "Epochs in which the learning rate rises.", 0, "epochs"
    )
    smoothing: float = _option(0.1, "Label smoothing, 0 to 0.9.", 0, 0.9)
    ema: float = _option(
        0.998, "Decay of the moving average of the weights; 0 for none.", 0, 0.99999
    )
    # Phases of (px, epochs); the last goes on to the end whatever its number. Small pictures first
    # cost a fraction and show small objects.
    sizes: tuple[tuple[int, int], ...] = _option(
        (), "Growing image sizes as px:epochs, such as 32:3,64:6."
    )
    zoom_in: float = _option(
        0.35, "Smallest fraction of a photo's area that random crops keep.", 0.01, 1
    )
    zoom_out: float = _option(
        2.5, "Largest factor by which photos are shrunk, on a plain canvas.", 1, 20
    )
    zoom_out_prob: float = _option(0.25, "How often photos are shrunk, not cropped, 0 to 1.", 0, 1)
    amp: str = _option("none", "Lower precision, for speed: none, bf16 or fp16 (CUDA).")
    seed: int = _option(0, "Seed of first weights, order and augmentation.", 0, 2**31 - 1)
    workers: int = _option(1, "Processes that read images.", 0, 256)
    threads: int = _option(0, "CPU threads; 0 for torch's choice.", 0, 1024)
    accumulate: int = _option(
        1, "Divide each step's images into this many parts, to save memory.", 1, "batch_size"
    )
    randaugment: str = _option("", "timm's RandAugment, such as rand-m9-n2-mstd0.5.")
    # Zhang et al. 2018, arXiv:1710.09412.
    mixup: float = _option(0.0, "Blend pairs of images (Mixup's alpha); 0 for never.", 0, 100)
    # Yun et al. 2019, arXiv:1905.04899. With both, each part of a batch takes either at random.
    cutmix: float = _option(0.0, "Paste parts of images (CutMix's alpha); 0 for never.", 0, 100)
    # timm's grouping; Bao et al. 2022, arXiv:2106.08254.
    layer_decay: float = _option(
        1.0, "Learning rate of each layer, as a fraction of that of the one above it.", 0.01, 1
    )
    freeze: bool = _option(False, "Keep everything but the classifier as it is.")
    patience: int = _option(
        0,
        "Stop after this many epochs without a better result, and keep the best one; 0 for never.",
        0,
        100_000,
    )
    val_share: float = _option(
        0.1,
        "Fraction of each class to hold out, where the data has no validation part.",
        0.001,
        0.9,
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            low, high = item.metadata["low"], item.metadata["high"]
            value, high = getattr(self, item.name), getattr(self, str(high), high)
            if low is not None and not low <= value <= high:
                raise OptionError(
                    f"{option_name(item.name)} is {value}; it must lie between {low} and {high}."
                )
        for name, choices in (("amp", AMP_CHOICES), ("schedule", SCHEDULES)):
            if (value := getattr(self, name)) not in choices:
                raise OptionError(f"--{name} is {value!r}; choose one of {', '.join(choices)}.")
        if self.batch_size % self.accumulate:
            raise OptionError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}; "
                "give numbers of which one divides the other."
            )
        if self.randaugment and not _RANDAUGMENT.fullmatch(self.randaugment):
            raise OptionError(
                f"--randaugment is {self.randaugment!r}; give a timm string such as "
                "rand-m9-n2-mstd0.5."
            )
        for px, epochs in self.sizes:
            if px < 16 or px > 1024 or epochs < 1:
                raise OptionError(
                    f"--sizes holds {px}:{epochs}; give pairs such as 32:3,64:6 with sizes from "
                    "16 to 1024 px and at least one epoch each."
                )

    def size_at(self, epoch: int, final_px: int) -> int:
        """Training size in px at a 0-based epoch; ``final_px`` where no phases are set."""
        for px, epochs in self.sizes:
            if epoch < epochs:
                return px
            epoch -= epochs
        return self.sizes[-1][0] if self.sizes else final_px

    def changes_from(self, before: Recipe) -> list[str]:
        """Say of each option that changes the result and is not as ``before`` what it is, was."""
        said = []
        for item in dataclasses.fields(self):
            was, now = getattr(before, item.name), getattr(self, item.name)
            if was != now and item.name not in CHANGES_NOTHING:
                if item.name == "sizes":
                    was, now = format_sizes(was), format_sizes(now)
                pair = ["none" if value == "" else value for value in (was, now)]
                said.append(f"{option_name(item.name)} {pair[1]} (was {pair[0]})")
        return said

    def replaced(self, **changes: Any) -> Recipe:
        """Return this recipe with some values changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read ``json.dumps(recipe.as_dict())`` of any version: what it lacks has its default."""
        known = {item.name for item in dataclasses.fields(cls)}
        stored = {key: value for key, value in json.loads(text).items() if key in known}
        stored["sizes"] = tuple((px, epochs) for px, epochs in stored.get("sizes", ()))
        return cls(**stored)


FINE_TUNING = Recipe(
    epochs=20, batch_size=32, lr=5e-3, opt="adamw", weight_decay=0.05, schedule="cosine", ema=0.99,
    zoom_out_prob=0.0, layer_decay=0.75,
)  # fmt: skip
"""What ``mscnn finetune`` does unless it is told otherwise; suits folders of hundreds of images."""


def option_name(name: str) -> str:
    """Return the option of a field: ``--batch-size``."""
    return f"--{name.replace('_', '-')}"


def usual_warmup(epochs: int) -> float:
    """Return the warm-up, in epochs, of a run for which none is asked: short runs need less."""
    return min(_WARMUP_EPOCHS, epochs / 10)


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``"32:3,48:2,64:4"`` as phases of (px, epochs), else raise ``OptionError``."""
    phases = []
    for part in filter(None, text.replace(" ", "").split(",")):
        px, _, epochs = part.partition(":")
        if not (px.isdigit() and epochs.isdigit()):
            raise OptionError(
                f"--sizes is {text!r}; give pairs of size and epochs such as 32:3,64:6."
            )
        phases.append((int(px), int(epochs)))
    return tuple(phases)


def format_sizes(sizes: tuple[tuple[int, int], ...]) -> str:
    """Return phases as ``parse_sizes`` reads them."""
    return ",".join(f"{px}:{epochs}" for px, epochs in sizes)
