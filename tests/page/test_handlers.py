"""What the page computes, without gradio: each answer equals the engine's for the same photo."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mscnn.errors import ImageError, UnknownClassError, UnknownModelError
from mscnn.page import handlers

MODEL = "starter_res2net"


@pytest.fixture
def looked(engine, photo):
    return handlers.look(engine, photo, MODEL, "gradcam")


def test_without_a_photo_one_sentence_says_what_to_do():
    with pytest.raises(ImageError, match="no photo yet"):
        handlers.need_photo(None)


def test_a_broken_photo_says_what_is_wrong():
    with pytest.raises(ImageError, match=r"photo\.txt is no picture"):
        handlers.need_photo(ImageError("photo.txt is no picture."))


def test_the_default_view_holds_the_engines_five_classes_and_maps(engine, photo, looked):
    prediction = engine.predict(photo, MODEL)
    assert [s.index for s in looked.explanation.targets] == [s.index for s in prediction.top]
    assert looked.target == prediction.top[0].index
    for score in prediction.top:
        alone = engine.explain(photo, MODEL, targets=score.index)
        np.testing.assert_allclose(
            looked.explanation.map("layer4", score.index).raw, alone.maps[0].raw, atol=1e-5
        )


def test_scores_are_the_top_five_with_their_probabilities(looked):
    scores = handlers.scores(looked)
    top = looked.explanation.prediction.top
    assert list(scores) == [s.label for s in top]
    assert list(scores.values()) == [s.probability for s in top]


def test_another_method_explains_the_first_class(engine, photo):
    shown = handlers.look(engine, photo, MODEL, "hirescam")
    assert [s.index for s in shown.explanation.targets] == [shown.target]
    assert shown.cam.method == "hirescam"


def test_a_class_of_the_five_needs_no_model_run(engine, photo, looked, monkeypatch):
    network = engine.session.network(MODEL)
    monkeypatch.setattr(type(network), "explain", lambda *a, **k: pytest.fail("ran the model"))
    second = looked.explanation.targets[1]
    shown = handlers.choose_class(engine, photo, looked, str(second.index))
    assert (shown.target, shown.label, shown.layer) == (second.index, second.label, "layer4")


def test_any_other_class_gets_its_own_map_and_the_others_stay(engine, photo, looked):
    shown = handlers.choose_class(engine, photo, looked, "espresso")
    alone = engine.explain(photo, MODEL, targets="espresso")
    assert shown.label == "espresso"
    np.testing.assert_allclose(shown.cam.raw, alone.maps[0].raw, atol=1e-5)
    again = handlers.choose_class(engine, photo, shown, looked.target)
    assert again.cam is looked.cam


def test_an_unknown_class_is_one_sentence(engine, photo, looked):
    with pytest.raises(UnknownClassError, match="unicorn"):
        handlers.choose_class(engine, photo, looked, "unicorn")


def test_the_stages_are_the_engines_maps_of_the_class_shown(engine, photo, looked):
    shown = handlers.with_stages(engine, photo, looked)
    maps = handlers.stage_maps(engine, shown)
    assert [cam.layer for cam in maps] == ["layer1", "layer2", "layer3", "layer4"]
    whole = engine.explain(
        photo, MODEL, layers=["layer1", "layer2", "layer3", "layer4"], targets=shown.target
    )
    for cam, other in zip(maps, whole.maps, strict=True):
        assert cam.target == shown.target
        np.testing.assert_allclose(cam.raw, other.raw, atol=1e-5)
    assert handlers.with_stages(engine, photo, shown) is shown


def test_stage_pictures_name_stage_resolution_and_class(engine, photo, looked):
    shown = handlers.with_stages(engine, photo, looked)
    pictures = handlers.stage_pictures(engine, shown, opacity=0.6, cmap="inferno")
    sizes = [(32, 32), (16, 16), (8, 8), (8, 8)]
    assert len(pictures) == 4
    for number, ((picture, caption), (w, h)) in enumerate(zip(pictures, sizes, strict=True), 1):
        assert caption.startswith(f"Stage {number}: {w} x {h}")
        assert shown.label in caption
        assert picture.dtype == np.uint8
        assert picture.ndim == 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [((120, 90), 640), ((640, 480), 640), ((3000, 100), 900), ((1, 1), 640), ((1, 500), 640)],
)
def test_the_drawn_photo_is_big_enough_to_see_and_small_enough_to_send(engine, size, expected):
    photo = Image.new("RGB", size, (200, 30, 60))
    shown = handlers.look(engine, photo, MODEL, "gradcam")
    assert max(shown.photo.shape[:2]) == expected
    picture = handlers.picture(shown.photo, shown.cam, opacity=0.6, cmap="inferno")
    assert picture.shape[1] >= shown.photo.shape[1]


def test_opacity_zero_is_the_photo_where_the_network_looked(looked):
    height, width = looked.photo.shape[:2]
    drawn = handlers.picture(looked.photo, looked.cam, opacity=0.0, cmap="inferno")
    x0, y0, x1, y1 = looked.cam.geometry.crop_on((width, height))
    inside = np.s_[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6]
    np.testing.assert_array_equal(drawn[:height, :width][inside], looked.photo[inside])


def with_map(looked, raw):
    """The same view with another map of the class shown, at the map's own 8 x 8 places."""
    cam = dataclasses.replace(looked.cam, raw=raw.astype(np.float32))
    others = tuple(m for m in looked.explanation.maps if m is not looked.cam)
    explanation = dataclasses.replace(looked.explanation, maps=(cam, *others))
    return dataclasses.replace(looked, explanation=explanation)


