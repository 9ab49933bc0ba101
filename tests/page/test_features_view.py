"""What the Features tab searches and draws, without a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.data.feature_files import write_feature_file
from mscnn.errors import DatasetError, OptionError
from mscnn.page import features_view as view
from mscnn.page.features_search import LISTED, SHOWN, Answer, Found, search
from mscnn.page.features_sets import OwnersFile, Where, fingerprint, open_files, small_picture
from mscnn.results.features import FeatureHead
from mscnn.scales import receptive_field as fields

MODEL = "starter_res2net"


class Cards(HTMLParser):
    """Alt texts and words of a grid, read as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "img" or found.get("role") == "img":
            self.labels.append(found.get("alt") or found["aria-label"])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class Angles:
    """A network whose features of any photo point along the first axis."""

    name = MODEL

    def features(self, photo: Any, **options: Any) -> Any:
        return np.array([[1.0, 0.0]], np.float32)


def at(*degrees: float) -> Any:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def plain(level: int) -> Image.Image:
    return Image.new("RGB", (30, 20), (level, 0, 0))


def opened(folder: Path, names: list[str], rows: Any, **head: Any) -> OwnersFile:
    said = {"model": MODEL, "weights_sha256": "ab" * 32, **head}
    whole = FeatureHead(rows=len(rows), width=rows.shape[1], **said)
    write_feature_file(folder / "mine.npz", whole, names, rows)
    (found,) = open_files([(folder / "mine.npz", folder)])
    return found


def test_neighbours_by_hand_without_the_photo_itself(tmp_path):
    (tmp_path / "a").mkdir()
    for number, name in enumerate(("far.png", "near.png", "a/me.png", "own.png")):
        plain(10 if name in ("a/me.png", "own.png") else number).save(tmp_path / name)
    names = ["far.png", "near.png", "a/me.png", "gone.png", "own.png"]
    photos = opened(tmp_path, names, at(90, 10, 0, 60, 5))
    found = search(photos, Angles(), Where(), plain(10))  # type: ignore[arg-type]
    assert [f.name for f in found.shown] == ["near.png", "gone.png", "far.png"]
    assert [f.name for f in found.listed] == ["near.png", "gone.png", "far.png"]
    expected = [np.cos(np.radians(a)) for a in (10, 60, 90)]
    assert [f.similarity for f in found.shown] == pytest.approx(expected, abs=1e-6)
    assert found.left_out == ("a/me.png", "own.png")
    assert (found.searched, found.width) == (3, 2)
    assert [f.url is None for f in found.shown] == [False, True, False]


def test_of_many_the_nearest_are_shown_and_listed(tmp_path):
    rows = at(*np.linspace(80, 0, 500))
    network: Any = Angles()
    file = opened(tmp_path, [f"{i}.png" for i in range(500)], rows)
    found = search(file, network, Where(), plain(1))
    assert [f.name for f in found.shown] == [f"{499 - i}.png" for i in range(SHOWN)]
    assert len(found.listed) == LISTED
    assert found.listed[-1].name == f"{500 - LISTED}.png"
    assert f"lists the nearest {LISTED}" in view.grid_html(small_picture(plain(1)), [found])


@pytest.mark.parametrize(
    "name", ["../secret.png", "{above}/secret.png", "a/../../secret.png", "..\\secret.png", "x\0y"]
)
def test_a_path_out_of_the_folder_shows_no_picture(tmp_path, name):
    inside = tmp_path / "photos"
    inside.mkdir()
    plain(3).save(tmp_path / "secret.png")
    photos = opened(inside, [name.format(above=tmp_path), "b"], at(0, 1))
    assert photos.picture(0) is None


def test_a_fingerprint_is_of_pixels_and_shape():
    assert fingerprint(plain(4)) == fingerprint(plain(4).copy())
    assert fingerprint(plain(4)) != fingerprint(plain(5))
    assert fingerprint(plain(4)) != fingerprint(plain(4).rotate(90, expand=True))


