"""The endpoints of the lens: what they are called, and that they answer as the lens does."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from mscnn.draw.charts import evidence_chart, field_charts, sweep_chart
from mscnn.draw.figures import pixels
from mscnn.engine.lens_options import fair_baseline
from mscnn.engine.pipeline import Engine
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.explanation import RgbArray
from mscnn.results.serialise_lens import receptive_field_dict, scales_dict, sweep_dict
from mscnn.scales.receptive_field import known
from tests.page.serving import MODELS, differences

RES2NET, RESNET = MODELS
PUBLIC: dict[str, dict[str, tuple[str, str | None]]] = {
    "/scales": {
        "image": ("Image", None),
        "model": ("Textbox", RES2NET),
        "target": ("Textbox", "top1"),
    },
    "/receptive_field": {"model": ("Textbox", RES2NET), "baseline": ("Textbox", "")},
    "/sweep": {
        "image": ("Image", None),
        "models": ("Textbox", None),
        "target": ("Textbox", "top1"),
        "box": ("Textbox", ""),
        "canvas": ("Textbox", "mean"),
    },
}


@pytest.fixture
def lens(site: Any) -> Engine:
    return Engine(site.engine.session)


@pytest.fixture
def uploaded(upload: Any, photo_bytes: bytes) -> Any:
    return upload(photo_bytes)


def assert_drawn(picture: str, expected: RgbArray) -> None:
    """Compare a downloaded file with a picture; untrained weights may differ in the last digit."""
    with Image.open(picture) as got:
        assert got.format == "PNG"
        assert not got.info
        shown = np.asarray(got.convert("RGB"))
    with Image.open(io.BytesIO(to_png_bytes(expected))) as wanted:
        drawn = np.asarray(wanted.convert("RGB"))
    assert shown.shape == drawn.shape
    assert (np.abs(shown.astype(int) - drawn) > 2).mean() < 1e-3


def test_the_endpoints_and_their_parameters_are_public(http: httpx.Client) -> None:
    endpoints = http.get("/gradio_api/info").json()["named_endpoints"]
    for name, parameters in PUBLIC.items():
        found = {
            p["parameter_name"]: (p["component"], p["parameter_default"])
            for p in endpoints[name]["parameters"]
        }
        assert found == parameters
        assert [r["component"] for r in endpoints[name]["returns"]] == ["Json", "File"]
        assert endpoints[name]["description"].endswith(".")


def test_the_endpoints_are_tools_with_described_parameters(http: httpx.Client) -> None:
    tools = {tool["name"]: tool for tool in http.get("/gradio_api/mcp/schema").json()}
    for name, parameters in PUBLIC.items():
        schema = tools[name.removeprefix("/")]["inputSchema"]
        assert set(schema["properties"]) == set(parameters)
        for parameter in schema["properties"].values():
            assert parameter["description"].endswith(".")


def test_the_endpoints_share_the_models_queue(site: Any) -> None:
    events = [e for e in site.demo.fns.values() if f"/{e.api_name}" in PUBLIC]
    assert len(events) == len(PUBLIC)
    for event in events:
        assert (event.concurrency_id, event.concurrency_limit) == ("model", 1)


@pytest.mark.parametrize(("model", "target"), [(RES2NET, "top1"), (RESNET, "espresso")])
def test_scales_equals_the_lens(
    ask: Any, lens: Engine, photo_file: Any, model: str, target: str
) -> None:
    numbers, picture = ask(
        "/scales", image=handle_file(str(photo_file)), model=model, target=target
    )
    expected = lens.scales(str(photo_file), model, target=target, name="")
    assert differences(numbers, {**scales_dict(expected), "attention": None}) == []
    assert_drawn(picture, pixels(evidence_chart(expected), 1200))


def test_receptive_field_needs_no_photo_and_no_download(ask: Any, http: httpx.Client) -> None:
    """The hub is off here, so weights of this model could not be had."""
    numbers, picture = ask("/receptive_field", model="res2net50_26w_4s")
    field, beside = known("res2net50_26w_4s"), fair_baseline("res2net50_26w_4s")
    assert field is not None
    assert beside is not None
    assert [s["rf_max_px"] for s in numbers["stages"]] == [67, 219, 715, 1131]
    assert numbers["baseline"]["model"] == "resnet50.tv_in1k"
    expected = receptive_field_dict(field, spectrum=True)
    assert numbers["blocks"] == expected["blocks"]
    assert numbers["stages"] == expected["stages"]
    assert_drawn(picture, pixels(field_charts([field, beside]), 1200))


def test_numbers_beyond_javascript_are_text(raw: Any) -> None:
    event, (numbers, _) = raw("receptive_field", ["res2net101_26w_4s.in1k", "starter_resnet"])
    field = known("res2net101_26w_4s.in1k")
    assert event == "complete"
    assert field is not None
    assert numbers["stages"][-1]["paths"] == str(field.stages[-1].spectrum.paths)
    assert numbers["stages"][0]["paths"] == field.stages[0].spectrum.paths
    assert numbers["baseline"]["model"] == "starter_resnet"


@pytest.mark.parametrize(
    ("models", "box"),
    [(f"{RESNET}, {RES2NET}", ""), (f'["{RES2NET}"]', "25,0,75,100")],
)
def test_sweep_equals_the_lens(
    ask: Any, lens: Engine, photo_file: Any, models: str, box: str
) -> None:
    numbers, picture = ask(
        "/sweep", image=handle_file(str(photo_file)), models=models, target="sea lion",
        box=box, canvas="blur",
    )  # fmt: skip
    names = [RESNET, RES2NET] if "," in models else [RES2NET]
    expected = lens.sweep(
        str(photo_file), names, target="sea lion", canvas="blur",
        box=(0.25, 0.0, 0.75, 1.0) if box else None,
    )  # fmt: skip
    assert differences(numbers, sweep_dict(expected)) == []
    assert len(numbers["models"][0]["steps"]) == 12
    assert_drawn(picture, pixels(sweep_chart(expected), 1200))


@pytest.mark.parametrize("nothing", ["", None])
def test_what_is_left_empty_is_the_default(raw: Any, uploaded: Any, nothing: Any) -> None:
    event, answer = raw("scales", [uploaded, nothing, nothing])
    assert event == "complete", answer
    assert answer[0]["model"] == RES2NET
    event, answer = raw("receptive_field", [nothing, nothing])
    assert event == "complete", answer
    assert answer[0]["model"] == RES2NET
    event, answer = raw("sweep", [uploaded, RESNET, nothing, nothing, nothing])
    assert event == "complete", answer
    assert (answer[0]["canvas"], answer[0]["box"]) == ("mean", [0.0, 0.0, 1.0, 1.0])


def test_a_model_that_cannot_be_had_does_not_spoil_a_sweep(raw: Any, uploaded: Any) -> None:
    event, (numbers, _) = raw("sweep", [uploaded, f"no_such_net,{RESNET}", "top1", "", "mean"])
    assert event == "complete"
    first, second = numbers["models"]
    assert "no_such_net" in first["note"]
    assert len(second["steps"]) == 12


@pytest.mark.parametrize(
    ("endpoint", "rest", "says"),
    [
        ("scales", ["no_such_net", "top1"], "no_such_net"),
        ("scales", [RES2NET, "unicorn"], "unicorn"),
        ("scales", [RES2NET, "top5"], "One class"),
        ("scales", ["/etc", "top1"], "no model's name"),
        ("sweep", ["", "top1", "", "mean"], "choose 1 to 4"),
        ("sweep", ["a,b,c,d,e", "top1", "", "mean"], "choose 1 to 4"),
        ("sweep", [f"{RESNET},{RESNET}", "top1", "", "mean"], "twice"),
        ("sweep", [RESNET, "top1", "1,2,3", "mean"], "four numbers"),
        ("sweep", [RESNET, "top1", "75,0,25,100", "mean"], "reversed"),
        ("sweep", [RESNET, "top1", "", "polka"], "polka"),
        ("sweep", [RESNET, "unicorn", "", "mean"], "unicorn"),
        ("sweep", ["./tests", "top1", "", "mean"], "no model's name"),
    ],
)
def test_a_wrong_request_is_a_sentence(
    raw: Any, folders: Any, uploaded: Any, endpoint: str, rest: list[str], says: str
) -> None:
    event, answer = raw(endpoint, [uploaded, *rest])
    assert event == "error", answer
    assert says in answer["error"]
    assert answer["error"].strip().endswith((".", "?"))
    assert str(folders.cache.parent) not in str(answer)
    event, answer = raw(endpoint, [None, *rest])
    assert "photo" in answer["error"]


@pytest.mark.parametrize(
    ("model", "baseline", "says"),
    [
        ("no_such_net", "", "no_such_net"),
        (RES2NET, "no_such_net", "no_such_net"),
        ("/etc/passwd", "", "no model's name"),
        ("vit_base_patch16_224.augreg_in21k", "", "vit_base_patch16_224"),
    ],
)
def test_a_wrong_model_has_no_receptive_field(
    raw: Any, model: str, baseline: str, says: str
) -> None:
    event, answer = raw("receptive_field", [model, baseline])
    assert event == "error", answer
    assert says in answer["error"]
