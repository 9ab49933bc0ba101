"""Use cases on tiny networks: one class for all models, notes instead of failures, Stop."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import timm
import torch

from mscnn import errors as e
from mscnn.engine import pipeline
from mscnn.engine import session as session_module
from mscnn.engine.pipeline import Engine, counted_gmacs, model_facts, same_class
from mscnn.engine.session import Session
from mscnn.maps.agreement import density
from mscnn.models.labels import LabelSet
from mscnn.photos.imaging import load_photo

THINGS = tuple(f"thing {i}" for i in range(12))
IMAGENET_LIKE = (
    "lion, king of beasts, Panthera leo", "espresso", "crane", "crane",
    "tiger, Panthera tigris", *(f"filler {i}" for i in range(5)),
    "Cardigan, Cardigan Welsh corgi", "cardigan",
)  # fmt: skip
ANIMALS = (
    "Espresso", "tiger shark", "lion", "crane", "cat", *(f"animal {i}" for i in range(6)),
    "cardigan",
)  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "one": {"family": "resnet", "names": THINGS},
    "two": {"family": "res2net", "names": THINGS},
    "three": {"family": "resnest", "names": THINGS},
    "imagenet": {"family": "resnext", "names": IMAGENET_LIKE},
    "animals": {"family": "res2next", "names": ANIMALS},
    "border": {"family": "res2net", "names": THINGS, "crop_mode": "border", "crop_pct": 1.0},
    "two.full": {
        "family": "res2net",
        "names": ("lion, king of beasts, Panthera leo", *ANIMALS[:11]),
    },
}


@pytest.fixture
def asked():
    """Names of the models that were loaded, in order."""
    return []


@pytest.fixture
def engine(loaded, asked, monkeypatch):
    def load(name, weights=None, **options):
        asked.append(name)
        if name not in MODELS:
            raise e.DownloadError(f"The weights of {name} could not be downloaded.")
        return loaded(name=name, **MODELS[name])

    monkeypatch.setattr(session_module, "load_model", load)
    return Engine(Session("cpu"))


def test_the_first_models_best_class_is_compared_in_all(engine, photo):
    result = engine.compare(photo, ["one", "two", "three"], name="cup.png")
    best = engine.session.network("one").predict(photo).top[0]
    assert result.label == best.label
    assert result.layer == "last"
    assert [column.model for column in result.columns] == ["one", "two", "three"]
    for column in result.columns:
        assert column.note == ""
        assert column.cam.target == best.index
        assert column.explanation.prediction.photo.name == "cup.png"
        assert column.latency_ms is not None
        assert 0 < column.latency_ms == column.latency_range_ms[0] <= column.latency_range_ms[1]
        assert column.threads == torch.get_num_threads()
        alone = engine.session.network(column.model).explain(photo, targets=best.index)
        np.testing.assert_array_equal(column.cam.raw, alone.maps[0].raw)
    pairs = [(a.first, a.second) for a in result.agreements]
    assert pairs == [("one", "two"), ("one", "three"), ("two", "three")]
    tops = [float(density(c.cam).max()) for c in result.columns if c.cam is not None]
    assert result.scale_max == max(tops)


@pytest.mark.parametrize("target", [4, "thing 4", "4"])
@pytest.mark.parametrize("layer", ["2", "layer2"])
def test_a_named_class_and_layer(target, layer, engine, photo):
    result = engine.compare(photo, ["two", "border"], target=target, layer=layer)
    assert result.label == "thing 4"
    for column in result.columns:
        assert (column.cam.target, column.cam.layer) == (4, "layer2")


@pytest.mark.parametrize(("models", "target", "expected"), [
    (["imagenet", "animals"], "lion", {"imagenet": 0, "animals": 2}),
    (["animals", "imagenet"], "lion", {"imagenet": 0, "animals": 2}),
    (["imagenet", "animals"], "espresso", {"imagenet": 1, "animals": 0}),
    # One crane here, two there, a bird and a machine: nobody can tell which of the two is meant.
    (["imagenet", "animals"], "crane (3)", {"imagenet": 3}),
    (["animals", "imagenet"], "crane", {"animals": 3}),
    # A dog and a sweater have the same first synonym here, and only the sweater is there.
    (["imagenet", "animals"], "Cardigan Welsh corgi", {"imagenet": 10}),
    (["imagenet", "animals"], 11, {"imagenet": 11, "animals": 11}),
    (["animals", "imagenet"], "cardigan", {"animals": 11, "imagenet": 11}),
    # A tiger is no tiger shark, although the name begins like it.
    (["imagenet", "animals"], "tiger", {"imagenet": 4}),
    (["imagenet", "animals", "two"], "filler 0", {"imagenet": 5}),
    # Both have the short name "lion"; the full name tells which one is meant.
    (["imagenet", "two.full"], 0, {"imagenet": 0, "two.full": 0}),
])  # fmt: skip
def test_the_same_class_by_name_in_other_label_sets(models, target, expected, engine, photo):
    result = engine.compare(photo, models, target=target)
    got = {c.model: c.cam.target for c in result.columns if c.cam is not None}
    assert got == expected
    for column in result.columns:
        if column.model in expected:
            assert column.note == ""
            continue
        # No map, but its own answer and its facts are there.
        assert "no class" in column.note
        assert column.explanation.targets == ()
        assert len(column.explanation.prediction.top) == 5
        assert column.facts is not None
    assert len(result.agreements) == (len(expected) * (len(expected) - 1)) // 2


def test_numbered_classes_are_the_same_in_the_same_weights_only():
    mine = LabelSet(("class 0", "class 1"), numbered_in="a" * 64)
    assert same_class(mine, 1, LabelSet(mine.names, numbered_in="a" * 64)) == 1
    for other in (LabelSet(mine.names, numbered_in="b" * 64), LabelSet(mine.names)):
        for known, labels in ((mine, other), (other, mine)):
            with pytest.raises(e.UnknownClassError, match="only numbered; name them"):
                same_class(known, 1, labels)


def test_when_the_first_model_does_not_know_the_class_the_next_settles_it(engine, photo):
    result = engine.compare(photo, ["one", "imagenet", "animals"], target="lion")
    assert [c.cam.target if c.cam else None for c in result.columns] == [None, 0, 2]
    assert result.label == "lion"
    assert "No class fits 'lion'" in result.columns[0].note


def test_nobody_knows_the_class(engine, photo):
    result = engine.compare(photo, ["one", "two"], target="unicorn")
    assert result.label == "unicorn"
    assert result.agreements == ()
    assert result.scale_max == 1.0
    assert all("unicorn" in column.note for column in result.columns)


def test_a_model_that_fails_leaves_the_other_columns(engine, photo):
    result = engine.compare(photo, ["not there", "one", "two"])
    broken, *others = result.columns
    assert (broken.model, broken.explanation, broken.facts) == ("not there", None, None)
    assert broken.latency_ms is None
    assert broken.note == "The weights of not there could not be downloaded."
    assert all(column.cam is not None for column in others)
    assert len(result.agreements) == 1


@pytest.mark.parametrize("bad", [0, 1])
def test_a_model_without_finite_numbers_is_one_failed_column(bad, engine, photo):
    names = ["two", "three"]
    names.insert(bad, "one")
    net = engine.session.network("one")
    net.model = copy.deepcopy(net.model)
    with torch.no_grad():
        net.model.fc.bias[3] = float("nan")
    columns = engine.compare(photo, names).columns
    assert "no finite numbers" in columns[bad].note
    assert [column.cam is not None for column in columns] == [name != "one" for name in names]
    curves = list(engine.sweep_steps(photo, names, factors=(1.0,)))[-1].curves
    assert ["finite" in curve.note for curve in curves] == [name == "one" for name in names]


def test_an_unknown_layer_is_a_note(engine, photo):
    result = engine.compare(photo, ["one", "two"], layer="layer2.0.convs.0")
    assert "no layer 'layer2.0.convs.0'" in result.columns[0].note
    assert result.columns[1].cam is not None


def test_stop_between_models_keeps_what_was_done(engine, photo):
    done: list[str] = []

    def follow():
        for _, column in engine.compare_steps(
            photo, ["one", "two", "three"], is_cancelled=lambda: len(done) == 2
        ):
            done.append(column.model)

    with pytest.raises(e.Cancelled, match="Stopped"):
        follow()
    assert done == ["one", "two"]
    with pytest.raises(e.Cancelled):
        engine.compare(photo, ["one", "two"], is_cancelled=lambda: True)


def test_stop_during_a_download_is_not_a_failed_column(engine, photo, monkeypatch):
    def load(name, weights=None, **options):
        raise e.Cancelled("Stopped; what was loaded so far is kept.")

    monkeypatch.setattr(session_module, "load_model", load)
    with pytest.raises(e.Cancelled, match="so far"):
        engine.compare(photo, ["one", "two"])


def test_a_bad_photo_is_one_error_not_a_note_per_model(engine, tmp_path):
    bad = tmp_path / "note.txt"
    bad.write_text("no photo")
    with pytest.raises(e.ImageError, match=r"note\.txt"):
        engine.compare(bad, ["one", "two"])


def test_a_photo_is_decoded_once(engine, photo, tmp_path, monkeypatch):
    path = tmp_path / "cup.png"
    photo.save(path)
    decoded: list[Any] = []

    def counting(source):
        decoded.append(source)
        return load_photo(source)

    monkeypatch.setattr(pipeline, "load_photo", counting)
    with path.open("rb") as file:  # could not be read twice
        result = engine.compare(file, ["one", "two", "three"])
    assert len(decoded) == 1
    assert result.columns[2].explanation is not None
    named = engine.compare(path, ["one", "two"]).columns[0].explanation
    assert named.prediction.photo.name == str(path)


@pytest.mark.parametrize(("name", "published_gmacs"), [("resnet50", 4.09), ("resnest50d", 5.37)])
def test_counted_cost_is_the_known_one(name, published_gmacs, loaded):
    class Fake:
        """Only what ``counted_gmacs`` asks for."""

        def __init__(self):
            self.loaded = loaded("resnet", input_size=(3, 224, 224))
            with torch.device("meta"):
                self.model: torch.nn.Module = timm.create_model(name).eval()

        def guarded(self, work):
            return work(), 0.0

    assert counted_gmacs(Fake()) == pytest.approx(published_gmacs, abs=0.01)  # type: ignore[arg-type]


def test_facts_of_a_network_that_no_table_lists(engine):
    network = engine.session.network("two")
    facts = model_facts(network)
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name):
        return lambda _module, _inputs, output: shapes.update({name: tuple(output.shape)})

    # Hooks on a copy, so that nothing is left on the shared one.
    model: Any = network.copy_of_model()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(remember(name))
    model(torch.zeros(1, 3, 96, 96))
    macs = model.fc.weight.numel()
    for name, (_, _, height, width) in shapes.items():
        macs += height * width * model.get_submodule(name).weight.numel()
    assert facts.gmacs == pytest.approx(macs / 1e9)
    assert facts.params == sum(p.numel() for p in model.parameters())
    assert facts.input_px == 96
    assert facts.top1 is None


def test_facts_can_be_counted_while_others_explain(engine, photo):
    """A copy made during a request would carry its hooks; a process-wide hook would hear it."""
    network = engine.session.network("three")
    expected, answer = counted_gmacs(network), network.explain(photo, layers="2").maps[0]
    stop = threading.Event()

    def count():
        counts = {counted_gmacs(network)}
        while not stop.is_set():
            counts.add(counted_gmacs(network))
        return counts

    with ThreadPoolExecutor(2) as pool:
        counting = pool.submit(count)
        try:
            maps = [network.explain(photo, layers="2").maps[0] for _ in range(10)]
        finally:
            stop.set()
        assert counting.result() == {expected}
    for cam in maps:
        np.testing.assert_array_equal(cam.raw, answer.raw)


SIZES = (1.0, 0.5, 0.25)


def best(engine, photo, model):
    return engine.session.network(model).predict(photo).top[0].index


def test_a_registry_models_field_needs_no_model(engine, asked):
    # Largest fields of the four stages: ResNet-50 as Araujo et al. have it, Res2Net-50 26w 4s.
    for name, largest in (
        ("resnet50.tv_in1k", [35, 91, 267, 427]),
        ("timm/res2net50_26w_4s", [67, 219, 715, 1131]),
    ):
        field = engine.receptive_field(name)
        assert [stage.rf_max_px for stage in field.stages] == largest
    assert asked == []


def test_another_timm_models_field_needs_no_weights(engine, asked):
    field = engine.receptive_field("resnet34.a1_in1k")
    assert asked == []
    # Stem 11 px at stride 4; layer1 adds 6 x 8; then each stage 1 x (stride before it) x 2, and
    # all other 3x3 of it at its own stride: 24 + 96, 48 + 320, 96 + 256.
    assert [stage.rf_max_px for stage in field.stages] == [59, 179, 547, 899]


def test_another_models_field_is_traced(engine):
    field = engine.session.network("two").receptive_field()
    # Stem: 7x7 at stride 2, then a 3x3 pool: 11 px at stride 4. Each 3x3 then adds 8 px. In stage 1
    # already the first block has a ladder here, because nothing changes its shape: 19, 27, 35, 11.
    assert [s.rf_max_px for s in field.block("layer1.0").splits] == [19, 27, 35, 11]
    assert [s.rf_max_px for s in field.block("layer1.1").splits] == [43, 51, 59, 35]
    # In stage 2 the first block strides: no ladder. Its second block adds 16 px per 3x3.
    assert [s.rf_max_px for s in field.block("layer2.0").splits] == [67] * 4
    assert [s.rf_max_px for s in field.block("layer2.1").splits] == [83, 99, 115, 67]


def test_only_a_resnest_has_split_attention(engine, photo):
    report = engine.session.network("three").split_attention(
        photo, target=2, references=[photo, photo]
    )
    assert (report.target.index, report.references) == (2, 2)
    for block in report.blocks:
        np.testing.assert_allclose(block.gates.sum(0), 1, atol=1e-5)
        assert block.reference is not None
        # The mean over the photo itself is the photo's own.
        np.testing.assert_allclose(block.reference, block.gates, atol=1e-5)
    with pytest.raises(e.UnsupportedModelError):
        engine.session.network("two").split_attention(photo)


def test_a_sweep_settles_the_class_by_the_first_model(engine, photo):
    result = engine.sweep(photo, ["one", "two"], factors=SIZES)
    wanted = best(engine, photo, "one")
    assert (result.label, result.partial, result.canvas) == (f"thing {wanted}", False, "mean")
    assert result.box == (0.0, 0.0, 1.0, 1.0)
    for curve in result.curves:
        alone = engine.session.network(curve.model).sweep(photo, target=wanted, factors=SIZES)
        assert (curve.target, curve.note) == (wanted, "")
        assert [s.factor for s in curve.steps] == [1.0, 0.5, 0.25]
        assert [s.probability for s in curve.steps] == [s.probability for s in alone.steps]
        assert (curve.octaves, curve.mean_probability) == (alone.octaves, alone.mean_probability)


def test_a_model_that_does_not_know_the_class_gets_a_note(engine, photo):
    result = engine.sweep(photo, ["two", "animals", "one"], target=3, factors=SIZES)
    first, stranger, third = result.curves
    assert (first.target, third.target, result.partial) == (3, 3, False)
    assert (stranger.target, stranger.steps, stranger.octaves) == (None, (), None)
    assert "no class 'thing 3'" in stranger.note


def test_the_next_model_settles_what_the_first_does_not_know(engine, photo):
    result = engine.sweep(photo, ["one", "animals", "imagenet"], target="lion", factors=SIZES)
    assert [curve.target for curve in result.curves] == [None, 2, 0]
    assert "lion" in result.curves[0].note
    assert result.label == "lion"


def test_a_model_that_cannot_be_had_gets_a_note(engine, photo):
    result = engine.sweep(photo, ["not there", "one"], factors=SIZES)
    assert result.curves[0].note == "The weights of not there could not be downloaded."
    assert len(result.curves[1].steps) == 3


def test_alone_a_model_says_what_is_wrong(engine, photo):
    with pytest.raises(e.DownloadError, match="not there"):
        engine.sweep(photo, ["not there"])
    with pytest.raises(e.UnknownClassError, match="unicorn"):
        engine.sweep(photo, ["one"], target="unicorn")


@pytest.mark.parametrize(("use", "models", "says"), [
    ("compare", [], "0 model"), ("compare", ["one"], "choose 2 to 6"),
    ("compare", list("abcdefg"), "7 model"),
    ("compare", ["one", "two", "one"], "one was chosen twice"),
    ("compare", ["resnet50", "resnet50.tv_in1k"], r"resnet50\.tv_in1k was chosen twice"),
    ("compare", ["exp1/best", "exp2/best"], "Two models have the same name; rename the folder"),
    ("sweep", [], "0 model"), ("sweep", list("abcde"), "5 model"),
    ("sweep", ["one", "one"], "one was chosen twice"),
    ("sweep", ["resnet50", "timm/resnet50.tv_in1k"], r"resnet50\.tv_in1k was chosen twice"),
    ("compare", ["resnet34", "one", "hf_hub:timm/resnet34"], "resnet34 was chosen twice"),
])  # fmt: skip
def test_a_choice_of_models_that_is_refused(use, models, says, engine, photo, asked):
    with pytest.raises(e.OptionError, match=says):
        getattr(engine, use)(photo, models)
    assert asked == []


@pytest.mark.parametrize(("picture", "options", "error"), [
    (None, {"box": (0.5, 0.5, 0.5, 0.9)}, e.BoxError),
    (None, {"canvas": "polka dots"}, e.OptionError),
    (None, {"factors": ()}, e.OptionError), (None, {"is_cancelled": lambda: True}, e.Cancelled),
    (b"no photo", {}, e.ImageError),
])  # fmt: skip
def test_what_no_model_can_do_is_refused_for_all(picture, options, error, engine, photo, asked):
    with pytest.raises(error):
        engine.sweep(picture or photo, ["one", "two"], **options)
    assert asked == []


def test_a_sweep_is_told_after_each_model_and_size(engine, photo):
    said: list[tuple[str, int, int]] = []
    steps = engine.sweep_steps(
        photo, ["one", "two"], factors=SIZES, on_progress=lambda *step: said.append(step)
    )
    assert [(len(s.curves), s.partial) for s in steps] == [(1, True), (2, False)]
    assert [step for step in said if step[1] == 3] == [("one", 3, 3), ("two", 3, 3)]


def test_stop_keeps_the_models_that_were_done(engine, photo):
    done: list[str] = []
    steps = engine.sweep_steps(
        photo, ["one", "two", "three"], factors=SIZES, is_cancelled=lambda: len(done) == 2
    )
    for result in steps:
        done.append(result.curves[-1].model)
        assert result.partial is True
    assert done == ["one", "two"]
    assert len(result.curves) == 2


def test_stop_keeps_the_sizes_that_were_done(engine, photo):
    said: list[int] = []
    result = engine.sweep(
        photo, ["one", "two"], factors=np.geomspace(2, 0.1, 20).tolist(),
        on_progress=lambda model, done, total: said.append(done),
        is_cancelled=lambda: len(said) == 2,
    )  # fmt: skip
    (curve,) = result.curves
    assert result.partial is True
    assert 0 < said[1] == len(curve.steps) < 20
    # A score of part of the range would be no score.
    assert (curve.octaves, curve.mean_probability) == (None, None)


def test_two_folders_of_one_name_are_called_as_visitors_call_them(engine, photo, monkeypatch):
    monkeypatch.setitem(MODELS, "one (2)", MODELS["two"])
    monkeypatch.setattr(engine.session, "offered", lambda: ("one", "one (2)"))
    asked = ["one (2)", "one"]
    for name in asked:
        engine.session.network(name).name = "one"  # the folder's own
    found = engine.compare(photo, asked)
    assert [column.model for column in found.columns] == asked
    assert [(pair.first, pair.second) for pair in found.agreements] == [tuple(asked)]
    assert [c.model for c in engine.sweep(photo, asked, factors=(1.0,)).curves] == asked
    *_, cap = engine.cap_steps(photo, asked, references=[photo])
    assert [curve.model for curve in cap.curves] == asked
