"""Counts against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from mscnn.data.tally import BINS, Tally
from mscnn.errors import WeightsError


def logits_of(*rows: list[float]) -> torch.Tensor:
    """Logits whose softmax is these probabilities."""
    return torch.tensor(rows).log()


# Probability of the best class, bin it belongs to, right or wrong; three classes.
#   0.90 -> (13/15, 14/15] right        0.92 -> the same bin, wrong
#   0.50 -> (7/15, 8/15]   right        0.38 -> (5/15, 6/15] wrong
LOGITS = logits_of([0.90, 0.06, 0.04], [0.92, 0.05, 0.03], [0.30, 0.50, 0.20], [0.26, 0.36, 0.38])
TARGETS = torch.tensor([0, 1, 1, 0])


def test_calibration_error_by_hand() -> None:
    tally = Tally()
    tally.add(LOGITS, TARGETS)
    # 2/4 |1/2 - 0.91| + 1/4 |1 - 0.5| + 1/4 |0 - 0.38|
    assert tally.ece() == pytest.approx(0.5 * 0.41 + 0.25 * 0.5 + 0.25 * 0.38, abs=1e-6)
    bins = tally.bins()
    assert len(bins) == BINS
    assert {i: row.images for i, row in enumerate(bins) if row.images} == {5: 1, 7: 1, 13: 2}
    assert bins[13].accuracy == 0.5
    assert bins[13].confidence == pytest.approx(0.91, abs=1e-6)
    assert (bins[0].accuracy, bins[0].confidence) == (None, None)
    assert [(round(b.low * 15), round(b.high * 15)) for b in bins] == [
        (i, i + 1) for i in range(15)
    ]


def test_a_sure_answer_lies_in_the_last_bin() -> None:
    tally = Tally()
    tally.add(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert tally.bins()[-1].images == 1
    assert tally.ece() == 0


def test_an_edge_belongs_to_the_bin_below() -> None:
    tally = Tally()
    tally.add(torch.zeros(1, 3), torch.tensor([0]))  # 1/3 is 5/15: the bin (4/15, 5/15]
    assert [i for i, row in enumerate(tally.bins()) if row.images] == [4]


def test_shares_and_pairs() -> None:
    tally = Tally()
    tally.add(LOGITS, TARGETS)
    assert tally.pairs == {(0, 0): 1, (1, 0): 1, (1, 1): 1, (0, 2): 1}
    assert tally.top1_share() == 0.5
    assert tally.top5_share() == 1.0  # of three classes all are among the five best


def test_top5_is_the_five_best() -> None:
    tally = Tally()
    falling = torch.arange(7, 0, -1).float().repeat(7, 1)
    tally.add(falling, torch.arange(7))
    assert tally.top5 == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1}
    assert tally.top5_share() == pytest.approx(5 / 7)


def test_merging_equals_counting_at_once() -> None:
    whole, first, second = Tally(), Tally(), Tally()
    whole.add(LOGITS, TARGETS)
    first.add(LOGITS[:1], TARGETS[:1])
    second.add(LOGITS[1:], TARGETS[1:])
    first.merge(second)
    assert (first.images, first.pairs, first.top5) == (4, whole.pairs, whole.top5)
    assert first.ece() == pytest.approx(whole.ece(), abs=1e-12)


def test_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(WeightsError, match="not finite"):
        Tally().add(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))
