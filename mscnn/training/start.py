"""From the options of a command to a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mscnn.data.layouts import (
    check_classes,
    check_trainable,
    drop_unreadable,
    not_measured,
    open_data,
)
from mscnn.data.processes import sharing
from mscnn.data.tally import Accuracy
from mscnn.engine.device import choose_device
from mscnn.errors import OutputError, TrainingError
from mscnn.models.architecture import check_supported, from_name
from mscnn.models.hub import OnProgress
from mscnn.results.writing import check_folder
from mscnn.training.batches import fitted
from mscnn.training.loop import Listener, Notice, Trainer, log
from mscnn.training.networks import pretrained
from mscnn.training.recipe import Recipe
from mscnn.training.state import CHECKPOINT

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a user asked for."""

    data: Path
    model: str  # an architecture; with ``fine_tune`` what ``load_model`` takes
    out: Path
    recipe: Recipe
    device: str = "auto"
    resume: bool = False  # go on from the checkpoint in ``out``
    fine_tune: bool = False
    weights: Path | None = None  # a file or folder instead of the model's own


def start_training(
    plan: RunPlan,
    *,
    listener: Listener | None = None,
    notice: Notice = log.warning,
    on_progress: OnProgress | None = None,
) -> Accuracy:
    """Train or fine-tune, and leave the result in the run's folder.

    Under ``torchrun`` or ``accelerate launch`` every process calls this; only the first one speaks
    and writes. ``listener`` is called after each step, ``notice`` with sentences for the user, and
    ``on_progress`` with bytes done and in total while weights are downloaded.

    Raises:
        TrainingError: the folder already holds a run and ``plan.resume`` is False, the run cannot
            be resumed, or training failed.
        OutputError: the folder cannot be made or written.
        DatasetError, UnknownModelError, UnsupportedModelError, WeightsError, DownloadError,
            DeviceError, OptionError: the input cannot be used.
        Cancelled: the user stopped the run.
    """
    check_folder(plan.out)
    has_checkpoint = (plan.out / CHECKPOINT).is_file()
    if has_checkpoint and not plan.resume:
        raise TrainingError(
            f"{str(plan.out)!r} already holds a run; add --resume to go on, or give another --out."
        )
    held = {path.name for path in plan.out.iterdir()} if plan.out.is_dir() else set()
    held = {name for name in held if name[0] != "."}  # such as the .DS_Store of macOS's Finder
    # A kill may have left a part of the first checkpoint.
    if not has_checkpoint and held - {f"{CHECKPOINT}.part"}:
        raise OutputError(
            f"{str(plan.out)!r} holds other files, which the run's own could replace; give a new "
            "or empty folder as --out."
        )
    device = choose_device(plan.device)
    if not plan.fine_tune:  # which loads the model, and so finds out by itself
        check_supported(from_name(plan.model))
    images = drop_unreadable(
        open_data(plan.data, val_share=plan.recipe.val_share, seed=plan.recipe.seed)
    )
    if not plan.resume and plan.out.resolve().is_relative_to(plan.data.resolve()):
        raise OutputError(
            f"{str(plan.out)!r} lies inside the data, where its pictures would be taken for a "
            "class; give a folder elsewhere as --out."
        )
    bad = [reason for _, reason in images.unreadable]
    with sharing(device) as processes:
        say = notice if processes.is_first else log.info
        unused = images.account.lines()
        if unused:
            unused.append("not_used.csv in --out will list all that are not used.")
        for sentence in (*images.account.notices, *unused, *bad[:_SHOWN]):
            say(sentence)
        if bad:
            more = f" (the first {_SHOWN} are named above)" if len(bad) > _SHOWN else ""
            files = f"{len(bad)} unreadable {'file is' if len(bad) == 1 else 'files are'}"
            say(f"{files} left out{more}; unreadable.csv in --out will list them.")
        # Only now, for what was left out may be why.
        check_classes(plan.data, images)
        check_trainable(images)
        if blind := not_measured(images):
            say(blind)
        recipe = fitted(plan.recipe, len(images.train), processes.size)
        if recipe.batch_size != plan.recipe.batch_size:
            say(
                f"There are {len(images.train)} training images, fewer than one batch of "
                f"{plan.recipe.batch_size}, so a batch has {recipe.batch_size}."
            )
        start = None
        if plan.fine_tune:
            names = plan.model, plan.weights
            start = pretrained(*names, images.names, recipe.seed, on_progress=on_progress)
            if start.notice:
                say(start.notice)
        trainer = Trainer(plan.model, images, plan.out, recipe, processes, start=start, notice=say)
        resumed = plan.resume and trainer.resume()
        if len(set(processes.gather((resumed, trainer.at.epoch, trainer.at.step)))) > 1:
            raise TrainingError(
                "Not all processes found the same checkpoint; give a folder as --out that all "
                "machines share, or copy the first one's checkpoint.pt to the others."
            )
        if plan.resume and not resumed:
            say("There is no checkpoint in --out yet, so the run starts from the beginning.")
        # Everybody has looked for a checkpoint before the first one is written.
        processes.wait()
        return trainer.run(listener)
