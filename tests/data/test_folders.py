"""Folders as the world leaves them: nothing is misread or left out without a word."""

import os
import re
import socket
import stat
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscnn.data.layouts import (
    check_trainable,
    drop_unreadable,
    find_labelled,
    not_measured,
    open_data,
)
from mscnn.data.listing import SUFFIXES, Account, list_photos
from mscnn.errors import DatasetError
from tests.data.conftest import draw_kind
from tests.data.test_layouts import make

NFC, NFD = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))


def places(samples):
    """The folders of photographs, each with the indices of its class."""
    found: dict[str, set[int]] = {}
    for i, target in enumerate(samples.targets.tolist()):
        found.setdefault(samples.name(i).rpartition("/")[0], set()).add(target)
    return found


@pytest.mark.parametrize(("train", "val"), [
    ("Train", "Val"), ("TRAIN", "VALID"), ("Training", "Testing"), ("train", "valid"),
    ("training_set", "test_set"), ("Training Data", "Validation Data"), ("trainset", "devset"),
    ("train_images", "eval_images"), ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ("seg_train", "seg_test"), ("train2014", "val2017"), ("myTrainSet", "myTestSet"),
    ("trainval", "test"), ("1_train", "2_val"), ("dogs-training", "dogs-validation"),
])  # fmt: skip
def test_parts_by_the_names_that_the_field_gives_them(tmp_path, train, val):
    make(tmp_path, {f"{train}/{c}": 2 for c in "ab"} | {f"{val}/{c}": 1 for c in "ab"})
    data = open_data(tmp_path)
    assert data.names == ("a", "b")
    assert places(data.train) == {f"{train}/a": {0}, f"{train}/b": {1}}
    assert places(data.val) == {f"{val}/a": {0}, f"{val}/b": {1}}
    assert find_labelled(tmp_path).words == f"the folder {val}"
    usual = train == "train" and val == "valid"
    assert any(repr(val) in notice for notice in data.account.notices) != usual


@pytest.mark.parametrize("names", [
    ("training", "trainer"), ("steam_train", "wind_test"), ("Val d'Isere", "Testarossa"),
    ("trains", "devices"), ("contest", "evaluator"), ("test", "exam"),
])  # fmt: skip
def test_words_that_only_look_like_parts_are_classes(tmp_path, names):
    assert open_data(make(tmp_path, dict.fromkeys(names, 3))).names == tuple(sorted(names))


@pytest.mark.parametrize(("inner", "part"), [
    ("dataset", ""), ("archive/PetImages", ""), ("ILSVRC/Data/CLS-LOC", "train"), ("", "train/all"),
])  # fmt: skip
def test_a_folder_around_the_classes_is_found_and_said(tmp_path, inner, part):
    here = tmp_path / inner
    val = {"val/a": 1, "val/b": 1} if part else {}
    make(here, {f"{part or '.'}/{c}": 4 for c in "ab"} | val | {"notes": 0})
    make(tmp_path, {"__MACOSX/dataset/a": 1, "docs": 0})
    (tmp_path / "docs" / "read.txt").touch()
    data = open_data(tmp_path)
    assert data.names == ("a", "b")
    assert (len(data.train) + len(data.val)) == 8 + len(val)
    assert [n for n in data.account.notices if repr(inner) in n] or not inner
    assert find_labelled(tmp_path).names == ("a", "b")


def test_of_several_parts_those_not_used_are_named(tmp_path):
    make(tmp_path, {f"{part}/{c}": 2 for part in ("train", "val", "test", "extra") for c in "ab"})
    (unused,) = open_data(tmp_path).account.unused.items()
    assert unused == ("beside the parts that are used", ["extra/", "test/"])


def test_a_part_to_measure_with_that_has_no_classes_is_said_and_not_used(tmp_path):
    """As competitions give them out."""
    make(tmp_path, {"train/a": 5, "train/b": 5, "test": 4})
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val), data.split[:4]) == (8, 2, "10 %")
    assert data.account.notices == ["'test' holds no folder per class, so it is not measured with."]
    assert find_labelled(tmp_path).words == "the folder train"


@pytest.mark.parametrize(("tree", "said"), [
    ({"train": 3, "test": 3}, "no images in them; make one folder per class.*train/00"),
    ({"a/train": 2, "a/test": 2, "b/train": 2, "b/test": 2}, "'a' holds the parts.*train/a"),
    ({"set/train/a": 2, "set/val/a": 1, "more": 3}, "'set' holds the parts 'train' and 'val'"),
    ({"train/a": 2, "train/b": 2, "prueba/a": 2}, r"'train' holds folders \('a', 'b'\).*call"),
    ({"train/.git": 0, "val/Cat": 2}, r"\('Cat'\) under 'val' but not under 'train'"),
    ({"train/cat": 2, "val/Cat": 2}, r"\('Cat'\) under 'val' but not under 'train'"),
])  # fmt: skip
def test_what_could_be_misread_is_refused_with_what_to_do(tmp_path, tree, said):
    with pytest.raises(DatasetError, match=said):
        open_data(make(tmp_path, tree))


