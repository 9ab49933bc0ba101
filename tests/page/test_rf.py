"""The Receptive field lens: its boxes are the table's, its glow is the engine's gradient."""

import base64
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from mscnn.models.examples import examples
from mscnn.page.lenses.rf import glow, paths_text
from mscnn.photos.imaging import load_photo
from mscnn.scales.receptive_field import known
from tests.page.serving import EXAMPLE, MODELS, by_id

RES2NET, RESNET = MODELS
LENS = "rf"
LION = load_photo(EXAMPLE.path)
ABSENT = "res2net50_26w_4s.in1k"


def numbers(sent):
    raw = np.frombuffer(base64.b64decode(sent["data"]), dtype="<f2").reshape(sent["shape"])
    return raw.astype(np.float64)


def box_of(sent, unit):
    """The box that the viewer draws for ``(row, column)``, px of the network's input."""
    middles = [sent["start"][axis] + unit[1 - axis] * sent["stride"][axis] for axis in (0, 1)]
    halves = [side / 2 for side in sent["size"]]
    low = [middle - half for middle, half in zip(middles, halves, strict=True)]
    return [*low, low[0] + sent["size"][0], low[1] + sent["size"][1]]


def test_theory_comes_first_and_then_every_stage_as_the_engine_measures_it(ask, engine):
    first, *between, last = ask()
    assert first["more"]
    assert first["view"]["maps"] == []
    assert "can see up to 295 px" in first["html"]
    assert between
    assert all(sent["adopt"]["point"] == [0.5, 0.5] for sent in between)
    assert not last["more"]
    maps = by_id(last)
    assert list(maps) == ["layer1", "layer2", "layer3", "layer4"]
    assert [sent["stage"] for sent in maps.values()] == ["1", "2", "3", "4"]
    assert last["adopt"]["point"] == [0.5, 0.5]
    for layer, sent in maps.items():
        one = engine.session.network(RES2NET).effective_receptive_field(LION, layer=layer)
        np.testing.assert_allclose(numbers(sent), glow(one, log=False), atol=0.06)
        sees, *squares = sent["boxes"]
        wanted = [*one.geometry.to_photo(*one.theoretical[:2])]
        assert sees["rect"][:2] == pytest.approx(wanted, abs=0.01)
        scale = one.geometry.scale[0]
        sides = [(box["rect"][2] - box["rect"][0]) / scale for box in squares]
        assert sides == pytest.approx([s.side_px for s in reversed(one.squares)], abs=0.01)
        half = one.squares[0].side_px
        assert f"half of what moves it lies within {half} px" in last["html"]


