"""Cuts on several photographs: toy networks of known needs, and SciPy's intervals."""

import csv
import io
import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from scipy.special import softmax

from mscnn.cli.app import main
from mscnn.draw.files import study_files
from mscnn.engine.network import Network
from mscnn.errors import UnsupportedModelError
from mscnn.results.schema import document
from mscnn.results.study import CUT_WORDS, CutFinding, Interval, ModelSummary, interval
from mscnn.scales.cuts import fill_of
from mscnn.scales.families import hook_points
from mscnn.study.cuts import FACTORS, box_side, estimate, measure_cuts
from mscnn.study.measure import show
from mscnn.study.photos import StudyPhoto
from mscnn.study.run import StudyOptions, run_study
from mscnn.study.summary import rank, rank_interval
from scripts import readme
from tests.conftest import STAGES

CLASS = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four photographs in Tiny-ImageNet's layout: photo i has a box of i + 1 by i + 1 px."""
    folder = tmp_path_factory.mktemp("data") / "val" / "images"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = []
    for i in range(4):
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        lines.append(f"{i}.png\tn0\t3\t5\t{3 + i}\t{5 + i}")
    (folder.parent / "val_annotations.txt").write_text("\n".join(lines))
    return [StudyPhoto(path, (0, CLASS)) for path in sorted(folder.glob("*.png"))]


def by_quantity(found):
    rows: dict[str, Any] = {}
    for row in found:
        rows.setdefault(row.quantity, []).append(row)
    return rows


def hanging_on(splits, loaded):
    """A network that knows its class by some splits of layer4.1: nothing else reaches its features.

    These are what the splits add up to, and the logit is their sum; without any of it class 0 wins.
    """
    made = loaded("res2net", fresh=True)
    before, block = made.model.layer4
    with torch.no_grad():
        for silent in (before.bn3, before.downsample[1]):
            silent.weight.zero_()
            silent.bias.zero_()
        mask = torch.isin(torch.arange(4).repeat_interleave(block.width), torch.tensor(splits))
        block.conv3.weight.copy_(mask[:, None, None].float().expand_as(block.conv3.weight))
        for name, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
            getattr(block.bn3, name).fill_(value)
        made.model.fc.weight.zero_()
        made.model.fc.weight[CLASS] = 1
        made.model.fc.bias.zero_()
        made.model.fc.bias[0] = 1e-3
    network = Network(made, torch.device("cpu"))
    network._usual_fill = fill_of(made.model, hook_points(made.model, STAGES), [])
    return network


# The input of layer4.1 sees 259 px in steps of 32 px, so its splits see 323, 387, 451 and 259. Of
# all splits' 19 sizes the cap takes 12, but not 387.
@pytest.mark.parametrize(("split", "needed"), [(0, 323), (1, 451), (3, 259)])
def test_a_class_that_hangs_on_one_split(split, needed, loaded, photos):
    rows = by_quantity(measure_cuts(hanging_on([split], loaded), photos[:1], 1))
    assert [row.factor for row in rows["needed_px"]] == list(FACTORS)
    assert (FACTORS[0], FACTORS[-1]) == (1.0, 0.4), "as CUT_WORDS say"
    assert [(row.found.mean, row.found.count) for row in rows["needed_px"]] == [(needed, 1)] * 5
    # A field that is the same at all sizes does not follow them.
    for quantity in ("needed_change", "needed_by_size"):
        assert (rows[quantity][0].found.mean, rows[quantity][0].found.count) == (0, 1)
    assert [row.found.mean for row in rows["top1"]] == [
        float(row.limit_px >= needed) for row in rows["top1"]
    ]
    shares = {(row.block, row.split): row.found.mean for row in rows["share"]}
    assert shares[("layer4.1", split)] == pytest.approx(1)
    assert sum(shares.values()) == pytest.approx(1)
    for row in rows["logit_fall"]:
        assert (row.found.mean > 1e-3) == ((row.block, row.split) == ("layer4.1", split))


def test_evidence_that_is_what_gets_lost(loaded, photos):
    """All splits of layer4.1 add to the logit, and each takes its share away, others nothing."""
    net = hanging_on([0, 1, 2, 3], loaded)
    rows = by_quantity(measure_cuts(net, photos[:1], 1))
    logit = float(net.model(show(net, Image.open(photos[0].path), 1.0).x)[0, CLASS])
    shares, falls = ([row.found.mean for row in rows[name]] for name in ("share", "logit_fall"))
    np.testing.assert_allclose(falls, logit * np.array(shares), atol=1e-4 * logit)
    assert rows["fall_by_share_in_block"][0].found.mean == pytest.approx(1)
    assert rows["fall_by_share"][0].found.mean > 0.6


