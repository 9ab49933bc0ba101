"""A whole study on a few photographs with seeded networks, against the engine itself."""

import copy
import csv
import io
import json
import math
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import mscnn.starters  # noqa: F401 - registers them with timm
from mscnn.data.listing import Account
from mscnn.draw.evaluation import study_figure
from mscnn.draw.files import study_files
from mscnn.engine.device import choose_device
from mscnn.engine.network import Network
from mscnn.errors import (
    DatasetError,
    OptionError,
    UnknownClassError,
    UnsupportedModelError,
    WeightsError,
)
from mscnn.models.labels import LabelSet, wordnet_lemmas
from mscnn.models.loading import load_model
from mscnn.results.schema import document
from mscnn.results.study import Interval, ModelSummary, Study, interval, share
from mscnn.scales.canvas import compose, whole
from mscnn.study.measure import shuffled
from mscnn.study.photos import choose, find_photos
from mscnn.study.run import StudyOptions, run_study

FACTORS = (1.0, 0.4)
SETTINGS = ("mean", "shuffled")
PHOTOS = 5


def weights(folder, name, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # timm zeroes each block's last norm, which would leave no evidence in any split.
        model = timm.create_model(name, zero_init_last=False)
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    made = []
    for seed, name in enumerate(("starter_resnet", "starter_res2net")):
        loaded = load_model(name, weights(folder, name, seed))
        made.append(Network(loaded, choose_device("cpu")))
    return made[0], made[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for i in range(PHOTOS):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"no photograph")
    return folder


@pytest.fixture(scope="module")
def study(networks, photos):
    options = StudyOptions(limit=PHOTOS, factors=FACTORS, settings=SETTINGS)
    return run_study([networks[1]], photos, options)


def test_loose_photographs_count_by_the_first_models_answer(networks, photos):
    files, labelled = find_photos(photos, 0)
    assert (len(files), labelled) == (PHOTOS + 1, False)
    chosen = choose(networks[:1], files, limit=3)
    assert len(chosen.photos) == 3
    assert len(chosen.unreadable) <= 1
    pre = networks[0].preprocess
    for photo in chosen.photos:
        view, _ = compose(
            Image.open(photo.path).convert("RGB"), whole(), 1.0, pre.view_size, "mean",
            pre.mean_colour,
        )  # fmt: skip
        with torch.inference_mode():
            best = int(networks[0].model(pre.tensor_of(view)).argmax())
        assert photo.targets == (best,)
    numbered: Any = [
        SimpleNamespace(labels=LabelSet(("class 0",), numbered_in=file)) for file in ("a", "b")
    ]
    with pytest.raises(UnknownClassError, match="only numbered"):
        choose(numbered, files, limit=3)


def test_a_picture_beside_class_folders_does_not_stand_for_them(tmp_path):
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "banner.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    found, labelled = find_photos(tmp_path, 0)
    assert labelled
    assert {name for _, name in found} == {"a", "b"}


def test_what_a_study_does_not_use_is_said(tmp_path):
    """A folder beside loose photographs, and files that are no photographs."""
    for file in ("one.png", "two.png", "more/three.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / file)
    (tmp_path / "notes.md").write_text("")
    found, labelled = find_photos(tmp_path, 0, account := Account(tmp_path))
    assert (len(found), labelled) == (2, False)
    said = " ".join(account.lines())
    assert "'more/'" in said
    assert "'notes.md'" in said


def test_all_photographs_of_folders_named_by_wordnet_count(networks, photos, tmp_path):
    """Nothing is held out, and one class is enough."""
    network = networks[0]
    files = [path for path, _ in find_photos(photos, 0)[0] if path.suffix == ".png"]
    answer = choose([network], [(files[0], None)], limit=1).photos[0].targets[0]
    lion = wordnet_lemmas(["n02129165"])[0]
    network = copy.copy(network)
    network.labels = LabelSet(tuple(lion if i == answer else f"thing {i}" for i in range(200)))
    for i in range(12):
        target = tmp_path / "n02129165" / f"{i}.png"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(files[0], target)
    found, labelled = find_photos(tmp_path, 0)
    assert (len(found), labelled) == (12, True)
    assert len(choose([network], found, limit=PHOTOS).photos) == min(12, PHOTOS)


def test_class_folders_that_a_network_does_not_know_are_named(networks, photos):
    files = [(path, "my cups") for path, _ in find_photos(photos, 0)[0]]
    with pytest.raises(DatasetError, match=r"1 of the data's 1 classes.*'my cups'.*name folders"):
        choose(networks, files, limit=PHOTOS)


def test_a_network_without_classes_is_refused(networks, photos):
    headless = copy.copy(networks[0])
    headless.labels = LabelSet(())
    options = StudyOptions(limit=PHOTOS, factors=FACTORS, settings=SETTINGS)
    with pytest.raises(UnsupportedModelError, match="has no classes"):
        run_study([headless], photos, options)


def test_a_network_without_receptive_fields_is_refused_before_the_others_are_measured(
    networks, photos, monkeypatch
):
    def fail(*_, **__):
        raise AssertionError("hours of work")

    unknown = copy.copy(networks[1])
    unknown.name, unknown._traced_field = "mine", UnsupportedModelError("cannot be followed")
    monkeypatch.setattr("mscnn.study.run.choose", fail)
    with pytest.raises(UnsupportedModelError, match="cannot be followed"):
        run_study([networks[0], unknown], photos)


def test_answers_that_are_no_numbers_are_not_counted_as_wrong(networks, photos):
    damaged = copy.copy(networks[0])
    damaged.model = copy.deepcopy(damaged.model)
    with torch.no_grad():
        damaged.model.fc.bias.fill_(math.nan)
    files, _ = find_photos(photos, 0)
    with pytest.raises(WeightsError, match="no finite numbers"):
        choose([damaged], files, limit=PHOTOS)


def test_only_photographs_that_all_models_agree_on(networks, photos):
    files, _ = find_photos(photos, 0)
    both = []
    for network in networks:
        alone = choose([network], files, limit=PHOTOS)
        both.append({photo.path: photo.targets[0] for photo in alone.photos})
    alike = {path for path, target in both[0].items() if both[1][path] == target}
    if alike:
        together = choose(networks, files, limit=PHOTOS)
        assert {photo.path for photo in together.photos} == alike
    else:
        with pytest.raises(DatasetError, match="none was classified correctly by all models"):
            choose(networks, files, limit=PHOTOS)


def test_folders_of_classes_say_what_is_right(networks, photos, tmp_path):
    """Of the same photographs, those whose folder bears another class's name are left out."""
    files, _ = find_photos(photos, 0)
    answers = choose(networks[:1], files, limit=PHOTOS).photos
    labels = networks[0].labels
    wrong = labels.display((answers[0].targets[0] + 7) % 200)
    for i, photo in enumerate(answers):
        name = wrong if i == 0 else labels.display(photo.targets[0])
        for part in ("train", "val"):
            (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
        image = Image.open(photo.path)
        image.save(tmp_path / "val" / name / photo.path.name)
        image.save(tmp_path / "train" / name / photo.path.name)
    if len(list((tmp_path / "train").iterdir())) < 2:
        pytest.skip("the seeded network gives one answer only")
    found, labelled = find_photos(tmp_path, 0)
    assert labelled
    chosen = choose(networks[:1], found, limit=PHOTOS)
    names = {photo.path.name for photo in chosen.photos}
    assert names == {photo.path.name for photo in answers[1:]}


def test_every_number_equals_the_engines(study, networks, photos):
    """The network's own sweep and scale report, photograph by photograph."""
    network = networks[1]
    model = study.models[0]
    files = [path for path, _ in find_photos(photos, 0)[0] if path.suffix == ".png"]
    assert study.photos == len(files) == PHOTOS
    assert study.unreadable == 1
    curves = []
    for path in files:
        view = compose(
            Image.open(path).convert("RGB"), whole(), 1.0, (64, 64), "mean",
            network.preprocess.mean_colour,
        )[0]  # fmt: skip
        target = network.predict(Image.fromarray(view)).top[0].index
        curves.append(network.sweep(path, target=target, factors=FACTORS))
    for f in range(2):
        steps = [curve.steps[f] for curve in curves]
        probability = np.mean([step.probability for step in steps])
        assert model.probability["mean"][f].mean == pytest.approx(probability, abs=1e-6)
        px = np.mean([step.weighted_rf_px for step in steps if step.weighted_rf_px])
        assert model.weighted_rf["mean"][f].mean == pytest.approx(px, rel=1e-5)
    shares = model.shares["mean"]["layer3.1"]
    assert [sum(i.mean for i in splits) for splits in shares] == pytest.approx([1.0, 1.0])
    change = next(
        c for c in model.changes if (c.setting, c.block, c.split) == ("mean", "layer3.1", 3)
    )
    assert change.change.mean == pytest.approx(shares[1][3].mean - shares[0][3].mean)
    assert change.rf_max_px == network.receptive_field().block("layer3.1").splits[3].rf_max_px


def test_a_pooled_split_is_not_drawn_as_the_untouched_one(study, networks):
    axis = study_figure(document(study)).axes[2]
    blocks = networks[1].receptive_field().blocks
    drawn = [tick.get_text() for tick in axis.get_xticklabels()]
    assert drawn == [block.block for block in blocks if block.kind == "hierarchy"]


def test_the_control_keeps_colours_and_loses_the_object():
    view = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    out = shuffled(view, (2, 3, 9, 8), seed=1)
    inside = (slice(3, 8), slice(2, 9))
    assert not np.array_equal(out[inside], view[inside])
    colours = [sorted(map(tuple, part[inside].reshape(-1, 3).tolist())) for part in (out, view)]
    assert colours[0] == colours[1]
    out[inside] = view[inside]
    np.testing.assert_array_equal(out, view)


def test_the_files_say_the_same_as_the_document(study):
    files = study_files(study)
    shown = json.loads(files["study.json"])
    assert shown == json.loads(json.dumps(document(study)))
    rows = list(csv.DictReader(io.StringIO(files["study.csv"].decode())))
    wanted = shown["models"][0]["probability"]["mean"][1]
    found = [
        row for row in rows
        if (row["setting"], row["quantity"], row["factor"]) == ("mean", "probability", "0.4")
    ]  # fmt: skip
    assert [float(row["mean"]) for row in found] == [wanted["mean"]]
    assert files["study.png"].startswith(b"\x89PNG")
    assert json.loads(files["manifest.json"])["answers"] == study.answers()
    fields = shown["models"][0]["effective_fields"]
    assert {(row["block"], row["split"]) for row in fields} >= {("layer3.1", 0), ("layer3.1", 3)}
    assert all(row["half_side_px"]["trained"]["mean"] <= 2 * 64 + 1 for row in fields)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"limit": 1}, "2 or more"), ({"seed": -1}, "0 to"), ({"factors": (1.0, 0.5)}, "must hold")],
)
def test_refused_options(options, words):
    with pytest.raises(OptionError, match=words):
        StudyOptions(**options)


