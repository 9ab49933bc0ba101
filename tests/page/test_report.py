"""What is kept of a photo: one archive, a page that needs nothing else, and files to replay."""

import base64
import html
import io
import json
import re
import threading
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from mscnn.page.lenses import LENSES
from tests.page.serving import EXAMPLE, MODELS

RES2NET, RESNET = MODELS
NASTY = 'a <img src=x onerror="alert(1)"> & {{ 7 * 7 }} b.png'
CONTROLS = r"<(?:button|input|select|label|fieldset|canvas|script|link|iframe|form|video)\b"
SHARED = {"target": "sea lion", "layer": "3", "box": [0.2, 0.1, 0.7, 0.8], "agreed": True}

pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.fixture
def keep(answering):
    """``keep(*lenses, **fields)``: the archive's files by name."""

    def of(*lenses, **fields):
        made = answering.pack(
            [{"serial": 0, "lens": lens, "example": "lion", **fields} for lens in lenses]
        )
        assert made.get("error") is None
        with zipfile.ZipFile(made["path"]) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    return of


def upload(cache, name, seed=0):
    folder = cache / f"up{seed}"
    folder.mkdir(exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(values).save(folder / name)
    return str(folder / name)


def unpack(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def references(page):
    """Whatever an HTML page may fetch or run."""
    found = re.findall(r"""(?:src|href|action|poster|srcset|data)=["']?([^"'\s>]*)""", page)
    return [*found, *re.findall(r"url\((?!#)|@import|\bon[a-z]+=", page)]


@pytest.mark.slow
def test_all_lenses_are_in_it_and_it_asks_for_nothing(keep):
    how = {"options": {"cut": True, "grid": True, "also": RESNET}, "models": list(MODELS)}
    files = keep(*LENSES, **SHARED, **how)
    page = files["report.html"].decode()
    assert {name.partition("/")[0] for name in files} == {*LENSES, "report.html", "lion.jpg"}
    for lens in LENSES.values():
        assert f"<h2>{lens.title}</h2>" in page
        assert html.escape(lens.question) in page
    assert re.findall(CONTROLS, page) == []
    wrong = [text for text in references(page) if not text.startswith(("data:image/webp;", "#"))]
    assert wrong == []
    assert "could not be kept" not in page
    lion = EXAMPLE
    assert sha256(lion.path.read_bytes()).hexdigest() in page
    assert lion.credit in html.unescape(page)
    # Each picture is one, and an element that opens also ends.
    for url in set(re.findall(r'src="data:image/webp;base64,([^"]*)"', page)):
        Image.open(io.BytesIO(base64.b64decode(url))).verify()
    for tag in ("div", "section", "details", "p", "span", "figure", "table", "td", "svg"):
        assert len(re.findall(rf"<{tag}\b", page)) == page.count(f"</{tag}>"), tag


@pytest.mark.slow
def test_what_was_kept_can_be_replayed(keep, tmp_path, monkeypatch, capsys, cache):
    photo = upload(cache, "mine.png")
    monkeypatch.chdir(tmp_path)
    lenses = ("look", "scales", "zoom", "trust", "compare", "rf")
    unpack(keep(*lenses, **SHARED, example="", photo=photo), tmp_path)
    for lens in lenses:
        assert main(["replay", lens, "--json"]) == 0, lens
        found = json.loads(capsys.readouterr().out)
        assert found["arrays"], lens
        assert found["changed"] == {}, lens
        assert found["photo"]["sha256"] == sha256(Path(photo).read_bytes()).hexdigest()


def test_the_map_of_a_stage_can_be_replayed(answering, tmp_path, capsys):
    request = {"serial": 0, "lens": "look", "example": "coffee", "layer": "2", "model": RESNET}
    with zipfile.ZipFile(answering.pack(request)["path"]) as archive:
        archive.extractall(tmp_path)
    assert main(["replay", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["options"]["layer"] == "layer2"
    assert found["photo"]["name"] == "coffee.png", "by which Keep packs it"
    assert found["weights"].keys() == {RESNET}
    assert found["changed"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"random": True}, {"block": "layer2.1", "many": True}])
def test_measured_units_can_be_replayed(keep, tmp_path, capsys, options):
    unpack(keep("rf", point=[0.3, 1], options=options), tmp_path)
    assert main(["replay", str(tmp_path / "rf"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["arrays"]) == (5 if "block" in options else 8)
    path = tmp_path / "rf" / "manifest.json"
    document = json.loads(path.read_text("ascii"))
    wrong: dict[str, Any]
    for wrong in ({"units": [3]}, {"point": ["x", "y"]}, {"point": []}, {"model": "no"}, {"a": 1}):
        document["replay"]["options"] = {**found["options"], **wrong}
        path.write_text(json.dumps(document), encoding="ascii")
        assert main(["replay", str(path)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "unexpected" not in err


@pytest.mark.slow
def test_an_upload_that_is_an_example_is_not_among_the_others(keep, cache, tmp_path, capsys):
    copied = cache / "up-example" / "mine.jpg"
    copied.parent.mkdir()
    copied.write_bytes(EXAMPLE.path.read_bytes())
    unpack(keep("rf", example="", photo=str(copied), options={"many": True}), tmp_path)
    assert main(["replay", str(tmp_path / "rf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"]


def test_what_is_the_visitors_is_escaped(keep, cache):
    files = keep("look", example="", photo=upload(cache, NASTY), target='pot <b class="x">')
    page = files["report.html"].decode()
    assert html.escape(NASTY, quote=False).replace('"', "&#34;") in page
    assert "<img src=x" not in page
    assert '<b class="x">' not in page
    assert "{{ 7 * 7 }}" in page


def test_pictures_have_the_viewers_opacity(keep):
    page = keep("look", layer="2", options={"opacity": 0.0})["report.html"].decode()
    first = re.search(r'<figure><img src="data:image/webp;base64,([^"]*)"', page)
    assert first is not None
    drawn = Image.open(io.BytesIO(base64.b64decode(first[1]))).convert("RGB")
    with Image.open(EXAMPLE.path) as lion:
        plain = lion.convert("RGB").resize(drawn.size, Image.Resampling.LANCZOS)
    x, y = drawn.width // 2, drawn.height // 2
    box = (x - 50, y - 50, x + 50, y + 50)
    pair = [np.asarray(image.crop(box)).astype(int) for image in (drawn, plain)]
    assert np.abs(pair[0] - pair[1]).mean() < 4  # without a map it is the photo


def test_a_part_that_fails_is_said_and_the_others_are_kept(keep):
    files = keep("look", "compare", models=[RES2NET, "resnet50.tv_in1k"], box=None)
    page = files["report.html"].decode()
    assert "look/manifest.json" in files
    assert "Not downloaded, so left out." in page
    # Two figures: no map of one network stands under the name of the other.
    figures = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert [one for one in figures if "ResNet-50" in one] == ["ResNet-50: not downloaded"]
    files = keep("look", "scales", options={"cut": True}, models=["resnet50.tv_in1k"])
    assert "This part could not be kept: " in files["report.html"].decode()
    assert not any(name.startswith("scales/") for name in files)


def test_a_method_is_that_of_the_parts_that_have_one(keep):
    page = keep("look", "compare", method="layercam")["report.html"].decode()
    assert "LayerCAM (Jiang et al., IEEE TIP 2021), in Look<" in page
    assert "LayerCAM" not in keep("compare", method="layercam")["report.html"].decode()


def test_what_takes_long_is_kept_only_as_far_as_it_is_there(keep, monkeypatch):
    monkeypatch.setattr("mscnn.page.lenses.trust.LONG", -1)
    assert not [name for name in keep("trust", agreed=False) if name.startswith("trust/")]
    # Done for the whole photo; in a box the checks are others.
    for how, parts in (
        ({"agreed": True}, "scores,randomisation,stability,localisation"),
        ({"agreed": False, "box": [0.2, 0.1, 0.7, 0.8]}, "scores"),
    ):
        manifest = json.loads(keep("trust", **how)["trust/manifest.json"])
        assert manifest["replay"]["options"]["parts"] == parts


@pytest.mark.parametrize("data", [
    [], [{}], ["x"], [{"serial": 0, "lens": "nowhere", "example": "lion"}],
    [{"serial": 0, "lens": "look", "example": "unicorn"}], [{"serial": 0, "lens": "look"}],
    [{"serial": 0, "lens": "look", "photo": "/etc/passwd"}],
    [{"serial": 0, "lens": "look", "example": "lion"}] * 2,
    [{"serial": 0, "lens": "look", "example": "lion"}, {"serial": 0, "lens": "rf"}],
])  # fmt: skip
def test_what_is_no_request_is_a_sentence(answering, data):
    said = answering.pack(data)["error"]
    assert said.endswith(".")
    assert "/etc" not in said
    assert "unexpected" not in said.lower()


def test_a_photo_with_the_name_of_a_part_is_kept(keep, cache):
    (cache / "up0").mkdir(exist_ok=True)
    photo = Path(upload(cache, "mine.png")).rename(cache / "up0" / "report.html")
    files = keep("look", photo=str(photo), example="")
    assert files["photo-report.html"] == photo.read_bytes()
    assert b"<html" in files["report.html"]


def test_visitors_at_once_get_their_own(answering, cache):
    found = {}

    def visitor(seed):
        photo = upload(cache, "mine.png", seed)
        made = answering.pack([{"serial": 0, "lens": "look", "photo": photo}])
        with zipfile.ZipFile(made["path"]) as archive:
            record = json.loads(archive.read("look/manifest.json"))["replay"]
            found[seed] = (
                made["path"], record["photo"]["sha256"] in archive.read("report.html").decode(),
                archive.read("mine.png") == Path(photo).read_bytes(),
                record["photo"]["sha256"] == sha256(Path(photo).read_bytes()).hexdigest(),
            )  # fmt: skip

    threads = [threading.Thread(target=visitor, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4]
    assert all(all(rest) for _, *rest in found.values())
    assert len({path for path, *_ in found.values()}) == 4
