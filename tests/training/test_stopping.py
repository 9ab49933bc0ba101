import json

import pytest
import torch
from torch import nn

from mscnn.data.layouts import open_data
from mscnn.training.loop import Trainer
from mscnn.training.state import BestEpoch
from tests.training.trainee import NAME


@pytest.mark.parametrize(("patience", "results", "over_after", "best"), [
    (2, [(0.5, 1.0), (0.6, 1.0), (0.6, 1.1), (0.5, 0.1)], 4, 2),
    (2, [(0.5, 1.0), (0.5, 0.9), (0.5, 0.8), (0.5, 0.7)], None, 4),  # the loss still falls
    (1, [(0.5, 1.0), (0.5, 1.0)], 2, 1), (0, [(0.5, 1.0), (0.1, 9.0), (0.1, 9.0)], None, 0),
])  # fmt: skip
def test_when_a_run_is_over_and_what_is_kept(patience, results, over_after, best):
    model = nn.Linear(1, 1)
    kept = BestEpoch(patience)
    over = None
    for epoch, (top1, loss) in enumerate(results, 1):
        with torch.no_grad():
            model.weight.fill_(epoch)
        kept.note(epoch, top1, loss, model)
        if over is None and kept.is_over(epoch):
            over = epoch
    assert (over, kept.epoch) == (over_after, best)
    kept.put_into(model)
    assert float(model.weight.detach()) == (best or len(results))


def test_a_run_that_no_longer_improves_stops_and_exports_its_best(folder, recipe, tmp_path):
    settings = recipe(epochs=9, patience=2, opt="sgd", lr=1e-8, ema=0.0)
    trainer = Trainer(NAME, open_data(folder), tmp_path, settings, torch.device("cpu"))
    seen = []
    note = trainer.best.note

    def fake(epoch, top1, loss, model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        note(epoch, 0.9 if epoch == 2 else 0.1, loss, model)

    trainer.best.note = fake  # type: ignore[method-assign]
    trainer.run()
    assert len(trainer.at.history) == 4
    exported = torch.nn.Module.state_dict(trainer.stepper.averaged)
    assert all(torch.equal(value, seen[1][name]) for name, value in exported.items())
    assert not all(torch.equal(value, seen[3][name]) for name, value in exported.items())
    assert '"epoch_kept": 2' in (tmp_path / "training.json").read_text()
    again = Trainer(NAME, open_data(folder), tmp_path, settings, torch.device("cpu"))
    again.resume()
    again.run()
    assert len(again.at.history) == 4


def test_patience_may_begin_or_end_when_a_run_is_resumed(folder, recipe, tmp_path):
    def train(**changes):
        settings = recipe(opt="sgd", lr=1e-8, ema=0.0, **changes)
        trainer = Trainer(NAME, open_data(folder), tmp_path, settings, torch.device("cpu"))
        trainer.resume()
        trainer.run()
        return len(trainer.at.history), json.loads((tmp_path / "training.json").read_text())

    assert train(epochs=3)[0] == 3
    # Nothing was noted before, so the first epoch with patience is the best one until then.
    epochs, facts = train(epochs=5, patience=2)
    assert epochs == 5
    assert facts["epoch_kept"] >= 4
    epochs, facts = train(epochs=epochs + 1)
    assert facts["epoch_kept"] == epochs
