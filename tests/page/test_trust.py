"""The Trust lens: the engine's numbers, asked before what takes long, kept after Stop."""

import base64
import html
import json
import re
import zipfile
from typing import Any

import numpy as np
import pytest

from mscnn.page.lenses import trust as lens
from mscnn.page.messages import percent
from mscnn.photos.imaging import load_photo
from mscnn.trust.plan import CHANGES, Plan
from mscnn.trust.verdict import in_short, said_of_checks
from tests.page.serving import EXAMPLE, MODELS, by_id

RES2NET, RESNET = MODELS
LENS = "trust"
LION = load_photo(EXAMPLE.path)
BOX = [0.2, 0.1, 0.7, 0.8]


@pytest.fixture(autouse=True)
def _quick(few_steps, monkeypatch):
    grid: Any = {"methods": ("gradcam", "layercam"), "layers": ("stages",), "baselines": ("blur",)}
    monkeypatch.setattr(lens, "GRID", Plan(**grid, parts=("scores",)))
    monkeypatch.setattr(lens, "LONG", 1e9)


def said(answer):
    return " ".join(html.unescape(answer["html"]).split())


def numbers(message):
    return np.frombuffer(base64.b64decode(message["data"]), "<f4").reshape(message["shape"])


@pytest.mark.parametrize(
    ("method", "layer", "box"), [("gradcam", "last", None), ("layercam", "2", BOX)]
)
def test_the_answer_is_the_engines(ask, engine, method, layer, box):
    *_, before, last = ask(method=method, layer=layer, box=box, target="sea lion")
    place = "layer4" if layer == "last" else f"layer{layer}"
    plan = Plan(methods=(method,), layers=(place,), box=box and tuple(box))
    found = engine.session.network(RES2NET).trust(LION, target="sea lion", plan=plan)
    (made,) = found.maps
    assert before["more"]
    assert not last["more"]
    assert last["label"] == found.target.label == "sea lion"
    assert made.verdict.sentence.startswith(in_short(made.verdict))
    assert in_short(made.verdict) in said(last)
    for sentence in said_of_checks(made).values():
        assert sentence in said(last)
    maps = by_id(last)
    np.testing.assert_allclose(numbers(maps["map"]), made.cam.raw, atol=1e-5)
    by_kind = {c.kind: c.raw for c in made.candidates if not c.draw}
    for kind in ("blob", "blurred", "random"):
        np.testing.assert_allclose(numbers(maps[kind]), by_kind[kind], atol=1e-5)
    for step in made.randomisation.steps:
        np.testing.assert_allclose(numbers(maps[f"weights/{step.part}"]), step.raw, atol=1e-5)
    assert ("In your box" in said(last)) == bool(box)
    assert [one["title"] for one in last["view"].get("boxes", ())] == ["The object"][: bool(box)]
    lower = ("deletion", "average_drop", "infidelity")
    assert set(lens.NAMES) - {"road"} <= set(made.beside())
    for name in set(made.beside()) & set(lens.NAMES):
        values = made.beside()[name].values()
        best = min(values) if name.startswith(lower) else max(values)
        text = f"{best:.2f}" if name == "infidelity" else percent(best)
        assert f"<strong>{text}</strong>" in said(last), name
    words = re.sub("<[^>]+>", " ", said(last))
    assert re.findall(r"(?<!/)(?:layer\d|starter_|\bNone\b|\bnan\b)\S*", words) == []
    assert all(words in said(last) for words in CHANGES.values())


@pytest.mark.slow
def test_the_page_asks_before_what_takes_long(ask, monkeypatch):
    monkeypatch.setattr(lens, "LONG", -1.0)
    (first,) = ask(example="cat")
    assert "Checking this map takes about" in first["need"]["sentence"]
    assert set(by_id(first)) == {"map"}, "the map itself costs little"
    (slow,) = ask(example="cat", method="scorecam")
    assert slow["need"]["button"] == "Check this map"
    assert "html" not in slow
    done = ask(example="cat", agreed=True)[-1]
    assert done["need"] is None
    assert "blob" in by_id(done)
    (again,) = ask(example="cat")
    assert again["need"] is None, "what is there costs nothing"
    (grid,) = ask(example="cat", options={"grid": True})
    assert "all methods at all stages" in grid["need"]["sentence"]
    assert "blob" in by_id(grid)


def test_a_box_can_be_taken_back_before_the_checks(ask, monkeypatch):
    monkeypatch.setattr(lens, "LONG", -1.0)
    (first,) = ask(example="cat", box=BOX)
    assert "Checking this map" in first["need"]["sentence"]
    assert 'id="trust-whole"' in first["html"]
    assert 'id="trust-whole"' not in ask(example="cat")[0]["html"]


