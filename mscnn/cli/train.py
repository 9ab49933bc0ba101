"""``mscnn train``: from scratch, on a folder of images."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli import training as shared


def train(
    data: shared.Data,
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="Architecture, by timm's name or a starter.")
    ],
    out: shared.Out,
    epochs: shared.Epochs = 10,
    batch_size: shared.BatchSize = 256,
    lr: shared.Lr = 0.02,
    opt: shared.Opt = "muon",
    weight_decay: shared.WeightDecay = 0.01,
    schedule: shared.Schedule = "wsd",
    decay: shared.Decay = 0.35,
    warmup_epochs: shared.WarmupEpochs = None,
    smoothing: shared.Smoothing = 0.1,
    ema: shared.Ema = 0.998,
    sizes: shared.Sizes = "",
    zoom_in: shared.ZoomIn = 0.35,
    zoom_out: shared.ZoomOut = 2.5,
    zoom_out_prob: shared.ZoomOutProb = 0.25,
    randaugment: shared.RandAugment = "",
    mixup: shared.Mixup = 0.0,
    cutmix: shared.CutMix = 0.0,
    patience: shared.Patience = 0,
    val_share: shared.ValShare = 0.1,
    accumulate: shared.Accumulate = 1,
    amp: shared.Amp = "none",
    device: options.Device = "auto",
    seed: shared.Seed = 0,
    workers: shared.Workers = 1,
    threads: shared.Threads = 0,
    resume: shared.Resume = False,
) -> None:
    """Train a model from scratch on a folder of images.

    --out becomes a folder that every command accepts as --model, with its model card, curves,
    confusion matrix and a table of its classes. Progress goes to stderr. A run that was stopped,
    by Ctrl-C or a power cut, goes on with --resume as if nothing had happened.

    'torchrun --nproc_per_node 2 -m mscnn train ...' trains in two processes that share each batch.
    """
    from mscnn.training.recipe import Recipe, parse_sizes, usual_warmup
    from mscnn.training.start import RunPlan

    warmup = usual_warmup(epochs) if warmup_epochs is None else warmup_epochs
    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, lr=lr, opt=opt, weight_decay=weight_decay,
        schedule=schedule, decay=decay, warmup_epochs=warmup, smoothing=smoothing, ema=ema,
        sizes=parse_sizes(sizes), zoom_in=zoom_in, zoom_out=zoom_out, zoom_out_prob=zoom_out_prob,
        randaugment=randaugment, mixup=mixup, cutmix=cutmix, patience=patience,
        val_share=val_share, accumulate=accumulate, amp=amp, seed=seed, workers=workers,
        threads=threads,
    )  # fmt: skip
    shared.run(RunPlan(data, model, out, recipe, device, resume))
