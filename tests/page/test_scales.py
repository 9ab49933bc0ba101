"""The Scales lens: its numbers are the engine's, and refusals are words."""

import base64
import io
import json
import re
import zipfile

import numpy as np
import pytest

from mscnn.errors import UnsupportedModelError
from mscnn.models.examples import examples
from mscnn.page.lenses import scales
from mscnn.page.messages import percent
from mscnn.results.cuts import CapCurve, CapStep
from mscnn.results.explanation import Score
from mscnn.scales.receptive_field import known
from tests.page.serving import MODELS, by_id

RES2NET, RESNET = MODELS
LENS = "scales"
PHOTO = next(example.path for example in examples() if example.id == "lion")


@pytest.fixture
def gated(engine, monkeypatch):
    """A seeded network with split attention, in the place of the one without splits."""
    import timm
    import torch

    network = engine.session.network(RESNET)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model("starter_resnest", zero_init_last=False).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    monkeypatch.setattr(network, "model", model)
    monkeypatch.setattr(network, "spec", None)
    monkeypatch.setattr(network, "_traced_field", None)
    return network


def numbers(sent):
    kind = "<f2" if sent["half"] else "<f4"
    raw = np.frombuffer(base64.b64decode(sent["data"]), dtype=kind).reshape(sent["shape"])
    return raw.astype(np.float64) / sent["divisor"]


@pytest.mark.parametrize("half", [False, True])
def test_one_answer_holds_every_split_with_the_engines_numbers(ask, engine, half, monkeypatch):
    monkeypatch.setattr(scales, "HALF_ABOVE", 0 if half else 10**9)
    (message,) = ask(target="espresso")
    report = engine.session.network(RES2NET).scales(PHOTO, target="espresso")
    sent = by_id(message)
    assert set(sent) == {f"{b.block}/{s.index}" for b in report.blocks for s in b.splits}
    for block in report.blocks:
        heats = [block.cam(split.index).on_view() for split in block.splits]
        mean = np.mean(heats)
        for split in block.splits:
            one = sent[f"{block.block}/{split.index}"]
            wanted = block.maps[split.index] / mean
            np.testing.assert_allclose(numbers(one), wanted, rtol=2e-3 if half else 1e-5, atol=1e-3)
            assert one["group"] == block.block
            assert one["value"] == percent(split.share)
        tops = {sent[f"{block.block}/{split.index}"]["top"] for split in block.splits}
        assert len(tops) == 1, "one colour scale for a block"
    assert message["label"] == "espresso"
    assert message["top"] == report.prediction.top[0].label


def test_a_splits_field_is_the_table_of_theoretical_fields(ask):
    sent = by_id(ask()[-1])
    fields = known(RES2NET)
    assert fields is not None
    for block in fields.blocks:
        for split in block.splits:
            box = split.box(2, 3)
            field = sent[f"{block.block}/{split.index}"]["field"]
            centre = [
                field["start"][axis] + (3, 2)[axis] * field["stride"][axis] for axis in (0, 1)
            ]
            half = field["size"][0] / 2
            assert [c - half for c in centre] + [c + half for c in centre] == list(box)
            assert field["size"] == [split.rf_max_px] * 2
            assert field["view"] == [fields.input_px] * 2


def test_the_sentence_chart_and_table_say_the_same(ask, engine):
    (message,) = ask(options={"width": 600})
    report = engine.session.network(RES2NET).scales(PHOTO)
    html = message["html"]
    assert f"about {report.weighted_rf_px:.0f} px" in html
    assert f"“{report.target.label}” was decided by" in html, "to the letter: an iPod"
    assert 'viewBox="0 0 600' in html
    assert "layer4" not in re.sub(r'data-\w+="[^"]*"', "", html), "one name per thing"
    for block in report.blocks:
        for split in block.splits:
            assert f"<td>{100 * split.share:.1f} %</td>" in html
            assert f"<td>{split.evidence:.4g}</td>" in html
            if split.share > 0:
                assert f'data-mark="{block.block}/{split.index}"' in html
    assert message["marks"]["layer2.1"]["show"]["map"] in by_id(message)


def test_a_class_that_is_not_the_answer_was_not_decided(ask, engine):
    second = engine.session.network(RES2NET).predict(PHOTO).top[1]
    (message,) = ask(target=second.label)
    assert "was decided by" not in message["html"]
    assert f"“{second.label}”, which is not the network" in message["html"]


def test_a_class_with_nothing_to_lose_is_not_said_to_need_no_part(ask, engine, monkeypatch):
    monkeypatch.setattr(scales, "DRAWS", 2)
    *_, last = engine.session.network(RES2NET).predict(PHOTO, top_k=200).top
    assert last.probability < 0.01
    message = ask(target=last.label, options={"cut": True})[-1]
    assert "No single part is needed" not in message["html"]
    assert "to lose, too little to tell" in message["html"]


@pytest.mark.parametrize(("layer", "stage"), [("last", "layer4."), ("2", "layer2.")])
def test_the_stage_chosen_elsewhere_is_where_it_begins(ask, layer, stage):
    maps = ask(layer=layer)[-1]["view"]["maps"]
    first = next(m for m in maps if (m["last"] if layer == "last" else m["stage"] == layer))
    fields = known(RES2NET)
    assert fields is not None
    last = [b.block for b in fields.blocks if b.block.startswith(stage) and len(b.splits) > 1][-1]
    assert first["id"].startswith(f"{last}/")


def test_a_network_without_splits_says_so_and_shows_its_blocks(ask):
    (message,) = ask(model=RESNET)
    assert "has one path" in message["html"]
    fields = known(RESNET)
    assert fields is not None
    sizes = [one.rf_max_px for one in fields.blocks]
    assert f"{min(sizes)} to {max(sizes)} px of the {fields.input_px} px" in message["html"]
    assert len(message["view"]["maps"]) == len(fields.blocks)


