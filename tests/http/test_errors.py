"""A wrong request over HTTP: one sentence that says what is accepted, and nothing of the inside."""

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

RES2NET, RESNET = "starter_res2net", "starter_resnet"


@pytest.fixture
def photo(upload, photo_bytes):
    return upload(photo_bytes)


@pytest.fixture
def sentence(raw, folders):
    """``sentence("predict", [...])``: the error's text, checked for what no error may hold."""

    def get(endpoint, data):
        event, answer = raw(endpoint, data)
        assert event == "error", answer
        text = answer["error"] if isinstance(answer, dict) else answer
        assert isinstance(text, str), answer
        assert text.strip().endswith((".", "?")), text
        assert "Traceback" not in text
        assert "Error(" not in text
        assert str(folders.cache.parent) not in text
        assert len(text) < 600
        return text

    return get


@pytest.mark.parametrize(("model", "says"), [
    ("starter_res2nett", "starter_res2net"),
    ("vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224"),
    ("resnet18.tv_in1k", "resnet18.tv_in1k"), ("   ", "model"), ("a" * 3000, "model"),
    ("model\0", "model"),
])  # fmt: skip
def test_a_model_that_cannot_be_used(sentence, photo, model, says):
    assert says in sentence("predict", [photo, model, 5])


def test_a_folder_of_the_server_is_no_model(sentence, photo):
    """Whether it exists or not, the answer is the same: a visitor cannot look around."""
    missing = sentence("predict", [photo, "/no/such/folder", 5])
    for model in ("/etc", "/nowhere", "..", ".", "~", "assets/weights", "./tests"):
        assert sentence("predict", [photo, model, 5]) == missing, model


@pytest.mark.parametrize("top_k", [0, -3, 1.5, 0.999, None, "three", [], {"a": 1}])
def test_a_number_of_classes_that_is_none(sentence, photo, top_k):
    text = sentence("predict", [photo, RES2NET, top_k])
    assert "top" in text
    assert "1 or more" in text


def test_more_classes_than_there_are_gives_all_of_them(raw, photo):
    event, answer = raw("predict", [photo, f"{RES2NET}\n", 10**6])  # blanks do no harm
    assert event == "complete"
    assert len(answer[0]["results"][0]["top"]) == 200


# What is wrong with it: the endpoint, its arguments after the photo, words of the sentence.
WRONG: list[tuple[str, list[Any], str]] = [
    ("explain", [RES2NET, "5", "top1", "gradcam"], "layer4"),
    ("explain", [RES2NET, "fc", "top1", "gradcam"], "layer"),
    ("explain", [RES2NET, "last", "unicorn", "gradcam"], "unicorn"),
    ("explain", [RES2NET, "last", "thing", "gradcam"], "thing 1"),
    ("explain", [RES2NET, "last", "200", "gradcam"], "200"),
    ("explain", [RES2NET, "last", "-1", "gradcam"], "-1"),
    ("explain", [RES2NET, "last", "top1", "gradcamm"], "gradcam"),
    ("explain", [RES2NET, "last", "top1", " "], "gradcam"),
    *(
        ("compare", [models, "top1", "last"], "2 to 6")
        for models in (RES2NET, "", None, ",,,", "a,b,c,d,e,f,g", "{'a': 1}")
    ),
    ("compare", [f"{RES2NET},{RES2NET}", "top1", "last"], "twice"),
    ("compare", ["[1, 2", "top1", "last"], "commas"),
    ("compare", ["[__import__('os')]", "top1", "last"], "commas"),
    ("scales", ["no_such_net", "top1"], "no_such_net"), ("scales", [RES2NET, "unicorn"], "unicorn"),
    ("explain", [RES2NET, "last", "top5", "gradcam"], "One class"),
    ("compare", [f"{RES2NET},{RESNET}", "Top-5", "last"], "One class"),
    ("scales", [RES2NET, "top5"], "One class"), ("scales", ["/etc", "top1"], "no model's name"),
    ("sweep", ["", "top1", "", "mean"], "choose 1 to 4"),
    ("sweep", ["a,b,c,d,e", "top1", "", "mean"], "choose 1 to 4"),
    ("sweep", [f"{RESNET},{RESNET}", "top1", "", "mean"], "twice"),
    ("sweep", [RESNET, "top1", "1,2,3", "mean"], "four numbers"),
    ("sweep", [RESNET, "top1", "75,0,25,100", "mean"], "reversed"),
    ("sweep", [RESNET, "top1", "", "polka"], "polka"),
    ("sweep", ["./tests", "top1", "", "mean"], "no model's name"),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "rest", "says"), WRONG)
def test_a_wrong_request_is_a_sentence(sentence, photo, endpoint, rest, says):
    assert says in sentence(endpoint, [photo, *rest])


@pytest.mark.parametrize(("endpoint", "rest"), [
    ("predict", [RES2NET, 5]),
    *{endpoint: (endpoint, rest) for endpoint, rest, _ in WRONG}.values(),
])  # fmt: skip
def test_without_a_photo_nothing_else_is_looked_at(sentence, endpoint, rest):
    assert "photo" in sentence(endpoint, [None, *rest])


