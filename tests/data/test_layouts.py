"""What is understood as labelled photographs, to evaluate and to train on."""

import io
import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mscnn.data.layouts import check_trainable, drop_unreadable, find_labelled, open_data
from mscnn.data.listing import FileList, list_photos, walk
from mscnn.errors import DatasetError
from mscnn.photos.imaging import load_photo
from tests.data.conftest import draw, draw_kind


def found(root):
    """Name of each photograph to its class."""
    data = find_labelled(root)
    return {data.samples.name(i): data.names[t] for i, t in enumerate(data.samples.targets)}


def named(samples):
    return [(samples.name(i), target) for i, target in enumerate(samples.targets.tolist())]


def make(root, tree):
    """``{"a/b": n}``: so many pictures in that folder; 0 makes it empty."""
    for name, count in tree.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            draw(i).save(root / name / f"{i:02}.png")
    return root


def test_class_folders(tmp_path):
    make(tmp_path, {"b": 2, "a/deep": 1, "a": 1})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").touch()
    (tmp_path / "a" / "._hidden.png").touch()
    names = ["a/00.png", "a/deep/00.png", "b/00.png", "b/01.png"]
    assert found(tmp_path) == {name: name[0] for name in names}
    assert find_labelled(tmp_path).words == "all images"


def test_one_class_can_be_evaluated(tmp_path):
    assert set(found(make(tmp_path, {"a": 2})).values()) == {"a"}


@pytest.mark.parametrize(("folders", "part"), [
    ({"train/a": 2, "train/b": 1, "val/a": 1}, "val"), ({"train/a": 1, "test/a": 2}, "test"),
    ({"validation/a": 1, "validation/b": 1}, "validation"), ({"train/a": 1}, "train"),
])  # fmt: skip
def test_a_part_of_its_own(tmp_path, folders, part):
    make(tmp_path, folders)
    names = [p.relative_to(tmp_path).as_posix() for p in (tmp_path / part).rglob("*.png")]
    assert found(tmp_path) == {name: name.split("/")[1] for name in names}
    assert find_labelled(tmp_path).words == f"the folder {part}"


