"""The public endpoints: what they are called, and that they answer as the engine does."""

import inspect
import io

import gradio as gr
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from mscnn.draw.charts import ablation_chart, cap_chart, evidence_chart, field_charts, sweep_chart
from mscnn.draw.figures import png
from mscnn.draw.files import explanation_files
from mscnn.draw.trust import trust_chart
from mscnn.engine.lens_options import fair_baseline
from mscnn.engine.network import Network
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.errors import UnknownClassError, UnsupportedModelError
from mscnn.http.endpoints import ENDPOINTS, Functions
from mscnn.http.uploads import PhotoInput
from mscnn.maps import packaged
from mscnn.models.examples import examples
from mscnn.models.labels import LabelSet
from mscnn.photos.imaging import load_photo, to_png_bytes
from mscnn.results.schema import document
from mscnn.scales.receptive_field import known
from tests.page.serving import MODELS, differences

RES2NET, RESNET = MODELS


@pytest.fixture
def photo(photo_file):
    with Image.open(photo_file) as image:
        image.load()
    return image


def assert_drawn(picture, expected):
    """Compare a downloaded file with a picture; untrained weights may differ in the last digit."""
    content = expected if isinstance(expected, bytes) else to_png_bytes(expected)
    with Image.open(picture) as got:
        assert got.format == "PNG"
        assert not got.info
        shown = np.asarray(got.convert("RGB"))
    with Image.open(io.BytesIO(content)) as wanted:
        drawn = np.asarray(wanted.convert("RGB"))
    assert shown.shape == drawn.shape
    assert (np.abs(shown.astype(int) - drawn) > 2).mean() < 1e-3


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_describes_its_parameters(name):
    function = getattr(Functions, name)
    _, *parameters = inspect.signature(function).parameters
    assert all(f"{parameter}: " in function.__doc__ for parameter in parameters)


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
    assert len(public) == len(ENDPOINTS)
    for event in public:
        assert (event.concurrency_id, event.concurrency_limit) == ("model", 1)


@pytest.mark.parametrize("model", MODELS)
def test_predict_equals_the_engine(ask, site, photo_file, model):
    answer = ask("/predict", image=handle_file(str(photo_file)), model=model, top_k=7)
    expected = document(
        site.engine.session.network(model).predict(str(photo_file), top_k=7, name="")
    )
    assert differences(answer, {"results": [expected]}) == []
    assert len(answer["results"][0]["top"]) == 7


def test_predict_needs_no_more_than_the_photo(site, ask, photo_file):
    (result,) = ask("/predict", image=handle_file(str(photo_file)))["results"]
    assert (result["model"], len(result["top"])) == (RES2NET, 5)


@pytest.mark.parametrize(("model", "layer", "target", "method"), [
    (RES2NET, "last", "top1", "gradcam"), (RESNET, "layer2", "espresso", "gradcam"),
    (RES2NET, "3", "17", "hirescam"), (RESNET, "layer4.0", "sea lion", "eigencam"),
])  # fmt: skip
def test_explain_equals_the_engine(ask, site, photo_file, photo, model, layer, target, method):
    numbers, picture, raw_map = ask(
        "/explain", image=handle_file(str(photo_file)), model=model, layer=layer, target=target,
        method=method,
    )  # fmt: skip
    expected = site.engine.session.network(model).explain(
        photo, layers=layer, targets=target, method=method, name=""
    )
    assert differences(numbers, document(expected)) == []
    np.testing.assert_allclose(np.load(raw_map), expected.maps[0].raw, atol=1e-5)
    assert_drawn(picture, explanation_files(expected, expected.maps[0], photo)["overlay.png"])


@pytest.mark.parametrize("models", [f"{RESNET}, {RES2NET}", f'["{RESNET}", "{RES2NET}"]'])
def test_compare_equals_the_engine(ask, site, photo_file, photo, models):
    numbers, picture = ask(
        "/compare", image=handle_file(str(photo_file)), models=models, target="espresso", layer="3"
    )
    expected = site.engine.compare(photo, [RESNET, RES2NET], target="espresso", layer="3", name="")
    assert differences(numbers, document(expected)) == []
    with Image.open(picture) as got:
        assert (got.format, got.width) == ("PNG", 1600)


@pytest.mark.parametrize(("model", "target"), [(RES2NET, "top1"), (RESNET, "espresso")])
def test_scales_equals_the_lens(site, ask, photo_file, model, target):
    numbers, picture = ask(
        "/scales", image=handle_file(str(photo_file)), model=model, target=target
    )
    expected = site.engine.session.network(model).scales(str(photo_file), target=target, name="")
    assert differences(numbers, {**document(expected), "attention": None}) == []
    assert_drawn(picture, png(evidence_chart(expected), 1200))


def test_mean_gates_are_those_of_the_other_examples(monkeypatch):
    """As on the page."""
    paths, given = [example.path for example in examples()], []

    def split_attention(network, image, *, target, references):
        given.extend(references)
        raise UnsupportedModelError("It has none.")

    monkeypatch.setattr(Network, "split_attention", split_attention)
    Functions(Engine(Session("cpu", offline=True)), paths).scales(load_photo(paths[1]), RES2NET)
    assert given == [load_photo(path) for path in paths[:1] + paths[2:]]