def test_a_table_beside_the_one_folder_of_images_is_named(tmp_path):
    make(tmp_path, {"images": 3})
    (tmp_path / "labels.csv").write_text("path,label\nimages/00.png,a\nimages/01.png,b\n")
    with pytest.raises(DatasetError, match=r"one class folder.*or give the table 'labels\.csv'\."):
        open_data(tmp_path)
    assert find_labelled(tmp_path / "labels.csv").names == ("a", "b")


def test_what_could_be_meant_otherwise_is_said(tmp_path):
    data = open_data(make(tmp_path, {f"{fold}/{c}": 2 for fold in ("k1", "k2") for c in "ab"}))
    assert data.names == ("k1", "k2")
    (said,) = data.account.notices
    assert "'k1', 'k2' hold folders of the same names ('a', 'b')" in said


def test_empty_folders_are_no_classes_in_either_part_and_are_named(tmp_path):
    make(tmp_path, {"train/a": 2, "train/b": 2, "train/c": 2, "train/notes": 0})
    make(tmp_path, {"val/a": 1, "val/b": 1, "val/other": 0})
    (tmp_path / "train" / "notes" / "read.txt").touch()
    data = open_data(tmp_path)
    check_trainable(data)
    assert data.names == ("a", "b", "c")
    assert not_measured(data) == "There is a class ('c') without a validation image."
    assert data.account.unused == {
        "no picture by how its name ends": ["train/notes/read.txt"],
        "a folder with no picture to use, so no class": ["train/notes/", "val/other/"],
    }


@pytest.mark.parametrize("tree", [
    {f"train/{NFC}": 2, "train/b": 2, f"val/{NFD}": 1, "val/b": 1},
    {f"train/{NFD}": 2, "train/b": 2, f"val/{NFC}": 1, "val/b": 1},
])  # fmt: skip
def test_two_ways_to_compose_a_letter_are_one_class_called_as_it_is_learnt(tmp_path, tree):
    make(tmp_path, tree)
    if len([*(tmp_path / "train").iterdir()]) != 2:
        pytest.skip("this file system composes names itself")
    data = open_data(tmp_path)
    learnt = next(iter(tree)).removeprefix("train/")
    assert set(data.names) == {learnt, "b"}
    index = data.names.index(learnt)
    assert [t for p, t in places(data.val).items() if "b" not in p] == [{index}]


def test_both_ways_beside_one_another_are_one_class(tmp_path):
    make(tmp_path, {NFC: 2, NFD: 2, "b": 2})
    if len([*tmp_path.iterdir()]) != 3:
        pytest.skip("this file system composes names itself")
    assert len(open_data(tmp_path).names) == 2


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")


