"""The Zoom lens: curves, pictures and maps are the engine's sweep; Stop keeps what is there."""

import base64
import html
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mscnn.page.lens import Context
from mscnn.page.lenses import zoom
from mscnn.photos.imaging import load_photo
from mscnn.results.scales import SweepCurve
from mscnn.scales.sweep import FACTORS
from tests.page.serving import EXAMPLE, MODELS, by_id

RES2NET, RESNET = MODELS
LENS = "zoom"
LION = load_photo(EXAMPLE.path)
BOX = [0.2, 0.1, 0.7, 0.8]


@pytest.mark.parametrize("box", [None, BOX])
def test_every_size_is_the_engines_sweep(ask, engine, box):
    last = ask(box=box)[-1]
    sweep = engine.sweep(LION, [RES2NET, RESNET], box=box and tuple(box))
    maps = by_id(last)
    assert len(maps) == 2 * len(FACTORS) == 24
    assert last["label"] == sweep.label
    assert [c["key"] for c in last["view"]["columns"]] == [RES2NET, RESNET]
    for curve in sweep.curves:
        for k, step in enumerate(curve.steps):
            sent = maps[f"{curve.model}/{k}"]
            assert (sent["group"], sent["column"]) == (str(k), curve.model)
            raw = np.frombuffer(base64.b64decode(sent["data"]), "<f4").reshape(sent["shape"])
            np.testing.assert_allclose(raw, step.raw, atol=1e-5)
            assert f"rank {step.rank}" in sent["caption"]
            # Above 1x too: what is seen of it ends at the input's edge.
            assert zoom._step_row(curve, step)[2] == round(step.factor * step.view.shape[0])
            with Image.open(sent["photo"]["path"]) as picture:
                assert np.abs(np.asarray(picture).astype(float) - step.view).mean() < 6
            assert sent["rect"] == [0, 0, *step.view.shape[1::-1]]
    assert zoom.known_down_to(sweep.curves[0]) in html.unescape(last["html"])
    assert next(iter(maps.values()))["group"] == str(zoom.START), "near 1x is shown first"


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), tuple(BOX)])
def test_a_point_of_the_composed_picture_is_a_point_of_the_photo(engine, box):
    """Where the whole photo would lie puts the box just where the engine pasted it."""
    curve = engine.sweep(LION, [RES2NET], box=box).curves[0]
    for step in curve.steps:
        if step.factor > 1:
            continue
        left, top, right, bottom = zoom.whole_on(step, box, LION.size)
        across, down = right - left, bottom - top
        found = [left + box[0] * across, top + box[1] * down,
                 left + box[2] * across, top + box[3] * down]  # fmt: skip
        assert found == pytest.approx(step.rect, abs=1.01)


def test_the_second_network_follows_the_first_and_counts_on(ask, monkeypatch):
    done, tell = [], Context.progress

    def progress(self, *how):  # of the messages only the newest comes through
        done.append(how[:2])
        tell(self, *how)

    monkeypatch.setattr(Context, "progress", progress)
    found = ask()
    assert found[0]["more"]
    assert "Not done yet: Starter ResNet" in found[0]["html"]
    assert done == sorted(done)
    assert {total for _, total in done} == {24}
    assert [count for count, _ in done if count in (12, 24)] == [12, 24]


def test_the_models_and_the_class_of_the_state_are_those_swept(ask, engine):
    one = ask(model=RESNET, target="espresso")[-1]
    assert one["label"] == "espresso"
    assert {sent["column"] for sent in one["view"]["maps"]} == {RESNET}
    assert "columns" not in one["view"]
    wanted = engine.sweep(LION, [RESNET], target="espresso").curves[0]
    assert zoom.known_down_to(wanted) in html.unescape(one["html"])
    two = ask(model=RESNET, models=[RES2NET, RESNET])[-1]
    assert [c["key"] for c in two["view"]["columns"]] == [RESNET, RES2NET]


def test_a_network_that_cannot_be_had_is_a_sentence_beside_the_others(ask):
    last = ask(models=["no_such_model"])[-1]
    assert "no_such_model" in last["html"]
    assert len(by_id(last)) == len(FACTORS)


@pytest.mark.parametrize(("request_", "sentence"), [
    ({"box": [0.1, 0.1, 0.1, 0.9]}, "empty"), ({"box": [0.1, 0.1, 0.105, 0.9]}, "too small"),
    ({"options": {"canvas": "sky"}}, "unknown"),
    ({"target": "unheard-of", "changed": "target"}, "No class fits"),
    ({"models": ["res2net50_26w_4s.in1k"]}, "MB to download first"),
])  # fmt: skip
def test_what_is_refused_or_costs_a_download_is_a_sentence(ask, request_, sentence):
    last = ask(**request_)[-1]
    assert sentence in (last.get("error") or last["need"]["sentence"])


def test_stop_keeps_what_is_there_and_the_next_request_does_it_all(ask, pressing_stop):
    with pressing_stop("sizes"):
        last = ask(example="elephant")[-1]
    assert last["notice"] == "Stopped."
    assert not last["more"]
    assert 0 < len(by_id(last)) < 24
    assert last["need"] == {"sentence": "", "button": "Do the rest"}
    assert "Not done yet: Starter ResNet" in last["html"]
    whole = ask(example="elephant")[-1]
    assert (len(by_id(whole)), whole["need"]) == (24, None)
    assert "Not done yet" not in whole["html"]


def test_a_sweep_is_kept_for_all_visitors(ask, engine, monkeypatch):
    ask(example="coffee")
    monkeypatch.setattr(type(engine.session.network(RES2NET)), "sweep", None)
    assert len(by_id(ask(example="coffee")[-1])) == 24


def step(factor, rank, probability=None):
    return SimpleNamespace(factor=factor, rank=rank, probability=probability or 1 / rank)


@pytest.mark.parametrize(("ranks", "sentence"), [
    ([1, 1, 2, 1, *[3] * 8], "says “lion” down to 0.88x: its top-1 at 3 of 12 sizes."),
    ([2] * 12, "says “lion” at no size."), ([1] * 12, "says “lion” at every size, down to 0.1x."),
    ([], "not here"),
])  # fmt: skip
def test_known_down_to_in_one_sentence(ranks, sentence):
    steps = tuple(step(f, r) for f, r in zip(FACTORS, ranks, strict=False))
    curve = SweepCurve(RES2NET, 0, "lion", steps, None, None, "not here")
    assert sentence in zoom.known_down_to(curve).replace("\N{MULTIPLICATION SIGN}", "x")


def test_an_only_class_is_known_where_it_is_more_probable_than_not():
    steps = tuple(step(f, 1, 0.9 if k < 3 else 0.2) for k, f in enumerate(FACTORS))
    curve = SweepCurve(RES2NET, 0, "defect", steps, None, None, is_only=True)
    assert zoom.known_down_to(curve).endswith("its top-1 at 3 of 12 sizes.")


def test_without_a_canvas_the_drawn_sizes_come_along(ask):
    last = ask(static=True)[-1]
    assert set(last["view"]["pictures"]) == set(by_id(last))


def test_the_download_holds_curves_film_and_the_photos_name(answering):
    made = answering.pack({"serial": 0, "lens": "zoom", "example": "lion", "box": BOX})
    with zipfile.ZipFile(made["path"]) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
    assert {"sweep.json", "sweep.csv", "sweep.png", "film.png", "manifest.json"} <= names
    assert manifest["image"]["name"] == "Lion"
    assert manifest["box"] == BOX
