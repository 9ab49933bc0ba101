"""Use cases on tiny networks: comparisons that go on, stop, and name the same class."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from mscnn.engine import pipeline
from mscnn.engine import session as session_module
from mscnn.engine.pipeline import Engine, counted_gmacs, model_facts, summarise
from mscnn.engine.session import Session
from mscnn.errors import (
    Cancelled,
    DownloadError,
    ImageError,
    OptionError,
    UnknownClassError,
    UnknownLayerError,
)
from mscnn.maps.agreement import density
from mscnn.photos.imaging import load_photo

THINGS = tuple(f"thing {i}" for i in range(12))
IMAGENET_LIKE = (
    "lion, king of beasts, Panthera leo",
    "espresso",
    "crane, wading bird",
    "crane, lifting machine",
    "tiger, Panthera tigris",
    *(f"filler {i}" for i in range(7)),
)
ANIMALS = ("Espresso", "tiger shark", "lion", "crane", "cat", *(f"animal {i}" for i in range(7)))
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
def engine(loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Engine:
    def load(name: str, weights: Any = None, **options: Any) -> Any:
        if name not in MODELS:
            raise DownloadError(f"The weights of {name} could not be downloaded.")
        return loaded(name=name, **MODELS[name])

    monkeypatch.setattr(session_module, "load_model", load)
    return Engine(Session("cpu"))


def test_predict_and_explain_are_the_networks(engine: Engine, photo: Image.Image) -> None:
    network = engine.session.network("one")
    np.testing.assert_array_equal(
        engine.predict(photo, "one", top_k=2, name="n").logits, network.predict(photo).logits
    )
    ours = engine.explain(photo, "one", layers="2", targets=[3], method="hirescam", name="n")
    theirs = network.explain(photo, layers="2", targets=[3], method="hirescam")
    assert ours.prediction.photo.name == "n"
    np.testing.assert_array_equal(ours.maps[0].raw, theirs.maps[0].raw)


def test_the_first_models_best_class_is_compared_in_all(engine: Engine, photo: Image.Image) -> None:
    result = engine.compare(photo, ["one", "two", "three"], name="cup.png")
    best = engine.predict(photo, "one").top[0]
    assert result.label == best.label
    assert result.layer == "last"
    assert [column.model for column in result.columns] == ["one", "two", "three"]
    for column in result.columns:
        assert column.note == ""
        assert column.cam is not None
        assert column.explanation is not None
        assert column.cam.target == best.index
        assert column.explanation.prediction.photo.name == "cup.png"
        assert column.latency_ms is not None
        assert column.latency_ms > 0
        alone = engine.explain(photo, column.model, targets=best.index)
        np.testing.assert_array_equal(column.cam.raw, alone.maps[0].raw)
    pairs = [(a.first, a.second) for a in result.agreements]
    assert pairs == [("one", "two"), ("one", "three"), ("two", "three")]
    tops = [float(density(c.cam).max()) for c in result.columns if c.cam is not None]
    assert result.scale_max == max(tops)


@pytest.mark.parametrize("target", [4, "thing 4", "4"])
@pytest.mark.parametrize("layer", ["2", "layer2"])
def test_a_named_class_and_layer(
    target: Any, layer: str, engine: Engine, photo: Image.Image
) -> None:
    result = engine.compare(photo, ["two", "border"], target=target, layer=layer)
    assert result.label == "thing 4"
    for column in result.columns:
        assert column.cam is not None
        assert (column.cam.target, column.cam.layer) == (4, "layer2")


@pytest.mark.parametrize(
    ("models", "target", "expected"),
    [
        (["imagenet", "animals"], "lion", {"imagenet": 0, "animals": 2}),
        (["animals", "imagenet"], "lion", {"imagenet": 0, "animals": 2}),
        (["imagenet", "animals"], "espresso", {"imagenet": 1, "animals": 0}),
        # One crane here, two there: a machine is compared with what the other calls a crane, but
        # from the one crane nobody can tell which of the two is meant.
        (["imagenet", "animals"], "crane (lifting machine)", {"imagenet": 3, "animals": 3}),
        (["animals", "imagenet"], "crane", {"animals": 3}),
        # A tiger is no tiger shark, although the name begins like it.
        (["imagenet", "animals"], "tiger", {"imagenet": 4}),
        (["imagenet", "animals", "two"], "filler 0", {"imagenet": 5}),
        # Both have the short name "lion"; the full name tells which one is meant.
        (["imagenet", "two.full"], 0, {"imagenet": 0, "two.full": 0}),
    ],
)
def test_the_same_class_by_name_in_other_label_sets(
    models: list[str],
    target: Any,
    expected: dict[str, int],
    engine: Engine,
    photo: Image.Image,
) -> None:
    result = engine.compare(photo, models, target=target)
    got = {c.model: c.cam.target for c in result.columns if c.cam is not None}
    assert got == expected
    for column in result.columns:
        if column.model in expected:
            assert column.note == ""
            continue
        # No map, but its own answer and its facts are there.
        assert "no class" in column.note
        assert column.explanation is not None
        assert column.explanation.targets == ()
        assert len(column.explanation.prediction.top) == 5
        assert column.facts is not None
    assert len(result.agreements) == (len(expected) * (len(expected) - 1)) // 2


def test_when_the_first_model_does_not_know_the_class_the_next_settles_it(
    engine: Engine, photo: Image.Image
) -> None:
    result = engine.compare(photo, ["one", "imagenet", "animals"], target="lion")
    assert [c.cam.target if c.cam else None for c in result.columns] == [None, 0, 2]
    assert result.label == "lion"
    assert "No class fits 'lion'" in result.columns[0].note


def test_nobody_knows_the_class(engine: Engine, photo: Image.Image) -> None:
    result = engine.compare(photo, ["one", "two"], target="unicorn")
    assert result.label == "unicorn"
    assert result.agreements == ()
    assert result.scale_max == 1.0
    assert all("unicorn" in column.note for column in result.columns)


def test_a_model_that_fails_leaves_the_other_columns(engine: Engine, photo: Image.Image) -> None:
    result = engine.compare(photo, ["not there", "one", "two"])
    broken, *others = result.columns
    assert (broken.model, broken.explanation, broken.facts) == ("not there", None, None)
    assert broken.latency_ms is None
    assert broken.note == "The weights of not there could not be downloaded."
    assert all(column.cam is not None for column in others)
    assert len(result.agreements) == 1


def test_an_unknown_layer_is_a_note(engine: Engine, photo: Image.Image) -> None:
    result = engine.compare(photo, ["one", "two"], layer="layer2.0.convs.0")
    assert "no layer 'layer2.0.convs.0'" in result.columns[0].note
    assert result.columns[1].cam is not None


def test_stop_between_models_keeps_what_was_done(engine: Engine, photo: Image.Image) -> None:
    done: list[str] = []

    def follow() -> None:
        for _, column in engine.compare_steps(
            photo, ["one", "two", "three"], is_cancelled=lambda: len(done) == 2
        ):
            done.append(column.model)

    with pytest.raises(Cancelled, match="Stopped"):
        follow()
    assert done == ["one", "two"]
    with pytest.raises(Cancelled):
        engine.compare(photo, ["one", "two"], is_cancelled=lambda: True)


def test_stop_during_a_download_is_not_a_failed_column(
    engine: Engine, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, weights: Any = None, **options: Any) -> Any:
        raise Cancelled("Stopped; what was loaded so far is kept.")

    monkeypatch.setattr(session_module, "load_model", load)
    with pytest.raises(Cancelled, match="so far"):
        engine.compare(photo, ["one", "two"])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "0 model"),
        (["one"], "choose 2 to 6"),
        (list("abcdefg"), "7 model"),
        (["one", "two", "one"], "one was chosen twice"),
        (["resnet50", "resnet50.tv_in1k"], "resnet50.tv_in1k was chosen twice"),
    ],
)
def test_too_few_too_many_and_repeated_models(
    models: list[str], message: str, engine: Engine, photo: Image.Image
) -> None:
    with pytest.raises(OptionError, match=message):
        engine.compare(photo, models)


def test_a_bad_photo_is_one_error_not_a_note_per_model(engine: Engine, tmp_path: Path) -> None:
    bad = tmp_path / "note.txt"
    bad.write_text("no photo")
    with pytest.raises(ImageError, match=r"note\.txt"):
        engine.compare(bad, ["one", "two"])


def test_a_photo_is_decoded_once(
    engine: Engine, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cup.png"
    photo.save(path)
    decoded: list[Any] = []

    def counting(source: Any) -> Image.Image:
        decoded.append(source)
        return load_photo(source)

    monkeypatch.setattr(pipeline, "load_photo", counting)
    with path.open("rb") as file:  # could not be read twice
        result = engine.compare(file, ["one", "two", "three"])
    assert len(decoded) == 1
    assert result.columns[2].explanation is not None
    named = engine.compare(path, ["one", "two"]).columns[0].explanation
    assert named is not None
    assert named.prediction.photo.name == str(path)


def test_unknown_classes_and_layers_of_one_model_are_errors(
    engine: Engine, photo: Image.Image
) -> None:
    with pytest.raises(UnknownClassError):
        engine.explain(photo, "one", targets="lion")
    with pytest.raises(UnknownLayerError):
        engine.explain(photo, "one", layers="layer8")


def test_an_empty_comparison_still_has_a_scale() -> None:
    assert summarise("", "last", []).scale_max == 1.0


@pytest.mark.parametrize(
    ("name", "published_gmacs"),
    [("resnet50", 4.09), ("resnest50d", 5.37)],
)
def test_counted_cost_is_the_known_one(
    name: str, published_gmacs: float, loaded: Callable[..., Any]
) -> None:
    class Fake:
        """Only what ``counted_gmacs`` asks for."""

        def __init__(self) -> None:
            self.loaded = loaded("resnet", input_size=(3, 224, 224))
            with torch.device("meta"):
                self.model: torch.nn.Module = timm.create_model(name).eval()

        def copy_of_model(self) -> torch.nn.Module:
            return self.model

    assert counted_gmacs(Fake()) == pytest.approx(published_gmacs, abs=0.01)  # type: ignore[arg-type]


def test_facts_of_a_network_that_no_table_lists(engine: Engine) -> None:
    network = engine.session.network("two")
    facts = model_facts(network)
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        return lambda _module, _inputs, output: shapes.update({name: tuple(output.shape)})

    model: Any = (
        network.copy_of_model()
    )  # hooks on a copy, so that nothing is left on the shared one
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


def test_facts_can_be_counted_while_others_explain(engine: Engine, photo: Image.Image) -> None:
    """A copy made during a request would carry its hooks; a process-wide hook would hear it."""
    network = engine.session.network("three")
    expected, answer = counted_gmacs(network), engine.explain(photo, "three", layers="2").maps[0]
    stop = threading.Event()

    def count() -> set[float]:
        counts = {counted_gmacs(network)}
        while not stop.is_set():
            counts.add(counted_gmacs(network))
        return counts

    with ThreadPoolExecutor(2) as pool:
        counting = pool.submit(count)
        try:
            maps = [engine.explain(photo, "three", layers="2").maps[0] for _ in range(10)]
        finally:
            stop.set()
        assert counting.result() == {expected}
    for cam in maps:
        np.testing.assert_array_equal(cam.raw, answer.raw)


def test_eight_threads_mix_predictions_explanations_and_comparisons(
    engine: Engine, photo: Image.Image
) -> None:
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def ask(i: int) -> list[Any]:
        picture = (photo, mirrored)[i % 2]
        if i % 4 == 0:
            return [engine.predict(picture, ("one", "two", "three")[i % 3]).logits]
        if i % 4 == 1:
            maps = engine.explain(picture, "two", targets="top5", layers=["3", "4"]).maps
            return [cam.raw for cam in maps]
        if i % 4 == 2:
            return [engine.explain(picture, "one", layers="2", method="gradcam++").maps[0].raw]
        columns = engine.compare(picture, ["three", "one", "two"], target=2).columns
        return [column.cam.raw for column in columns if column.cam is not None]

    serial = [ask(i) for i in range(12)]
    assert len(serial[3]) == 3
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(ask, [*range(12)] * 2))
    for i, got in enumerate(parallel):
        for ours, expected in zip(got, serial[i % 12], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
