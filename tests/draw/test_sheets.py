"""Sheets: every picture is an overlay on the common scale, and the scale is stated."""

import dataclasses

import matplotlib.text
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from mscnn.draw import sheets
from mscnn.draw.figures import png
from mscnn.draw.overlay import overlay
from mscnn.results.explanation import CamMap, ComparedModel, Comparison, Explanation, Score, density
from mscnn.results.folders import ClassMean, MapsSummary
from mscnn.results.scales import SPLIT_UNIT, EffectiveField, Square
from tests.draw.test_charts import LION, curve, predicted, report, swept
from tests.results import samples

# The middle square of a photo of 400 x 200 px, seen at 64 px.
GEOMETRY, FLAT = samples.GEOMETRY, samples.FLAT
PHOTO = Image.new("RGB", (400, 200), (100, 100, 100))
OPTIONS = sheets.DrawingOptions(opacity=1.0)


def words(figure):
    return " ".join(" ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text)).split())


def pictures(figure):
    assert png(figure)
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def block(maps):
    return samples.block("layer1.1", maps=maps)


def test_splits_share_one_scale_in_units_of_an_even_spread():
    # All positions of split 0 hold 1, of split 1 hold 3: half and one and a half of their mean.
    heats, top = block(FLAT).heats((40, 20))
    for heat, expected in zip(heats, (0.5, 1.5), strict=True):
        assert heat.shape == (20, 40)
        assert heat.dtype == np.float32
        np.testing.assert_allclose(heat[:, 10:30], expected, rtol=1e-5)
        assert not heat[:, :10].any()
        assert not heat[:, 30:].any()
    assert top == pytest.approx(1.5)
    heats, top = block(-FLAT).heats((40, 20))
    assert top == 0
    assert not np.any(heats)


def test_a_strip_draws_each_split_on_the_common_scale():
    figure = sheets.split_strip(report(), block(FLAT), PHOTO, OPTIONS)
    size = GEOMETRY.drawn_size(420, 420)
    heats, top = block(FLAT).heats(size)
    shown = pictures(figure)
    for picture, heat in zip(shown, heats, strict=True):
        expected = overlay(
            sheets.fitted(PHOTO, size), heat, vmax=top, opacity=1.0, crop=GEOMETRY.crop_on(size)
        )
        np.testing.assert_array_equal(picture, expected)
    text = words(figure)
    for part in (
        "Stage 1, block 2 (layer1.1)", "Split 0", "25% of the evidence; sees 11 to 27 px",
        "1\N{MULTIPLICATION SIGN}1 \N{RIGHTWARDS ARROW} 3\N{MULTIPLICATION SIGN}3",
        "0 (transparent)", "1.5", SPLIT_UNIT,
    ):  # fmt: skip
        assert part in text


def column(name, raw):
    cam = CamMap("layer4", 3, "gradcam", np.asarray(raw, np.float32), GEOMETRY)
    explanation = Explanation(predicted(name), np.zeros((64, 64, 3), np.uint8), (LION,), (cam,))
    return ComparedModel(name, explanation, None, 12.5)


def test_a_comparison_shows_one_scale_and_a_difference_for_two_models():
    failed = ComparedModel("c", None, None, None, "not here $_1")
    # The second map is weaker, but both are drawn as evidence per area.
    two = Comparison("lion", "last", (column("a", [[9, 0]]), column("b", [[0, 3]])), (), 4.0)
    three = dataclasses.replace(two, columns=(*two.columns, failed))

    def blue_px(figure):
        parts = [picture.astype(int) for picture in pictures(figure)]
        return sum(int((p[..., 2] > p[..., 0] + 60).sum()) for p in parts)

    # Only the difference is drawn in blue; inferno goes from black over purple to yellow.
    pair = sheets.comparison_sheet(two, PHOTO, OPTIONS)
    assert blue_px(pair) > 1000
    assert "red: more in b; blue: more in a" in words(pair)
    more = sheets.comparison_sheet(three, PHOTO, OPTIONS)
    assert blue_px(more) == 0
    for part in ("Photo", "not here $_1", "lion $x 75.0%", "4", "1 = an even spread"):
        assert part in words(more)
    assert len(pictures(more)) == 4
    assert "\N{GREATER-THAN OR EQUAL TO}" not in words(more)
    clipped = dataclasses.replace(three, scale_max=1.5)  # of maps that reach 2
    said = words(sheets.comparison_sheet(clipped, PHOTO, OPTIONS))
    assert "\N{GREATER-THAN OR EQUAL TO} 1.5" in said


def test_a_top_1_prediction_that_is_another_class_is_named():
    one = column("a", [[9, 0]])
    assert one.explanation is not None
    cat = (Score(0, "cat", 0.125),)
    other = dataclasses.replace(one, explanation=dataclasses.replace(one.explanation, targets=cat))
    figure = sheets.comparison_sheet(Comparison("cat", "last", (other,), (), 4.0), PHOTO, OPTIONS)
    assert "cat 12.5%; its top-1 prediction is lion $x 75.0%" in words(figure)


def stepped(raw):
    step = curve("m", (1.0, 0.5, 1.0, 40.0)).steps[0]
    view = np.full((64, 64, 3), 100, np.uint8)
    return dataclasses.replace(step, raw=np.asarray(raw, np.float32), view=view)


def test_a_film_is_drawn_in_units_of_an_even_spread():
    steps = tuple(map(stepped, ([[1, 1], [1, 1]], [[0, 8], [0, 0]], [[-1, 0], [0, 0]])))
    flat, corner, nothing = (step.density() for step in steps)
    np.testing.assert_allclose(flat, 1, rtol=1e-6)
    # One of four positions holds all: bilinear resizing keeps its peak of 4 and its mean of 1.
    assert (corner.max(), corner.mean()) == (pytest.approx(4), pytest.approx(1, rel=1e-5))
    assert corner[0, -1] == corner.max()
    assert not nothing.any()
    one = dataclasses.replace(curve("m"), steps=steps)
    # A quarter of the way from 1 to 4: an empty map has no say, nor does the densest set the scale.
    assert sheets.film_scale(swept(one)) == (1.75, True)
    assert sheets.film_scale(swept(dataclasses.replace(one, steps=steps[2:]))) == (0, False)
    figure = sheets.film_strip(swept(one, curve("none"), one), OPTIONS)
    assert figure is not None
    shown = pictures(figure)
    assert len(shown) == 2 * 4  # rows of four, the last of each blank
    assert (shown[2] == 100).all()  # without evidence: what the network saw
    assert "\N{GREATER-THAN OR EQUAL TO} 1 " in words(figure)
    assert "50.0%, rank 1" in words(figure)
    assert sheets.film_strip(swept(curve("none")), OPTIONS) is None


def effective(gradient, **changes):
    squares = (Square(0.5, 11), Square(0.9, 31))
    one = EffectiveField(
        "net", "layer3.1", 2, (3, 3), (30.5, 20.5), gradient, (-10.0, 0.0, 70.0, 80.0), squares,
        (Square(0.5, 21),), 1, True, np.zeros((64, 64, 3), np.uint8), GEOMETRY,
    )  # fmt: skip
    return dataclasses.replace(one, **changes)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_the_measure_does_not_depend_on_the_gradients_scale(scale):
    values = np.array([[0, 0.001, 0.01, 0.1, 1]], np.float32) * np.float32(scale)
    plain = sheets.field_heat(values, log=False)
    np.testing.assert_allclose(plain, values / values.max(), rtol=1e-6)
    logs = sheets.field_heat(values, log=True)[0]
    # log10(1 + 1), log10(10 + 1) and log10(100 + 1), each over 3, worked out by hand.
    np.testing.assert_allclose(logs, [0, 0.100343, 0.347131, 0.668107, 1], atol=2e-5)


def test_boxes_lie_where_the_geometry_says():
    gradient = np.ones((64, 64), np.float32)
    figure = sheets.effective_field_sheet([effective(gradient)], PHOTO, OPTIONS, log=False)
    assert png(figure)
    axis = figure.axes[0]
    scale = axis.images[0].get_array().shape[1] / 400
    drawn = {tuple(np.round((np.array(p.get_bbox().extents) + 0.5) / scale, 6))
             for p in axis.patches if isinstance(p, Rectangle)}  # fmt: skip
    # 400 / 128 photo px per px of the input, which begins 32 px into the resized photo.
    px = 400 / 128
    expected = {
        tuple(np.round(np.array([l + 32, t, r + 32, b]) * px, 6))
        for l, t, r, b in ((-10, 0, 70, 80), (25, 15, 36, 26), (15, 5, 46, 36))  # noqa: E741
    }
    assert drawn == expected
    assert axis.get_xlim()[0] < 0 < 400 * scale < axis.get_xlim()[1]
    text = words(figure)
    for part in (
        "Stage 3, block 2, split 2, trained weights", "can see 80 px (reaches past", "50 % of the",
        "50% of the gradient in 11 px", sheets.FIELD_UNIT[:40],
    ):  # fmt: skip
        assert part in text
    two = [effective(gradient), effective(gradient)]
    logs = sheets.effective_field_sheet(two, PHOTO, OPTIONS, log=True)
    assert "in 21 px" in words(logs)
    assert "logarithm" in words(logs)


def test_no_gradient_shows_the_photo_and_says_so():
    nothing = effective(np.zeros((64, 64), np.float32), squares=(), theoretical=None)
    figure = sheets.effective_field_sheet([nothing], PHOTO, OPTIONS, log=False)
    (picture, *_) = pictures(figure)
    crop = GEOMETRY.crop_on((picture.shape[1], picture.shape[0]))
    assert (picture[crop[1] : crop[3], crop[0] : crop[2]] == 100).all()
    assert "nothing above 0" in words(figure)
    assert "switched off here" in words(figure)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="finite"):
        sheets.field_heat(np.full((4, 4), np.nan, np.float32), log=False)
    with pytest.raises(ValueError, match="at least one panel"):
        sheets.effective_field_sheet([], PHOTO, OPTIONS, log=False)


