"""Counts against numbers worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from mscnn.data.tally import BINS, Tally
from mscnn.errors import WeightsError
from mscnn.results.evaluation import ClassResult


def logits_of(*rows):
    """Logits whose softmax is these probabilities."""
    return torch.tensor(rows).log()


def counted(logits, targets):
    tally = Tally()
    tally.add(logits, targets)
    return tally


# Probability of the best class, bin it belongs to, right or wrong; three classes.
#   0.90 -> (13/15, 14/15] right        0.92 -> the same bin, wrong
#   0.50 -> (7/15, 8/15]   right        0.38 -> (5/15, 6/15] wrong
LOGITS = logits_of([0.90, 0.06, 0.04], [0.92, 0.05, 0.03], [0.30, 0.50, 0.20], [0.26, 0.36, 0.38])
TARGETS = torch.tensor([0, 1, 1, 0])


def test_calibration_error_by_hand():
    tally = counted(LOGITS, TARGETS)
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


def test_reliability_in_ten_bins():
    document = counted(LOGITS, TARGETS).reliability("my photos")
    assert (document["set"], document["images"]) == ("my photos", 4)
    assert [(b["from"], b["to"]) for b in document["bins"]] == [
        (i / 10, (i + 1) / 10) for i in range(10)
    ]
    full = {i: (b["images"], b["right"]) for i, b in enumerate(document["bins"]) if b["images"]}
    # float32's 0.9 and 0.5 lie a little above or below the edge, as their softmax does.
    assert sum(right for _, right in full.values()) == 2
    assert full.keys() <= {3, 4, 5, 8, 9}
    assert document["bins"][3]["mean_probability"] == pytest.approx(0.38, abs=1e-6)
    assert document["bins"][0] == {
        "from": 0.0, "to": 0.1, "images": 0, "right": 0, "mean_probability": None,
    }  # fmt: skip


def test_a_sure_answer_lies_in_the_last_bin():
    tally = counted(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert tally.bins()[-1].images == tally.reliability("")["bins"][-1]["images"] == 1
    assert tally.ece() == 0


def test_an_edge_belongs_to_the_bin_below():
    tally = counted(torch.zeros(1, 3), torch.tensor([0]))  # 1/3 is 5/15: the bin (4/15, 5/15]
    assert [i for i, row in enumerate(tally.bins()) if row.images] == [4]


def test_top5_is_the_five_best():
    falling = torch.arange(7, 0, -1).float().repeat(7, 1)
    tally = counted(falling, torch.arange(7))
    assert tally.top5 == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1}
    assert tally.accuracy(7).top5 == pytest.approx(5 / 7)


@pytest.mark.parametrize(("classes", "tells"), [(5, False), (6, True)])
def test_of_five_classes_top5_says_nothing(classes, tells):
    assert counted(torch.eye(classes), torch.arange(classes)).accuracy(classes).top5_tells == tells


def test_everything_against_scikit_learn():
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(200, 8, generator=generator)
    targets = torch.randint(0, 7, (200,), generator=generator)  # there is no photograph of class 7
    whole, parts = counted(logits, targets), counted(logits[:60], targets[:60])
    parts.merge(counted(logits[60:], targets[60:]))

    every, probability = list(range(8)), logits.double().softmax(1).numpy()
    best = probability.argmax(1)
    precision, recall, _, images = metrics.precision_recall_fscore_support(
        targets, best, labels=every, zero_division=np.nan
    )
    for tally in (whole, parts):
        np.testing.assert_array_equal(
            tally.confusion(8), metrics.confusion_matrix(targets, best, labels=every)
        )
        found = tally.accuracy(8)
        assert (found.images, found.classes) == (200, 8)
        assert found.top1 == metrics.accuracy_score(targets, best)
        assert found.top5 == metrics.top_k_accuracy_score(targets, probability, k=5, labels=every)
        assert found.loss == pytest.approx(metrics.log_loss(targets, probability, labels=every))
        for row in tally.classes(every, str):
            assert (row.label, row.images) == (str(row.index), images[row.index])
            assert row.predicted == (best == row.index).sum()
            assert row.precision == pytest.approx(precision[row.index])
            assert row.top1 == pytest.approx(recall[row.index] if row.images else 0.0)
    assert parts.ece() == pytest.approx(whole.ece(), abs=1e-12)


def test_what_was_never_answered_has_no_precision():
    rows = counted(LOGITS[:2], TARGETS[:2]).classes((0, 2), ["cat", "dog", "hen"].__getitem__)
    assert rows == [
        ClassResult(0, "cat", 1, 1.0, 1.0, 2, 0.5), ClassResult(2, "hen", 0, 0.0, 0.0, 0, None),
    ]  # fmt: skip


def test_answers_that_are_not_finite_are_refused():
    with pytest.raises(WeightsError, match="no finite numbers"):
        counted(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))
