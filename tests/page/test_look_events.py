"""The Look tab's handlers as gradio calls them: what each event changes, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from mscnn.errors import Cancelled, ImageError, UnknownModelError
from mscnn.page import handlers
from mscnn.page.jobs import Jobs
from mscnn.page.look_events import LookEvents

MODEL = "starter_res2net"
SKIPPED = gr.skip()
VIEW = (0.65, "inferno")


def visitor(name: str = "ann") -> Any:
    return SimpleNamespace(session_hash=name)


def another_photo() -> Image.Image:
    pixels = np.random.default_rng(11).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)


@pytest.fixture
def events(engine) -> LookEvents:
    return LookEvents(engine, Jobs())


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


def run(events: LookEvents, photo: Any, who: str = "ann", **changed: str) -> Iterator[Any]:
    arguments = {"model": MODEL, "method": "gradcam", **changed}
    return events.run(
        photo, arguments["model"], arguments["method"], *VIEW, visitor(who), gr.Progress()
    )


def test_an_answer_fills_every_output_and_gives_the_buttons_back(events, photo):
    first, *_, last = list(run(events, photo))
    assert first[:6] == (SKIPPED,) * 6
    assert first[6:] == (gr.update(visible=True), gr.update(interactive=False))
    shown, overlay, caption, scores, classes, notice, stop, button = last
    assert shown.label in caption
    assert overlay["alt_text"] == handlers.alt_text(shown)
    assert scores == handlers.scores(shown)
    assert len(classes["choices"]) == 200
    assert "Starter Res2Net" in notice
    assert stop == gr.update(visible=False)
    assert button["interactive"] is True


def test_an_error_gives_the_buttons_back_and_leaves_the_rest(events, photo):
    seen: list[Any] = []
    with pytest.raises(UnknownModelError, match="no_such_net"):
        seen.extend(run(events, photo, model="no_such_net"))
    assert seen[-1][:6] == (SKIPPED,) * 6
    assert seen[-1][6] == gr.update(visible=False)
    assert seen[-1][7]["interactive"] is True


@pytest.mark.parametrize(
    ("photo_in", "says"), [(None, "no photo yet"), (ImageError("Bad."), "Bad")]
)
def test_without_a_good_photo_nothing_starts(events, photo_in, says, forwards):
    with pytest.raises(ImageError, match=says):
        list(run(events, photo_in))
    assert forwards == []


@pytest.mark.parametrize(
    ("model", "method"),
    [(MODEL, "scorecam"), (MODEL, "ablationcam"), ("res2net50_26w_4s.in1k", "gradcam")],
)
def test_what_takes_minutes_or_a_download_waits_for_the_button(
    events, photo, forwards, model, method
):
    steps = events.run_if_ready(photo, model, method, *VIEW, visitor(), gr.Progress())
    assert list(steps) == [(SKIPPED,) * 8]
    assert forwards == []


def test_a_class_that_was_explained_costs_no_run(events, photo, forwards):
    shown = list(run(events, photo))[-1][0]
    ran = len(forwards)
    second = shown.explanation.prediction.top[1]
    click = SimpleNamespace(value=second.label, index=1)
    state, overlay, _, _ = list(events.pick(shown, photo, *VIEW, visitor(), click))[-1]
    assert state.target == second.index
    assert second.label in overlay["alt_text"]
    assert len(forwards) == ran


def test_a_click_on_a_name_of_an_answer_that_is_gone_changes_nothing(events, photo):
    shown = list(run(events, photo))[-1][0]
    click = SimpleNamespace(value="a name of another model", index=0)
    assert list(events.pick(shown, photo, *VIEW, visitor(), click)) == [(SKIPPED,) * 4]
    assert list(events.pick(None, photo, *VIEW, visitor(), click)) == [(SKIPPED,) * 4]


def test_no_map_of_another_photo_is_drawn_on_the_one_shown(events, photo, forwards):
    """The photo can change while the answer of the one before it is still shown.

    That happens where a slow method or a download waits for the button, and after Stop.
    """
    shown = list(run(events, photo))[-1][0]
    ran = len(forwards)
    with pytest.raises(ImageError, match="photo has changed"):
        list(events.choose(shown, another_photo(), "espresso", *VIEW, visitor()))
    assert events.stages(shown, another_photo(), *VIEW) == (SKIPPED, SKIPPED)
    assert len(forwards) == ran


def test_drawing_again_needs_no_run_and_keeps_class_and_layer(events, photo, forwards):
    shown, _ = events.stages(list(run(events, photo))[-1][0], photo, *VIEW)
    ran = len(forwards)
    click = SimpleNamespace(index=1)
    large, overlay, caption = events.enlarge(shown, *VIEW, click)
    assert (large.layer, large.target) == ("layer2", shown.target)
    assert "layer2" in caption
    again, faint, _ = events.redraw(large, 0.0, "viridis")
    assert (again.layer, again.target) == ("layer2", shown.target)
    assert not np.array_equal(faint["value"], overlay["value"])
    assert len(events.redraw_stages(large, 0.2, "viridis")) == 4
    assert events.pack(large, *VIEW).endswith("layer2.zip")
    assert len(forwards) == ran


@pytest.mark.parametrize("stage", ["last", "0", "5", "-1", "x", ""])
def test_a_stage_that_is_none_changes_nothing(events, photo, stage):
    shown, _ = events.stages(list(run(events, photo))[-1][0], photo, *VIEW)
    assert events.enlarge_stage(shown, stage, *VIEW) == (SKIPPED,) * 3


def test_before_the_first_answer_no_control_fails(events, photo):
    click = SimpleNamespace(index=0, value="x")
    assert events.redraw(None, *VIEW) == (SKIPPED,) * 3
    assert events.redraw_stages(None, *VIEW) == SKIPPED
    assert events.enlarge(None, *VIEW, click) == (SKIPPED,) * 3
    assert events.stages(None, photo, *VIEW) == (SKIPPED, SKIPPED)
    assert events.pack(None, *VIEW) == SKIPPED
    assert list(events.choose(None, photo, "espresso", *VIEW, visitor())) == [(SKIPPED,) * 4]


def test_two_visitors_in_turns_get_each_their_own(events, engine, photo):
    photos = {"ann": photo, "bob": another_photo()}
    steps = {who: run(events, image, who) for who, image in photos.items()}
    for who in ("ann", "bob"):
        next(steps[who])
    for who, image in photos.items():
        shown = list(steps[who])[-1][0]
        expected = engine.explain(image, MODEL, targets="top5")
        assert shown.target == expected.targets[0].index
        np.testing.assert_allclose(shown.cam.raw, expected.maps[0].raw, atol=1e-5)


def test_stop_ends_the_slow_method_of_that_visitor_only(events, photo, monkeypatch):
    monkeypatch.setattr(handlers, "estimate_seconds", lambda *a: 9.0)
    monkeypatch.setattr(gr, "Info", lambda *a, **k: None)
    seen = []

    def look(*args: Any, is_cancelled: Any, **options: Any) -> Any:
        for who in ("bob", "ann"):
            events.stop(visitor(who))
            seen.append(is_cancelled())
        raise Cancelled("Stopped.")

    monkeypatch.setattr(handlers, "look", look)
    with pytest.raises(Cancelled):
        list(run(events, photo, "ann", method="scorecam"))
    assert seen == [False, True]


def test_a_slow_method_ends_between_two_channels(events, photo, monkeypatch, forwards):
    monkeypatch.setattr(handlers, "estimate_seconds", lambda *a: 9.0)
    monkeypatch.setattr(gr, "Info", lambda *a, **k: events.stop(visitor("ann")))
    with pytest.raises(Cancelled):
        list(run(events, photo, "ann", method="ablationcam"))
    assert len(forwards) < 10  # of 160 channels


@pytest.mark.parametrize(("method", "slow"), [("gradcam", False), ("scorecam", True)])
def test_a_slow_method_says_how_long_it_takes_here(events, photo, method, slow):
    events.engine.session.network(MODEL)
    note, _ = events.choose_method(method, photo, MODEL)
    assert ("press Explain" in note) == slow
