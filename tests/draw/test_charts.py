"""Charts: bars, points, scales and words read back from the axes and compared with the numbers."""

import itertools
import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mscnn.draw import charts
from mscnn.draw.figures import NEUTRAL, SERIES, inline_svg, marks, png
from mscnn.geometry import ViewGeometry
from mscnn.results import scales
from mscnn.results.cuts import Ablation, Cap, CapCurve, CapStep, SplitCut
from mscnn.results.explanation import PhotoInfo, Prediction, Score, WeightsInfo
from mscnn.results.receptive_field import BlockField, ReceptiveField, Spectrum, StageField
from mscnn.scales.receptive_field import known

GEOMETRY = ViewGeometry(photo=(64, 64), resized=(64, 64), offset=(0, 0), view=(64, 64))
LION = Score(3, "lion $x", 0.75)
BLOCKS = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
SHARES = [[0.25] * 4, [0.1, 0.2, 0.3, 0.4], [1.0], [0.5, 0.25, 0.25, 0.0]]
FIELDS: list[list[int | None]] = [[19] * 4, [27, 35, 43, 19], [51], [91, 107, 123, 75]]


def predicted(model="net"):
    photo = PhotoInfo("lion.jpg", 64, 64, GEOMETRY.crop)
    weights = WeightsInfo("bundled", "x", "ab" * 32)
    return Prediction(photo, model, weights, "cpu", (LION,), np.zeros(4, np.float32))


def report(blocks=BLOCKS, shares=SHARES, fields=FIELDS):
    made = [
        scales.BlockScales(
            name, "hierarchy", 4,
            tuple(scales.SplitEvidence(i, ("1x1",), rf and rf - 4, rf, 4 * share, share)
                  for i, (share, rf) in enumerate(zip(own, sizes, strict=True))),
            np.zeros((len(own), 2, 2), np.float32), 1.0, 3, GEOMETRY,
        )
        for name, own, sizes in zip(blocks, shares, fields, strict=True)
    ]  # fmt: skip
    return scales.ScaleReport(predicted(), LION, tuple(made), np.zeros((64, 64, 3), np.uint8))


def found(figure, gid):
    (artist,) = figure.findobj(lambda a: a.get_gid() == gid)
    return artist


def bar(figure, gid):
    artist = found(figure, gid)
    assert isinstance(artist, Rectangle)
    return artist


def point(figure, gid):
    artist = found(figure, gid)
    assert isinstance(artist, Line2D)
    return float(np.ravel(artist.get_xdata())[0]), float(np.ravel(artist.get_ydata())[0])


def words(figure):
    texts = figure.findobj(matplotlib.text.Text)
    return " ".join(" ".join(t.get_text() for t in texts).split())


def drawn(figure):
    """Nothing warns, nothing crashes, and nothing is cut off at the edges of the paper."""
    assert png(figure)
    return figure


def test_bars_are_the_fractions_and_fill_the_column():
    figure = drawn(charts.evidence_chart(report()))
    for name, shares in zip(BLOCKS, SHARES, strict=True):
        for index, share in enumerate(shares):
            gid = f"part:{name}/{index}"
            assert (gid in marks(figure)) == (share > 0)
            if share:
                assert bar(figure, gid).get_height() == pytest.approx(100 * share)
        tops = [bar(figure, g).get_y() + bar(figure, g).get_height()
                for g in marks(figure) if g.startswith(f"part:{name}/")]  # fmt: skip
        assert max(tops) == pytest.approx(100)
    assert figure.axes[1].get_ylim() == (0, 100)


def test_the_split_that_sees_least_is_at_the_bottom_and_more_is_darker():
    figure = charts.evidence_chart(report())
    order = sorted(range(4), key=lambda n: bar(figure, f"part:layer1.1/{n}").get_y())
    assert order == [3, 0, 1, 2]  # by 19, 27, 35, 43 px
    # Where all see the same, the last split is at the bottom too.
    assert min(range(4), key=lambda n: bar(figure, f"part:layer1.0/{n}").get_y()) == 3
    for name, sizes in zip(BLOCKS, FIELDS, strict=True):
        for index, colour in enumerate(charts.split_colours(sizes)):
            if (gid := f"part:{name}/{index}") in marks(figure):
                assert to_hex(bar(figure, gid).get_facecolor()) == colour


