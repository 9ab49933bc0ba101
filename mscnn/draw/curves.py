"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure


def training_curves(
    history: Sequence[Mapping[str, float]], title: str, *, with_top5: bool = True
) -> Figure:
    """Draw loss and accuracy per epoch, side by side.

    Args:
        history: per epoch ``epoch`` (1-based), ``train_loss``, ``val_loss`` (nats) and
            ``val_top1``, ``val_top5`` (0..1).
        title: a line above both.
        with_top5: also draw top-5, which is 1 where there are five classes or fewer.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    loss, share = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    loss.plot(epochs, [row["train_loss"] for row in history], label="training", marker="o", ms=3)
    loss.plot(epochs, [row["val_loss"] for row in history], label="validation", marker="s", ms=3)
    loss.set(xlabel="epoch", ylabel="loss (nats)")
    lines = (("val_top5", "top-5", "s"), ("val_top1", "top-1", "o"))
    for key, label, marker in lines if with_top5 else lines[1:]:
        share.plot(epochs, [100 * row[key] for row in history], label=label, marker=marker, ms=3)
    share.set(xlabel="epoch", ylabel="validation accuracy (%)", ylim=(0, 100))
    for axis in (loss, share):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure
