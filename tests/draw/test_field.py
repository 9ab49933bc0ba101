"""The effective field: its own scale, the measure, the legend, and frames on top."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import pytest

from mscnn.draw.boxes import Frame
from mscnn.draw.field import field_heat, field_overlay
from mscnn.draw.overlay import overlay

SIZE = 300


def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def gradient() -> np.ndarray:
    values = np.zeros((SIZE, SIZE), np.float32)
    values[100:110, 100:110] = 4e-6
    values[100:110, 150:160] = 4e-7
    values[200, 200] = 8e-9
    return values


def draw(**changes) -> np.ndarray:
    options = {"frames": [], "point": None, "title": "", "unit": "share", "log": False, **changes}
    given = options.pop("photo", photo()), options.pop("gradient", gradient())
    return field_overlay(*given, **options)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_the_measure_does_not_depend_on_the_gradients_scale(scale: float) -> None:
    values = np.array([[0, 0.001, 0.01, 0.1, 1]], np.float32) * np.float32(scale)
    np.testing.assert_allclose(field_heat(values, log=False), values / values.max(), rtol=1e-6)
    logs = field_heat(values, log=True)[0]
    # log10(1 + 1), log10(10 + 1) and log10(100 + 1), each over 3, worked out by hand.
    np.testing.assert_allclose(logs, [0, 0.100343, 0.347131, 0.668107, 1], atol=2e-5)


@pytest.mark.parametrize("log", [False, True])
def test_pixels_are_those_of_the_overlay(log: bool) -> None:
    drawn = draw(log=log, opacity=1.0)
    share = np.float32(0.1)
    level = math.log10(1000 * 0.1 + 1) / 3 if log else 0.1
    colour = np.array(matplotlib.colormaps["viridis"](level)[:3]) * 255
    expected = (1 - level) * photo()[105, 155] + level * colour
    assert np.abs(drawn[105, 155] - expected).max() <= 2.5, share
    np.testing.assert_array_equal(drawn[105, 105], (253, 231, 36))  # the top of viridis
    np.testing.assert_array_equal(drawn[20, 20], photo()[20, 20])
    heat = field_heat(gradient(), log=log)
    np.testing.assert_array_equal(
        drawn[:SIZE], overlay(photo(), heat, vmax=1, opacity=1.0, cmap="viridis")
    )


def test_the_legend_names_the_measure(find_words) -> None:
    raw, log = draw(), draw(log=True)
    soft = (88, 92, 98)
    assert find_words(raw, "share", 12, colour=soft)
    assert find_words(log, "share", 12, colour=soft)
    line = "The colours grow with the logarithm: a"
    assert find_words(log, line, 12, colour=soft)
    assert not find_words(raw, line, 12, colour=soft)
    assert find_words(draw(title="layer3.1"), "layer3.1", 14, bold=True)


def test_frames_lie_on_top_at_their_pixels() -> None:
    frames = [Frame((90, 90, 130, 130), "", "#d55e00"), Frame((60, 60, 160, 160), "", "#0072b2")]
    drawn = draw(frames=frames, point=(105.5, 105.5))
    assert (drawn[90:92, 95:125] == (213, 94, 0)).all()
    assert (drawn[60:62, 65:155] == (0, 114, 178)).all()
    margined = draw(frames=frames, margin_share=0.1)
    assert (margined[120:122, 125:155] == (213, 94, 0)).all()


def test_no_gradient_shows_the_photo_and_says_so(find_words) -> None:
    drawn = draw(gradient=np.zeros((SIZE, SIZE), np.float32), log=True)
    np.testing.assert_array_equal(drawn[:SIZE], photo())
    assert find_words(drawn, "nothing above 0", 12)


def test_outside_the_crop_the_photo_is_dimmed() -> None:
    drawn = draw(crop=(50, 50, 250, 250))
    np.testing.assert_array_equal(drawn[20, 20], np.rint(0.4 * photo()[20, 20]))
    np.testing.assert_array_equal(drawn[60, 60], photo()[60, 60])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        draw(gradient=np.full((SIZE, SIZE), bad, np.float32))
    with pytest.raises(ValueError, match="must be equal"):
        draw(gradient=np.zeros((4, 4), np.float32))
