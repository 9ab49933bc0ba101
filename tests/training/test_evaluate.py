import numpy as np
import pytest
import torch

from mscnn.training.evaluate import ClassRow, class_rows, tally

CPU = torch.device("cpu")


def test_counts_against_counting_by_hand():
    logits = torch.tensor(
        [[9.0, 1, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [0, 0, 9, 0, 0, 1]]
    )
    targets = torch.tensor([0, 0, 1, 5])  # right; sixth of six; second; second
    model = torch.nn.Sequential(torch.nn.Identity().train(), torch.nn.Dropout().eval())
    batches = [(logits[:3], targets[:3]), (logits[3:], targets[3:])]
    counted = tally(model, batches, CPU, 6)
    result = counted.accuracy
    assert (result.images, result.top1, result.top5) == (4, 0.25, 0.75)
    powers = np.exp(logits.numpy())
    by_hand = -np.log(powers / powers.sum(1, keepdims=True))[range(4), targets.numpy()]
    assert result.loss == pytest.approx(float(by_hand.mean()), rel=1e-6)
    by_pair = {(0, 0): 1, (0, 5): 1, (1, 0): 1, (5, 2): 1}
    assert {(int(i), int(j)): int(counted.confusion[i, j]) for i, j in
            np.argwhere(counted.confusion)} == by_pair  # fmt: skip
    # A frozen part of a network stays in eval mode.
    assert (model[0].training, model[1].training) == (True, False)


def test_unreadable_images_count_for_nothing():
    logits = torch.eye(3)
    batches = [(logits, torch.tensor([0, -1 - 7, 1])), (logits[:1], torch.tensor([-1 - 9]))]
    counted = tally(torch.nn.Identity(), batches, CPU, 3)
    assert counted.unread == (7, 9)
    assert (counted.accuracy.images, counted.accuracy.top1) == (2, 0.5)


def test_precision_and_recall_of_a_matrix_made_by_hand():
    #            answers: cat dog hen
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    assert class_rows(confusion, ("cat", "dog", "hen")) == [
        ClassRow("cat", 4, 3, 3 / 5, 3 / 4),
        ClassRow("dog", 6, 4, 4 / 5, 4 / 6),
        ClassRow("hen", 0, 0, None, None),
    ]
