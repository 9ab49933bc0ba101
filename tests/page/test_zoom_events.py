"""The Zoom tab's handlers as gradio calls them."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from mscnn.errors import BoxError, Cancelled, ImageError, OptionError, UnknownClassError
from mscnn.page.jobs import Jobs
from mscnn.page.zoom_events import OBJECT, OPENED, RESULTS, ZoomEvents

MODELS = ["starter_res2net", "starter_resnet"]
SKIPPED = gr.skip()


def visitor(name: str = "ann") -> Any:
    return SimpleNamespace(session_hash=name)


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)


@pytest.fixture
def photo() -> Image.Image:
    return picture(3)


@pytest.fixture
def events(engine) -> ZoomEvents:
    return ZoomEvents(engine, Jobs())


def named(update: tuple[Any, ...], names: tuple[str, ...] = RESULTS) -> dict[str, Any]:
    return {n: v for n, v in zip(names, update, strict=True) if v != SKIPPED}


def run(
    events: ZoomEvents, photo: Any, models: list[str] = MODELS, target: str = "",
    canvas: str = "mean", box: str = "", state: Any = None,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    inputs = (photo, models, target, canvas, box, state, 0.65, "inferno")
    return events.run(visitor(), gr.Progress(), *inputs)


def test_a_sweep_is_shown_after_each_model_and_gives_the_buttons_back(events, photo):
    first, partial, end = [named(u) for u in run(events, photo)]
    assert set(first) == {"run", "stop"}
    assert {row[0] for row in partial["steps"]} == {"Starter Res2Net"}
    assert partial["stop"]["visible"] is True
    assert "download" not in partial
    assert set(end) == set(RESULTS)
    assert end["run"]["interactive"] is True
    assert end["stop"]["visible"] is False
    expected = events.lens.sweep(photo, MODELS)
    found = [row[3] for row in end["steps"]]
    wanted = [round(100 * s.probability, 1) for c in expected.curves for s in c.steps]
    assert found == pytest.approx(wanted, abs=0.11)
    assert [row[1] for row in end["scores"]] == [expected.label] * 2
    assert expected.label in end["probability"]["alt_text"]
    with zipfile.ZipFile(end["download"]) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("sweep.csv").decode())))
        assert "film.png" in archive.namelist()
    assert len(rows) == len(end["steps"])


def test_the_box_and_the_canvas_reach_the_sweep(events, photo):
    end = named(list(run(events, photo, MODELS[1:], box="25, 25, 75, 75", canvas="noise"))[-1])
    expected = events.lens.sweep(photo, MODELS[1:], box=(0.25, 0.25, 0.75, 0.75), canvas="noise")
    whole = events.lens.sweep(photo, MODELS[1:])
    wanted = [round(100 * s.probability, 1) for s in expected.curves[0].steps]
    assert [row[3] for row in end["steps"]] == pytest.approx(wanted, abs=0.11)
    assert wanted != [round(100 * s.probability, 1) for s in whole.curves[0].steps]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"photo": None}, ImageError),
        ({"box": "1,2"}, BoxError),
        ({"models": []}, OptionError),
        ({"models": [*MODELS, "a", "b", "c"]}, OptionError),
        ({"models": MODELS[:1], "target": "unicorn"}, UnknownClassError),
        ({"canvas": "lace"}, OptionError),
    ],
)
def test_what_cannot_be_done_gets_a_sentence_and_the_buttons_come_back(
    events, photo, changed, error
):
    seen: list[Any] = []
    with pytest.raises(error):
        seen.extend(run(events, **{"photo": photo, **changed}))
    if seen:
        assert named(seen[-1])["run"]["interactive"] is True
        assert named(seen[-1])["stop"]["visible"] is False


def test_one_model_that_fails_does_not_spoil_the_others(events, photo):
    end = named(list(run(events, photo, [MODELS[0], "no_such_net"]))[-1])
    assert [row[0] for row in end["scores"]] == ["Starter Res2Net", "no_such_net"]
    assert "no_such_net" in end["scores"][1][7]


def test_stop_keeps_the_models_that_were_done(events, photo):
    steps = run(events, photo)
    next(steps)
    next(steps)
    events.stop(visitor())
    (end,) = [named(u) for u in steps]
    assert [row[0] for row in end["scores"]] == ["Starter Res2Net"]
    assert "Stopped" in end["hint"]
    assert "download" in end


def test_stop_before_the_first_model_gives_the_buttons_back(events, photo):
    steps = run(events, photo)
    next(steps)
    real = events.lens.sweep_steps

    def stopped(*args: Any, **options: Any) -> Any:
        events.stop(visitor())
        return real(*args, **options)

    events.lens.sweep_steps = stopped
    seen: list[Any] = []
    with pytest.raises(Cancelled):
        seen.extend(steps)
    assert named(seen[-1])["run"]["interactive"] is True


def opened(events: ZoomEvents, front: bool, state: Any, photo: Any, **changed: Any) -> Any:
    facts = {"model": MODELS[0], "models": MODELS, "default": MODELS, **changed}
    return named(events.open(front, state, photo, *facts.values()), OPENED)


def test_the_photo_is_shown_once_and_a_new_one_starts_with_the_whole(events, photo):
    assert opened(events, False, None, photo) == {}
    assert set(opened(events, True, None, None)) == {"default"}
    first = opened(events, True, None, photo)
    assert (first["state"].box, first["box"]) == (None, "")
    assert set(opened(events, True, first["state"], photo)) == {"default"}
    boxed = named(events.type_box(first["state"], "10,10,50,50"), OBJECT)["state"]
    assert opened(events, True, boxed, picture(8))["state"].box is None


def test_a_new_model_brings_its_baseline_unless_others_were_chosen(events):
    changed = {"model": MODELS[1], "default": MODELS}
    assert opened(events, True, None, None, **changed)["models"] == [MODELS[1]]
    kept = opened(events, True, None, None, **changed, models=[MODELS[0], "resnet18"])
    assert "models" not in kept


def test_clicks_text_and_button_agree_on_the_box(events, photo):
    shown = opened(events, True, None, photo)["state"]
    height, width = shown.photo.shape[:2]
    for click in ((0.25 * width, 0.5 * height), (0.75 * width, 0.75 * height)):
        update = named(events.pick(shown, SimpleNamespace(index=list(click))), OBJECT)
        shown = update["state"]
    assert shown.box == pytest.approx((0.25, 0.5, 0.75, 0.75), abs=0.01)
    typed = named(events.type_box(None, "1,2"), OBJECT)
    assert typed == {}
    again = named(events.type_box(shown, update["box"]), OBJECT)["state"]
    assert again.box == pytest.approx(shown.box, abs=0.001)
    whole = named(events.whole(shown), OBJECT)
    assert (whole["state"].box, whole["box"]) == (None, "")


def test_a_box_drawn_on_another_photo_is_not_used(events, photo):
    boxed = opened(events, True, None, picture(8))["state"]
    with pytest.raises(BoxError, match="photo has changed"):
        list(run(events, photo, box="10, 10, 60, 60", state=boxed))
    assert list(run(events, photo, MODELS[1:], box="", state=boxed))


def test_a_download_is_announced_before_it_starts(events):
    text, button = events.announce(["starter_resnet", "resnet50.tv_in1k"])
    assert "ResNet-50" in text
    assert "MB" in text
    assert "Download" in button["value"]
    assert events.announce(MODELS)[0] == ""
