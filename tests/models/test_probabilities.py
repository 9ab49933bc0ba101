"""Logits to probabilities, against torch and by hand."""

import numpy as np
import pytest
import torch

from mscnn.errors import WeightsError
from mscnn.models.probabilities import probabilities


@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 3, 1000)])
def test_a_softmax_over_the_last_axis(shape):
    logits = 30 * np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(
        probabilities(logits), torch.from_numpy(logits).double().softmax(-1), rtol=1e-12
    )


@pytest.mark.parametrize(("logit", "probability"), [
    (0.0, 0.5), (np.log(3), 0.75), (-8.0, 1 / (1 + np.exp(8.0))), (-2000.0, 0.0), (2000.0, 1.0),
])  # fmt: skip
def test_one_logit_is_a_sigmoid(logit, probability):
    assert probabilities(np.array([logit])) == pytest.approx(probability, rel=1e-12)
    assert probabilities(np.array([[logit]] * 2)).shape == (2, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_probability(bad):
    for logits in ([0, bad, 1], [bad]):
        with pytest.raises(WeightsError, match="no finite numbers; its weights are damaged"):
            probabilities(np.array(logits, np.float32))