class Following:
    """Stands for a network that needs a quarter of the object's longer side on the canvas.

    Photo i is known down to size number i + 1 only; its own object is as large as its box.
    """

    def __init__(self, network):
        self.preprocess, self.calls = network.preprocess, 0

    def receptive_field(self):
        return SimpleNamespace(blocks=())

    def cap(self, shown, *, target, draws=0, seed=0):
        photo, size = divmod(self.calls, len(FACTORS))
        self.calls += 1
        step = SimpleNamespace(limit_px=9, probability=0.5, top=SimpleNamespace(index=target))
        needed = round((photo + 1) * 100 * FACTORS[size]) if size <= photo + 1 else None
        return SimpleNamespace(
            needed_px=needed, steps=(step, step), control=np.array([[0.75, 0.5]] * 2)
        )


def test_a_field_that_follows_the_size(network, photos):
    following: Any = Following(network())
    found = measure_cuts(following, photos, 1)
    rows = by_quantity(found)
    # Not known at the smaller sizes: 0, 0, 1, 2 and 3 of 4. The first is left out of the ranks.
    assert [row.found.count for row in rows["needed_px"]] == [4, 4, 3, 2, 1]
    assert [row.of for row in found] == [4] * len(found)
    assert [row.found.mean for row in rows["needed_px"]] == pytest.approx([250, 200, 189, 175, 160])
    assert rows["needed_by_size"][0].found.count == 3
    assert rows["needed_by_size"][0].found.low == pytest.approx(1)
    assert rows["needed_by_box"][0].found.mean == pytest.approx(1)
    assert (rows["needed_change"][0].found.mean, rows["needed_change"][0].found.count) == (-240, 1)
    assert rows["cap_cost"][0].found == Interval(0.25, 0.25, 0.25, 4)
    assert "fall_by_share" not in rows


def test_the_last_limit_is_the_network_itself(network, photos):
    net = network("resnet")
    net._usual_fill = fill_of(net.model, hook_points(net.model, STAGES), [])
    found = measure_cuts(net, photos[:1], 1, seed=3)
    rows = by_quantity(found)
    logits = net.model(show(net, Image.open(photos[0].path), 1.0).x)[0].numpy()
    for quantity in ("probability", "control_probability"):
        wanted = softmax(logits.astype(float))[CLASS]
        assert rows[quantity][-1].found.mean == pytest.approx(wanted, abs=1e-6)
    assert "share" not in rows
    assert repr(measure_cuts(net, photos[:1], 1, seed=3)) == repr(found)
    assert repr(measure_cuts(net, photos[:1], 1, seed=4)) != repr(found)


def summary(rows):
    return ModelSummary("net", {}, {}, {}, {}, (), {}, cuts=tuple(rows))


def test_the_words_say_which_way_and_what_is_missing():
    nan = float("nan")
    rows = [
        CutFinding("needed_change", Interval(-3.0, -4.0, -2.0, 7), 9),
        CutFinding("needed_by_size", Interval(0.2, 0.1, 0.3, 8), 9),
        CutFinding("needed_by_box", Interval(nan, nan, nan, 0), 9),
        CutFinding("cap_cost", Interval(0.1, -0.1, 0.3, 9), 9),
        CutFinding("top1", Interval(0.1, 0.0, 0.2, 9), 9, limit_px=5),
    ]
    lines = summary(rows).cut_answers()
    wanted = [
        "0.4x minus that at 1x, px: -3 (-4 to -2), 7 of 9 photographs: smaller.",
        "+0.2 (+0.1 to +0.3), 8 of 9 photographs: larger objects need more.",
        "not known, 0 of 9 photographs: too few photographs to tell.",
        "9 of 9 photographs: no difference that these photographs can show.",
        "net, cut: no hierarchy of splits, so none was cut by itself.",
    ]
    assert len(lines) == len(wanted)
    assert all(line.endswith(words) for line, words in zip(lines, wanted, strict=True))
    assert ModelSummary("net", {}, {}, {}, {}, (), {}).cut_answers() == []


@pytest.mark.parametrize(("row", "side"), [
    ("0.png\tn0\t0\t32\t44\t62", math.sqrt(45 * 31)), ("0.png\tn0\t7\t7\t7\t7\r", 1.0),
    ("0.png\tn0", None), ("0.png\tn0\t9\t0\t3\t5", None), ("0.png\tn0\ta\t0\t3\t5", None),
    ("0.png\tn0\t-1\t0\t3\t5", None), ("00png\tn0\t0\t0\t3\t5", None), ("", None),
])  # fmt: skip
def test_the_side_of_a_box(row, side, tmp_path):
    (tmp_path / "val_annotations.txt").write_text(f"10.png\tn0\t0\t0\t1\t1\n{row}\n1.png\tn1\n")
    found = box_side(tmp_path / "images" / "0.png")
    assert math.isnan(found) if side is None else found == pytest.approx(side)
    assert math.isnan(box_side(tmp_path / "elsewhere" / "images" / "0.png"))