@pytest.mark.parametrize(
    ("row", "column", "where"),
    [
        (0, 0, "top left"),
        (0, 7, "top right"),
        (4, 4, "middle centre"),
        (7, 0, "bottom left"),
        (7, 7, "bottom right"),
    ],
)
def test_the_alternative_text_says_where_the_strongest_evidence_is(looked, row, column, where):
    raw = np.zeros((8, 8))
    raw[row, column] = 1
    text = handlers.alt_text(with_map(looked, raw))
    assert f"strongest evidence is at the {where}" in text
    assert looked.label in text


def test_a_map_without_positive_evidence_is_called_so(looked):
    shown = with_map(looked, -np.ones((8, 8)))
    assert "No place speaks for" in handlers.caption(shown)
    assert "strongest" not in handlers.alt_text(shown)


def test_the_caption_names_class_and_method(looked):
    caption = handlers.caption(with_map(looked, np.ones((8, 8))))
    assert looked.label in caption
    assert "Grad-CAM" in caption


def test_a_method_without_classes_does_not_claim_one(engine, photo):
    shown = handlers.look(engine, photo, MODEL, "eigencam")
    assert shown.label not in handlers.caption(shown)


def test_the_status_names_model_device_weights_and_nothing_of_the_server(looked, folders):
    status = handlers.status(looked)
    assert "CPU" in status
    assert "assets/weights/starter_res2net.safetensors" in status
    assert looked.explanation.prediction.weights.sha256[:12] in status
    assert str(folders.assets) not in status


def test_the_status_says_how_much_of_a_wide_photo_was_seen(engine):
    shown = handlers.look(engine, Image.new("RGB", (400, 100), "navy"), MODEL, "gradcam")
    assert "25% of the photo" in handlers.status(shown)


def test_a_model_on_this_machine_needs_no_download(engine):
    assert handlers.must_download(engine, [MODEL, "starter_resnet"]) == []
    assert "to download first" not in handlers.model_note(engine, MODEL)


def test_a_model_that_must_be_downloaded_says_how_big_it_is(engine):
    name = "res2net50_26w_4s.in1k"
    assert handlers.must_download(engine, [MODEL, name]) == [name]
    size = handlers.download_size(name)
    assert size == "103 MB"  # 25.7 M parameters of 4 bytes
    note = handlers.model_note(engine, name)
    assert f"{size} to download first" in note
    assert "non-commercial" in note


def test_an_unknown_model_gets_a_sentence_for_a_note(engine):
    assert "no_such_net" in handlers.model_note(engine, "no_such_net")


def test_a_folder_of_the_server_is_no_model_whether_it_exists_or_not(engine, tmp_path):
    notes = {handlers.model_note(engine, name) for name in (str(tmp_path), "/no/such", "..", "~")}
    assert len(notes) == 1
    with pytest.raises(UnknownModelError, match="no model's name"):
        handlers.must_download(engine, [str(tmp_path)])
