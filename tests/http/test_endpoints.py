"""The three public endpoints: what they are called, and that they answer as the engine does."""

from __future__ import annotations

import io

import gradio as gr
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from mscnn.draw.files import DrawingOptions, explanation_files
from mscnn.http.uploads import PhotoInput
from mscnn.results.serialise import comparison_dict, explanation_dict, predictions_dict
from tests.page.serving import MODELS, differences

PUBLIC = {
    "/predict": {
        "parameters": {
            "image": ("Image", None),
            "model": ("Textbox", "starter_res2net"),
            "top_k": ("Number", 5),
        },
        "returns": ["Json"],
    },
    "/explain": {
        "parameters": {
            "image": ("Image", None),
            "model": ("Textbox", "starter_res2net"),
            "layer": ("Textbox", "last"),
            "target": ("Textbox", "top1"),
            "method": ("Textbox", "gradcam"),
        },
        "returns": ["Json", "File", "File"],
    },
    "/compare": {
        "parameters": {
            "image": ("Image", None),
            "models": ("Textbox", None),
            "target": ("Textbox", "top1"),
            "layer": ("Textbox", "last"),
        },
        "returns": ["Json", "File"],
    },
    "/scales": {
        "parameters": {
            "image": ("Image", None),
            "model": ("Textbox", "starter_res2net"),
            "target": ("Textbox", "top1"),
        },
        "returns": ["Json", "File"],
    },
    "/receptive_field": {
        "parameters": {
            "model": ("Textbox", "starter_res2net"),
            "baseline": ("Textbox", ""),
        },
        "returns": ["Json", "File"],
    },
    "/sweep": {
        "parameters": {
            "image": ("Image", None),
            "models": ("Textbox", None),
            "target": ("Textbox", "top1"),
            "box": ("Textbox", ""),
            "canvas": ("Textbox", "mean"),
        },
        "returns": ["Json", "File"],
    },
}


def test_six_endpoints_are_public_and_nothing_else(http):
    info = http.get("/gradio_api/info").json()
    assert info["unnamed_endpoints"] == {}
    found = {
        name: {
            "parameters": {
                p["parameter_name"]: (p["component"], p["parameter_default"])
                for p in endpoint["parameters"]
            },
            "returns": [r["component"] for r in endpoint["returns"]],
        }
        for name, endpoint in info["named_endpoints"].items()
    }
    assert found == PUBLIC


def test_every_endpoint_and_its_choices_are_described(http):
    for endpoint in http.get("/gradio_api/info").json()["named_endpoints"].values():
        assert endpoint["description"].endswith(".")


def test_every_photo_of_every_event_passes_the_guarded_input(site):
    """gradio's own file components would open whatever path a request names."""
    readers = (gr.Image, gr.File, gr.Gallery, gr.ImageEditor, gr.AnnotatedImage, gr.UploadButton)
    inputs = [block for event in site.demo.fns.values() for block in event.inputs]
    guarded = [block for block in inputs if isinstance(block, readers)]
    assert len(guarded) >= 5
    assert all(isinstance(block, PhotoInput) for block in guarded)


def test_all_model_events_share_one_queue(site):
    """Two models at once would share the cores, and hooks on a shared model are not re-entrant."""
    public = [e for e in site.demo.fns.values() if e.api_visibility == "public"]
    assert len(public) == len(PUBLIC)
    for event in public:
        assert (event.concurrency_id, event.concurrency_limit) == ("model", 1)


@pytest.mark.parametrize("model", MODELS)
def test_predict_equals_the_engine(ask, site, photo_file, model):
    answer = ask("/predict", image=handle_file(str(photo_file)), model=model, top_k=7)
    with Image.open(photo_file) as photo:
        expected = predictions_dict([site.engine.predict(photo, model, top_k=7, name="")])
    assert differences(answer, expected) == []
    assert len(answer["results"][0]["top"]) == 7


def test_predict_needs_no_more_than_the_photo(ask, photo_file):
    answer = ask("/predict", image=handle_file(str(photo_file)))
    assert answer["results"][0]["model"] == "starter_res2net"
    assert len(answer["results"][0]["top"]) == 5


@pytest.mark.parametrize(
    ("model", "layer", "target", "method"),
    [
        ("starter_res2net", "last", "top1", "gradcam"),
        ("starter_resnet", "layer2", "espresso", "gradcam"),
        ("starter_res2net", "3", "17", "hirescam"),
        ("starter_resnet", "layer4.0", "sea lion", "eigencam"),
    ],
)
def test_explain_equals_the_engine(ask, site, photo_file, model, layer, target, method):
    numbers, picture, raw_map = ask(
        "/explain",
        image=handle_file(str(photo_file)),
        model=model,
        layer=layer,
        target=target,
        method=method,
    )
    with Image.open(photo_file) as photo:
        photo.load()
        expected = site.engine.explain(
            photo, model, layers=layer, targets=target, method=method, name=""
        )
        files = explanation_files(expected, expected.maps[0], photo, drawing=DrawingOptions())
    assert differences(numbers, explanation_dict(expected)) == []
    np.testing.assert_allclose(np.load(raw_map), expected.maps[0].raw, atol=1e-5)
    with Image.open(picture) as got:
        assert got.format == "PNG"
        shown = np.asarray(got.convert("RGB"))
    with Image.open(io.BytesIO(files["overlay.png"])) as wanted:
        drawn = np.asarray(wanted.convert("RGB"))
    assert shown.shape == drawn.shape
    assert np.abs(shown.astype(int) - drawn).max() <= 2


@pytest.mark.parametrize(
    "models", ["starter_resnet, starter_res2net", '["starter_resnet", "starter_res2net"]']
)
def test_compare_equals_the_engine(ask, site, photo_file, models):
    numbers, picture = ask(
        "/compare",
        image=handle_file(str(photo_file)),
        models=models,
        target="espresso",
        layer="3",
    )
    with Image.open(photo_file) as photo:
        photo.load()
        expected = comparison_dict(
            site.engine.compare(
                photo,
                ["starter_resnet", "starter_res2net"],
                target="espresso",
                layer="3",
                name="",
            )
        )
    assert differences(numbers, expected) == []
    with Image.open(picture) as got:
        assert got.format == "PNG"
        assert got.width == 1600