def number(mean, low=float("nan"), high=float("nan")):
    return Interval(mean, low, high, 3)


def test_the_words_say_larger_smaller_or_nothing():
    nothing = "no difference that these photographs can show"
    changes = {
        "mean": (number(1.0, 0.9, 1.1), "+1.00 (+0.90 to +1.10) px: larger."),
        "blur": (number(-1.0, -1.1, -0.9), "-1.00 (-1.10 to -0.90) px: smaller."),
        "noise": (number(0.1, -0.1, 0.3), f"+0.10 (-0.10 to +0.30) px: {nothing}."),
        "shuffled": (number(0.1), "not known: too few photographs to tell."),
    }
    model = ModelSummary(
        model="a", probability={}, weighted_rf={}, shares={}, changes=(),
        weighted_rf_change={key: value for key, (value, _) in changes.items()},
        octaves={"mean": number(2, 1, 3)},
    )  # fmt: skip
    gains = {"b": {"mean": number(0.5, 0.4, 0.6)}}
    sizes = {"large": 1.0, "small": 0.4}
    lines = Study(3, 5, False, 0, (1.0, 0.4), ("mean",), sizes, (model,), gains).answers()
    assert lines[0].startswith("3 photographs that all models classified alike, of 5 looked at")
    for line, (_, words) in zip(lines[2:], changes.values(), strict=False):
        assert line.endswith(words)
    assert lines[-1] == (
        "b: its range of sizes against a, mean canvas: +0.50 (+0.40 to +0.60) octaves: larger."
    )
    assert document(number(0.1)) == {"mean": 0.1, "low": None, "high": None, "photos": 3}


