"""The settings of one training run, validated once and stored beside its result."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from mscnn.errors import OptionError

AMP_CHOICES = ("none", "bf16", "fp16")
SCHEDULES = ("cosine", "wsd", "poly", "constant")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; two runs with equal recipes, data and model give the same weights.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per optimiser step.
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
    warmup_epochs: float = 0.5
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

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch_size", 2, 65_536),
            ("lr", 1e-8, 100),
            ("weight_decay", 0, 10),
            ("decay", 0, 1),
            ("warmup_epochs", 0, self.epochs),
            ("smoothing", 0, 0.9),
            ("ema", 0, 0.99999),
            ("zoom_in", 0.01, 1),
            ("zoom_out", 1, 20),
            ("zoom_out_prob", 0, 1),
            ("seed", 0, 2**31 - 1),
            ("workers", 0, 256),
            ("threads", 0, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                raise OptionError(f"--{option} is {value}; it must lie between {low} and {high}.")
        if self.amp not in AMP_CHOICES:
            raise OptionError(f"--amp is {self.amp!r}; choose one of {', '.join(AMP_CHOICES)}.")
        if self.schedule not in SCHEDULES:
            raise OptionError(
                f"--schedule is {self.schedule!r}; choose one of {', '.join(SCHEDULES)}."
            )
        for px, epochs in self.sizes:
            if px < 16 or px > 1024 or epochs < 1:
                raise OptionError(
                    f"--sizes holds {px}:{epochs}; give pairs such as 32:3,64:6 with sizes from "
                    "16 to 1024 px and at least one epoch each."
                )

    def size_at(self, epoch: int, final_px: int) -> int:
        """Training size in px at a 0-based epoch; ``final_px`` where no phases are set."""
        if not self.sizes:
            return final_px
        ends = itertools.accumulate(epochs for _, epochs in self.sizes)
        for (px, _), end in zip(self.sizes, ends, strict=True):
            if epoch < end:
                return px
        return self.sizes[-1][0]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)


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
