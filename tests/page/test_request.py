"""Requests are checked: whatever a browser sends, the handlers get sound values or a sentence."""

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest

from mscnn.errors import ImageError, MethodError, MscnnError, OptionError
from mscnn.page.request import Request

SOUND: dict[str, Any] = {"serial": 1, "lens": "look"}


def test_a_sound_request_is_read(cache):
    photo = cache / "abc" / "mine.png"
    photo.parent.mkdir(exist_ok=True)
    photo.write_bytes(b"x")
    request = Request.parse({
        "serial": 7, "lens": "scales", "photo": str(photo), "example": "", "model": " resnet ",
        "models": ["a ", "", "b"], "target": "lion", "layer": "3", "method": "eigencam",
        "point": [0, 1], "box": [0.1, 0.2, 0.5, 1], "agreed": True, "static": False,
        "options": {"also": ["x", 2, True], "n": 1, "flag": False, "nothing": None},
        "changed": "model", "unknown": object(),
    })  # fmt: skip
    assert request.photo == photo.resolve()
    assert (request.model, request.models) == ("resnet", ("a", "b"))
    assert (request.target, request.layer, request.method) == ("lion", "3", "eigencam")
    assert (request.point, request.box) == ((0.0, 1.0), (0.1, 0.2, 0.5, 1.0))
    assert request.options == {"also": ("x", 2.0, True), "n": 1.0, "flag": False}
    assert request.agreed
    assert request.changed == "model"


def test_a_class_of_ones_own_may_have_a_name_of_many_sentences():
    name = "A crack, seen from above. " * 300
    request = Request.parse({**SOUND, "target": name, "options": {"against": name}})
    assert (request.target, request.options["against"]) == (name.strip(), name)


def test_what_is_left_out_has_its_default():
    request = Request.parse({**SOUND, "layer": "", "method": None, "options": None})
    assert request == Request(1, "look")


@pytest.mark.parametrize("change", [
    {"serial": True}, {"serial": -1}, {"serial": "1"}, {"serial": 2**40}, {"serial": None},
    {"lens": 3}, {"lens": ["look"]}, {"model": {"a": 1}}, {"model": "x" * 301},
    {"model": "a\0b"}, {"target": "\udcff"}, {"models": "a,b"}, {"models": [1]},
    {"models": ["a"] * 7}, {"target": "x" * 10_001},
    {"target": 7}, {"layer": "0"}, {"layer": "12"}, {"layer": "٣"}, {"layer": "layer4"},
    {"point": [0.5]}, {"point": [0, 1.01]}, {"point": [math.nan, 0]}, {"point": "ab"},
    {"point": [True, 0]}, {"box": [0, 0, 0, 1]}, {"box": [0, 0, 1, math.inf]},
    {"box": [0.5, 0, 0.4, 1]}, {"options": []}, {"options": {"a": {}}},
    {"options": {"a": math.nan}}, {"options": {"a": 10**400}}, {"options": {"a": ["x"] * 99}},
    {"options": {"a": [["x"]]}}, {"options": {"x" * 400: 1}},
    {"options": {"a": "\udcff"}}, {"models": ["\ud800"]},
    {"options": {str(i): 1 for i in range(99)}},
])  # fmt: skip
def test_unsound_values_are_refused_with_one_sentence(change):
    with pytest.raises(OptionError) as caught:
        Request.parse({**SOUND, **change})
    message = str(caught.value)
    assert message.endswith(".")
    assert len(message) < 120


@pytest.mark.parametrize("data", [None, [], "x", 3, {}])
def test_what_is_no_request_is_refused(data):
    with pytest.raises(OptionError, match="cannot be read"):
        Request.parse(data)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret", "http://127.0.0.1/x.png", "x" * 4000, "photo.png", "{cache}",
     "{cache}/../other.png", "{cache}/missing.png"],
)  # fmt: skip
def test_only_uploads_are_opened(cache, path):
    Path(cache.parent / "other.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"was not uploaded here|is no longer here"):
        Request.parse({**SOUND, "photo": path.format(cache=cache)})


def test_a_link_out_of_the_upload_folder_is_not_followed(cache):
    outside = cache.parent / "outside.png"
    outside.write_bytes(b"x")
    link = cache / "link.png"
    if not link.is_symlink():
        link.symlink_to(outside)
    with pytest.raises(ImageError, match="was not uploaded here"):
        Request.parse({**SOUND, "photo": str(link)})


def test_an_unknown_method_lists_those_there_are():
    with pytest.raises(MethodError, match="gradcam"):
        Request.parse({**SOUND, "method": "magic"})


def test_hostile_values_never_raise_anything_else():
    values = [None, True, 0, -1, 1.5, math.nan, "", "x", "\0", [], [1], {}, {"a": []}, object()]
    for key in Request.__dataclass_fields__:
        for value in values:
            with contextlib.suppress(MscnnError):
                Request.parse({**SOUND, key: value})
