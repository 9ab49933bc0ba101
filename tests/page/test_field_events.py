"""The Receptive field tab's handlers as gradio calls them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from mscnn.errors import Cancelled, ImageError, PointError
from mscnn.page.field_events import RESULTS, THEORY, FieldEvents
from mscnn.page.jobs import Jobs
from mscnn.photos.imaging import to_png_bytes

MODEL, BASELINE = "starter_res2net", "starter_resnet"
SKIPPED = gr.skip()
SETTINGS = {
    "layer": "layer2.1", "split": "all", "beside": False, "weights": "trained", "many": False,
    "point": "50, 50", "measure": "raw", "opacity": 0.65, "cmap": "inferno",
}  # fmt: skip


def visitor(name: str = "ann") -> Any:
    return SimpleNamespace(session_hash=name)


def picture(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photo() -> Image.Image:
    return picture(3)


@pytest.fixture
def events(engine) -> FieldEvents:
    return FieldEvents(engine, Jobs())


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run of a model."""
    from timm.models.resnet import ResNet

    real, seen = ResNet.forward_features, []

    def counted(self: Any, x: Any) -> Any:
        seen.append(1)
        return real(self, x)

    monkeypatch.setattr(ResNet, "forward_features", counted)
    return seen


def inputs(photo: Any, model: str = MODEL, **changed: Any) -> tuple[Any, ...]:
    return (photo, model, *{**SETTINGS, **changed}.values())


def named(update: tuple[Any, ...]) -> dict[str, Any]:
    return {n: v for n, v in zip(RESULTS, update, strict=True) if v != SKIPPED}


def run(events: FieldEvents, photo: Any, model: str = MODEL, **changed: Any) -> Iterator[Any]:
    return events.run(visitor(), gr.Progress(), *inputs(photo, model, **changed))


def last(events: FieldEvents, photo: Any, model: str = MODEL, **changed: Any) -> dict[str, Any]:
    return named(list(run(events, photo, model, **changed))[-1])


def test_a_measurement_fills_every_output_and_gives_the_buttons_back(events, photo):
    first, *_, end = run(events, photo)
    assert set(named(first)) == {"run", "stop"}
    done = named(end)
    assert set(done) == set(RESULTS)
    assert done["run"]["interactive"] is True
    assert done["stop"]["visible"] is False
    expected = events.lens.effective_receptive_field(photo, MODEL, layer="layer2.1")
    (one,) = done["state"].fields
    np.testing.assert_allclose(one.gradient, expected.gradient, rtol=1e-5)
    assert one.squares == expected.squares
    assert [row[5] for row in done["table"]] == [s.side_px for s in expected.squares]
    assert "stage 2, block 2" in done["overlay"]["alt_text"]


def test_a_click_measures_the_unit_below_it(events, photo):
    shown = last(events, photo)["state"]
    left, top, right, bottom = shown.placed
    # Three quarters to the right, a quarter down.
    click = SimpleNamespace(
        index=[round(left + 0.75 * (right - left)), round(top + 0.25 * (bottom - top))]
    )
    steps = events.click(visitor(), click, gr.Progress(), shown, *inputs(photo))
    done = named(list(steps)[-1])
    x, y = done["state"].asked.point
    assert x == pytest.approx(0.75, abs=2 / (right - left))
    assert y == pytest.approx(0.25, abs=2 / (bottom - top))
    expected = events.lens.effective_receptive_field(
        photo, MODEL, point=(x, y), layer="layer2.1"
    )  # fmt: skip
    assert done["state"].fields[0].unit == expected.unit != shown.fields[0].unit
    assert done["point"].startswith("75")


def test_a_click_on_the_picture_of_another_photo_is_refused(events, photo):
    shown = last(events, photo)["state"]
    click = SimpleNamespace(index=list(shown.placed[:2]))
    with pytest.raises(PointError, match="photo has changed"):
        list(events.click(visitor(), click, gr.Progress(), shown, *inputs(picture(8))))


def test_a_point_outside_the_view_keeps_the_picture_and_gives_the_buttons_back(events):
    wide = picture(4, (400, 60))
    seen: list[Any] = []
    with pytest.raises(PointError, match="did not see that point"):
        seen.extend(run(events, wide, point="1, 50"))
    back = named(seen[-1])
    assert set(back) == {"run", "stop"}
    assert back["run"]["interactive"] is True
    assert back["stop"]["visible"] is False


def test_without_a_photo_there_is_a_sentence(events):
    with pytest.raises(ImageError, match="no photo yet"):
        list(run(events, None))


def test_all_splits_side_by_side_are_those_of_the_block(events, photo):
    done = last(events, photo, beside=True)
    assert [f.split for f in done["state"].fields] == [None, 0, 1, 2, 3]
    assert done["cards"].count("<section") == 5
    assert len(done["table"]) >= 5
    chosen = last(events, photo, beside=True, split="2")
    assert [f.split for f in chosen["state"].fields] == [2, None, 0, 1, 3]


def test_both_weights_differ(events, photo):
    trained, random = last(events, photo, weights="both")["state"].fields
    assert (trained.trained, random.trained) == (True, False)
    assert not np.allclose(trained.gradient, random.gradient)
    assert trained.theoretical == random.theoretical


def test_a_stage_has_no_splits_and_says_so(events, photo):
    done = last(events, photo, layer="layer3", beside=True)
    assert len(done["state"].fields) == 1
    assert "one of the stage's blocks" in done["caption"]