@pytest.mark.parametrize("sizes", [[27, 35, 43, 19], [1, 2], list(range(10, 18))])
def test_colours_are_ordered_by_lightness(sizes):
    pairs = sorted(zip(sizes, charts.split_colours(sizes), strict=True))
    rgb = np.array([matplotlib.colors.to_rgb(c) for _, c in pairs])
    assert (np.diff(rgb @ [0.299, 0.587, 0.114]) < -0.03).all()


def test_equal_fields_share_a_colour_and_unknown_ones_are_grey():
    tied = charts.split_colours([5, 9, 5, 7])
    assert tied[0] == tied[2] != tied[3] != tied[1]
    for sizes in ([51], [19] * 4, [None, 4, 5]):
        assert set(charts.split_colours(sizes)) == {NEUTRAL}


def test_the_weighted_field_is_a_logarithmic_line_with_gaps():
    shares = [SHARES[0], [0.0] * 4, *SHARES[2:]]
    given = report(shares=shares)
    figure = drawn(charts.evidence_chart(given))
    line, columns = figure.axes
    assert line.get_yscale() == "log"
    for number, block in enumerate(given.blocks):
        if block.weighted_rf_px is None:
            assert f"block:{block.block}" not in marks(figure)
        else:
            at = point(figure, f"block:{block.block}")
            assert at == pytest.approx((number, block.weighted_rf_px))
    assert np.isnan(np.asarray(line.lines[0].get_ydata(), float)).tolist() == [0, 1, 0, 0]
    # A block without evidence is an empty column.
    assert not any(gid.startswith("part:layer1.1/") for gid in marks(figure))
    assert [p.get_fill() for p in columns.patches].count(False) == 1
    assert f"{given.blocks[-1].weighted_rf_px:.0f} px" in words(figure)


def test_words_and_tooltips_say_what_is_shown():
    figure = charts.evidence_chart(report())
    text = words(figure)
    for part in (
        "net: evidence for lion $x (75.0%)", "px of the input (log scale)", "% of the block's",
        "from the split that sees least to the one that sees most", "splits that all see the same",
        "Stage 1", "Stage 2",
    ):  # fmt: skip
        assert part in text
    assert marks(figure)["part:layer1.1/2"] == (
        "Stage 1, block 2 (layer1.1), split 2: 30.0% of the block's evidence; sees 39 to 43 px"
    )
    assert "evidence for" not in words(charts.evidence_chart(report(), title=""))


def test_without_known_fields_there_is_no_line():
    figure = drawn(charts.evidence_chart(report(["a"], [[0.5, 0.5]], [[None, None]])))
    assert len(figure.axes) == 1
    assert "sees" not in marks(figure)["part:a/0"]
    with pytest.raises(ValueError, match="at least one block"):
        charts.evidence_chart(report([], [], []))


def overlaps(axis, minor):
    labels = [t for t in axis.get_xticklabels(minor=minor) if t.get_text()]
    boxes = sorted(((t.get_window_extent(), t.get_text()) for t in labels), key=lambda b: b[0].x0)
    return [b for (one, _), (two, b) in itertools.pairwise(boxes) if one.x1 > two.x0]


@pytest.mark.parametrize(
    "counts", [(2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 24, 36, 3), (3, 30, 48, 8), (40,)]
)
@pytest.mark.parametrize("width", [360, 720])
def test_names_of_any_depth_keep_apart(counts, width):
    names = [f"layer{s}.{b}" for s, count in enumerate(counts, 1) for b in range(count)]
    splits: list[list[int | None]] = [[9, 10 + n] for n in range(len(names))]
    given = report(names, [[0.5, 0.5]] * len(names), splits)
    figure = drawn(charts.evidence_chart(given, width=width))
    assert overlaps(figure.axes[1], minor=False) == []
    assert overlaps(figure.axes[1], minor=True) == []
    assert len(marks(figure)) == 3 * len(names)


