"""What the page of an evaluation shows, against plain loops over all answers."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

import mscnn.data.evaluation as module
from mscnn.data.evaluation import evaluate_and_show
from mscnn.data.loading import Loading
from mscnn.draw.overlay import overlay
from mscnn.errors import ImageError, OptionError
from mscnn.photos.imaging import load_photo
from mscnn.results.evaluation import KINDS, ShownPhoto
from mscnn.results.explanation import Score, density
from tests.results import samples

HERE = Loading(batch_size=4, workers=0)
COUNTS = {"thing 0": 3, "3": 3, "thing_7": 2}
INDEX = {"thing 0": 0, "3": 3, "thing_7": 7}


@pytest.fixture
def data(tmp_path, fill):
    fill(tmp_path / "data", COUNTS)
    return tmp_path / "data"


def answer(net, path):
    """A photo's best class and its probability, through timm's own transform."""
    import torch
    from timm.data import create_transform

    transform = create_transform(**net.loaded.data_config, is_training=False)
    with torch.inference_mode():
        logits = net.model(transform(Image.open(path).convert("RGB"))[None])[0].double()
    return int(logits.argmax()), float(logits.softmax(0).max())


def all_answers(net, root):
    """``(name, class, best, probability)`` of all photos, in the order of their list."""
    found = []
    for path in sorted(root.rglob("*.png"), key=lambda p: p.relative_to(root).parts):
        name = path.relative_to(root).as_posix()
        found.append((name, INDEX[path.parent.name], *answer(net, path)))
    return found


def test_the_worst_mistakes_are_those_of_a_plain_sort(network, data, monkeypatch):
    monkeypatch.setattr(module, "WORST", 4)
    monkeypatch.setattr(module, "PAIRS", 0)
    net = network("res2net", fresh=True)
    wrong = [row for row in all_answers(net, data) if row[1] != row[2]]
    worst = sorted(wrong, key=lambda row: -row[3])[:4]
    (found,), shown = evaluate_and_show(net, data, loading=HERE)
    assert found.against is None
    assert [one.name for one in shown["mistakes"]] == [row[0] for row in worst]
    assert not any(shown[kind] for kind in KINDS)
    for one, (name, true, best, probability) in zip(shown["mistakes"], worst, strict=True):
        assert (one.target, [score.index for score in one.scores]) == (true, [best, true])
        assert one.scores[0].probability == pytest.approx(probability, abs=1e-5)
        maps = net.explain(data / name, targets=[best, true]).maps
        small, *over = one.pictures
        assert max(small.shape) == 192
        heats = [density(cam, 192, 192) for cam in maps]
        top = max(heat.max() for heat in heats)
        for picture, cam, heat in zip(over, maps, heats, strict=True):
            crop = cam.geometry.crop_on(small.shape[1::-1])
            np.testing.assert_array_equal(picture, overlay(small, heat, vmax=top, crop=crop))


@pytest.fixture
def canned(network, monkeypatch):
    """``canned(first, second)``: show answers, ``(n, 3)``, as if networks had given them."""

    def show(*answers):
        nets = [network(family) for family in ("res2net", "resnet")]
        for net, letter in zip(nets, "ab", strict=True):
            weights = net.weights.__class__("file", letter, letter * 64)
            monkeypatch.setattr(net, "weights", weights)
        found = []
        for rows in answers:
            pairs = list(zip(rows[:, 0].astype(int), rows[:, 1].astype(int), strict=True))
            confusion = {p: pairs.count(p) for p in pairs if p[1] >= 0}
            found.append(samples.evaluated(5, answers=rows, confusion=confusion))
        monkeypatch.setattr(module, "evaluate", lambda *_, **__: found.pop(0))
        monkeypatch.setattr(module, "find_labelled", lambda root: SimpleNamespace(samples=None))

        def shown(photos, number, target, asked):
            scores = tuple(Score(int(c), net.weights.source, 0) for net, own in asked for c in own)
            return ShownPhoto(number, "", target, scores, ())

        monkeypatch.setattr(module, "_shown", shown)
        other = nets[1] if len(answers) > 1 else None
        return evaluate_and_show(nets[0], Path("photos"), against=other)

    return show


def draw_answers(seed, count=400, sure=20):
    """Answers to five classes with few different probabilities, and some that were not read."""
    random = np.random.default_rng(seed)
    target = np.random.default_rng(0).integers(0, 5, count)
    best = np.where(random.random(count) < 0.6, target, random.integers(0, 5, count))
    best[random.random(count) < 0.02] = -1
    return np.stack([target, best, random.integers(1, sure, count) / sure], 1)


def test_two_models_are_counted_and_shown_as_a_loop_does(canned):
    first, second = draw_answers(1), draw_answers(2)
    (found, _), shown = canned(first, second)
    kinds: dict[str, list[tuple[float, int]]] = {kind: [] for kind in KINDS}
    names = {
        (1, 1): "both_right",
        (1, 0): "only_first",
        (0, 1): "only_second",
        (0, 0): "both_wrong",
    }
    for n, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if a[1] >= 0 and b[1] >= 0:
            kinds[names[a[0] == a[1], b[0] == b[1]]].append((-(a[2] + b[2]), n))
    against = found.against
    for kind, rows in kinds.items():
        assert getattr(against, kind) == len(rows) > 20
        assert [one.number for one in shown[kind]] == [n for _, n in sorted(rows)[:6]]
        for one in shown[kind]:
            answers = [(score.label, score.index) for score in one.scores]
            assert answers == [("a", first[one.number, 1]), ("b", second[one.number, 1])]
    b, c = against.only_first, against.only_second
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert against.p_value == pytest.approx(min(1, 2 * tail), rel=1e-9)
    assert against.p_value == binomtest(b, b + c).pvalue


@pytest.mark.parametrize(("only_first", "only_second", "p_value"), [
    (0, 0, 1), (3, 3, 1), (5, 0, 1 / 16), (1, 9, 2 * 11 / 1024), (10, 0, 2 / 1024),
])  # fmt: skip
def test_mcnemars_exact_test(only_first, only_second, p_value, canned):
    """By hand: twice the tail of a fair coin."""
    rows = [((1, 0), only_first), ((0, 1), only_second), ((1, 1), 4), ((0, 0), 2)]
    right = np.array([kind for kind, count in rows for _ in range(count)])
    answers = [np.stack([np.zeros(len(right)), 1 - own, np.full(len(right), 0.5)], 1)
               for own in right.T]  # fmt: skip
    (found, _), _ = canned(*answers)
    assert found.against.p_value == pytest.approx(p_value)


def test_mistakes_are_the_worst_and_some_of_each_confused_pair(canned):
    answers = draw_answers(3)
    _, shown = canned(answers)
    rows = [(-p, n, (t, b)) for n, (t, b, p) in enumerate(answers.tolist()) if b not in (-1, t)]
    rows.sort()
    wanted = {n for _, n, _ in rows[:24]}
    pairs = [pair for *_, pair in rows]
    most = sorted(set(pairs), key=lambda pair: (-pairs.count(pair), pair))[:12]
    for pair in most:
        wanted.update([n for _, n, own in rows if own == pair][:3])
    assert 24 < len(wanted) <= 60
    assert [one.number for one in shown["mistakes"]] == [n for _, n, _ in rows if n in wanted]


def test_a_photo_that_cannot_be_read_again_is_named(network, data, monkeypatch):
    net = network("res2net", fresh=True)
    _, before = evaluate_and_show(net, data, loading=HERE)
    gone = before["mistakes"][0].name

    def load(source):
        if str(source).endswith(gone):
            raise ImageError("'00.png' is gone.")
        return load_photo(source)

    monkeypatch.setattr(module, "load_photo", load)
    (found,), shown = evaluate_and_show(net, data, loading=HERE)
    assert [one.name for one in shown["mistakes"]] == [p.name for p in before["mistakes"][1:]]
    assert found.notices[-1] == "A photograph is not shown: '00.png' is gone."


def test_whole_paths_stay_on_this_machine(network, data, tmp_path):
    table = tmp_path / "beside" / "labels.csv"
    table.parent.mkdir()
    table.write_text(f"path,label\n{data}/3/00.png,thing 0\n{data}/3/01.png,thing 1\n")
    _, shown = evaluate_and_show(network("res2net", fresh=True), table, loading=HERE)
    assert shown["mistakes"]
    assert {one.name for one in shown["mistakes"]} <= {"00.png", "01.png"}


@pytest.mark.parametrize(("change", "words"), [
    ({}, "tiny_res2net is the same model"),
    ({"names": tuple("abcdefghijkl")}, "has other classes"),
    ({"names": tuple(f"thing {i}" for i in range(11, -1, -1))}, "in another order"),
])  # fmt: skip
def test_what_cannot_be_set_against_a_model(change, words, network, data, monkeypatch):
    other = network("res2net", **change)
    if change:
        monkeypatch.setattr(other, "weights", other.weights.__class__("file", "b", "b" * 64))
    with pytest.raises(OptionError, match=words):
        evaluate_and_show(network("res2net"), data, against=other, loading=HERE)