@pytest.mark.parametrize("model", [RES2NET, ABSENT, "resnest50d.in1k"])
def test_the_box_under_the_pointer_is_the_tables_with_or_without_weights(ask, model):
    theory = known(model)
    assert theory is not None
    sent = ask(model=model)[0]["view"]["fields"]
    assert [one["stage"] for one in sent] == ["1", "2", "3", "4"]
    for one, stage in zip(sent, theory.stages, strict=True):
        for unit in ((0, 0), (1, 3)):
            assert box_of(one, unit) == list(stage.box(*unit))
        side = theory.input_px
        assert one["view"] == [side, side]
        assert one["grid"] == [-(-side // stage.stride_px)] * 2


def test_without_weights_theory_is_answered_and_only_the_measurement_asks(ask):
    messages = ask(model=ABSENT)
    last = messages[-1]
    assert "MB to download first" in last["need"]["sentence"]
    assert last["view"]["maps"] == []
    assert "can see up to 1131 px" in last["html"]
    assert 'id="rf-plot"' in last["html"]
    assert "Res2Net-50" in last["html"]
    assert "ResNet-50" in last["html"], "its fair baseline is drawn beside it"
    assert f"{ABSENT}/layer3.1" in last["marks"]


def test_a_block_is_measured_with_all_its_splits(ask, engine):
    last = ask(options={"block": "layer3.1"}, point=[0.3, 0.6])[-1]
    maps = by_id(last)
    assert set(maps) == {"layer3.1", *(f"layer3.1/{n}" for n in range(4))}
    field = known(RES2NET)
    assert field is not None
    block = field.block("layer3.1")
    for split, sent in ((n, maps[f"layer3.1/{n}"]) for n in range(4)):
        one = engine.session.network(RES2NET).effective_receptive_field(
            LION, layer="layer3.1", split=split, point=(0.3, 0.6)
        )
        np.testing.assert_allclose(numbers(sent), glow(one, log=False), atol=0.06)
        assert box_of(sent["field"], one.unit) == list(block.splits[split].box(*one.unit))
        assert box_of(sent["field"], one.unit) == list(one.theoretical)
    assert last["marks"][f"{RES2NET}/layer3.1"] == {"set": {"options": {"block": "layer3.1"}}}
    assert next(iter(by_id(ask(options={"block": "layer9.9"})[-1]))) == "layer1", "as if not chosen"


@pytest.mark.parametrize(("model", "block", "words"), [
    (RES2NET, "layer3.1", "Stage 3, block 2 and its splits, the parts that see squares"),
    (RES2NET, "layer3.0", "Stage 3, block 1 and its splits, which stand side by side</h2>"),
    (RESNET, "layer3.1", "<h2>Stage 3, block 2</h2>"),
])  # fmt: skip
def test_a_block_is_said_to_have_the_splits_that_it_has(ask, model, block, words):
    assert words in ask(model=model, options={"block": block})[-1]["html"]


def test_random_weights_the_logarithm_and_more_photos_are_measured_on_request(ask, engine):
    last = ask(options={"random": True, "log": True, "many": True})[-1]
    maps = by_id(last)
    assert len(maps) == 8
    photos = [LION, *(e.path for e in examples() if e.id != "lion")]
    for name, trained in (("layer2", True), ("layer2/random", False)):
        one = engine.session.network(RES2NET).effective_receptive_field(
            photos, layer="layer2", trained=trained
        )
        np.testing.assert_allclose(numbers(maps[name]), glow(one, log=True), atol=0.06)
        assert f"within {one.log_squares[0].side_px} px" in last["html"]
    assert f"Averaged over {len(photos)} photos" in last["html"]
    assert "half of the logarithm of what moves it lies within" in last["html"]
    assert "half of what moves it" not in last["html"]


def test_a_point_that_was_cut_off_is_a_sentence_beside_the_theory(ask):
    last = ask(example="coffee", point=[0.01, 0.5])[-1]
    assert "did not see that point" in last["notice"]
    assert last["view"]["fields"]
    assert last["view"]["maps"] == []
    corner = ask(point=[1.0, 1.0])[-1]
    assert corner["notice"] == ""


def test_large_inputs_are_sent_at_half_their_resolution(engine):
    one = engine.session.network(RES2NET).effective_receptive_field(LION)
    wide = np.tile(one.gradient, (6, 6))
    heat = glow(replace(one, gradient=wide), log=False)
    assert heat.shape == (216, 216)
    assert heat.mean() == pytest.approx(glow(one, log=False).mean(), rel=0.05)


def test_without_a_canvas_a_drawn_picture_comes_with_each_unit(ask):
    last = ask(static=True)[-1]
    assert set(last["view"]["pictures"]) == set(by_id(last))


def test_the_download_holds_theory_units_and_who_made_them(answering):
    made = answering.pack({"serial": 0, "lens": "rf", "example": "lion", "options": {}})
    with zipfile.ZipFile(made["path"]) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
        gradient = np.load(io.BytesIO(archive.read("gradient-layer4-trained.npy")))
    assert {"theory/rf.json", "theory/rf.csv", "theory/growth.png", "unit.csv", "unit.png"} <= names
    assert manifest["image"]["name"] == "Lion"
    assert gradient.shape == (72, 72)
    absent = answering.pack({"serial": 0, "lens": "rf", "example": "lion", "model": ABSENT})
    with zipfile.ZipFile(absent["path"]) as archive:
        assert all(name.startswith("theory/") for name in archive.namelist())


@pytest.mark.parametrize(
    ("paths", "text"),
    [(1, "1"), (12345, "12\N{NARROW NO-BREAK SPACE}345"),
     (3 * 10**40, "about 3.0 \N{MULTIPLICATION SIGN} 10^40")],
)  # fmt: skip
def test_numbers_of_paths_are_exact_or_rounded_in_words(paths, text):
    assert paths_text(paths) == text


def test_charts_are_of_the_theory_that_is_shown(ask, engine, monkeypatch):
    """A folder may hold another network under its name by now."""
    ask()
    first, other = known(RES2NET), known(RESNET)
    assert first is not None
    assert other is not None
    beside = f"Starter Res2Net ends with {other.stages[-1].rf_max_px} px"
    assert first.stages[-1].rf_max_px != other.stages[-1].rf_max_px
    monkeypatch.setattr(engine, "receptive_field", lambda _: replace(first, stages=other.stages))
    assert beside in ask()[0]["html"]
