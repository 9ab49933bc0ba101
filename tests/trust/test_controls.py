"""The maps to beat, worked out by hand."""

import numpy as np

from mscnn.trust.controls import controls


def made(raw, draws=3, seed=0):
    found = list(controls(np.asarray(raw, np.float32), draws, np.random.default_rng(seed)))
    assert [(kind, draw) for kind, draw, _ in found] == [
        ("blob", None), ("blurred", None), *(("random", draw) for draw in range(draws)),
    ]  # fmt: skip
    return [cam for _, _, cam in found]


def test_the_blob_has_the_values_of_the_map_around_the_middle():
    blob, *_ = made([[9, 1, 2], [3, -4, 5], [6, 7, 8]])
    # By distance: the middle, four sides, four corners; each ring gets the mean of its share.
    sides, corners = (8 + 7 + 6 + 5) / 4, (3 + 2 + 1 - 4) / 4
    np.testing.assert_allclose(
        blob, [[corners, sides, corners], [sides, 9, sides], [corners, sides, corners]]
    )


def test_a_random_control_has_the_same_values_at_other_smooth_places():
    raw = np.random.default_rng(1).standard_normal((14, 14))
    _, _, *drawn = made(raw)
    for cam in drawn:
        np.testing.assert_array_equal(np.sort(cam.ravel()), np.sort(raw.astype(np.float32).ravel()))
        neighbours = np.corrcoef(cam[:, 1:].ravel(), cam[:, :-1].ravel())[0, 1]
        assert neighbours > 0.5
    assert len({cam.tobytes() for cam in drawn}) == 3
    assert made(raw)[2].tobytes() == drawn[0].tobytes()
    assert made(raw, seed=1)[2].tobytes() != drawn[0].tobytes()


def test_the_blurred_map_keeps_its_place_and_its_sum():
    raw = np.zeros((10, 10))
    raw[6, 3] = 1
    _, blurred, *_ = made(raw)
    assert np.unravel_index(blurred.argmax(), blurred.shape) == (6, 3)
    # One cell of standard deviation: a Gaussian's integral over the middle cell, squared.
    assert 0.12 < blurred.max() < 0.18
    assert abs(blurred.sum() - 1) < 1e-3


def test_a_flat_map_has_flat_controls():
    assert all((cam == 2).all() for cam in made(np.full((4, 6), 2.0)))
