"""Charts: heights, colours and places read back from the pixels and compared with the numbers."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from mscnn.draw.charts import (
    Chart,
    growth_chart,
    histogram_chart,
    lines_chart,
    shares_chart,
    spectrum_chart,
    split_colours,
)
from mscnn.draw.text import SOFT_INK

INK = (32, 33, 36)
BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)
LONG = "a_model_with_a_very_long_name_that_somebody_typed_in_by_hand_and_that_goes_on.in1k"
Box = tuple[int, int, int, int]


def boxes(chart: Chart) -> dict[str, Box]:
    keyed = {key: box for box, key in chart.boxes}
    assert len(keyed) == len(chart.boxes)
    return keyed


def middle(chart: Chart, box: Box) -> tuple[int, ...]:
    return tuple(int(c) for c in chart.picture[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2])


def centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def luma(colour: tuple[int, ...]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def check_picture(chart: Chart, width: int) -> None:
    """Nothing touches the edge of the paper, so nothing is cut off; every box is on it."""
    picture = chart.picture
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (width, 3)
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 255).all()
    for (left, top, right, bottom), _ in chart.boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= len(picture)


# --- shares ----------------------------------------------------------------------------------

BLOCKS = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
SHARES = [[0.25] * 4, [0.1, 0.2, 0.3, 0.4], [1.0], [0.5, 0.25, 0.25, 0.0]]
FIELDS = [[19] * 4, [27, 35, 43, 19], [51], [91, 107, 123, 75]]
WEIGHTED = [10.0, 100.0, None, 1000.0]


def shares(**changes: Any) -> Chart:
    known: dict[str, Any] = {"weighted_rf": WEIGHTED, "rf": FIELDS, "title": "lion"}
    given = {"blocks": BLOCKS, "shares": SHARES, **known, **changes}
    return shares_chart(given.pop("blocks"), given.pop("shares"), **given)


def test_heights_are_the_shares_and_fill_the_column() -> None:
    chart = shares()
    check_picture(chart, 1000)
    found = boxes(chart)
    left, top, right, bottom = found["layer2.0/0"]  # all of the evidence: the whole column
    height = bottom - top
    assert height > 200
    assert right - left > 100
    for block, parts in zip(BLOCKS, SHARES, strict=True):
        for index, share in enumerate(parts):
            box = found.get(f"{block}/{index}")
            if share == 0:
                assert box is None
                continue
            assert box is not None
            assert box[3] - box[1] == pytest.approx(share * height, abs=1)
        own = sorted(box for key, box in found.items() if key.startswith(block))
        assert sum(box[3] - box[1] for box in own) == height


def test_the_axis_says_how_tall_all_and_nothing_are(find_words) -> None:
    chart = shares(weighted_rf=[None] * 4)
    _, top, _, bottom = boxes(chart)["layer2.0/0"]
    for words, y in (("100", top), ("50", (top + bottom) / 2), ("0", bottom)):
        heights = [
            (place[1] + place[3]) / 2
            for place in find_words(chart.picture, words, 22, colour=(88, 92, 98))
            if place[0] < 70
        ]
        assert min(abs(height - y) for height in heights) < 4, words


def test_the_middle_of_a_box_has_the_splits_colour() -> None:
    chart = shares()
    for key, box in boxes(chart).items():
        block, index = key.split("/")
        colours = split_colours(FIELDS[BLOCKS.index(block)])
        assert middle(chart, box) == colours[int(index)], key
        left, top, right, bottom = box
        # All of the box but the line of paper that sets it off from the one above.
        assert (chart.picture[top + 1 : bottom, left:right] == colours[int(index)]).all()


def test_the_split_that_sees_least_is_at_the_bottom() -> None:
    found = boxes(shares())
    order = sorted(range(4), key=lambda n: -found[f"layer1.1/{n}"][3])
    assert order == [3, 0, 1, 2]  # by 19, 27, 35, 43 px
    # Where all see the same, the last split is at the bottom too.
    assert max(range(4), key=lambda n: found[f"layer1.0/{n}"][3]) == 3
    for lower, upper in itertools.pairwise(order):
        assert found[f"layer1.1/{lower}"][1] == found[f"layer1.1/{upper}"][3]


def test_a_larger_field_is_darker_and_an_equal_one_grey() -> None:
    for fields in ([27, 35, 43, 19], [1, 2], list(range(10, 18))):
        brightness = [luma(c) for _, c in sorted(zip(fields, split_colours(fields), strict=True))]
        assert all(a - b > 8 for a, b in itertools.pairwise(brightness))
    tied = split_colours([5, 9, 5, 7])
    assert tied[0] == tied[2] != tied[3] != tied[1]
    grey = split_colours([51])
    assert len(set(grey[0])) <= 3
    assert max(grey[0]) - min(grey[0]) < 20
    assert set(split_colours([19] * 4)) == set(grey)
    assert set(split_colours([None, 4, 5])) == set(grey)


def test_columns_are_in_order_and_evenly_spaced() -> None:
    found = boxes(shares())
    places = [found[f"{block}/0"] for block in BLOCKS]
    for one, other in itertools.pairwise(places):
        assert one[2] < other[0]
    centres = [centre(box)[0] for box in places]
    steps = np.diff(centres)
    assert np.abs(steps - steps.mean()).max() <= 1


def dot_row(chart: Chart, box: Box) -> float | None:
    """Return the row of the dot above a column: where 5 x 5 px are nearly full of ink."""
    x = round(centre(box)[0])
    dark = chart.picture[: box[1], x - 2 : x + 3].mean(axis=(1, 2))
    rows = np.flatnonzero(np.convolve(dark, np.ones(5) / 5, mode="same") < 75)
    rows = rows[rows > 5]  # before that, the mean reaches past the picture
    return float(rows.mean()) if rows.size else None


def test_the_line_is_logarithmic_and_has_a_gap() -> None:
    weighted = [10.0, 100.0, 1000.0, None, 10.0, 100.0]
    names = [f"layer1.{n}" for n in range(6)]
    chart = shares(blocks=names, shares=[[1.0]] * 6, rf=[[1]] * 6, weighted_rf=weighted, title="")
    found = boxes(chart)
    rows = [dot_row(chart, found[f"{name}/0"]) for name in names]
    assert rows[3] is None
    low, between, high = (row or 0.0 for row in rows[:3])
    assert low - between == pytest.approx(between - high, abs=1.5)
    assert between - high > 40
    assert rows[4] == pytest.approx(low, abs=1)
    # The line itself is there between the first two columns, and not across the gap.
    joined, gap = (
        round((centre(found[names[n] + "/0"])[0] + centre(found[names[n + 1] + "/0"])[0]) / 2)
        for n in (0, 2)
    )
    span = slice(round(high) - 5, round(low) + 5)
    assert (chart.picture[span, joined] == INK).all(axis=-1).any()
    assert not (chart.picture[span, gap] == INK).all(axis=-1).any()


def test_a_block_without_evidence_is_an_empty_column() -> None:
    chart = shares(shares=[SHARES[0], [0.0] * 4, *SHARES[2:]], weighted_rf=[None] * 4)
    found = boxes(chart)
    assert not any(key.startswith("layer1.1/") for key in found)
    before, after = found["layer1.0/0"], found["layer2.0/0"]
    x = round((centre(before)[0] + centre(after)[0]) / 2)
    whole = chart.picture[after[1] + 1 : after[3] - 1, x - 20 : x + 20]
    assert (whole == 255).mean() > 0.98  # but for level lines


@pytest.mark.parametrize("splits", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [4, 16, 33, 100])
@pytest.mark.parametrize("width", [390, 1000])
def test_any_depth_fits(count: int, splits: int, width: int) -> None:
    names = [f"layer{1 + n * 4 // count}.{n}" for n in range(count)]
    chart = shares(
        blocks=names,
        shares=[[1 / splits] * splits] * count,
        rf=[list(range(1, splits + 1))] * count,
        weighted_rf=[20.0 * 1.05**n for n in range(count)],
        title=f"{LONG} on a photo",
        width_px=width,
    )
    check_picture(chart, width)
    found = boxes(chart)
    assert len(found) == count * splits
    for name, other in itertools.pairwise(names):
        assert found[f"{name}/0"][2] <= found[f"{other}/0"][0]
    assert middle(chart, found[f"{names[-1]}/0"]) == split_colours(range(1, splits + 1))[0]


def test_words_are_whole(find_words) -> None:
    chart = shares(title=r"a $\frac{ title with 100 % of _strange^ signs")
    size = 22
    assert find_words(
        chart.picture, r"a $\frac{ title with 100 % of _strange^ signs", 24, bold=True
    )
    for words in ("layer1", "layer2"):
        assert len(find_words(chart.picture, words, size)) == 1
    text = "Evidence-weighted receptive field of each block, px of the network's input"
    assert find_words(chart.picture, text, size)
    assert find_words(chart.picture, "1000", size)  # the last value, beside the line


def test_numbers_of_blocks_are_thinned_not_squeezed(find_words) -> None:
    names = [f"layer3.{n}" for n in range(100)]
    chart = shares(
        blocks=names, shares=[[1.0]] * 100, rf=[[1]] * 100, weighted_rf=[None] * 100, title=""
    )
    soft = (88, 92, 98)
    assert find_words(chart.picture, "95", 19, colour=soft)
    assert not find_words(chart.picture, "97", 19, colour=soft)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"blocks": [], "shares": [], "rf": [], "weighted_rf": []}, "at least one block"),
        ({"weighted_rf": [1.0]}, "same length"),
        ({"rf": [[1]] * 4}, "4 shares but 1"),
        ({"shares": [[2.0, 0, 0, 0], *SHARES[1:]]}, "0..1"),
        ({"shares": [[0.5, 0.5, 0.5, 0], *SHARES[1:]]}, "add up"),
        ({"shares": [[math.nan, 0, 0, 0], *SHARES[1:]]}, "0..1"),
    ],
)
def test_shares_that_do_not_fit_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        shares(**changes)


# --- spectrum --------------------------------------------------------------------------------


def test_points_of_the_spectrum_lie_where_the_logarithm_says() -> None:
    huge = {100: 1, 200: 10**30, 300: 10**60}
    chart = spectrum_chart(
        [("one", huge), ("two", {150: 10**15})], inputs_px=[250] * 2, title="paths"
    )
    check_picture(chart, 1000)
    found = boxes(chart)
    (x1, y1), (x2, y2), (x3, y3) = (centre(found[f"one/{size}"]) for size in huge)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=1)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=1)
    assert y1 - y3 > 300
    x, y = centre(found["two/150"])
    assert x == pytest.approx((x1 + x2) / 2, abs=1)
    assert y == pytest.approx((y1 + y2) / 2, abs=1)
    for size in huge:
        assert middle(chart, found[f"one/{size}"]) == BLUE
    assert middle(chart, found["two/150"]) == VERMILLION
    # The dashed line at 250 px, half-way between 200 and 300.
    dark = (chart.picture[round(y3) : round(y1)].max(axis=-1) < 110).sum(axis=0)
    assert abs(int(np.argmax(dark)) - (x2 + x3) / 2) <= 1.5


def test_integers_of_any_length() -> None:
    chart = spectrum_chart([("deep", {10: 1, 20: 10**5000 + 1})], inputs_px=[20], title="")
    found = boxes(chart)
    assert centre(found["deep/10"])[1] - centre(found["deep/20"])[1] > 300


def test_each_spectrum_names_its_largest_size(find_words) -> None:
    resnet = {11 + 8 * n: math.comb(52, n) for n in range(53)}
    chart = spectrum_chart(
        [
            ("resnet50", resnet),
            ("48w_2s", resnet),
            (LONG, {11 + 8 * n: math.comb(344, n) for n in range(345)}),
        ],
        inputs_px=[224] * 3,
        title="",
    )
    darker = [tuple(round(0.72 * c) for c in colour) for colour in (BLUE, VERMILLION)]
    places = [find_words(chart.picture, "427 px", 22, colour=colour) for colour in darker]
    # Both end at the same place, and neither number lies on the other.
    assert [len(p) for p in places] == [1, 1]
    assert find_words(chart.picture, "input: 224 px", 22)
    assert find_words(chart.picture, "resnet50", 22)
    check_picture(chart, 1000)


@pytest.mark.parametrize("sizes", [1, 5, 630])
@pytest.mark.parametrize("models", [1, 2, 4, 7])
def test_spectra_of_many_models(models: int, sizes: int) -> None:
    spectra = [(f"{LONG}{m}", {11 + 4 * n: 3**n + m for n in range(sizes)}) for m in range(models)]
    chart = spectrum_chart(spectra, inputs_px=[416] * models, title="t", width_px=640)
    check_picture(chart, 640)
    assert len(chart.boxes) == models * sizes


@pytest.mark.parametrize("spectra", [[], [("m", {0: 1})], [("m", {1: 0})]])
def test_no_spectrum(spectra: list[tuple[str, dict[int, int]]]) -> None:
    with pytest.raises(ValueError, match="from 1 up"):
        spectrum_chart(spectra, inputs_px=[224] * len(spectra), title="")


# --- growth ----------------------------------------------------------------------------------


def test_bands_reach_from_the_smallest_to_the_largest(find_words) -> None:
    blocks = [("layer1.0", 10, 10), ("layer1.1", 10, 100), ("layer2.0", 10, 1000)]
    chart = growth_chart([("one", blocks)], inputs_px=[100], title="growth")
    check_picture(chart, 1000)
    found = boxes(chart)
    tops = [found[f"one/{name}"][1] for name, _, _ in blocks]
    assert tops[0] - tops[1] == pytest.approx(tops[1] - tops[2], abs=1)
    assert len({found[f"one/{name}"][3] for name, _, _ in blocks}) == 1
    line = chart.picture[tops[1] + 4, :, :]  # 4 px are added around a band, so that it can be hit
    assert (line.max(axis=-1) < 110).sum() > 300  # the dashes of the input
    x, _ = centre(found["one/layer2.0"])
    y = found["one/layer2.0"][1] + 4
    area = chart.picture[y + 10 : y + 40, round(x) - 8].mean(axis=0)
    assert area[2] > area[0]  # a bluish area below the line
    assert find_words(chart.picture, "layer1", 22)


def test_models_of_different_depth_share_a_relative_axis(find_words) -> None:
    models = [
        ("short", [(f"layer1.{n}", 5, 10 * n + 10) for n in range(3)]),
        ("long", [(f"layer1.{n}", 5, 10 * n + 10) for n in range(9)]),
    ]
    chart = growth_chart(models, inputs_px=[96] * 2, title="")
    check_picture(chart, 1000)
    found = boxes(chart)
    assert find_words(chart.picture, "Depth in the network, % of its blocks", 22)
    assert not find_words(chart.picture, "layer1", 22)
    # Block 4 of 9 lies half-way, as does block 1 of 3.
    middle_x = centre(found["long/layer1.4"])[0]
    assert centre(found["short/layer1.1"])[0] == pytest.approx(middle_x, abs=1)


def test_inputs_that_differ_are_each_marked_and_say_whose_they_are(find_words) -> None:
    blocks = [("layer1.0", 9, 9), ("layer1.1", 9, 400)]
    models = [("small", blocks), ("large", blocks), ("big", blocks)]
    grown = growth_chart(models, inputs_px=[64, 224, 224], title="")
    paths = spectrum_chart(
        [(name, {9: 1, 400: 1000}) for name, _ in models], inputs_px=[64, 224, 224], title=""
    )
    for chart, colour in ((grown, SOFT_INK), (paths, INK)):
        check_picture(chart, 1000)
        for words in ("input of small: 64 px", "input of 2 models: 224 px"):
            assert find_words(chart.picture, words, 22, colour=colour)
    tops = [boxes(grown)[f"small/{name}"][1] + 4 for name in ("layer1.0", "layer1.1")]
    dark = (grown.picture.max(axis=-1) < 110).sum(axis=1)
    levels = np.flatnonzero(dark[tops[1] : tops[0]] > 300)
    assert np.count_nonzero(np.diff(levels) > 2) == 1  # two dashed lines


@pytest.mark.parametrize(
    ("models", "match"),
    [([], "needs a model"), ([("m", [])], "needs a model"), ([("m", [("a", 3, 2)])], "largest")],
)
def test_no_growth(models: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        growth_chart(models, inputs_px=[224] * len(models), title="")


# --- lines -----------------------------------------------------------------------------------


def lines(curves: Any, **options: Any) -> Chart:
    return lines_chart(curves, x_label="size", y_label="probability", title="zoom", **options)


def test_points_lie_on_their_axes() -> None:
    curve = [(4.0, 0.0), (2.0, 0.5), (1.0, None), (0.5, 1.0)]
    chart = lines([("m", curve)], log_x=True, invert_x=True, y_range=(0, 1))
    check_picture(chart, 700)
    assert len(chart.picture) == pytest.approx(420, abs=8)
    found = boxes(chart)
    assert set(found) == {"m/0", "m/1", "m/3"}
    places = {key: centre(box) for key, box in found.items()}
    (x0, y0), (x1, y1), (x3, y3) = places["m/0"], places["m/1"], places["m/3"]
    # One octave, then two; the largest at the left.
    assert x3 - x1 == pytest.approx(2 * (x1 - x0), abs=1.5)
    assert x0 < x1
    assert y0 - y1 == pytest.approx(y1 - y3, abs=1)
    for box in found.values():
        assert middle(chart, box) == BLUE
    # No line across the gap: half-way from point 1 to point 3 there is paper.
    x, y = round((x1 + x3) / 2), round((y1 + y3) / 2)
    assert (chart.picture[y - 6 : y + 7, x - 6 : x + 7].min(axis=-1) > 200).all()


def test_linear_axes_and_the_reference(find_words) -> None:
    curves = [("a", [(0, 1.0), (10, 3.0)]), ("b", [(5, 2.0)])]
    chart = lines(curves, y_range=(0, 4), reference=2.0, reference_label="even spread")
    found = boxes(chart)
    (xa, ya), (xb, yb), (x, y) = (centre(found[key]) for key in ("a/0", "a/1", "b/0"))
    assert x == pytest.approx((xa + xb) / 2, abs=1)
    assert y == pytest.approx((ya + yb) / 2, abs=1)
    assert middle(chart, found["b/0"]) == VERMILLION
    row = chart.picture[round(y) - 1 : round(y) + 2].max(axis=-1).min(axis=0)
    assert (row < 130).sum() > 250
    assert find_words(chart.picture, "even spread", 15, colour=(88, 92, 98))


def test_values_beyond_the_range_lie_on_its_edge() -> None:
    found = boxes(lines([("m", [(0, -5.0), (1, 0.0), (2, 9.0), (3, 1.0)])], y_range=(0, 1)))
    heights = [centre(found[f"m/{n}"])[1] for n in range(4)]
    assert heights[0] == heights[1]
    assert heights[2] == heights[3]


def test_a_range_of_its_own_holds_all_values() -> None:
    found = boxes(lines([("m", [(0, 400.0), (1, 420.0)])], reference=410.0))
    assert centre(found["m/0"])[1] - centre(found["m/1"])[1] > 120  # 0 is far away: left out
    found = boxes(lines([("m", [(0, 1.0), (1, 4.0), (2, 2.0)])]))
    y = [centre(found[f"m/{n}"])[1] for n in range(3)]
    assert y[0] - y[2] == pytest.approx((y[0] - y[1]) / 3, abs=1.5)


@pytest.mark.parametrize("curves", [[], [("m", [])], [("m", [(1.0, None)])]])
def test_no_point_says_so(curves: Any, find_words) -> None:
    chart = lines(curves, log_x=True)
    assert chart.boxes == ()
    assert find_words(chart.picture, "nothing to show", 15, colour=(88, 92, 98))


@pytest.mark.parametrize(
    ("curve", "options", "match"),
    [
        ([(1, math.nan)], {}, "finite"),
        ([(math.inf, 1)], {}, "finite"),
        ([(0, 1)], {"log_x": True}, "above 0"),
        ([(1, 1)], {"y_range": (1, 1)}, "low to high"),
    ],
)
def test_lines_that_cannot_be_drawn(curve: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        lines([("m", curve)], **options)


def test_long_words_make_the_picture_taller() -> None:
    chart = lines([(LONG + str(n), [(1, 1.0), (2, 3.0)]) for n in range(6)], height_px=200)
    check_picture(chart, 700)
    found = boxes(chart)
    assert centre(found[f"{LONG}0/0"])[1] - centre(found[f"{LONG}0/1"])[1] > 80


# --- histogram -------------------------------------------------------------------------------


def test_bars_are_the_shares_of_their_group() -> None:
    photo = [0.05] * 10 + [0.15] * 20 + [0.95] * 30
    chart = histogram_chart(
        [("photo", photo), ("reference", [0.55])], x_label="gate", title="", bins=10
    )
    check_picture(chart, 700)
    found = boxes(chart)
    assert set(found) == {"photo/0", "photo/1", "photo/9", "reference/5"}
    heights = {key: box[3] - box[1] for key, box in found.items()}
    whole = heights["reference/5"]  # one value of one: 100 %
    assert whole > 150
    for key, count in (("photo/0", 10), ("photo/1", 20), ("photo/9", 30)):
        assert heights[key] == pytest.approx(whole * count / 60, abs=1)
    assert found["photo/1"][0] == found["photo/0"][2]
    # The first group is filled with a light blue, the second only an outline of vermillion.
    assert middle(chart, found["photo/9"]) == tuple(round(0.5 * c + 127.5) for c in BLUE)
    left, top, right, bottom = found["reference/5"]
    inside = chart.picture[top + 8 : bottom - 8, left + 8 : right - 8]
    assert (inside.min(axis=-1) > 200).all()
    edge = chart.picture[(top + bottom) // 2, left - 3 : left + 4].astype(int)
    assert (edge[:, 0] - edge[:, 2]).max() > 150


def test_values_beyond_count_in_the_outer_bins() -> None:
    groups = [("g", [-1.0, 0.0, 1.0, 7.0])]
    found = boxes(histogram_chart(groups, x_label="", title="", bins=4))
    assert set(found) == {"g/0", "g/3"}


@pytest.mark.parametrize(
    ("values", "options", "match"),
    [
        ([math.nan], {}, "finite"),
        ([1.0], {"bins": 0}, "none"),
        ([1.0], {"x_range": (1, 1)}, "none"),
    ],
)
def test_no_histogram(values: list[float], options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        histogram_chart([("g", values)], x_label="", title="", **options)


def test_empty_groups_say_so(find_words) -> None:
    chart = histogram_chart([("photo", []), ("reference", [])], x_label="gate", title="")
    assert chart.boxes == ()
    assert find_words(chart.picture, "nothing to show", 15, colour=(88, 92, 98))


# --- all -------------------------------------------------------------------------------------


def test_charts_are_the_same_every_time_and_in_threads() -> None:
    def draw(_: int) -> list[bytes]:
        charts = [
            shares(),
            spectrum_chart([("m", {9: 4, 20: 10**40})], inputs_px=[30], title="t"),
            growth_chart([("m", [("a", 3, 9), ("b", 3, 30)])], inputs_px=[30], title="t"),
            lines([("m", [(1, 1.0), (2, 2.0)])]),
        ]
        return [chart.picture.tobytes() for chart in charts]

    first = draw(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(drawn == first for drawn in pool.map(draw, range(4)))


def test_drawing_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, mscnn.draw.charts as c, mscnn.draw.strip, mscnn.draw.field\n"
        "c.lines_chart([('m', [(1, 2.0)])], x_label='', y_label='', title='')\n"
        "print(*({'torch', 'timm', 'gradio', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
