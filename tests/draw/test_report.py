"""The page of an evaluation as a browser's parser reads it."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from mscnn.draw.files import evaluation_files, report_files
from mscnn.results.evaluation import KINDS, ClassResult, Disagreement, ShownPhoto
from mscnn.results.explanation import Score, WeightsInfo
from tests.results import samples

VOID = {"meta", "img"}
HOSTILE = (
    '"><script>alert(1)</script>', "' onerror='alert(1)", "</title></style><b>", "{{ 7 * 7 }}",
    "<img src=//evil.example/x>", "&lt;lion&amp;", "ليون\u202e", "x" * 3000, "a\0b\x1b[31m",
)  # fmt: skip


class Page(HTMLParser):
    """Elements with attributes, texts by the innermost element, rows of tables, values of data."""

    def __init__(self, text):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "div" and dict(attrs).get("class") == "scroll":
            self.rows[dict(attrs)["aria-label"]] = []
        if tag == "tr":
            list(self.rows.values())[-1].append([])
        if tag in ("td", "th"):
            list(self.rows.values())[-1][-1].append("")
        if tag == "data" and {"td", "th"} & set(self.open):
            list(self.rows.values())[-1][-1][-1] = dict(attrs)["value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        inside = {"td", "th"} & set(self.open)
        if inside and "data" not in self.open:
            list(self.rows.values())[-1][-1][-1] += data

    def values(self, tag, key):
        return [attrs[key] for name, attrs in self.elements if name == tag and key in attrs]


def shown_photo(number, target, scores, name="a/b.jpg"):
    pictures = tuple(np.full((20, 30, 3), 40 * k, np.uint8) for k in range(len(scores) + 1))
    return ShownPhoto(number, name, target, scores, pictures)


def report(labels=("thing 0", "=thing 1", "thing 2"), name="a/b.jpg", **changes):
    """Two models on three photographs, and the documents that go with them."""
    chances = (0.0004, 0.3, 0.7)
    scores = tuple(Score(i, labels[i], chance) for i, chance in enumerate(chances))
    rows = (
        ClassResult(0, labels[0], 2, 0.5, 1.0, 1, 1.0),
        ClassResult(1, labels[1], 1, 1.0, 1.0, 0, None),
    )
    against = Disagreement(
        "other", WeightsInfo("file", labels[0], "1" * 64), 1 / 3, 0.5, 1, 1, 0, 1
    )
    found = samples.evaluated(
        labels=dict(enumerate(labels)), classes=rows, against=against,
        reliability={"set": f"{labels[0]}, all images"}, **changes,
    )  # fmt: skip
    photos = {
        "mistakes": [shown_photo(7, 0, (scores[2], scores[0]), name)],
        **{
            kind: [shown_photo(n, n % 2, (scores[1], scores[2]), name)]
            for n, kind in enumerate(KINDS)
        },
    }
    both = [found, dataclasses.replace(found, model="other", top1=1 / 3, against=None)]
    return found, report_files(both, photos)["index.html"].decode()


def test_the_numbers_are_those_of_the_document():
    found, text = report()
    shown = json.loads(evaluation_files(found)["evaluation.json"])
    page = Page(text)
    values = [float(value) for value in page.values("data", "value") if value]
    low, high = wilson(2, 3)
    assert values[:4] == [shown["top1"], pytest.approx(low), pytest.approx(high), shown["ece"]]
    assert values[4] == shown["against"]["top1"]
    against = shown["against"]
    assert page.rows["Photographs by which model is right"][1:] == [
        ["Starter ResNet right", str(against["both_right"]), str(against["only_first"])],
        ["Starter ResNet wrong", str(against["only_second"]), str(against["both_wrong"])],
    ]
    assert against["p_value"] in values
    assert page.rows["Classes"][1:] == [
        [row["label"], str(row["images"]), str(row["top1"]),
         "" if row["precision"] is None else str(row["precision"]), str(row["predicted"])]
        for row in sorted(shown["classes"], key=lambda row: row["top1"])
    ]  # fmt: skip
    assert page.rows["Reliability of Starter ResNet"][1:] == [
        [str(row["high"]), str(row["confidence"]), str(row["accuracy"]), str(row["images"])]
        for row in shown["reliability"] if row["images"]
    ]  # fmt: skip
    assert page.rows["Most confused classes"][1:] == [["thing 0", "thing 2", "1", "1"]]
    assert "#photo-7" in page.values("a", "href")
    assert "photo-7" in page.values("figure", "id")
    words = " ".join(" ".join(page.texts).split())
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00, mscnn ", words)
    assert "1 of 1 mistakes" in words
    assert "< 0.1 %" in words


def wilson(right, images):
    """Wilson, J. Am. Stat. Assoc. 22 (1927), by hand."""
    z, p = norm.ppf(0.975), right / images
    middle, half = (
        p + z * z / (2 * images),
        z * np.sqrt(p * (1 - p) / images + (z / images) ** 2 / 4),
    )
    return [(middle + sign * half) / (1 + z * z / images) for sign in (-1, 1)]


def test_pictures_are_small_and_in_the_page():
    page = Page(report()[1])
    found = page.values("img", "src")
    assert len(found) == 5 * 3
    picture = Image.open(io.BytesIO(base64.b64decode(found[1].partition(",")[2])))
    assert (picture.format, picture.size) == ("JPEG", (30, 20))
    assert abs(np.asarray(picture).astype(int) - 40).max() <= 2
    assert all(page.values("img", "alt"))


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_text_whatever_they_hold(text, monkeypatch):
    """Of classes, photographs, models, weights and the data; of charts see ``test_figures``."""
    monkeypatch.setattr("mscnn.draw.files.inline_svg", lambda *_: "<svg></svg>")
    changes = {"model": text, "notices": (text,), "weights": WeightsInfo("file", text, "0" * 64)}
    labels = (text, text + "1", text)
    hostile = report(labels, name=f"{text}/\udcff.jpg", **changes)[1]
    before, after = Page(report(notices=("a note",))[1]), Page(hostile)
    assert [tag for tag, _ in after.elements] == [tag for tag, _ in before.elements]
    for (tag, own), (_, usual) in zip(after.elements, before.elements, strict=True):
        assert own.keys() == usual.keys(), tag
    for address in after.values("img", "src"):
        assert address.startswith("data:image/jpeg;base64,")
    assert all(a.startswith("#") for tag in ("a", "use") for a in after.values(tag, "href"))
    assert text.replace("\0", "\ufffd") in after.texts or text in after.texts
    assert after.values("script", "src") == after.values("link", "href") == []


def test_the_same_name_twice_is_told_apart():
    one = dataclasses.replace(samples.evaluated(), reliability={"set": "x"}, model="a/model")
    photos: dict[str, list[ShownPhoto]] = {kind: [] for kind in ("mistakes", *KINDS)}
    both = [one, dataclasses.replace(one, model="/home/me/b/model")]
    text = report_files(both, photos)["index.html"].decode()
    assert "model (A) and model (B) on x" in text
    assert "/home" not in text


def test_files_left_out_are_listed_without_folders_of_the_machine():
    left = (("/home/me/photos/lion/bad.png", "'bad.png' is empty."), ("c\\d\\e.png", "'e.png'"))
    text = report(unreadable=left)[1]
    assert "Files left out: 2" in text
    assert "lion/bad.png: &#39;bad.png&#39; is empty." in text
    assert "d/e.png" in text
    assert "home" not in text