@pytest.mark.parametrize(("model", "baseline", "says"), [
    ("no_such_net", "", "no_such_net"), (RES2NET, "no_such_net", "no_such_net"),
    ("/etc/passwd", "", "no model's name"),
    ("vit_base_patch16_224.augreg_in21k", "", "vit_base_patch16_224"),
])  # fmt: skip
def test_a_wrong_model_has_no_receptive_field(sentence, model, baseline, says):
    assert says in sentence("receptive_field", [model, baseline])


@pytest.mark.parametrize("nothing", ["", None])
def test_what_is_left_empty_is_the_default(raw, photo, nothing):
    for endpoint, data in {
        "explain": [photo, *[nothing] * 4],
        "scales": [photo, *[nothing] * 2],
        "receptive_field": [nothing] * 2,
        "sweep": [photo, RESNET, *[nothing] * 3],
    }.items():
        event, (answer, *_) = raw(endpoint, data)
        assert event == "complete", answer
        if endpoint == "sweep":
            assert (answer["canvas"], answer["box"]) == ("mean", [0.0, 0.0, 1.0, 1.0])
        else:
            assert answer["model"] == RES2NET
        if endpoint == "explain":
            assert [(m["layer"], m["method"]) for m in answer["maps"]] == [("layer4", "gradcam")]


def test_a_model_that_cannot_be_had_does_not_spoil_a_sweep(raw, photo):
    event, (numbers, _) = raw("sweep", [photo, f"no_such_net,{RESNET}", "top1", "", "mean"])
    assert event == "complete"
    first, second = numbers["models"]
    assert "no_such_net" in first["note"]
    assert len(second["steps"]) == 12


def test_one_unusable_model_does_not_spoil_the_comparison(raw, photo):
    event, answer = raw("compare", [photo, f"no_such_net,{RES2NET}", "top1", "last"])
    assert event == "complete"
    first, second = answer[0]["models"]
    assert "no_such_net" in first["note"]
    assert first["top"] == []
    assert second["map"] is not None


@pytest.mark.parametrize("layer", ["layer9", "9"])
def test_a_layer_that_no_model_has_is_said_of_each(raw, photo, layer):
    event, answer = raw("compare", [photo, f"{RES2NET},{RESNET}", "top1", layer])
    notes = [answer["error"]] if event == "error" else [m["note"] for m in answer[0]["models"]]
    assert all(layer in note and note.endswith(".") for note in notes)
    assert "error" not in " ".join(notes), "an unexpected one"


def png_header(width, height):
    """A PNG that says it is this big and holds one row of pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    row = zlib.compress(b"\0" * (width // 8 + 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def jpeg():
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "JPEG")
    return out.getvalue()


BAD_FILES = {
    "text": (b"hello, this is no picture", "photo.png", "JPEG"),
    "empty": (b"", "photo.png", "empty"),
    "truncated": (jpeg()[:-200], "photo.jpg", "photo.jpg"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>", "photo.svg", "SVG"),
    "svg in disguise": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo.png", "SVG"),
    "bomb": (png_header(30_000, 30_000), "photo.png", "200 million"),
    "big": (png_header(16_000, 16_000), "photo.png", "200 million"),
    "pdf": (b"%PDF-1.7 ...", "photo.jpg", "PDF"),
    "html": (b"<html><script>alert(1)</script></html>", "photo.html", "JPEG"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
@pytest.mark.parametrize("way", ["file", "data URL"])
def test_a_file_that_is_no_photo(sentence, upload, bad, way):
    content, name, says = BAD_FILES[bad]
    if way == "file":
        image = upload(content, name)
    else:
        url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        image = {"path": None, "url": url, "meta": {"_type": "gradio.FileData"}}
    text = sentence("predict", [image, RES2NET, 5])
    if way == "file" or says != name:
        assert says in text


@pytest.mark.parametrize("image", ["photo.png", 5, [], {}, {"url": None}, {"path": 5}, [[1, 2]]])
def test_a_photo_that_is_nothing_of_the_kind(raw, folders, image):
    event, answer = raw("predict", [image, RES2NET, 5])
    assert event == "error"
    assert answer["error"].endswith(".")
    assert "Traceback" not in str(answer)
    assert str(folders.cache.parent) not in str(answer)


@pytest.mark.parametrize("data", [[], [None], [None] * 9, "text", {}, 5])
def test_a_request_of_another_shape(http, data):
    started = http.post("/gradio_api/call/predict", json={"data": data})
    assert started.status_code in (200, 422), started.text
    if started.status_code == 200:
        stream = http.get(f"/gradio_api/call/predict/{started.json()['event_id']}").text
        assert "event: error" in stream
        assert '"error": "' in stream  # a sentence, not null
        assert "Traceback" not in stream
        assert "site-packages" not in stream


def test_the_server_answers_as_before_after_all_this(raw, photo):
    event, answer = raw("predict", [photo, RES2NET, 5])
    assert event == "complete"
    assert len(answer[0]["results"][0]["top"]) == 5