def test_an_empty_folder_is_a_sentence(tmp_path):
    with pytest.raises(DatasetError):
        find_photos(tmp_path, 0)
    with pytest.raises(DatasetError, match="no folder"):
        find_photos(tmp_path / "none", 0)


def test_an_interval_by_hand():
    """Four numbers with mean 5 and standard deviation 2; t(0.975, 3) = 3.182446 (any t table)."""
    values = [5 - math.sqrt(6), 5.0, 5.0, 5 + math.sqrt(6)]
    assert np.std(values, ddof=1) == pytest.approx(2)
    got = interval(values)
    assert got.mean == pytest.approx(5)
    assert got.count == 4
    assert got.high - 5 == pytest.approx(3.182446, abs=1e-5)
    assert 5 - got.low == pytest.approx(3.182446, abs=1e-5)
    assert got.excludes_zero
    assert not interval([-1.0, 1.0, 0.5]).excludes_zero


def test_missing_values_are_left_out():
    with_gaps = interval([1.0, float("nan"), 3.0, float("nan")])
    assert with_gaps == interval([1.0, 3.0])
    assert with_gaps.count == 2
    alone = interval([float("nan"), 7.0])
    assert (alone.mean, alone.count) == (7.0, 1)
    assert math.isnan(alone.low)
    assert not alone.excludes_zero
    assert interval([]).count == 0


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(3)
    draws = generator.normal(2.0, 1.0, (2000, 8))
    covered = np.mean([i.low <= 2.0 <= i.high for i in map(interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("count", "of"), [(0, 40), (1, 40), (13, 40), (40, 40), (1, 1)])
def test_how_often_something_is_so_has_wilsons_interval(count, of):
    # Wilson 1927: where the share lies 1.96 standard errors from what was found.
    z, p = 1.959963984540054, count / of
    middle, reach = p + z**2 / (2 * of), z * (p * (1 - p) / of + z**2 / (4 * of**2)) ** 0.5
    wanted = [(middle + side * reach) / (1 + z**2 / of) for side in (-1, 1)]
    got = share([1.0] * count + [float("nan")] + [0.0] * (of - count))
    assert (got.mean, got.count) == (p, of)
    assert [got.low, got.high] == pytest.approx(wanted, abs=1e-12)


def test_how_often_is_not_known_of_nothing():
    assert np.isnan([share([]).mean, share([float("nan")]).low]).all()


def test_names_of_a_deep_network_do_not_lie_on_each_other(study):
    shown = document(study)
    scaled = next(model for model in shown["models"] if model["changes"])
    rows = scaled["effective_fields"]
    scaled["effective_fields"] = rows * -(-120 // len(rows))
    assert 0 < len(study_figure(shown).axes[5].get_xticks()) <= 36