def test_intervals_are_scipys():
    generator = np.random.default_rng(5)
    a = generator.normal(size=50)
    b = np.round(a + generator.normal(size=50))  # with ties, as limits have
    wanted = scipy.stats.t.interval(0.95, 49, a.mean(), scipy.stats.sem(a))
    assert (interval(a).low, interval(a).high) == pytest.approx(wanted)
    assert rank(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert rank([*a, 1.0, math.nan], [*b, math.nan, 2.0]) == rank(a, b)
    assert (rank([1, 2, 3], [5, 5, 5]), math.isnan(rank([1, 2], [1, 2]))) == (0, True)
    found = rank_interval(a, b)
    drawn = scipy.stats.bootstrap(
        (a, b), lambda a, b: np.corrcoef(*map(scipy.stats.rankdata, (a, b)))[0, 1], paired=True,
        vectorized=False, n_resamples=2000, method="percentile", random_state=1,
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(drawn), abs=0.03)
    assert (found.mean, found.count) == (rank(a, b), 50)
    gaps = np.full((2, 600), math.nan)
    gaps[:, :12] = a[:12], a[:12]
    assert rank_interval(*gaps).count == 12
    assert rank_interval(*gaps).low == pytest.approx(1.0)
    unknown = rank_interval(np.full(9, math.nan), np.arange(9))
    assert (unknown.count, math.isnan(unknown.low), unknown.excludes_zero) == (0, True, False)


@pytest.fixture(scope="module")
def study(loaded, photos):
    notices: list[str] = []
    network = Network(loaded("res2net"), torch.device("cpu"))
    options = StudyOptions(limit=2, factors=(1.0, 0.4), settings=("mean",), cuts=True)
    folder = photos[0].path.parent  # loose photographs, without classes
    return run_study([network], folder, options, on_notice=notices.append), notices


@pytest.mark.slow
def test_the_files_say_the_same_as_the_document(study):
    files = study_files(study[0])
    shown = json.loads(files["study.json"])
    assert shown == json.loads(json.dumps(document(study[0])))
    rows = list(csv.DictReader(io.StringIO(files["cuts.csv"].decode())))
    cuts = shown["models"][0]["cuts"]
    assert [row["quantity"] for row in rows] == [cut["quantity"] for cut in cuts]
    assert {row["model"] for row in rows} == {"tiny_res2net"}
    for row, cut in zip(rows, cuts, strict=True):
        assert (float(row["mean"]) if row["mean"] else None) == cut["mean"]
        assert (row["photos"], row["of"]) == (str(cut["photos"]), "2")
    assert files["cuts.png"].startswith(b"\x89PNG")
    answers = json.loads(files["manifest.json"])["answers"]
    assert sum(words in line for line in answers for words, _ in CUT_WORDS.values()) >= 6
    # 10 caps and controls at 12 limits, and 8 blocks of 4 splits, of which 5 have a hierarchy.
    assert study[1][0].startswith("tiny_res2net: 2 photographs x 152 forwards with cuts x 0.0")
    assert sum(cut["quantity"] == "share" for cut in cuts) == 20


@pytest.mark.slow
def test_the_table_of_the_docs(study, tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    assert readme.cuts() == "Not measured yet.\n"
    (tmp_path / "docs" / "study").mkdir(parents=True)
    (tmp_path / "docs" / "study" / "cuts.csv").write_bytes(study_files(study[0])["cuts.csv"])
    head, _, *rows = (line.split(" | ") for line in readme.cuts().splitlines())
    assert len(rows) == len(CUT_WORDS)
    assert {len(row) for row in (head, *rows)} == {1 + len(study[0].models)}
    cost = next(cut for cut in study[0].models[0].cuts if cut.quantity == "cap_cost").found
    shown = f"{cost.mean:+.3g} ({cost.low:+.3g} to {cost.high:+.3g}), 2 of 2"
    assert rows[list(CUT_WORDS).index("cap_cost")][1].strip("* |") == shown


@pytest.mark.slow
def test_a_study_without_cuts_has_no_word_of_them(study):
    plain = replace(study[0], models=tuple(replace(m, cuts=None) for m in study[0].models))
    assert "cuts" not in document(plain)["models"][0]
    assert not {"cuts.csv", "cuts.png"} & set(study_files(plain))


def test_a_network_without_blocks_is_a_sentence(network, photos, monkeypatch):
    net = network("res2net")
    monkeypatch.setattr("mscnn.scales.families.ADAPTERS", [])
    with pytest.raises(UnsupportedModelError, match="not built of residual blocks"):
        estimate(net, photos, 1)


def test_one_photograph_has_no_interval(photos, tmp_path, capsys):
    arguments = ["--models", "starter_res2net", "--cuts", "--limit", "1", "--out", str(tmp_path)]
    assert main(["study", str(photos[0].path.parent), *arguments]) == 2
    assert capsys.readouterr().err == "mscnn: --limit is 1; it must be 2 or more.\n"
