"""``mscnn train``: from scratch, on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mscnn.training.loop import TrainProgress


def train(
    data: Annotated[
        Path, typer.Argument(help="Folder of images, one folder per class, or Tiny-ImageNet.")
    ],
    model: Annotated[str, typer.Option(help="Architecture to train.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, its curves and checkpoints.")],
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 256,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.02,
    opt: Annotated[str, typer.Option(help="A timm optimiser.")] = "muon",
    weight_decay: Annotated[float, typer.Option(help="Not applied to biases and norms.")] = 0.01,
    schedule: Annotated[str, typer.Option(help="wsd, cosine, poly or constant.")] = "wsd",
    decay: Annotated[float, typer.Option(help="Share of the run in which wsd decays.")] = 0.35,
    warmup_epochs: Annotated[float, typer.Option(help="Linear warm-up.")] = 0.5,
    smoothing: Annotated[float, typer.Option(help="Label smoothing.")] = 0.1,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0 for none.")] = 0.998,
    sizes: Annotated[
        str, typer.Option(help="Training sizes as px:epochs, such as 32:3,64:6.")
    ] = "",
    zoom_in: Annotated[float, typer.Option(help="Least area of a random crop, 0..1.")] = 0.35,
    zoom_out: Annotated[float, typer.Option(help="Largest factor of shrinking on a canvas.")] = 2.5,
    zoom_out_prob: Annotated[float, typer.Option(help="How often photos are shrunk.")] = 0.25,
    amp: Annotated[str, typer.Option(help="none, bf16 or fp16.")] = "none",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    workers: Annotated[int, typer.Option(help="Loader processes.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for torch's choice.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")
    ] = False,
) -> None:
    """Train a model from scratch on a folder of images.

    --out becomes a folder that every command accepts as --model. Progress goes to stderr.
    """
    from mscnn.device import choose_device
    from mscnn.training.recipe import Recipe, parse_sizes
    from mscnn.training.start import start_training

    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, lr=lr, opt=opt, weight_decay=weight_decay,
        schedule=schedule, decay=decay, warmup_epochs=warmup_epochs, smoothing=smoothing, ema=ema,
        sizes=parse_sizes(sizes), zoom_in=zoom_in, zoom_out=zoom_out, zoom_out_prob=zoom_out_prob,
        amp=amp, seed=seed, workers=workers, threads=threads,
    )  # fmt: skip
    result = start_training(data, model, out, recipe, str(choose_device(device)), resume, show)
    typer.echo(f"top-1 {result.top1:.4f}, top-5 {result.top5:.4f} on {result.images} images")


def show(progress: TrainProgress) -> None:
    """Print one line per fifty steps on stderr; stdout holds the result alone."""
    if progress.step % 50 and progress.step != progress.steps:
        return
    typer.echo(
        f"epoch {progress.epoch + 1}/{progress.epochs}  step {progress.step}/{progress.steps}  "
        f"{progress.size_px} px  loss {progress.loss:.3f}  lr {progress.lr:.2g}  "
        f"{progress.images_per_second:.0f} images/s  {progress.seconds_left / 60:.0f} min left",
        err=True,
    )