def test_what_was_chosen_for_another_model_falls_back_to_its_last_block(events, photo):
    done = last(events, photo, BASELINE, split="3")
    assert done["state"].asked.split == "all"
    done = last(events, photo, layer="layer9.9", split="1")
    assert done["layer"]["value"] == "layer4.1"
    assert done["split"]["value"] == "all"


def test_the_example_photographs_are_averaged_each_once(engine, photo, tmp_path):
    paths = []
    for number, image in enumerate((photo, picture(5), picture(6))):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(to_png_bytes(np.asarray(image)))
    events = FieldEvents(engine, Jobs(), paths)
    (one,) = last(events, photo, many=True)["state"].fields
    assert one.inputs == 3  # the photo is one of them
    alone = [
        events.lens.effective_receptive_field(p, MODEL, layer="layer2.1").gradient
        for p in (photo, picture(5), picture(6))
    ]
    np.testing.assert_allclose(one.gradient, np.mean(alone, axis=0), rtol=1e-4, atol=1e-7)


def test_stop_keeps_what_was_measured(events, photo, monkeypatch):
    real = events.lens.effective_receptive_field

    def stopping(*args: Any, **options: Any) -> Any:
        events.stop(visitor())
        return real(*args, **options)

    monkeypatch.setattr(events.lens, "effective_receptive_field", stopping)
    done = last(events, photo, beside=True)
    assert len(done["state"].fields) == 1
    assert "Stopped after 1 of 5" in done["caption"]


def test_stop_before_the_first_unit_changes_nothing(events, photo, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        events.stop(visitor())

    monkeypatch.setattr(events, "_prepare", stop)
    with pytest.raises(Cancelled):
        list(run(events, photo))


def test_the_other_measure_is_drawn_without_a_run(events, photo, forwards):
    done = last(events, photo)
    count = len(forwards)
    again = named(events.redraw(done["state"], "log", 0.65, "inferno"))
    assert len(forwards) == count
    assert not np.array_equal(again["overlay"]["value"], done["overlay"]["value"])
    assert "logarithm" in again["caption"]


def refresh(events: FieldEvents, front: bool, shown: Any, photo: Any, model: str = MODEL) -> Any:
    steps = list(events.refresh(visitor(), gr.Progress(), front, shown, *inputs(photo, model)))
    return named(steps[-1])


def test_a_new_photo_or_model_is_measured_only_while_the_tab_is_in_front(events, photo, forwards):
    assert refresh(events, False, None, photo) == {}
    assert refresh(events, True, None, None) == {}
    assert forwards == []
    shown = refresh(events, True, None, photo)["state"]
    count = len(forwards)
    assert count > 0
    assert refresh(events, True, shown, photo) == {}
    assert len(forwards) == count
    other = refresh(events, True, shown, picture(9))["state"]
    assert not np.array_equal(other.photo, shown.photo)
    assert refresh(events, True, shown, photo, BASELINE)["state"].asked.model == BASELINE


def test_opening_the_tab_never_downloads(events, photo, forwards):
    told = refresh(events, True, None, photo, "res2net50_26w_4s.in1k")
    assert "not on this machine" in told["caption"]
    assert "Download" in told["run"]["value"]
    assert forwards == []
    assert refresh(events, True, None, photo, "no_such_net") == {}


def read(events: FieldEvents, known: Any, model: str, others: list[str]) -> dict[str, Any]:
    update = events.read(True, known, model, others, "growth", "layer2.1", "1")
    return {n: v for n, v in zip(THEORY, update, strict=True) if v != SKIPPED}


def test_theory_comes_with_the_fair_baseline_and_then_as_chosen(events):
    shown = read(events, None, MODEL, [])
    assert shown["read"] == (MODEL, BASELINE)
    assert shown["others"] == [BASELINE]
    assert {row[0] for row in shown["stages"]} == {"Starter Res2Net", "Starter ResNet"}
    assert (shown["layer"]["value"], shown["split"]["value"]) == ("layer2.1", "1")
    assert read(events, shown["read"], MODEL, [BASELINE]) == {}
    alone = read(events, shown["read"], MODEL, [])
    assert alone["read"] == (MODEL,)
    assert {row[0] for row in alone["stages"]} == {"Starter Res2Net"}
    assert events.read(False, None, MODEL, [], "growth", None, None) == (SKIPPED,) * len(THEORY)


def test_theory_of_a_new_model_offers_its_layers(events):
    shown = read(events, (MODEL, BASELINE), BASELINE, [BASELINE])
    assert shown["read"] == (BASELINE,)
    assert [v for _, v in shown["split"]["choices"]] == ["all"]
    assert shown["split"]["value"] == "all"


def test_the_files_hold_theory_and_the_gradient(events, photo):
    done = last(events, photo, weights="both")
    path = events.pack(done["state"], (MODEL, BASELINE), "raw", 0.65, "inferno")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        content = archive.read("unit/gradient-layer2.1-random.npy")
        table = archive.read("unit/unit.csv").decode()
    assert {"unit/unit.png", "unit/unit.json", "unit/gradient-layer2.1-trained.npy"} <= names
    assert {f"theory/{m}/rf.csv" for m in (MODEL, BASELINE)} <= names
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), done["state"].fields[1].gradient)
    assert len(table.splitlines()) == 1 + len(done["table"])
    assert events.pack(None, None, "raw", 0.65, "inferno") == SKIPPED