def test_a_box_that_this_network_does_not_see_leaves_the_map_and_room_for_another(ask):
    """Zoom pastes what the centre crop of a wide photo cuts off."""
    last = ask(example="cat", box=[0.0, 0.2, 0.1, 0.8])[-1]
    assert "sees too little of the box" in last["notice"]
    assert "map" in by_id(last)
    assert last["view"]["pick"] == "box"
    assert "boxes" not in last["view"]
    assert "In your box" not in said(last)


@pytest.mark.slow
def test_methods_and_stages_are_cells_that_set_the_state(ask, engine):
    last = ask(options={"grid": True})[-1]
    found = engine.session.network(RES2NET).trust(LION, plan=vars(lens)["GRID"])
    stages = {"layer1": "1", "layer2": "2", "layer3": "3", "layer4": "last"}
    for made in found.maps:
        change = json.dumps({"layer": stages[made.layer], "method": made.method})
        assert change in html.unescape(last["html"]), change
        sent = by_id(last)[f"grid/{made.method}/{made.layer}"]
        np.testing.assert_allclose(numbers(sent), made.cam.raw, atol=1e-5)
    chosen = found.recommended.method is not None
    assert ("Recommended" in said(last)) == chosen
    assert found.recommended.reason.replace("at layer", "at stage ").split(";")[0] in said(last)


def test_a_class_in_contrast_to_another(ask, engine):
    last = ask(target="lion", options={"against": "espresso"})[-1]
    plan = Plan(against=("espresso",), parts=())
    (made,) = engine.session.network(RES2NET).trust(LION, target="lion", plan=plan).maps
    np.testing.assert_allclose(numbers(by_id(last)["map"]), made.cam.raw, atol=1e-5)
    assert "Difference of logits" in said(last)
    assert "not espresso" in said(last)


@pytest.mark.parametrize(("target", "against", "said_"), [
    ("lion", "unheard-of", "Starter Res2Net has no class “unheard-of”"),
    ("lion", "lion", "“lion” is the class itself"), ("", None, " is the class itself"),
])  # fmt: skip
def test_a_contrast_that_fits_no_longer_gives_way(ask, target, against, said_):
    """A new photo or network has another top-1 class, or other classes."""
    plain = ask(target=target)[-1]
    against = against or plain["label"]
    last = ask(target=target, options={"against": against}, changed="photo")[-1]
    assert f"{said_}, so nothing is contrasted" in last["notice"]
    np.testing.assert_array_equal(numbers(by_id(last)["map"]), numbers(by_id(plain)["map"]))


@pytest.mark.parametrize(("request_", "sentence"), [
    ({"box": [0.1, 0.1, 0.1, 0.9]}, "empty"), ({"box": [0.1, 0.1, 0.105, 0.9]}, "too small"),
    ({"target": "unheard-of", "changed": "target"}, "No class fits"),
    ({"options": {"against": "unheard-of"}, "changed": "options.against"}, "No class fits"),
    ({"target": "lion", "options": {"against": "lion"}, "changed": "options.against"},
     "named twice"),
    ({"method": "madeup"}, "madeup"), ({"layer": "12"}, "no stage"),
    ({"model": "res2net50_26w_4s.in1k"}, "MB to download first"),
])  # fmt: skip
def test_what_is_refused_or_costs_a_download_is_a_sentence(ask, request_, sentence):
    last = ask(**request_)[-1]
    assert sentence in (last.get("error") or last["need"]["sentence"])


def test_stop_keeps_what_is_there_and_the_next_request_does_it_all(ask, pressing_stop):
    with pressing_stop("Scores"):
        last = ask(example="coffee")[-1]
    assert not last["more"]
    assert last["need"]["button"] == "Do the rest"
    assert "map" in by_id(last)
    assert "Does it find the object?" not in said(last)
    assert "Does it find the object?" in said(ask(example="coffee", agreed=True)[-1])


def test_without_a_canvas_the_drawn_map_comes_along(ask):
    view = ask(static=True)[-1]["view"]
    assert set(view["pictures"]) == {sent["id"] for sent in view["maps"]} > {"map", "blob"}


def test_the_download_holds_scores_maps_and_charts(answering):
    asked = {"serial": 0, "lens": "trust", "example": "lion", "box": BOX, "agreed": True,
             "options": {"grid": True}}  # fmt: skip
    made = answering.pack(asked)
    with zipfile.ZipFile(made["path"]) as archive:
        names = set(archive.namelist())
        document = json.loads(archive.read("trust.json"))
        methods = archive.read("methods.csv").decode().splitlines()
    assert [row.split(",")[:2] for row in methods[1:]] == [
        [method, f"layer{stage}"] for method in ("gradcam", "layercam") for stage in range(1, 5)
    ]
    assert {"trust.json", "scores.csv", "maps.npz", "curves.npz", "manifest.json"} <= names
    assert {"curves-gradcam-layer4.png", "checks-gradcam-layer4.png"} <= names
    assert document["box"] == BOX
    assert document["maps"][0]["localisation"]["box"]