def field(model, sizes, spectrum, input_px=224):
    extent = {"low": -5, "high": 6}
    blocks = tuple(
        BlockField(f"layer1.{n}", "single", 4, (), Spectrum({low: 1, high: 1}), **extent)
        for n, (low, high) in enumerate(sizes)
    )
    stage = StageField("layer1", 4, Spectrum(spectrum), **extent)
    return ReceptiveField(model, input_px, (stage,), blocks)


def test_growth_shows_the_largest_and_the_smallest_on_a_logarithmic_axis():
    given = field("one", [(10, 11), (10, 100), (10, 1000)], {10: 1, 1000: 1}, 100)
    figure = drawn(charts.growth_chart([given]))
    (axis,) = figure.axes
    assert axis.get_yscale() == "log"
    assert [point(figure, f"point:one/layer1.{n}") for n in range(3)] == [
        (0, 11), (1, 100), (2, 1000),
    ]  # fmt: skip
    levels = [list(np.ravel(line.get_ydata())) for line in axis.lines]
    assert [10, 10, 10] in levels
    assert [100, 100] in levels  # the input's size
    assert marks(figure)["point:one/layer1.2"] == "one, Stage 1, block 3: sees 10 to 1000 px"
    assert "one: at last 10 to 1000 px" in words(figure)
    assert "input: 100 px" in words(figure)


def test_models_of_different_depth_share_a_relative_axis():
    short = field("short", [(5, 10), (5, 20), (5, 30)], {5: 1})
    long = field("long", [(5, 10 * n + 10) for n in range(9)], {5: 1})
    figure = drawn(charts.growth_chart([short, long]))
    # Block 5 of 9 lies half-way, as does block 2 of 3.
    assert point(figure, "point:long/layer1.4")[0] == 50
    assert point(figure, "point:short/layer1.1")[0] == 50
    assert "depth in the network, % of its blocks" in words(figure)


def test_a_model_without_known_blocks_is_drawn_by_its_stages():
    figure = drawn(charts.growth_chart([field("m", [], {5: 1, 9: 2})]))
    assert list(marks(figure)) == ["point:m/layer1"]


def test_a_spectrum_counts_paths_of_any_number():
    huge = field("m", [], {10: 1, 20: 10**30, 30: 10**500})
    figure = drawn(charts.spectrum_chart([huge]))
    assert [point(figure, f"point:m/{size}") for size in (10, 20, 30)] == [
        (10, 0), (20, pytest.approx(30)), (30, pytest.approx(500)),
    ]  # fmt: skip
    text = words(figure)
    assert "3 sizes up to 30 px" in text
    assert "(log scale)" in text
    assert marks(figure)["point:m/20"] == "m: 1 \N{MULTIPLICATION SIGN} 10³⁰ paths see 20 px"


def test_inputs_that_differ_are_each_marked_and_say_whose_they_are():
    models = [field(name, [(9, 9), (9, 400)], {9: 1, 400: 1000}, px)
              for name, px in (("small", 64), ("large", 224), ("big", 224))]  # fmt: skip
    for figure in (charts.growth_chart(models), charts.spectrum_chart(models)):
        text = words(drawn(figure))
        for part in ("64 px", "224 px", "input of small: 64 px", "input of 2 models: 224 px"):
            assert part in text


def test_a_spectrum_of_a_registry_model():
    model = known("res2net50_26w_4s")
    assert model is not None
    spectrum, figure = model.stages[-1].spectrum, drawn(charts.spectrum_chart([model]))
    for gid in marks(figure):
        size, power = point(figure, gid)
        assert power == pytest.approx(math.log10(spectrum.sizes[round(size)]))
    assert f"{spectrum.distinct} sizes up to {spectrum.rf_max_px} px" in words(figure)
    assert len(drawn(charts.field_charts([model])).axes) == 2
    for chart in (charts.growth_chart, charts.spectrum_chart, charts.field_charts):
        with pytest.raises(ValueError, match="needs a model"):
            chart([])


