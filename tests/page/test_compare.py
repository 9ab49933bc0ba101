"""The Compare lens: numbers are the engine's, one scale, and who is left out says why."""

import base64
import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from mscnn.engine.pipeline import compared
from mscnn.maps.agreement import difference
from mscnn.models import registry
from mscnn.models.labels import LabelSet
from mscnn.page.lenses import compare
from mscnn.results.explanation import Agreement
from tests.page.serving import EXAMPLE, MODELS

RES2NET, RESNET = MODELS
LENS = "compare"
LION = EXAMPLE.path


def test_the_pages_model_meets_its_fair_partner_and_numbers_are_the_engines(ask, engine):
    first, _, last = ask()
    assert [m["more"] for m in (first, last)] == [True, False]
    assert [c.get("key") for c in first["view"]["columns"]] == [RES2NET, None]
    assert last["models"] == [RES2NET, RESNET]
    assert len(json.dumps(last)) < 1.5e6
    maps = {sent["id"]: sent for sent in last["view"]["maps"]}
    for stage in "1234":
        wanted = engine.compare(LION, MODELS, layer=stage)
        assert last["label"] == wanted.label
        for column in wanted.columns:
            sent = maps[f"{column.model}/{stage}"]
            raw = np.frombuffer(base64.b64decode(sent["data"]), "<f4").reshape(sent["shape"])
            np.testing.assert_allclose(raw, column.cam.raw, atol=1e-5)
            assert sent["top"] == pytest.approx(max(wanted.scale_max, 1), rel=1e-5), "one scale"
            score = column.explanation.targets[0]
            assert f"{100 * score.probability:.2f}" in last["html"]
        (pair,) = wanted.agreements
        numbers = ["" if v is None else f"{v:.3f}" for v in (pair.spearman, pair.iou_top20)]
        assert f"<td>{numbers[0]}</td><td>{numbers[1]}</td>" in last["html"]
        assert str(compare.agreement_in_words(pair)) in last["html"]
        sent = maps[f"difference/{RESNET}/{stage}"]
        apart = difference(wanted.columns[0].cam, wanted.columns[1].cam, compare.DIFFERENCE_PX)
        raw = np.frombuffer(base64.b64decode(sent["data"]), "<f2").reshape(sent["shape"])
        np.testing.assert_allclose(raw, apart, rtol=1e-3, atol=1e-2)
        assert sent["signed"]
    assert registry.fair_pair_hint(MODELS) in last["html"]
    assert "measured by this project on four photographs" in last["html"]


def test_columns_are_kept_for_other_questions(ask, monkeypatch):
    ask()
    monkeypatch.setattr(compare, "compared", None)
    assert ask(layer="2", models=[RESNET, RES2NET][::-1])[-1]["models"] == list(MODELS)


def test_a_column_is_kept_by_its_class_not_by_a_word(ask, engine, monkeypatch):
    """Typed, "lion" is the only class here with that word in it; of another's lion it is none."""
    network = engine.session.network(RESNET)
    only_sea_lion = LabelSet(("thing 200", *network.labels.names[1:]))
    monkeypatch.setattr(network, "labels", only_sea_lion)
    for _ in range(2):  # the second time all columns are kept
        typed = ask(models=[RESNET, RES2NET], target="lion")[-1]
        assert typed["label"] == "sea lion"
        assert [c.get("key") for c in typed["view"]["columns"]] == [RESNET, RES2NET]
        carried = ask(models=[RES2NET, RESNET], target="lion")[-1]
        assert carried["label"] == "lion"
        assert [c.get("key") for c in carried["view"]["columns"]] == [RES2NET, None]
        assert "of its own" in carried["html"]


def test_the_class_is_carried_and_an_unknown_one_is_said(ask):
    last = ask(target="espresso")[-1]
    assert (last["label"], last["adopt"]["target"]) == ("espresso", "espresso")
    assert {m["label"] for m in last["view"]["maps"]} == {"espresso", ""}
    (refused,) = ask(target="unicorn", changed="target")[-1:]
    assert "None of these networks has a class “unicorn”" in refused["error"]
    opened = ask(target="unicorn", changed="open")[-1]
    assert "top-1 class" in opened["notice"]
    assert opened["adopt"]["target"] is None
    assert opened["label"] == ask()[-1]["label"]


def test_a_network_that_cannot_be_used_has_a_note_and_the_others_go_on(ask):
    last = ask(models=[RES2NET, "no_such_net", RESNET])[-1]
    assert [c.get("map", "") for c in last["view"]["columns"]] == ["", None, ""]
    assert "no_such_net" in last["html"]
    assert len([m for m in last["view"]["maps"] if m["stage"] == "4"]) == 2


