"""What ``mscnn train`` and ``mscnn finetune`` share: their options, and the run itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mscnn.cli.console import progress, share
from mscnn.models import registry

if TYPE_CHECKING:
    from mscnn.training.progress import TrainProgress
    from mscnn.training.start import RunPlan

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder with one folder of images per class (with train/ and val/ above them, or "
        "without), Tiny-ImageNet, a CSV file with the header path,label or path,label,split, or "
        "a folder that Hugging Face's datasets saved.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", help="Folder for the model, its tables, pictures and checkpoint."
    ),
]
Epochs = Annotated[int, typer.Option("--epochs", help="How often all images are seen.")]
BatchSize = Annotated[
    int, typer.Option("--batch-size", help="Images per step, over all processes together.")
]
Lr = Annotated[float, typer.Option("--lr", help="Largest learning rate of the run.")]
Opt = Annotated[str, typer.Option("--opt", help="Optimiser, by timm's name.")]
WeightDecay = Annotated[
    float, typer.Option("--weight-decay", help="Pull towards zero; not on biases and norms.")
]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule", help="How the learning rate goes down: wsd (at the end), cosine, poly or "
        "constant.",
    ),
]  # fmt: skip
Decay = Annotated[float, typer.Option("--decay", help="Last share of the run in which wsd falls.")]
WarmupEpochs = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--warmup-epochs",
        help="Epochs in which the learning rate rises.  [default: 0.5, or a tenth of a short run]",
        show_default=False,
    ),
]
Smoothing = Annotated[float, typer.Option("--smoothing", help="Label smoothing, 0 to 0.9.")]
Ema = Annotated[
    float, typer.Option("--ema", help="Decay of the moving average of the weights; 0 for none.")
]
Sizes = Annotated[
    str, typer.Option("--sizes", help="Growing image sizes as px:epochs, such as 32:3,64:6.")
]
ZoomIn = Annotated[
    float, typer.Option("--zoom-in", help="Least share of the photo that a random crop keeps.")
]
ZoomOut = Annotated[
    float, typer.Option("--zoom-out", help="Largest factor of shrinking on a plain canvas.")
]
ZoomOutProb = Annotated[
    float, typer.Option("--zoom-out-prob", help="How often photos are shrunk, not cropped, 0 to 1.")
]
RandAugment = Annotated[
    str,
    typer.Option("--randaugment", help="timm's RandAugment, such as rand-m9-n2-mstd0.5."),
]
Mixup = Annotated[
    float, typer.Option("--mixup", help="Blend pairs of images (Mixup's alpha); 0 for never.")
]
CutMix = Annotated[
    float, typer.Option("--cutmix", help="Paste parts of images (CutMix's alpha); 0 for never.")
]
Patience = Annotated[
    int,
    typer.Option(
        "--patience", help="Stop after so many epochs without a better result, and keep the best "
        "one; 0 for never.",
    ),
]  # fmt: skip
ValShare = Annotated[
    float,
    typer.Option("--val-share", help="Share of each class to measure with, where none is given."),
]
Accumulate = Annotated[
    int,
    typer.Option("--accumulate", help="Cut each step's images into so many parts, to save memory."),
]
Amp = Annotated[
    str, typer.Option("--amp", help="Lower precision, for speed: none, bf16 or fp16 (CUDA).")
]
Seed = Annotated[int, typer.Option("--seed", help="Of first weights, order and augmentation.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes that read images.")]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads; 0 for torch's choice.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]


def run(plan: RunPlan) -> None:
    """Train as planned; progress goes to stderr, the result in one line to stdout."""
    from mscnn.data.processes import is_first_by_environment
    from mscnn.training.start import start_training

    with progress(f"downloading {plan.model}", "B") as report:
        result = start_training(plan, listener=show, notice=tell, on_progress=report)
    if is_first_by_environment():
        top5 = f", top-5 {result.top5:.4f}" if result.top5_tells else ""
        typer.echo(f"top-1 {result.top1:.4f}{top5} on {result.images} images")
        # Without "./" a model of the list would be meant.
        out = shlex.quote(registry.folder_name(str(plan.out)))
        tell(f"written {plan.out}; see it with 'mscnn serve --models {out}'")


def tell(sentence: str) -> None:
    """Print a sentence on stderr."""
    typer.echo(sentence, err=True)


def show(at: TrainProgress) -> None:
    """Print one line per fifty steps on stderr; stdout holds the result alone."""
    if at.step % 50 and at.step != at.steps:
        return
    measured = "" if at.val_top1 is None else f"  validation {share(at.val_top1)}"
    typer.echo(
        f"epoch {at.epoch + 1}/{at.epochs}  step {at.step}/{at.steps}  {at.size_px} px  "
        f"loss {at.loss:.3f}{measured}  lr {at.lr:.2g}  {at.images_per_second:.0f} images/s  "
        f"{at.seconds_left / 60:.0f} min left",
        err=True,
    )