def swept(*curves):
    return scales.Sweep("lion", (2.0, 1.0, 0.5), "mean", (0.0, 0.0, 1.0, 1.0), curves)


def curve(model, *values):
    nothing = np.zeros((2, 2), np.float32), np.zeros((8, 8, 3), np.uint8)
    steps = tuple(
        scales.SweepStep(f, (0, 0, 8, 8), p, 1, e, rf, *nothing) for f, p, e, rf in values
    )
    return scales.SweepCurve(model, 3, "lion", steps, 1.26, 0.5)


def test_a_sweep_shows_its_numbers_by_size_the_largest_at_the_left():
    one = curve("one", (2.0, 0.25, 1.0, 40.0), (1.0, 0.75, None, None), (0.5, 0.5, 3.0, 44.0))
    failed = scales.SweepCurve("other", None, "", (), None, None, "it does not know lions")
    figure = drawn(charts.sweep_chart(swept(one, failed)))
    axes = figure.axes
    assert len(axes) == 3
    shown = [point(figure, f"probability:one/{n}") for n in range(3)]
    assert shown == [(2, 25), (1, 75), (0.5, 50)]
    assert point(figure, "energy:one/2") == (0.5, 3)
    assert point(figure, "field:one/0") == (2, 40)
    # What is not known is a gap.
    assert "energy:one/1" not in marks(figure)
    left, right = axes[0].get_xlim()
    assert left > 2 > 0.5 > right
    assert axes[0].get_xscale() == "log"
    assert axes[0].get_ylim() == (0, 100)
    text = words(figure)
    for part in (
        "Probability of lion, %", "1: an even spread", "px of the input", "canvas mean",
        "one: at least half of its best over 1.3 octaves (halvings)",
        "other: it does not know lions",
    ):  # fmt: skip
        assert part in text


def test_a_sweep_without_splits_has_no_field_and_panels_can_be_chosen():
    plain = swept(curve("one", (2.0, 0.25, 1.0, None), (1.0, 0.75, 2.0, None)))
    assert len(drawn(charts.sweep_chart(plain)).axes) == 2
    figure = drawn(charts.sweep_chart(plain, panels=["probability"]))
    assert [gid.partition(":")[0] for gid in marks(figure)] == ["probability"] * 2


def test_a_sweep_of_nothing_says_so():
    assert "nothing to show" in words(drawn(charts.sweep_chart(swept())))


def attended(gates, reference):
    def both(values):
        return np.array([values, 1 - np.asarray(values)], np.float32)

    block = scales.BlockAttention("layer3.1", 2, 1, both(gates), 1.0,
                           None if reference is None else both(reference),
                           np.zeros((2, 2, 2), np.float32), 3, GEOMETRY)  # fmt: skip
    return scales.AttentionReport(predicted(), LION, (block,), 2 if reference else 0)


def test_gates_are_the_fractions_of_their_channels():
    gates = [0.02] * 10 + [0.12] * 20 + [0.97] * 30
    given = attended(gates, [0.55] * 60)
    figure = drawn(charts.gates_chart(given, "layer3.1"))
    heights = {gid: bar(figure, gid).get_height() for gid in marks(figure)}
    assert heights == {
        f"gate:layer3.1/{n}": pytest.approx(100 * count / 60)
        for n, count in ((0, 10), (2, 20), (19, 30))
    }
    (outline,) = [p for p in figure.axes[0].patches if not isinstance(p, Rectangle)]
    assert outline.get_data().values.max() == 100
    assert "mean of 2 example photographs" in words(figure)
    assert "example" not in words(charts.gates_chart(attended(gates, None), "layer3.1"))
    with pytest.raises(ValueError, match=r"layer9\.9"):
        charts.gates_chart(given, "layer9.9")


