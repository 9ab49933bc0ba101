"""The settings of one training run, validated once and stored beside its result."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from mscnn.errors import OptionError

AMP_CHOICES = ("none", "bf16", "fp16")
SCHEDULES = ("cosine", "wsd", "poly", "constant")
_WARMUP_EPOCHS = 0.5
_RANDAUGMENT = re.compile(r"rand(-((m|n|p|mstd|mmax|inc)\d+(\.\d+)?|t[a-z0-9]+))*")
# Changing one of these would show a held-out photo to the network, show some photos twice in an
# epoch, or leave the optimiser's memory without its parameters.
FIXED = ("seed", "val_share", "batch_size", "opt", "freeze", "layer_decay", "ema")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; two runs with equal recipes, data and model give the same weights.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per optimiser step, over all processes.
        accumulate: parts into which each process cuts its share of a batch, one after another.
        lr: peak learning rate, in the units of ``opt``.
        opt: a timm optimiser name. ``muon`` (Jordan et al. 2024, as timm implements it, with
            AdamW for biases and norms) needs far fewer epochs than SGD on these small nets.
        weight_decay: not applied to biases and norms.
        schedule: timm schedule; ``wsd`` holds the peak and decays over the last ``decay`` share.
        decay: share of the run in which ``wsd`` decays, 0..1.
        warmup_epochs: linear warm-up, in epochs.
        smoothing: label smoothing, 0..1.
        ema: decay of the moving average of the weights; 0 turns it off.
        sizes: ``(px, epochs)`` phases; training grows through them, and the last goes on to the
            end whatever its number. Small pictures first cost a fraction and show small objects.
        zoom_in: least share of the photo's area that a random crop keeps, 0..1.
        zoom_out: largest factor by which the photo is shrunk on a plain canvas, >= 1.
        zoom_out_prob: how often it is shrunk instead of cropped, 0..1.
        randaugment: timm's RandAugment string such as ``rand-m9-n2-mstd0.5``; empty for none.
        mixup: alpha of Mixup (Zhang et al. 2018, arXiv:1710.09412); 0 turns it off.
        cutmix: alpha of CutMix (Yun et al. 2019, arXiv:1905.04899); 0 turns it off. With both,
            each part of a batch takes one of them by turns of a coin.
        layer_decay: learning rate of each layer as a share of the layer above it (timm's
            grouping; Bao et al. 2022, arXiv:2106.08254); 1 for the same everywhere.
        freeze: only the classifier learns; the rest keeps its weights and batch statistics.
        patience: epochs without a better validation result after which a run stops, and the best
            epoch counts; 0 runs to the end, and the last epoch counts.
        val_share: share of each class held out where the data has no validation part, 0..0.9.
        amp: autocast type, one of ``AMP_CHOICES``.
        seed: of initialisation, order and augmentation.
        workers: loader processes.
        threads: CPU threads of the training process; 0 leaves torch's own choice.
    """

    epochs: int = 10
    batch_size: int = 256
    lr: float = 0.02
    opt: str = "muon"
    weight_decay: float = 0.01
    schedule: str = "wsd"
    decay: float = 0.35
    warmup_epochs: float = _WARMUP_EPOCHS
    smoothing: float = 0.1
    ema: float = 0.998
    sizes: tuple[tuple[int, int], ...] = ()
    zoom_in: float = 0.35
    zoom_out: float = 2.5
    zoom_out_prob: float = 0.25
    amp: str = "none"
    seed: int = 0
    workers: int = 1
    threads: int = 0
    accumulate: int = 1
    randaugment: str = ""
    mixup: float = 0.0
    cutmix: float = 0.0
    layer_decay: float = 1.0
    freeze: bool = False
    patience: int = 0
    val_share: float = 0.1

    def __post_init__(self) -> None:
        self._check_ranges()
        if self.amp not in AMP_CHOICES:
            raise OptionError(f"--amp is {self.amp!r}; choose one of {', '.join(AMP_CHOICES)}.")
        if self.schedule not in SCHEDULES:
            raise OptionError(
                f"--schedule is {self.schedule!r}; choose one of {', '.join(SCHEDULES)}."
            )
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

    def _check_ranges(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch_size", 2, 65_536),
            ("lr", 1e-8, 100),
            ("weight_decay", 0, 10),
            ("decay", 0.001, 1),
            ("warmup_epochs", 0, self.epochs),
            ("smoothing", 0, 0.9),
            ("ema", 0, 0.99999),
            ("zoom_in", 0.01, 1),
            ("zoom_out", 1, 20),
            ("zoom_out_prob", 0, 1),
            ("seed", 0, 2**31 - 1),
            ("workers", 0, 256),
            ("threads", 0, 1024),
            ("accumulate", 1, self.batch_size),
            ("mixup", 0, 100),
            ("cutmix", 0, 100),
            ("layer_decay", 0.01, 1),
            ("patience", 0, 100_000),
            ("val_share", 0.001, 0.9),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                raise OptionError(f"--{option} is {value}; it must lie between {low} and {high}.")

    def size_at(self, epoch: int, final_px: int) -> int:
        """Training size in px at a 0-based epoch; ``final_px`` where no phases are set."""
        if not self.sizes:
            return final_px
        ends = itertools.accumulate(epochs for _, epochs in self.sizes)
        for (px, _), end in zip(self.sizes, ends, strict=True):
            if epoch < end:
                return px
        return self.sizes[-1][0]

    def replaced(self, **changes: Any) -> Recipe:
        """Return this recipe with some values changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that ``json.dumps(recipe.as_dict())`` stored, or an older version did.

        What an older version did not know yet has its default; what this one does not know is
        left out.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        stored = {key: value for key, value in json.loads(text).items() if key in known}
        stored["sizes"] = tuple((px, epochs) for px, epochs in stored.get("sizes", ()))
        return cls(**stored)


FINE_TUNING = Recipe(
    epochs=20,
    batch_size=32,
    lr=5e-3,
    opt="adamw",
    weight_decay=0.05,
    schedule="cosine",
    warmup_epochs=_WARMUP_EPOCHS,
    ema=0.99,
    zoom_out_prob=0.0,
    layer_decay=0.75,
)
"""What ``mscnn finetune`` does unless it is told otherwise; suits folders of hundreds of images."""


def usual_warmup(epochs: int) -> float:
    """Return the warm-up, in epochs, of a run for which none is asked: short runs need less."""
    return min(_WARMUP_EPOCHS, epochs / 10)


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``"32:3,48:2,64:4"`` as phases of (px, epochs); ``""`` means no phases.

    Raises:
        OptionError: the text has another form.
    """
    phases = []
    for part in filter(None, text.replace(" ", "").split(",")):
        px, _, epochs = part.partition(":")
        if not (px.isdigit() and epochs.isdigit()):
            raise OptionError(
                f"--sizes is {text!r}; give pairs of size and epochs such as 32:3,64:6."
            )
        phases.append((int(px), int(epochs)))
    return tuple(phases)