def test_split_attention_comes_second_and_beside_the_examples_third(ask, gated):
    first, second, third = ask(model=RESNET)
    assert [m["more"] for m in (first, second, third)] == [True, True, False]
    assert "layer3.1/radix1" not in by_id(first)
    others = [e.path for e in examples() if e.path != PHOTO]
    attention = gated.split_attention(PHOTO, references=others)
    for block in attention.blocks:
        mean = np.mean([block.cam(b).on_view() for b in range(block.radix)])
        for branch in range(block.radix):
            sent = by_id(second)[f"{block.block}/radix{branch}"]
            np.testing.assert_allclose(numbers(sent), block.maps[branch] / mean, rtol=1e-3)
            assert sent["value"] == f"mean gate {block.gates[branch].mean():.2f}"
        change = np.abs(block.gates - block.reference).mean()
        assert f"<td>{block.entropy_bits:.3f}</td><td>{change:.4f}</td>" in third["html"]
    assert "no choice of scale" in second["html"]
    assert third["html"].count("gates-plot") == 4, "the last block of each stage"


def test_what_is_no_residual_network_is_refused_in_a_sentence(ask, engine, monkeypatch):
    def refuse(*_, **__):
        raise UnsupportedModelError("This is not built of residual blocks.")

    monkeypatch.setattr(engine.session.network(RES2NET), "scales", refuse)
    assert ask(example="coffee")[-1]["error"] == "This is not built of residual blocks."
    assert ask(target="unheard-of", changed="target")[-1]["error"].startswith("No class fits")


def test_without_a_canvas_every_part_is_drawn(ask):
    view = ask(static=True)[-1]["view"]
    assert list(view["pictures"]) == [sent["id"] for sent in view["maps"]]


def test_the_download_holds_chart_tables_maps_and_manifest(answering, engine):
    data = {"serial": 0, "lens": "scales", "example": "lion", "target": "espresso"}
    made = answering.pack(data)
    assert made["name"] == f"mscnn-scales-{RES2NET}-espresso.zip"
    report = engine.session.network(RES2NET).scales(PHOTO, target="espresso")
    with zipfile.ZipFile(made["path"]) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        maps = np.load(io.BytesIO(archive.read("splits.npz")))
        table = archive.read("attribution.csv").decode()
    assert manifest["image"]["name"] == "Lion"
    np.testing.assert_allclose(maps["layer3.1"], report.block("layer3.1").maps, atol=1e-5)
    assert table.count("\n") == 1 + sum(len(block.splits) for block in report.blocks)


def test_the_parts_are_cut_when_asked_for(ask, engine, monkeypatch):
    monkeypatch.setattr(scales, "DRAWS", 2)
    assert 'id="cut-run"' in ask()[0]["html"]
    messages = ask(options={"cut": True}, models=[RES2NET, RESNET, f"timm/{RESNET}"])
    assert [m["more"] for m in messages] == [True, True, True, False]
    network, last = engine.session.network(RES2NET), messages[-1]
    index = network.predict(PHOTO).top[0].index
    curve = network.cap(PHOTO, target=index, draws=2)
    sent = by_id(last)
    for k, step in enumerate(curve.steps):
        assert (
            f"no part sees more than {step.limit_px} px".lower()
            in sent[f"cap/{k}"]["caption"].lower()
        )
        assert percent(step.probability) in sent[f"cap/{k}"]["caption"]
        assert last["marks"][f"{RES2NET}/{k}"] == {"show": {"map": f"cap/{k}"}}
    ablation = network.ablate(PHOTO, target=index)
    for cut in ablation.cuts:
        assert f'data-mark="{cut.block}/{cut.index}"' in last["html"].split('id="ablation-plot"')[1]
    assert last["html"].count("Too few random cuts to tell") == 2
    assert "at random costs" not in last["html"]


@pytest.mark.parametrize(("control", "whole_blocks", "words"), [
    (0.9, False, "channels at random costs less: it is the receptive field"),
    (0.9, True, "blocks at random costs less, but they have fewer channels on average"),
    (0.1, False, "channels at random costs about as much, or more, so"),
    (0.1, True, "blocks at random costs about as much, or more, so"),
])  # fmt: skip
def test_what_a_cap_says_beside_random_cuts(control, whole_blocks, words):
    step = CapStep(11, 0.5, 0.0, 0.5, Score(0, "lion", 0.5))
    curve = CapCurve(RES2NET, 0, "lion", 64, (step,), 11, np.ones((1, 2)),
                     np.full((19, 1), control), None, whole_blocks=whole_blocks)  # fmt: skip
    said = scales._said_of_cap(curve)
    assert words in said
    assert ("it is the receptive field" in said) is (control > 0.5 and not whole_blocks)


def test_the_box_is_as_large_as_what_the_network_needs(network):
    from mscnn.page.lenses.scales import _square

    cam = network("res2net").explain(PHOTO).maps[0]
    left, top, right, bottom = _square(cam, 48)
    crop = cam.geometry.crop
    assert (right - left) / (crop[2] - crop[0]) == pytest.approx(48 / 96)
    assert (bottom - top) / (crop[3] - crop[1]) == pytest.approx(48 / 96)
    row, column = np.unravel_index(int(cam.raw.argmax()), cam.raw.shape)
    assert (left + right) / 2 == pytest.approx(crop[0] + (column + 0.5) / 3 * (crop[2] - crop[0]))
    assert (top + bottom) / 2 == pytest.approx(crop[1] + (row + 0.5) / 3 * (crop[3] - crop[1]))