def test_nothing_is_said_of_networks_that_were_not_asked(ask):
    """The one to download may know the class, and has a stage more."""
    models = [RES2NET, "resnet50.tv_in1k"]
    last = ask(models=models, target="ptarmigan", changed="target")[-1]
    assert last["need"]["button"].startswith("Download")
    assert "error" not in last
    assert last["adopt"].get("target", "ptarmigan") == "ptarmigan"
    last = ask(models=models, layer="9")[-1]
    assert last["need"]
    assert "layer" not in last["adopt"]
    assert "stages" not in last["notice"]


def test_a_stage_that_no_network_has_gives_the_last_and_says_so(ask):
    last = ask(models=list(MODELS), layer="9")[-1]
    assert "No network here has 9 stages" in last["notice"]
    assert last["adopt"]["layer"] == "last"


def test_a_download_is_asked_for_and_the_others_are_shown(ask, answering):
    last = ask(models=[RES2NET, "resnet50.tv_in1k", RESNET])[-1]
    assert "102 MB" in last["need"]["sentence"]
    assert last["need"]["button"].startswith("Download")
    assert "Not downloaded" in last["html"]
    assert len([m for m in last["view"]["maps"] if m["stage"] == "4"]) == 2
    assert "need" in ask(models=["resnet50.tv_in1k", "res2net50_26w_4s.in1k"])[-1]
    two = ask(models=["resnet50.tv_in1k", "res2net50_26w_4s.in1k", RESNET], agreed=True)[-1]
    assert two["html"].count("downloads are off") == 2, "agreed to at once"
    packed = answering.pack({"serial": 0, "lens": "compare", "example": "lion", "agreed": True,
                             "models": ["resnet50.tv_in1k", *MODELS]})  # fmt: skip
    with zipfile.ZipFile(packed["path"]) as archive:
        names = {"comparison.png", "table.csv", "agreements.csv", "compare.json", "manifest.json"}
        assert names <= set(archive.namelist())
        shown = json.load(io.BytesIO(archive.read("compare.json")))
    assert [m["model"] for m in shown["models"]] == list(MODELS), "files download nothing"


def test_one_network_alone_names_no_command_that_compares(answering):
    packed = answering.pack({"serial": 0, "lens": "compare", "example": "lion",
                             "models": ["resnet50.tv_in1k", RES2NET]})  # fmt: skip
    with zipfile.ZipFile(packed["path"]) as archive:
        assert "replay" not in json.loads(archive.read("manifest.json"))


@pytest.mark.parametrize(("chosen", "models"), [
    ([RESNET], [RES2NET, RESNET]), ([RES2NET], [RES2NET, RESNET]), ([], [RES2NET, RESNET]),
])  # fmt: skip
def test_fewer_than_two_are_filled_up(ask, chosen, models):
    last = ask(models=chosen, changed="models")[-1]
    assert last["models"] == models
    assert ("at least two networks" in last["notice"]) == bool(chosen)


def test_last_stages_of_other_numbers_stand_side_by_side(ask, engine, monkeypatch):
    """As of an EfficientNet, which has five: here a network of which three are known."""
    network = engine.session.network(RESNET)
    monkeypatch.setattr(network, "stages", network.stages[:3])
    last = ask(target="sea lion", layer="last", example="coffee")[-1]
    maps = {sent["id"]: sent for sent in last["view"]["maps"]}
    shown = next(m for m in maps.values() if m.get("last"))
    both = {m["id"] for m in maps.values() if m["group"] == shown["group"]}
    assert both == {f"{RES2NET}/last", f"{RESNET}/last", f"difference/{RESNET}/last"}
    assert [m["id"] for m in maps.values() if m.get("last")] == [
        f"{RES2NET}/last",
        f"{RESNET}/last",
    ]
    assert maps[f"{RES2NET}/last"]["data"] == maps[f"{RES2NET}/4"]["data"]
    assert maps[f"{RESNET}/last"]["data"] == maps[f"{RESNET}/3"]["data"]
    assert maps[f"{RESNET}/last"]["title"] == "Starter ResNet, Stage 3"
    assert 'data-group="last"' in last["html"]
    assert "<td>Last stage</td>" in last["html"]


def test_stop_keeps_what_is_done(ask, answering, monkeypatch):
    def stopping(*values):
        answering.stop(SimpleNamespace(session_hash="a"))
        return compared(*values)

    monkeypatch.setattr(compare, "compared", stopping)
    last = ask(target="tabby, tabby cat")[-1]
    assert not last["more"]
    assert "Starter Res2Net</h2>" in last["html"]
    assert last["need"] == {"sentence": "", "button": "Do the rest"}
    assert "Not done yet." in last["html"]
    assert "Not downloaded" not in last["html"]
    assert [c.get("key") for c in last["view"]["columns"]] == [RES2NET, None]


def test_agreement_in_words():
    def said(order, overlap):
        return compare.agreement_in_words(Agreement(*MODELS, order, overlap))

    assert "nearly the same places" in said(0.9, 0.7)
    assert "unrelated places; their strongest parts lie apart" in said(0.0, 0.1)
    assert "opposite" in said(-1.0, 0.0)
    assert "cannot be compared" in said(None, None)
