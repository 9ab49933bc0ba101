"""``mscnn finetune``: from trained weights, on a folder of images."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli import training as shared


def finetune(
    data: shared.Data,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="M",
            help="A name of 'mscnn models', another timm CNN, or a folder that training wrote.",
        ),
    ],
    out: shared.Out,
    weights: options.Weights = None,
    freeze: Annotated[
        bool,
        typer.Option("--freeze", help="Keep everything but the new classifier as it is."),
    ] = False,
    layer_decay: Annotated[
        float,
        typer.Option(
            "--layer-decay",
            help="Learning rate of each layer as a share of the one above it; 1 for the same.",
        ),
    ] = 0.75,
    epochs: shared.Epochs = 20,
    batch_size: shared.BatchSize = 32,
    lr: shared.Lr = 0.005,
    opt: shared.Opt = "adamw",
    weight_decay: shared.WeightDecay = 0.05,
    schedule: shared.Schedule = "cosine",
    decay: shared.Decay = 0.35,
    warmup_epochs: shared.WarmupEpochs = None,
    smoothing: shared.Smoothing = 0.1,
    ema: shared.Ema = 0.99,
    sizes: shared.Sizes = "",
    zoom_in: shared.ZoomIn = 0.35,
    zoom_out: shared.ZoomOut = 2.5,
    zoom_out_prob: shared.ZoomOutProb = 0.0,
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
    """Teach a trained model your own classes.

    The model keeps what it has learnt and gets a new classifier for the classes of DATA; then all
    of it learns on, its lowest layers least. --out becomes a folder that every command accepts as
    --model, with its model card, curves, confusion matrix and a table of its classes. Progress
    goes to stderr. A run that was stopped goes on with --resume as if nothing had happened.

    'torchrun --nproc_per_node 2 -m mscnn finetune ...' trains in two processes that share each
    batch.
    """
    from mscnn.training.recipe import Recipe, parse_sizes, usual_warmup
    from mscnn.training.start import RunPlan

    warmup = usual_warmup(epochs) if warmup_epochs is None else warmup_epochs
    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, lr=lr, opt=opt, weight_decay=weight_decay,
        schedule=schedule, decay=decay, warmup_epochs=warmup,
        smoothing=smoothing, ema=ema, sizes=parse_sizes(sizes), zoom_in=zoom_in,
        zoom_out=zoom_out, zoom_out_prob=zoom_out_prob, randaugment=randaugment, mixup=mixup,
        cutmix=cutmix, patience=patience, val_share=val_share, accumulate=accumulate, amp=amp,
        seed=seed, workers=workers, threads=threads, freeze=freeze, layer_decay=layer_decay,
    )  # fmt: skip
    shared.run(RunPlan(data, model, out, recipe, device, resume, fine_tune=True, weights=weights))
