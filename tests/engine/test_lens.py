"""The lens over several models: one class for all, notes instead of failures, Stop keeps work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.engine import session as session_module
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.errors import (
    BoxError,
    Cancelled,
    DownloadError,
    ImageError,
    OptionError,
    UnknownClassError,
    UnsupportedModelError,
)

THINGS = tuple(f"thing {i}" for i in range(12))
WILD = ("lion, king of beasts, Panthera leo", *(f"filler {i}" for i in range(11)))
ANIMALS = ("cat", "dog", "lion", *(f"animal {i}" for i in range(9)))
MODELS: dict[str, dict[str, Any]] = {
    "plain": {"family": "resnet", "names": THINGS},
    "splits": {"family": "res2net", "names": THINGS},
    "gates": {"family": "resnest", "names": THINGS},
    "wild": {"family": "resnext", "names": WILD},
    "animals": {"family": "res2net", "names": ANIMALS},
}
SIZES = (1.0, 0.5, 0.25)


@pytest.fixture
def asked() -> list[str]:
    """Names of the models that were loaded, in order."""
    return []


@pytest.fixture
def lens(loaded: Callable[..., Any], asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Engine:
    def load(name: str, weights: Any = None, **options: Any) -> Any:
        asked.append(name)
        if name not in MODELS:
            raise DownloadError(f"The weights of {name} could not be downloaded.")
        return loaded(name=name, **MODELS[name])

    monkeypatch.setattr(session_module, "load_model", load)
    return Engine(Session("cpu"))


def best(lens: Engine, photo: Image.Image, model: str) -> int:
    return lens.session.network(model).predict(photo).top[0].index


def test_a_registry_models_field_needs_no_model(lens: Engine, asked: list[str]) -> None:
    # Largest fields of the four stages: ResNet-50 as Araujo et al. have it, Res2Net-50 26w 4s.
    for name, largest in (
        ("resnet50.tv_in1k", [35, 91, 267, 427]),
        ("timm/res2net50_26w_4s", [67, 219, 715, 1131]),
    ):
        field = lens.receptive_field(name)
        assert [stage.rf_max_px for stage in field.stages] == largest
    assert asked == []


def test_another_timm_models_field_needs_no_weights(lens: Engine, asked: list[str]) -> None:
    field = lens.receptive_field("resnet34.a1_in1k")
    assert asked == []
    # Stem 11 px at stride 4; layer1 adds 6 x 8; then each stage 1 x (stride before it) x 2, and
    # all other 3x3 of it at its own stride: 24 + 96, 48 + 320, 96 + 256.
    assert [stage.rf_max_px for stage in field.stages] == [59, 179, 547, 899]


def test_another_models_field_is_traced(lens: Engine) -> None:
    field = lens.session.network("splits").receptive_field()
    # Stem: 7x7 at stride 2, then a 3x3 pool: 11 px at stride 4. Each 3x3 then adds 8 px. In stage 1
    # already the first block has a ladder here, because nothing changes its shape: 19, 27, 35, 11.
    assert [s.rf_max_px for s in field.block("layer1.0").splits] == [19, 27, 35, 11]
    assert [s.rf_max_px for s in field.block("layer1.1").splits] == [43, 51, 59, 35]
    # In stage 2 the first block strides: no ladder. Its second block adds 16 px per 3x3.
    assert [s.rf_max_px for s in field.block("layer2.0").splits] == [67] * 4
    assert [s.rf_max_px for s in field.block("layer2.1").splits] == [83, 99, 115, 67]


def test_one_model_is_the_networks_own(lens: Engine, photo: Image.Image) -> None:
    report = lens.scales(photo, "splits", target=5, name="cup.png")
    alone = lens.session.network("splits").scales(photo, target=5)
    assert report.prediction.photo.name == "cup.png"
    assert report.target.index == 5
    assert report.attribution == alone.attribution


def test_the_first_models_best_class_is_attributed_in_all(lens: Engine, photo: Image.Image) -> None:
    reports = lens.scales_of(photo, ["plain", "splits", "gates"])
    wanted = best(lens, photo, "plain")
    assert [r.prediction.model for r in reports] == ["plain", "splits", "gates"]
    assert [r.target.index for r in reports] == [wanted] * 3
    for report in reports:
        alone = lens.scales(photo, report.prediction.model, target=wanted)
        assert report.attribution == alone.attribution


def test_a_class_of_other_models_is_found_by_its_name(lens: Engine, photo: Image.Image) -> None:
    reports = lens.scales_of(photo, ["wild", "animals"], target="lion")
    assert [r.target.index for r in reports] == [0, 2]
    with pytest.raises(UnknownClassError, match="no class 'thing 3'"):
        lens.scales_of(photo, ["splits", "animals"], target=3)
    said: dict[str, str] = {}
    models = ["splits", "animals", "plain"]
    reports = lens.scales_of(photo, models, target=3, on_unknown=said.__setitem__)
    assert [r.prediction.model for r in reports] == ["splits", "plain"]
    assert list(said) == ["animals"]
    assert "no class 'thing 3'" in said["animals"]


def test_only_a_resnest_has_split_attention(lens: Engine, photo: Image.Image) -> None:
    report = lens.split_attention(photo, "gates", target=2, references=[photo, photo])
    assert (report.target.index, report.references) == (2, 2)
    for block in report.blocks:
        np.testing.assert_allclose(block.gates.sum(0), 1, atol=1e-5)
        assert block.reference is not None
        # The mean over the photo itself is the photo's own.
        np.testing.assert_allclose(block.reference, block.gates, atol=1e-5)
    with pytest.raises(UnsupportedModelError):
        lens.split_attention(photo, "splits")


def test_an_effective_field_is_the_networks_own(lens: Engine, photo: Image.Image) -> None:
    ours = lens.effective_receptive_field(photo, "splits", point=(0.4, 0.6), layer="2", split=None)
    theirs = lens.session.network("splits").effective_receptive_field(
        photo, point=(0.4, 0.6), layer="layer2"
    )
    assert (ours.model, ours.layer, ours.unit) == ("splits", "layer2", theirs.unit)
    np.testing.assert_array_equal(ours.gradient, theirs.gradient)


def test_a_sweep_settles_the_class_by_the_first_model(lens: Engine, photo: Image.Image) -> None:
    result = lens.sweep(photo, ["plain", "splits"], factors=SIZES)
    wanted = best(lens, photo, "plain")
    assert (result.label, result.partial, result.canvas) == (f"thing {wanted}", False, "mean")
    assert result.box == (0.0, 0.0, 1.0, 1.0)
    for curve in result.curves:
        alone = lens.session.network(curve.model).sweep(photo, target=wanted, factors=SIZES)
        assert (curve.target, curve.note) == (wanted, "")
        assert [s.factor for s in curve.steps] == [1.0, 0.5, 0.25]
        assert [s.probability for s in curve.steps] == [s.probability for s in alone.steps]
        assert (curve.octaves, curve.mean_probability) == (alone.octaves, alone.mean_probability)


def test_a_model_that_does_not_know_the_class_gets_a_note(lens: Engine, photo: Image.Image) -> None:
    result = lens.sweep(photo, ["splits", "animals", "plain"], target=3, factors=SIZES)
    first, stranger, third = result.curves
    assert (first.target, third.target, result.partial) == (3, 3, False)
    assert (stranger.target, stranger.steps, stranger.octaves) == (None, (), None)
    assert "no class 'thing 3'" in stranger.note


def test_the_next_model_settles_what_the_first_does_not_know(
    lens: Engine, photo: Image.Image
) -> None:
    result = lens.sweep(photo, ["plain", "animals", "wild"], target="lion", factors=SIZES)
    assert [curve.target for curve in result.curves] == [None, 2, 0]
    assert "lion" in result.curves[0].note
    assert result.label == "lion"


def test_a_model_that_cannot_be_had_gets_a_note(lens: Engine, photo: Image.Image) -> None:
    result = lens.sweep(photo, ["not there", "plain"], factors=SIZES)
    assert result.curves[0].note == "The weights of not there could not be downloaded."
    assert len(result.curves[1].steps) == 3


def test_alone_a_model_says_what_is_wrong(lens: Engine, photo: Image.Image) -> None:
    with pytest.raises(DownloadError, match="not there"):
        lens.sweep(photo, ["not there"])
    with pytest.raises(UnknownClassError, match="unicorn"):
        lens.sweep(photo, ["plain"], target="unicorn")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([], "0 model"),
        (list("abcde"), "5 model"),
        (["plain", "plain"], "plain was chosen twice"),
        (["resnet50", "timm/resnet50.tv_in1k"], r"resnet50\.tv_in1k was chosen twice"),
    ],
)
def test_a_choice_of_models_that_is_refused(
    models: list[str], says: str, lens: Engine, photo: Image.Image, asked: list[str]
) -> None:
    with pytest.raises(OptionError, match=says):
        lens.sweep(photo, models)
    assert asked == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"box": (0.5, 0.5, 0.5, 0.9)}, BoxError),
        ({"canvas": "polka dots"}, OptionError),
        ({"factors": ()}, OptionError),
    ],
)
def test_what_no_model_can_do_is_refused_for_all(
    options: dict[str, Any], error: type[Exception], lens: Engine, photo: Image.Image
) -> None:
    with pytest.raises(error):
        lens.sweep(photo, ["plain", "splits"], **options)
    with pytest.raises(ImageError):
        lens.sweep(b"no photo", ["plain", "splits"])


def test_progress_names_the_model(lens: Engine, photo: Image.Image) -> None:
    said: list[tuple[str, int, int]] = []
    lens.sweep(
        photo, ["plain", "splits"], factors=SIZES, on_progress=lambda *step: said.append(step)
    )
    assert [step for step in said if step[1] == 3] == [("plain", 3, 3), ("splits", 3, 3)]


def test_stop_keeps_the_models_that_were_done(lens: Engine, photo: Image.Image) -> None:
    done: list[str] = []
    steps = lens.sweep_steps(
        photo, ["plain", "splits", "gates"], factors=SIZES, is_cancelled=lambda: len(done) == 2
    )
    for result in steps:
        done.append(result.curves[-1].model)
        assert result.partial is True
    assert done == ["plain", "splits"]
    assert len(result.curves) == 2


def test_stop_keeps_the_sizes_that_were_done(lens: Engine, photo: Image.Image) -> None:
    said: list[int] = []
    result = lens.sweep(
        photo,
        ["plain", "splits"],
        factors=np.geomspace(2, 0.1, 20).tolist(),
        on_progress=lambda model, done, total: said.append(done),
        is_cancelled=lambda: len(said) == 2,
    )
    (curve,) = result.curves
    assert result.partial is True
    assert 0 < said[1] == len(curve.steps) < 20
    # A score of part of the range would be no score.
    assert (curve.octaves, curve.mean_probability) == (None, None)


def test_stop_before_anything_was_done(lens: Engine, photo: Image.Image, asked: list[str]) -> None:
    with pytest.raises(Cancelled, match="before the first model"):
        lens.sweep(photo, ["plain"], is_cancelled=lambda: True)
    assert asked == []


def test_a_sweep_is_told_after_each_model(lens: Engine, photo: Image.Image) -> None:
    steps = lens.sweep_steps(photo, ["plain", "splits"], factors=SIZES)
    assert [(len(s.curves), s.partial) for s in steps] == [(1, True), (2, False)]