def test_many_models_with_long_names_leave_room_for_the_chart():
    name = "a_model_with_a_very_long_name_that_somebody_typed_in_by_hand_and_that_goes_on$"
    fields = [field(f"{name}{n}", [(9, 9), (9, 400 + n)], {9: 1, 400: n + 1}) for n in range(8)]
    curves = [curve(f"{name}{n}", (2.0, 0.5, 1.0, 9.0), (1.0, 0.7, 1.0, 8.0)) for n in range(4)]
    for figure in (
        charts.growth_chart(fields, width=360), charts.spectrum_chart(fields, width=360),
        charts.sweep_chart(swept(*curves), width=360),
    ):  # fmt: skip
        drawn(figure)
        height = figure.axes[0].get_window_extent().height * 72 / figure.dpi
        assert height > 100
        colours = {line.get_color() for line in figure.axes[0].lines} & set(SERIES)
        assert len(colours) >= 4
        assert inline_svg(figure).count('class="mark"') == len(marks(figure))


def cap_curve(model="starter_res2net", target=0, draws=0):
    limits, chances = [11, 27, 59, 123], [[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.8, 0.2]]
    steps = tuple(
        CapStep(limit, 0.5, 0.0, p[target], Score(int(np.argmax(p)), "ab"[np.argmax(p)], max(p)))
        for limit, p in zip(limits, chances, strict=True)
    )
    control = np.linspace(0.2, 0.4, draws)[:, None].repeat(4, 1)
    return CapCurve(model, target, "a", 64, steps, 59, np.array(chances), control, None)


def test_the_cap_is_drawn_with_its_control_and_the_answers_on_the_way():
    figure = drawn(charts.cap_chart(Cap("a", "mean", 5, (cap_curve(draws=5),))))
    assert [point(figure, f"cap:starter_res2net/{k}") for k in range(4)] == [
        (11, pytest.approx(10)), (27, pytest.approx(40)), (59, pytest.approx(70)),
        (123, pytest.approx(80)),
    ]  # fmt: skip
    said = words(figure)
    assert "a from 59 px on" in said
    assert "its probability of b" in said
    assert "95 % of 5 draws" in said
    rival = next(line for line in figure.axes[0].lines if len(np.ravel(line.get_ydata())) == 4
                 and np.ravel(line.get_ydata())[0] > 50)  # fmt: skip
    np.testing.assert_allclose(np.ravel(rival.get_ydata()), [90, 60, 30, 20], rtol=1e-5)
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(20.5)
    assert band.max() == pytest.approx(39.5)


def test_limits_of_ones_own_may_end_where_something_is_still_cut():
    curve = replace(cap_curve(), needed_px=None)
    said = words(drawn(charts.cap_chart(Cap("a", "mean", 0, (curve,)))))
    assert "is not its top-1 prediction up to 123 px" in said
    whole = replace(curve, steps=(*curve.steps[:-1], replace(curve.steps[-1], cut_channels=0.0)))
    said = words(drawn(charts.cap_chart(Cap("a", "mean", 0, (whole,)))))
    assert "is not its top-1 prediction even without a cap" in said


def test_several_models_are_capped_in_one_chart():
    curves = (
        cap_curve(),
        CapCurve.without("net", "it has no class a"),
        cap_curve("starter_resnet"),
    )
    said = words(drawn(charts.cap_chart(Cap("a", "mean", 0, curves))))
    assert "its probability" not in said
    assert "at random" not in said
    assert drawn(charts.cap_chart(Cap("", "mean", 0, ())))


def test_a_cut_is_a_bar_of_what_the_logit_loses():
    best, shown = Score(0, "a", 0.9), report().prediction
    cuts = tuple(
        SplitCut(name, index, size, 1.0, share, -float(index), 0.0, best)
        for name, sizes, shares in zip(BLOCKS, FIELDS, SHARES, strict=True)
        for index, (size, share) in enumerate(zip(sizes, shares, strict=True))
    )
    figure = drawn(charts.ablation_chart(Ablation(shown, best, "mean", 7, cuts, 0.5)))
    for cut in cuts:
        own = bar(figure, f"part:{cut.block}/{cut.index}")
        assert own.get_height() == cut.index
        told = marks(figure)[f"part:{cut.block}/{cut.index}"]
        assert f": the logit loses {cut.index}, probability +0.0 points" in told
        assert (
            to_hex(own.get_facecolor())
            == charts.split_colours([c.rf_max_px for c in cuts if c.block == cut.block])[cut.index]
        )