def test_ablate_equals_the_engine(site, ask, photo_file):
    how = {"target": "espresso", "fill": "zero", "draws": 2}
    numbers, parts, curve = ask(
        "/ablate", image=handle_file(str(photo_file)), models=f"{RES2NET}, {RESNET}", **how
    )
    models, target = [RES2NET, RESNET], "espresso"
    *_, cap = site.engine.cap_steps(str(photo_file), models, target=target, fill="zero", draws=2)
    cut = site.engine.session.network(RES2NET).ablate(
        str(photo_file), target=target, fill="zero", name=""
    )
    assert differences(numbers["cap"], document(cap)) == []
    assert differences(numbers["ablation"], document(cut)) == []
    assert_drawn(parts, png(ablation_chart(cut), 1200))
    assert_drawn(curve, png(cap_chart(cap), 1200))


def test_ablate_of_a_first_model_without_the_class_says_so(site, photo, monkeypatch):
    other = LabelSet(tuple(f"thing {number}" for number in range(200)))
    monkeypatch.setattr(site.engine.session.network(RES2NET), "labels", other)
    with pytest.raises(UnknownClassError, match="No class fits"):
        Functions(site.engine, ()).ablate(photo, f"{RES2NET},{RESNET}", target="espresso", draws=0)


def test_ablate_is_of_one_class_where_the_first_model_cannot_be_capped(site, photo, monkeypatch):
    def cap(*_, **__):
        raise UnsupportedModelError("How far its parts see is not known.")

    monkeypatch.setattr(site.engine.session.network(RES2NET), "cap", cap)
    models = f"{RES2NET},{RESNET}"
    shown, *_ = Functions(site.engine, ()).ablate(photo, models, target="top1", draws=0)
    assert shown["cap"]["class"] == shown["ablation"]["class"]["label"]


def test_receptive_field_needs_no_photo_and_no_download(ask):
    """The hub is off here, so weights of this model could not be had."""
    numbers, picture = ask("/receptive_field", model="res2net50_26w_4s")
    field, beside = known("res2net50_26w_4s"), fair_baseline("res2net50_26w_4s")
    assert field is not None
    assert beside is not None
    assert [s["rf_max_px"] for s in numbers["stages"]] == [67, 219, 715, 1131]
    assert numbers.pop("baseline")["model"] == "resnet50.tv_in1k"
    assert numbers == document(field, details=True)
    assert_drawn(picture, png(field_charts([field, beside]), 1200))


def test_numbers_beyond_javascript_are_text(raw):
    event, (numbers, _) = raw("receptive_field", ["res2net101_26w_4s.in1k", RESNET])
    field = known("res2net101_26w_4s.in1k")
    assert event == "complete"
    assert field is not None
    assert numbers["stages"][-1]["paths"] == str(field.stages[-1].spectrum.paths)
    assert numbers["stages"][0]["paths"] == field.stages[0].spectrum.paths
    assert numbers["baseline"]["model"] == RESNET


@pytest.mark.parametrize(
    ("models", "box"), [(f"{RESNET}, {RES2NET}", ""), (f'["{RES2NET}"]', "25,0,75,100")]
)
def test_sweep_equals_the_lens(site, ask, photo_file, models, box):
    numbers, picture = ask(
        "/sweep", image=handle_file(str(photo_file)), models=models, target="sea lion",
        box=box, canvas="blur",
    )  # fmt: skip
    names = [RESNET, RES2NET] if "," in models else [RES2NET]
    expected = site.engine.sweep(
        str(photo_file), names, target="sea lion", canvas="blur",
        box=(0.25, 0.0, 0.75, 1.0) if box else None,
    )  # fmt: skip
    assert differences(numbers, document(expected)) == []
    assert len(numbers["models"][0]["steps"]) == 12
    assert_drawn(picture, png(sweep_chart(expected), 1200))


def test_trust_equals_the_engine(site, ask, photo_file, photo, few_steps):
    numbers, picture = ask(
        "/trust", image=handle_file(str(photo_file)), model=RESNET, target="sea lion",
        method="layercam", layer="3", box="25,0,75,100",
    )  # fmt: skip
    plan = few_steps(methods=("layercam",), layers=("layer3",), box=(0.25, 0.0, 0.75, 1.0))
    expected = site.engine.session.network(RESNET).trust(
        photo, target="sea lion", plan=plan, name=""
    )
    shown = document(expected)
    assert differences(numbers, shown) == []
    assert_drawn(picture, png(trust_chart(expected.maps[0], "sea lion"), 1200))


def test_trust_draws_the_first_map_that_the_method_does_not_refuse(
    site, photo, few_steps, monkeypatch
):
    monkeypatch.setattr(packaged, "MOST_COMPARED", 100)  # by KPCA-CAM
    monkeypatch.setitem(few_steps.__init__.__kwdefaults__, "parts", ("scores",))
    numbers, _ = Functions(site.engine).trust(photo, RESNET, method="kpcacam", layer="stages")
    first, *_, last = numbers["maps"]
    assert ("all pairs" in first["note"], last["note"]) == (True, "")
