"""The Features lens: neighbours are SciPy's, files of the owner's, and nothing of their disk."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from mscnn.data.extraction import extract
from mscnn.data.loading import Loading
from mscnn.errors import DatasetError
from mscnn.page.answering import Answering
from mscnn.page.lenses.features import open_files
from mscnn.page.photos import PhotoStore
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
HOSTILE = "a <b>bold & 'x'.png"


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Five photographs, of which one has a hostile name."""
    folder = tmp_path_factory.mktemp("secret") / "animals"
    folder.mkdir()
    for number, name in enumerate(("0.png", "1.png", "2.png", "3.png", HOSTILE)):
        patches(number).save(folder / name)
    return folder


def patches(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((90, 70), Image.Resampling.BICUBIC)


@pytest.fixture
def owned(engine, animals, tmp_path):
    """Features of four photographs that are there, and of one that is gone since."""
    out, gone = tmp_path / "animals.npz", animals / "gone.png"
    patches(9).save(gone)
    network = engine.session.network(RESNET)
    extract(network, animals, out, stage="layer3", loading=Loading(workers=0))
    gone.unlink()
    return open_files([(out, animals)])[0]


@pytest.fixture
def ask(engine, owned):
    """``ask(options, files=..., **request)``: the last message."""

    def of(options=None, files=(owned,), **request):
        answering = Answering(engine, PhotoStore(), lambda: RES2NET, files=tuple(files))
        data = {"serial": 1, "lens": "features", "example": "lion", "options": options, **request}
        if request.get("pack"):
            return dict(answering.pack(data))
        event: Any = SimpleNamespace(_data=data)
        http: Any = SimpleNamespace(session_hash="a")
        return dict(json.loads(json.dumps(list(answering.ask(event, http))[-1])))

    return of


def rows(message):
    """Names and similarities of the table."""
    found = re.findall(r"<td>\d+</td><td>(.*?)</td><td>(-?[\d.]+)</td>", message["html"])
    return [(name, float(value)) for name, value in found]


@pytest.mark.parametrize(("layer", "stage"), [("last", None), ("2", "layer2")])
def test_neighbours_are_scipys_without_the_photo_itself(ask, engine, layer, stage):
    network, known = engine.session.network(RES2NET), PhotoStore().examples
    paths = {e.label: e.path for e in known.values() if e.label != "Lion"}
    query = network.features(known["lion"].path, stage=stage)
    similar = 1 - cdist(query, network.features(list(paths.values()), stage=stage), "cosine")[0]
    wanted = sorted(zip(paths, similar, strict=True), key=lambda one: -one[1])
    message = ask(layer=layer)
    found = rows(message)
    assert [name for name, _ in found] == [name for name, _ in wanted]
    assert [value for _, value in found] == pytest.approx([s for _, s in wanted], abs=1e-4)
    assert "your photo itself: Lion" in message["html"]
    assert message["html"].count("<img") == len(paths)
    assert "averaged" not in message["html"], "a VGG's are not"
    pictures = re.findall(r'file=(\S+?)"', message["html"])
    assert len(pictures) == len(paths)
    assert all(Path(picture).is_file() for picture in pictures)


def test_a_second_network_stands_beside_it_or_says_what_is_missing(ask):
    message = ask({"also": RESNET})
    assert message["html"].count('class="near"') == 2
    asked = ask({"also": "resnet50.tv_in1k"})
    assert asked["html"].count('class="near"') == 1
    assert "102 MB" in asked["need"]["sentence"]
    unknown = ask({"also": "no_such_net"})
    assert "no_such_net" in unknown["html"]
    assert "no such set" in ask({"among": "7"})["error"]


def test_an_owners_file_is_asked_of_its_own_network(ask, owned, engine):
    message = ask({"among": "0"})
    vector = engine.session.network(RESNET).features(
        PhotoStore().examples["lion"].path, stage="layer3"
    )
    similar = np.sort(1 - cdist(vector, owned.features, "cosine")[0])[::-1]
    assert [value for _, value in rows(message)] == pytest.approx(list(similar), abs=1e-4)
    assert "shown to Starter ResNet here, not to Starter Res2Net" in message["notice"]
    assert "Starter ResNet, Stage 3" in message["html"]
    assert "the photograph is not there" in message["html"], "gone.png"
    assert "&lt;b&gt;bold" in message["html"]
    assert "<b>" not in message["html"]
    assert str(owned.folder.parent) not in json.dumps(message), "no visitor's business"
    assert ask({"among": "0"}, model=RESNET)["notice"] == ""


@pytest.mark.parametrize(("change", "said"), [
    ({"weights_sha256": "0" * 64}, "features of different weights cannot be compared"),
    ({"preparation": {"crop_pct": 0.5}}, "crop pct"),
    ({"model": "my-old-folder"}, "my-old-folder, which is not offered here"),
])  # fmt: skip
def test_a_file_of_another_network_or_preparation_is_refused(ask, owned, change, said):
    other = replace(owned, head=replace(owned.head, **change))
    assert said in ask({"among": "0"}, files=[other])["error"]
    older = replace(owned, head=replace(owned.head, preparation={}))
    assert not ask({"among": "0"}, files=[older]).get("error"), "a file that does not say it"


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "C:\\x.png", "a/../../x.png"])
def test_a_path_that_leads_out_of_the_folder_is_not_opened(owned, name):
    assert replace(owned, paths=(name,)).photo(0) is None


def test_the_files_hold_the_neighbours(ask, animals, cache):
    packed = ask({"also": RESNET}, pack=True)
    with zipfile.ZipFile(packed["path"]) as archive:
        names = set(archive.namelist())
    assert {f"{m}/{n}" for m in MODELS for n in ("neighbours.csv", "manifest.json")} <= names
    with zipfile.ZipFile(ask({"among": "0"}, pack=True)["path"]) as archive:
        assert HOSTILE in archive.read("neighbours.csv").decode()


def test_files_are_read_when_the_page_starts(tmp_path, animals):
    with pytest.raises(DatasetError, match="no folder"):
        open_files([(tmp_path / "a.npz", tmp_path / "none")])
    with pytest.raises(DatasetError, match="no feature file"):
        open_files([(tmp_path / "a.npz", animals)])


def test_a_folder_without_the_photographs_is_refused(engine, animals, tmp_path):
    out, elsewhere = tmp_path / "animals.npz", tmp_path / "elsewhere"
    extract(engine.session.network(RESNET), animals, out, loading=Loading(workers=0))
    elsewhere.mkdir()
    with pytest.raises(DatasetError, match=r"No photograph of 'animals.npz' lies in"):
        open_files([(out, elsewhere)])