def cam(raw):
    return CamMap("layer4", 3, "gradcam", np.array(raw, np.float32), GEOMETRY)


@pytest.mark.parametrize(("count", "columns"), [(1, 6), (2, 6), (4, 4), (5, 5), (7, 6)])
def test_a_contact_sheet_keeps_the_maps_of_a_photo_in_one_row(count, columns):
    maps = [(f"model {m}", cam([[4, 0], [0, 0]]), "lion 12.0%") for m in range(count)]
    figure = sheets.contact_sheet([("a.jpg", PHOTO, maps), ("b.jpg", PHOTO, maps)], "All", OPTIONS)
    assert len(pictures(figure)) == 2 * count
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns
    assert ("a.jpg: lion 12.0%" in words(figure)) == (count > 1)


def test_the_scale_of_a_contact_sheet_ends_at_the_median():
    """One photo with a single bright cell must not leave all others without colour."""
    raws = [[[1, 1], [1, 1]], [[1, 1], [1, 0]], [[1, 0], [0, 0]]]
    shown = [(f"{n}.jpg", PHOTO, [("net", cam(raw), "")]) for n, raw in enumerate(raws)]
    figure = sheets.contact_sheet(shown, "All", OPTIONS)
    # Even: 1; one of four cells empty: 4/3, of the mean over the view, resized.
    top = float(density(cam(raws[1]), 433, 433).max())
    assert top == pytest.approx(4 / 3, rel=0.01)
    assert f"≥ {top:.2g}" in words(figure)