@pytest.mark.parametrize("inside", ["", "val"])
def test_tiny_imagenets_validation_part(tmp_path, inside):
    root = tmp_path / inside
    make(root, {"images": 3})
    lines = ["00.png\tn02\t0\t0\t9\t9", "02.png\tn01\t0\t0\t9\t9", "01.png\tn02\t0\t0\t9\t9"]
    (root / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    prefix = f"{inside}/images" if inside else "images"
    assert found(tmp_path) == {
        f"{prefix}/00.png": "n02", f"{prefix}/02.png": "n01", f"{prefix}/01.png": "n02",
    }  # fmt: skip


def test_a_table_also_beside_loose_photographs(tmp_path):
    make(tmp_path, {".": 3})
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n00.png,x\n01.png,y\n02.png,x\n")
    assert found(table) == found(tmp_path) == {"00.png": "x", "01.png": "y", "02.png": "x"}
    assert find_labelled(tmp_path).account.lines() == []  # of which the table is used, too


def test_a_table_with_a_validation_part(tmp_path):
    table = make(tmp_path, {"a": 3}) / "t.csv"
    table.write_text("path,label,split\na/00.png,x,train\na/01.png,y,val\na/02.png,z,train\n")
    assert found(table) == {"a/01.png": "y"}
    assert find_labelled(table).names == ("y",)  # the model need not know the other classes


def test_a_tables_test_part_is_called_so(tmp_path):
    table = make(tmp_path, {"a": 2}) / "t.csv"
    table.write_text("path,label,split\na/00.png,x,test\na/01.png,y,test\n")
    assert find_labelled(table).words == "the test part"


@pytest.mark.parametrize(("prepare", "words"), [
    (lambda root: None, "is empty"), (lambda root: (root / "a").mkdir(), "no image"),
    (lambda root: (root / "a.jpg").touch(), "1 images but nothing says"),
    (lambda root: (root / "val_annotations.txt").write_text("a.jpg\n"), "Line 1"),
    (lambda root: root.rmdir(), "There is no folder"),
])  # fmt: skip
def test_what_cannot_be_evaluated(tmp_path, prepare, words):
    root = tmp_path / "data"
    root.mkdir()
    prepare(root)
    with pytest.raises(DatasetError, match=words):
        find_labelled(root)


def test_names_are_packed_as_they_were(tmp_path):
    names = ["a/b.png", "ü é.jpg", "x" * 200 + ".png", "a\udcff.png"]
    packed = FileList(tmp_path, names)
    assert [packed.name(i) for i in range(len(packed))] == names
    assert packed.source(0) == tmp_path / "a" / "b.png"


def test_a_walk_is_sorted_and_follows_links_but_not_in_circles(tmp_path):
    make(tmp_path / "root", {"b": 1, "a": 2})
    make(tmp_path / "other", {"c": 1})
    try:
        (tmp_path / "root" / "z").symlink_to(tmp_path / "other")
        (tmp_path / "root" / "a" / "back").symlink_to(tmp_path / "root")
        (tmp_path / "root" / "gone").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("links cannot be made here")
    assert list(walk(tmp_path / "root")) == ["a/00.png", "a/01.png", "b/00.png", "z/c/00.png"]


def test_a_digest_tells_changed_photographs(tmp_path):
    before = list_photos(make(tmp_path, {"a": 2})).digest()
    assert list_photos(tmp_path).digest() == before
    with (tmp_path / "a" / "00.png").open("ab") as file:
        file.write(b"x")
    assert list_photos(tmp_path).digest() != before


def test_one_folder_per_class_holds_out_a_tenth_of_each(tmp_path):
    data = open_data(make(tmp_path, {"red": 16, "blue": 16, "notes": 0}))
    assert data.names == ("blue", "red")  # a folder without pictures is no class
    assert Counter(data.val.targets.tolist()) == {0: 2, 1: 2}
    assert Counter(data.train.targets.tolist()) == {0: 14, 1: 14}
    names = named(data.train) + named(data.val)
    assert len({name for name, _ in names}) == 32
    assert all(name.split("/")[0] == data.names[i] for name, i in names)
    assert named(open_data(tmp_path).val) == named(data.val)
    assert named(open_data(tmp_path, seed=1).val) != named(data.val)


def test_a_given_split_is_used(tmp_path):
    make(tmp_path, {"train/red": 16, "train/blue": 16, "val/red": 1})
    data = open_data(tmp_path)
    assert named(data.val) == [("val/red/00.png", 1)]
    assert len(data.train) == 32


def test_tiny_imagenets_layout_and_names(tmp_path):
    wnids = ("n02123045", "n01443537")  # tabby, goldfish
    make(tmp_path, {**{f"train/{wnid}/images": 1 for wnid in wnids}, "val/images": 1})
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    rows = ["00.png\tn02123045\t0\t0\t9\t9", "01.png\tn99999999\t0\t0\t9\t9"]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    data = open_data(tmp_path)
    assert [name.split(",")[0] for name in data.names] == ["goldfish", "tabby"]
    assert named(data.val) == [("val/images/00.png", 1)]
    assert named(data.train) == [
        (f"train/{wnid}/images/00.png", i) for i, wnid in enumerate(sorted(wnids))
    ]


@pytest.mark.parametrize("tree", [{"bus": 3, "car": 3, "train": 3}, {"exam": 3, "test": 3}])
def test_a_class_may_be_called_as_a_part_is(tmp_path, tree):
    assert open_data(make(tmp_path, tree)).names == tuple(tree)
    assert set(found(tmp_path).values()) == set(tree)


def test_hidden_copies_do_not_count(tmp_path):
    data = open_data(make(tmp_path, {"cat": 3, "cat/.ipynb_checkpoints": 2, "dog": 3}))
    assert len(data.train) + len(data.val) == 6


def test_however_much_is_held_out_something_is_left_to_learn(tmp_path):
    data = open_data(make(tmp_path, {"cat": 2, "dog": 3}), val_share=0.9)
    assert Counter(data.train.targets.tolist()) == {0: 1, 1: 1}


@pytest.mark.parametrize(("tree", "said"), [
    (None, "There is no folder"), ({}, "is empty; make one folder per class"),
    ({".": 3}, "3 images and no folder per class"),
    ({"cat": 0, "dog": 0}, "2 folders and no images"), ({"cat": 4}, "one class.*'cat'"),
    ({"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/cow": 1}, "'cow'.*'val'.*'train'"),
    ({"train/cat": 2, "train/dog": 2, "val/cat": 0}, "4 training and 0 validation"),
])  # fmt: skip
def test_a_wrong_layout_says_what_was_found_and_what_to_do(tmp_path, tree, said):
    if tree is not None:
        make(tmp_path / "data", {".": 0, **tree})
    with pytest.raises(DatasetError, match=said):
        open_data(tmp_path / "data")


@pytest.mark.parametrize(("tree", "said"), [
    ({"cat": 4, "dog": 1, "hen": 1}, r"2 classes \('dog', 'hen'\) with a single image"),
    (
        {"train/cat": 2, "train/dog": 0, "val/cat": 2, "val/dog": 2},
        r"class \('dog'\) without a training image",
    ),
])  # fmt: skip
def test_classes_that_cannot_be_learnt_are_named(tmp_path, tree, said):
    with pytest.raises(DatasetError, match=said):
        check_trainable(open_data(make(tmp_path, tree)))


def test_a_folder_that_may_not_be_read_is_an_error_and_no_lost_class(tmp_path, monkeypatch):
    root = make(tmp_path, {"cat": 3, "dog": 3, "hen": 3})
    real = os.scandir

    def scandir(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("mscnn.data.listing.os.scandir", scandir)
    for read in (open_data, find_labelled):
        with pytest.raises(DatasetError, match="cannot be read: permission denied"):
            read(root)


def test_unreadable_files_are_left_out_and_listed(tmp_path):
    make(tmp_path, {"red": 8, "blue": 8})
    bad = {"00.png": b"", "01.png": b"not a picture", "02.png": b"%PDF-1.7"}
    for name, content in bad.items():
        (tmp_path / "red" / name).write_bytes(content)
    data = open_data(tmp_path)
    (tmp_path / "red" / "03.png").unlink()
    kept = drop_unreadable(data)
    reasons = {Path(path).name: reason for path, reason in kept.unreadable}
    assert all(Path(path).parent == tmp_path / "red" for path, _ in kept.unreadable)
    assert set(reasons) == {*bad, "03.png"}
    assert all(name in reason for name, reason in reasons.items())
    assert "PDF" in reasons["02.png"]
    assert "does not exist" in reasons["03.png"]
    left = {name for name, _ in named(kept.train) + named(kept.val)}
    assert left == {f"{c}/{i:02}.png" for c in ("red", "blue") for i in range(8)} - {
        f"red/{name}" for name in reasons
    }


def table(root, text):
    path = root / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def lines(split=None):
    rows = [(f"{kind}{i}.png", ("warm", "cold")[kind]) for kind in (0, 1) for i in range(4)]
    if split is None:
        return "\n".join(["path,label", *(f"{p},{name}" for p, name in rows)])
    return "\n".join(["path,label,split", *(f"{p},{n},{split(p)}" for p, n in rows)])


def test_a_table_is_read_relative_to_itself_and_split_per_class(tmp_path):
    data = open_data(table(tmp_path, lines()), val_share=0.25)
    assert data.names == ("cold", "warm")
    assert Counter(data.train.targets.tolist()) == {0: 3, 1: 3}
    assert Counter(data.val.targets.tolist()) == {0: 1, 1: 1}
    for path, i in [*data.train, *data.val]:
        assert isinstance(path, Path)
        assert (path.parent, path.name[0]) == (tmp_path, "10"[i])
    assert "25 %" in data.split


def test_a_table_may_give_the_split(tmp_path):
    data = open_data(table(tmp_path, lines(lambda p: "Validation" if p[1] == "3" else "train")))
    assert sorted(named(data.val)) == [("03.png", 1), ("13.png", 0)]
    assert len(data.train) == 6


def test_a_photograph_that_a_table_names_twice_is_not_learnt_from_and_measured_with(tmp_path):
    """As exports of boxes do: a row for each object. Two classes of one photo are no mistake."""
    path = table(tmp_path, lines() + lines()[len("path,label") :] + "\n00.png,cold")
    data = open_data(path, val_share=0.25)
    held = {name for name, _ in named(data.val)}
    assert len(data.val) == len(held) == 2
    assert not held & {name for name, _ in named(data.train)}
    boxes = lines(lambda p: "train" if p[1] < "3" else "val")
    data = open_data(table(tmp_path, boxes + boxes[len("path,label,split") :]))
    assert (len(data.train), len(data.val)) == (6, 2)
    both = lines(lambda p: "train") + lines(lambda p: "val")[len("path,label,split") :]
    with pytest.raises(DatasetError, match=r"8 training images.*'00\.png'.*one split"):
        open_data(table(tmp_path, both))


def test_of_a_table_that_only_trains_some_is_held_out(tmp_path):
    data = open_data(table(tmp_path, lines(lambda p: "train")), val_share=0.25)
    assert (len(data.train), len(data.val)) == (6, 2)


def test_a_class_folder_whose_name_is_no_text(tmp_path):
    kinds = [os.fsdecode(b"caf\xe9"), "bar"]
    for kind in kinds:
        make(tmp_path, {kind: 3})
    assert open_data(tmp_path).names == tuple(sorted(kinds))


def test_of_several_parts_to_measure_with_a_table_gives_the_first(tmp_path):
    """The photographs of the test part must not choose the epoch that is kept."""
    parts = {"0": "train", "1": "train", "2": "test", "3": "val"}
    data = open_data(table(tmp_path, lines(lambda p: parts[p[1]])))
    assert sorted(name for name, _ in named(data.val)) == ["03.png", "13.png"]
    assert len(data.train) == 4
    assert data.split == "the table's val part; its test part is left out"


def test_a_class_of_a_part_that_is_left_out_is_not_to_be_learnt(tmp_path):
    parts = {"0": "train", "1": "train", "2": "test", "3": "val"}
    data = open_data(table(tmp_path, lines(lambda p: parts[p[1]]) + "\n9.png,rare,test"))
    check_trainable(data)
    assert data.names == ("cold", "warm")


@pytest.mark.parametrize(("text", "said"), [
    ("file,class\na.png,cat", "file, class"), ("", "nothing"), ("path,label\na.png,", "Line 2"),
    ("path,label,split\na.png,cat,train\nb.png,cat,holiday", "Line 3.*'holiday'"),
    ('path,label\n\n"a\nb.png",cat\nc.png,', "Line 5"), ("path,label\n", "names no images"),
    ("path,label\na.png,cat\nb.png,cat", "one class.*'cat'"),
    ("path,label,split\na.png,cat,train\nb.png,dog,train", "2 training and 0 validation"),
])  # fmt: skip
def test_a_broken_table_says_what_was_found(tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        open_data(table(tmp_path, text))


def test_a_picture_is_no_table(tmp_path):
    draw(0).save(tmp_path / "photo.png")
    with pytest.raises(DatasetError, match=r"'photo\.png'.*path,label"):
        open_data(tmp_path / "photo.png")


class FakeTable:
    """What is used of ``datasets.Dataset``: features, columns, rows and ``cast_column``."""

    def __init__(self, rows, names, decoded=True):
        self.rows, self.names, self.decoded = rows, names, decoded
        label = type("ClassLabel", (), {"names": names})() if names else type("Value", (), {})()
        self.features = {"id": object(), "picture": type("Image", (), {})(), "label": label}

    def cast_column(self, column, feature):
        assert (column, feature.decode) == ("picture", False)
        return FakeTable(self.rows, self.names, decoded=False)

    def select_columns(self, columns):
        assert columns == ["picture"]
        return self

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        assert not self.decoded, "the package would decode the photograph"
        return self.rows[key]


def fake_rows(count, labels=(0, 1)):
    rows: list[dict[str, object]] = []
    for kind, label in enumerate(labels):
        for i in range(count):
            file = io.BytesIO()
            draw_kind(kind, i).save(file, "PNG")
            rows.append({"id": i, "picture": {"bytes": file.getvalue()}, "label": label})
    return rows


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """Install a stand-in for the optional package that returns what is put in here as "it"."""
    found: dict[str, object] = {}
    module = ModuleType("datasets")
    module.load_from_disk = lambda path: found["it"]  # type: ignore[attr-defined]
    module.Image = lambda decode: SimpleNamespace(decode=decode)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    (tmp_path / "dataset_info.json").write_text("{}")
    return found


def check_colours(data):
    """Class 0 is red, class 1 blue."""
    for photo, index in [*data.train, *data.val]:
        colour = np.asarray(load_photo(photo)).mean(axis=(0, 1))
        assert colour[0 if index == 0 else 2] > 150


def test_a_saved_data_set_gives_its_rows(saved, tmp_path):
    rows = [*fake_rows(4), {"id": 9, "picture": None, "label": -1}]
    saved["it"] = FakeTable(rows, ["red", "blue"])
    data = open_data(tmp_path, val_share=0.25)
    assert data.names == ("red", "blue")
    assert (len(data.train), len(data.val)) == (6, 2)
    check_colours(data)
    assert list(found(tmp_path)) == [f"train[{i}]" for i in range(8)]


def test_a_saved_data_set_with_a_split_and_texts_as_labels(saved, tmp_path):
    saved["it"] = {
        name: FakeTable(fake_rows(n, ("zebra", "ape")), None)
        for name, n in (("train", 3), ("test", 1))
    }
    data = open_data(tmp_path)
    assert data.names == ("ape", "zebra")
    assert Counter(data.train.targets.tolist()) == {0: 3, 1: 3}
    assert sorted(named(data.val)) == [("val[0]", 1), ("val[1]", 0)]
    assert found(tmp_path) == {"val[0]": "zebra", "val[1]": "ape"}


def test_each_part_of_a_saved_data_set_may_number_its_classes_in_its_own_way(saved, tmp_path):
    saved["it"] = {
        "train": FakeTable([row | {"label": 2 * row["label"]} for row in fake_rows(2)],
                           ["red", "green", "blue"]),
        "test": FakeTable(fake_rows(1), ["red", "blue"]),
    }  # fmt: skip
    data = open_data(tmp_path)
    assert [data.names[i] for i in data.train.targets] == ["red", "red", "blue", "blue"]
    assert [data.names[i] for i in data.val.targets] == ["red", "blue"]
    assert found(tmp_path) == {"val[0]": "red", "val[1]": "blue"}


@pytest.mark.parametrize("parts", [("train",), ("train", "test")])
def test_classes_that_a_saved_data_set_names_and_does_not_show_are_not_learnt(
    saved, tmp_path, parts
):
    """As ``filter`` leaves them: a ClassLabel keeps all of its names."""
    names = ["green", "red", "pink", "blue"]
    tables = {name: FakeTable(fake_rows(4, (1, 3)), names) for name in parts}
    saved["it"] = tables if len(parts) > 1 else tables["train"]
    data = open_data(tmp_path)
    check_trainable(data)
    assert data.names == ("red", "blue")
    check_colours(data)
    assert any("('green', 'pink') without any image" in said for said in data.account.notices)


def test_several_labels_of_one_image_are_a_sentence(saved, tmp_path):
    saved["it"] = FakeTable([row | {"label": [0, 1]} for row in fake_rows(2)], None)
    with pytest.raises(DatasetError, match=r"of the kind list; one text, or one number"):
        open_data(tmp_path)


@pytest.mark.parametrize("parts", [("test",), ("validation", "all")])
def test_what_is_measured_with_is_never_learnt_from(saved, tmp_path, parts):
    saved["it"] = {name: FakeTable(fake_rows(4), ["red", "blue"]) for name in parts}
    data = open_data(tmp_path, val_share=0.25)
    assert not {name for name, _ in named(data.train)} & {name for name, _ in named(data.val)}
    assert len(data.train) == (6 if len(parts) == 1 else 8)


@pytest.mark.parametrize(("parts", "left", "words"), [
    (("a", "b"), "'b'", "the part 'a'"),
    (("train", "validation", "test"), "'test'", "the validation part"),
])  # fmt: skip
def test_parts_of_a_saved_data_set_that_are_left_out_are_named(saved, tmp_path, parts, left, words):
    saved["it"] = {name: FakeTable(fake_rows(4), ["red", "blue"]) for name in parts}
    part = find_labelled(tmp_path)
    assert part.words == words
    for account in (part.account, open_data(tmp_path).account):
        assert account.notices == [f"Of the saved data set {left} is left out."]


def test_without_the_package_the_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(DatasetError, match="pip install datasets"):
        open_data(tmp_path)


def test_the_real_package_agrees(tmp_path):
    datasets = pytest.importorskip("datasets")
    for kind in (0, 1):
        for i in range(16):
            draw_kind(kind, i).save(tmp_path / f"{kind}-{i:02}.png")
    paths = sorted(tmp_path.glob("*.png"))
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "blue"])}
    )
    columns = {"image": [str(p) for p in paths], "label": [int(p.name[0]) for p in paths]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    data = open_data(tmp_path / "saved")
    assert (data.names, len(data.train), len(data.val)) == (("red", "blue"), 28, 4)
    check_colours(data)