def test_cards_are_the_photo_and_its_neighbours_with_escaped_names():
    own = small_picture(plain(9))
    nasty = '<b>"x"</b>/\u202ecat.png'
    shown = (Found("lion.jpg", 0.98765, own.url), Found(nasty, 0.5))
    answer = Answer(MODEL, Where("layer3.1", 2), 2, 14, shown, shown, ("me.png",))
    other = Answer("starter_resnet", Where("layer3.1", 2), note="no <such> split")
    text = view.grid_html(own, [answer, other])
    cards = Cards(text)
    assert cards.labels == [
        "Your photo",
        "Neighbour 1: lion.jpg, similarity 0.988",
        'Neighbour 2: <b>"x"</b>/?cat.png, similarity 0.500; the photograph is not there',
    ]
    assert "b" not in cards.tags
    assert "no <such> split" in cards.words
    assert "0.988" in cards.words
    assert any("stage 3, block 2 (layer3.1), split 2: 14 numbers" in w for w in cards.words)
    assert any("it is your photo itself: me.png" in w for w in cards.words)
    assert view.rows([answer, other]) == [
        ["Starter Res2Net", 1, "lion.jpg", 0.9877],
        ["Starter Res2Net", 2, nasty, 0.5],
    ]


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("pooled", Where(), "pooled features"),
        ("", Where(), "pooled features"),
        ("stage2", Where("stage2"), "stage 2"),
        ("layer4", Where("layer4"), "stage 4"),
        ("layer3.1/2", Where("layer3.1", 2), "stage 3, block 2 (layer3.1), split 2"),
    ],
)
def test_places_are_read_and_said(text, where, words):
    assert Where.of(text) == where
    assert Where.of(str(where)) == where
    assert view.where_text(where) == words


def test_a_split_that_is_no_number_is_refused():
    with pytest.raises(OptionError, match="place from the list"):
        Where.of("layer3.1/two")


def test_the_places_of_a_model_are_its_stages_and_splits():
    values = [value for _, value in view.where_choices(fields.known(MODEL))]
    blocks = [f"layer{s}.{b}/{n}" for s in range(1, 5) for b in range(2) for n in range(4)]
    assert values == ["pooled", "stage1", "stage2", "stage3", "stage4", *blocks]
    values = [value for _, value in view.where_choices(fields.known("starter_resnet"))]
    assert values == ["pooled", "stage1", "stage2", "stage3", "stage4"]
    assert [v for _, v in view.where_choices(None, 2)] == ["pooled", "stage1", "stage2"]


def test_a_file_is_named_by_what_it_holds_never_by_its_folder(tmp_path):
    photos = opened(tmp_path, ["a.png", "b.png"], at(0, 1), stage="layer3.1", split="2")
    ((_, examples), (text, value)) = view.among_choices(6, [photos])
    assert (examples, value) == ("examples", "0")
    assert text == (
        "mine.npz (2 photographs; Starter Res2Net, stage 3, block 2 (layer3.1), split 2)"
    )
    assert view.other_model(photos, MODEL) == ""
    said = view.other_model(photos, str(tmp_path / "pets"))
    assert said.endswith("not to pets.")
    assert str(tmp_path) not in text + said


@pytest.mark.parametrize(("rows", "folder", "says"), [(0, "", "no photographs"), (1, "no", "no")])
def test_files_that_cannot_be_searched_are_refused_at_the_start(tmp_path, rows, folder, says):
    head = FeatureHead(rows=rows, width=2, model=MODEL, weights_sha256="")
    names = ["a.png"] * rows
    write_feature_file(tmp_path / "f.npz", head, names, np.concatenate([at(0)] * rows))
    with pytest.raises(DatasetError, match=says):
        open_files([(tmp_path / "f.npz", tmp_path / folder)])