def test_mean_maps_are_those_of_the_most_frequent_classes():
    classes = tuple(
        ClassMean(i, f"class {i}", i + 1, np.array([[i + 1.0, 0], [0, 0]], np.float32))
        for i in range(30)
    )
    one = MapsSummary(
        model="net", weights=samples.WEIGHTS, method="gradcam", layer="layer4", file="maps.npy",
        shape=(2, 2), means={}, classes=classes,
    )  # fmt: skip
    shown = pictures(figure := sheets.mean_maps_sheet([one], "Mean", OPTIONS))
    assert len(shown) == sheets.MEAN_MAPS
    said = words(figure)
    assert "30 photos; net, gradcam, layer4" in said
    assert ("class 29" in said, "class 6" in said, "class 5 " in said) == (True, True, False)
    apart = [np.abs(picture.astype(int) - shown[0]).max() for picture in shown]
    assert max(apart) <= 3  # each in units of its own mean; rounding may choose the next colour


def test_a_mean_map_has_the_shape_of_what_the_network_sees():
    mean = ClassMean(0, "class", 1, np.ones((4, 2), np.float32))
    one = MapsSummary(
        model="net", weights=samples.WEIGHTS, method="gradcam", layer="layer4", file="maps.npy",
        shape=(4, 2), means={}, classes=(mean,),
    )  # fmt: skip
    height, width, _ = pictures(sheets.mean_maps_sheet([one], "Mean", OPTIONS))[0].shape
    assert height == pytest.approx(2 * width, abs=2)