def junk(root):
    """Fill a folder of class folders ``a`` and ``b`` with what is no photograph; return all."""
    make(
        root,
        {"a": 3, "b": 3, "a/@eaDir": 1, "b/.thumbnails": 1, "__MACOSX/a": 1, "b/.AppleDouble": 1},
    )
    for name in ("a/._x.jpg", "a/Thumbs.db", "a/.DS_Store", "b/notes.txt", "b/x.ppm", "top.jpg"):
        (root / name).touch()
    make(root, {"b/model": 1, "maps": 1})
    (root / "b/model/checkpoint.pt").touch()
    (root / "maps/manifest.json").write_text('{"schema": 1, "versions": {"mscnn": "1.0"}}')
    os.mkfifo(root / "a" / "pipe.jpg")
    link(root / "a" / "gone.jpg", root / "nowhere.jpg")
    link(root / "a" / "self.png", "self.png")
    link(root / "b" / "back", root)
    return {
        "hidden, or a system's own, such as its thumbnails": {
            "a/@eaDir/00.png", "a/._x.jpg", "a/Thumbs.db", "a/.DS_Store", "b/.thumbnails/00.png",
            "b/.AppleDouble/00.png", "__MACOSX/a/00.png",
        },
        "no picture by how its name ends": {"b/notes.txt", "b/x.ppm"},
        "in a folder that mscnn wrote": {
            "b/model/00.png", "b/model/checkpoint.pt", "maps/00.png", "maps/manifest.json",
        },
        "a pipe, a socket or a device": {"a/pipe.jpg"},
        "a link that cannot be followed": {"a/gone.jpg", "a/self.png"},
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_photograph_is_skipped_unread_and_listed(tmp_path, monkeypatch):
    root = tmp_path / "data"
    expected = junk(root)
    with socket.socket(socket.AF_UNIX) as door:
        monkeypatch.chdir(root / "b")  # the name of a socket must be short
        door.bind("door.jpg")
    expected["a pipe, a socket or a device"].add("b/door.jpg")
    photos = {f"{c}/{i:02}.png" for c in "ab" for i in range(3)}
    account = Account(root)
    listed = list_photos(root, account)
    assert {listed.name(i) for i in range(len(listed))} == photos | {"top.jpg"}
    expected["a link back to a folder that it lies in"] = {"b/back"}
    assert {why: set(names) for why, names in account.unused.items()} == expected

    (root / "b" / "back").unlink()
    link(root / "b" / "back", ".")
    data = drop_unreadable(open_data(root))
    assert {s.name(i) for s in (data.train, data.val) for i in range(len(s))} == photos
    assert {why: set(names) for why, names in data.account.unused.items()} == {
        **expected, "beside the folders of the classes": {"top.jpg"},
        "a folder with no picture to use, so no class": {"maps/"},
    }  # fmt: skip
    assert find_labelled(root).account.unused == data.account.unused
    lines = data.account.lines()
    assert any(line.startswith("7 not used (hidden") and "and 2 more" in line for line in lines)


def test_a_folder_of_no_end_is_a_sentence(tmp_path):
    make(tmp_path, {"a": 1, "b": 1, "b/" + "x/" * 600: 0})
    (unused,) = find_labelled(tmp_path).account.unused.items()
    assert unused == ("below 100 other folders", ["b/" + "x/" * 99])


@pytest.mark.parametrize("suffix", [".jfif", ".JPG", ".jpe", ".Jpeg", ".tiff", ".AVIF", ".heic"])
def test_all_names_that_photographs_have_are_listed(tmp_path, suffix):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{i}{suffix}").touch()
    assert len(find_labelled(tmp_path).samples) == 4


def test_every_accepted_formats_usual_suffixes_are_known():
    """Pillow knows which suffixes a format has."""
    from PIL import Image

    from mscnn.photos.imaging import _FORMATS

    Image.init()
    usual = {end for end, kind in Image.registered_extensions().items() if kind in _FORMATS}
    assert usual - {".avifs"} <= SUFFIXES


def test_a_folder_of_other_pictures_says_which(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.ppm").touch()
    for read in (open_data, find_labelled, list_photos):
        with pytest.raises(DatasetError, match=r" 2 not used \(no picture.*'a/0.ppm', 'b/0.ppm'\."):
            read(tmp_path)


def table(root, text, encoding="utf-8"):
    (root / "t.csv").write_bytes(text.encode(encoding))
    return root / "t.csv"


@pytest.mark.parametrize(("text", "encoding"), [
    ("path,label\r\nimg\\a\\00.png,x\r\nimg\\b\\00.png,y\r\n", "utf-8"),
    ("path,label\n.\\img\\a\\00.png,x\nimg/b\\00.png,y\n", "utf-8-sig"),
    ('"Path";"Label"\n"img/a/00.png";"x"\n"img/b/00.png";"y"\n', "utf-8-sig"),
    ("path\tlabel\nimg/a/00.png\tx\nimg\\b\\00.png\ty\n", "utf-8"),
    ('path, label\nimg/a/00.png, "x"\n"img/b/00.png" , y\n', "utf-8"),
])  # fmt: skip
def test_tables_as_spreadsheets_and_windows_write_them(tmp_path, text, encoding):
    make(tmp_path, {"img/a": 1, "img/b": 1})
    found = find_labelled(table(tmp_path, text, encoding))
    assert [found.samples.name(i) for i in (0, 1)] == ["img/a/00.png", "img/b/00.png"]
    assert found.names == ("x", "y")


def test_a_tables_names_are_found_however_they_are_composed(tmp_path):
    make(tmp_path, {NFD: 2, "b": 1})
    rows = f"path,label,split\n{NFC}\\00.png,{NFC},Training\nb/00.png,b,TRAIN\n"
    path = table(tmp_path, rows + f"{NFD}/01.png,{NFD},testing\n")
    data = open_data(path)
    assert data.names == tuple(sorted([NFC, "b"]))
    assert (len(data.train), len(data.val)) == (2, 1)
    assert all(Path(p).is_file() for p, _ in [*data.train, *data.val])


def test_a_name_with_a_backslash_of_its_own_is_kept(tmp_path):
    if os.sep == "\\":
        pytest.skip("no such names here")
    draw_kind(0, 0).save(tmp_path / "a\\b.png")
    found = find_labelled(table(tmp_path, "path,label\na\\b.png,x\n"))
    assert found.samples.name(0) == "a\\b.png"


def test_files_that_a_table_names_and_that_are_missing_are_said_to_be_missing(tmp_path):
    path = table(tmp_path, "path,label\n" + "".join(f"no\\{i}.png,{i % 2}\n" for i in range(8)))
    said = "None of the 8 photographs can be read; the first: '.*' does not exist"
    with pytest.raises(DatasetError, match=said):
        drop_unreadable(open_data(path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_missing_permission_is_named(tmp_path):
    make(tmp_path, {"a": 2, "b": 2})
    path = tmp_path / "a" / "00.png"
    path.chmod(0)
    kept = drop_unreadable(open_data(tmp_path))
    assert "no permission" in kept.unreadable[0][1]
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(DatasetError, match=r"'b' in the folder .* cannot be read: permission"):
            open_data(tmp_path)
    finally:
        (tmp_path / "b").chmod(stat.S_IRWXU)


PHOTOS = [f"{i}{suffix}" for i, suffix in enumerate((".jpg", ".PNG", ".jfif", ".heic"))]
JUNK = ["x.txt", "._0.jpg", "Thumbs.db", "t.csv", "pipe.jpg", "dead.png", "loop", "checkpoint.pt"]
CLASSES = ["a", "b", "c", "notes", NFC, NFD, ".git", "@eaDir", "__MACOSX"]
PARTS = ["train", "Val", "test", "data", "Training", "a"]


def folder(names, below, least=0):
    return st.dictionaries(st.sampled_from(names), below, min_size=least, max_size=4)


FILES = folder(2 * PHOTOS + JUNK, st.none())
CLASSED = st.builds(dict.__or__, folder(CLASSES, FILES, 1), FILES)
PARTED = st.builds(dict.__or__, folder(PARTS, CLASSED | FILES, 1), folder(JUNK, st.none()))
WRAPPED = st.builds(dict.__or__, folder(["data", "set"], PARTED | CLASSED, 1), FILES)
TREES = CLASSED | PARTED | WRAPPED


TABLE = "path,label\n0.jpg,x\n1.PNG,y\n2.jfif,x\n3.heic,y\n"


def grow(root, tree):
    root.mkdir()
    for name, inside in tree.items():
        path = root / name
        if inside is not None:
            grow(path, inside)
        elif name == "pipe.jpg":
            os.mkfifo(path)
        elif name in ("dead.png", "loop"):
            path.symlink_to("nowhere" if name == "dead.png" else ".")
        else:
            path.write_text(TABLE if name == "t.csv" else "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(tree=TREES)
def test_any_tree_is_a_data_set_that_accounts_for_every_file_or_one_sentence(tree):
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "data"
        grow(root, tree)
        everything = {
            (Path(at) / name).relative_to(root).as_posix()
            for at, folders, files in os.walk(root)
            for name in [*files, *(f for f in folders if (Path(at) / f).is_symlink())]
        }
        for read in (open_data, find_labelled):
            said, found = "", None
            try:
                found = read(root)
            except DatasetError as error:
                said = str(error)
            if found is None:
                assert re.fullmatch(r"('|The |There |Line ).*\.", said)
                continue
            parts = [found.train, found.val] if read is open_data else [found.samples]
            used = [Path(s.full_name(i)).relative_to(root).as_posix()
                    for s in parts for i in range(len(s))]  # fmt: skip
            if "t.csv" in tree:  # which may name what is not there
                used = [name for name in used if name in everything]
            assert len(set(used)) == len(used)
            assert all(0 <= t < len(found.names) for s in parts for t in s.targets.tolist())
            assert {t for s in parts for t in s.targets.tolist()} == set(range(len(found.names)))
            listed = [name for names in found.account.unused.values() for name in names]
            assert len(set(listed)) == len(listed)
            whole = tuple(name for name in listed if name.endswith("/"))
            left = {name for name in everything if not f"{name}/".startswith(whole or ("/",))}
            if read is find_labelled and found.words.startswith("the folder"):
                part = found.words.removeprefix("the folder ")
                left = {n for n in left if n.startswith(f"{part}/")}
                listed = [n for n in listed if n in left]
            assert not set(used) & set(listed)
            unlisted = left - set(used) - set(listed)
            # But for the table that names the classes.
            assert not unlisted or [Path(name).name for name in unlisted] == ["t.csv"]
