import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mscnn.data.layouts import (
    ImageFolders,
    check_trainable,
    drop_unreadable,
    find_images,
    open_data,
)
from mscnn.errors import DatasetError
from mscnn.training.dataset import read_photo
from tests.training.conftest import draw


def table(root, text):
    for kind in (0, 1):
        for i in range(4):
            draw(kind, i).save(root / f"{kind}{i}.png")
    path = root / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def lines(split=None):
    rows = [(f"{kind}{i}.png", ("warm", "cold")[kind]) for kind in (0, 1) for i in range(4)]
    if split is None:
        return "\n".join(["path,label", *(f"{p},{name}" for p, name in rows)])
    return "\n".join(["path,label,split", *(f"{p},{n},{split(p)}" for p, n in rows)])


def test_a_table_is_read_relative_to_itself_and_split_per_class(tmp_path):
    found = find_images(table(tmp_path, lines()), val_share=0.25)
    assert found.names == ("cold", "warm")
    assert Counter(i for _, i in found.train) == {0: 3, 1: 3}
    assert Counter(i for _, i in found.val) == {0: 1, 1: 1}
    assert all(p.parent == tmp_path and p.name[0] == "10"[i] for p, i in found.train + found.val)
    assert "25 %" in found.split


def test_a_table_may_give_the_split(tmp_path):
    path = table(tmp_path, lines(lambda p: "Validation" if p[1] == "3" else "train"))
    found = find_images(path)
    assert sorted((p.name, i) for p, i in found.val) == [("03.png", 1), ("13.png", 0)]
    assert len(found.train) == 6


def test_of_several_parts_to_measure_with_a_table_gives_the_first(tmp_path):
    """The photographs of the test part must not choose the epoch that is kept."""
    parts = {"0": "train", "1": "train", "2": "test", "3": "val"}
    found = find_images(table(tmp_path, lines(lambda p: parts[p[1]])))
    assert sorted(p.name for p, _ in found.val) == ["03.png", "13.png"]
    assert len(found.train) == 4
    assert found.split == "the table's val part; its test part is left out"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,class\na.png,cat", "file, class"),
        ("", "nothing"),
        ("path,label\na.png,", "Line 2"),
        ("path,label,split\na.png,cat,train\nb.png,cat,holiday", "Line 3.*'holiday'"),
        ("path,label\n", "names no images"),
        ("path,label\na.png,cat\nb.png,cat", "one class.*'cat'"),
    ],
)
def test_a_broken_table_says_what_was_found(tmp_path, text, said):
    with pytest.raises(DatasetError, match=said):
        find_images(table(tmp_path, text))


def test_a_picture_is_no_table(tmp_path):
    draw(0, 0).save(tmp_path / "photo.png")
    with pytest.raises(DatasetError, match=r"'photo\.png'.*path,label"):
        find_images(tmp_path / "photo.png")


def make(root, tree):
    """``{"a/b": n}``: so many pictures in that folder; 0 makes it empty."""
    for number, (name, count) in enumerate(tree.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            draw(number % 2, i).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "is empty; make one folder per class"),
        ({".": 3}, "3 images and no folder per class"),
        ({"cat": 0, "dog": 0}, "2 folders and no images"),
        ({"cat": 4}, "one class.*'cat'"),
        ({"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/cow": 1}, "'cow'.*'val'.*'train'"),
        ({"train/cat": 2, "train/dog": 2, "val/cat": 0}, "4 training and 0 validation"),
    ],
)
def test_a_wrong_layout_says_what_was_found_and_what_to_do(tmp_path, tree, said):
    with pytest.raises(DatasetError, match=said):
        find_images(make(tmp_path / "data", {".": 0, **tree} if tree else {".": 0}))


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"cat": 4, "dog": 1, "hen": 1}, r"2 classes \('dog', 'hen'\) with a single image"),
        (
            {"train/cat": 2, "train/dog": 0, "val/cat": 2, "val/dog": 2},
            r"class \('dog'\) without a training image",
        ),
    ],
)
def test_classes_that_cannot_be_learnt_are_named(tmp_path, tree, said):
    with pytest.raises(DatasetError, match=said):
        check_trainable(find_images(make(tmp_path, tree)))


def test_a_class_may_be_called_train(tmp_path):
    assert find_images(make(tmp_path, {"bus": 3, "car": 3, "train": 3})).names == (
        "bus", "car", "train",
    )  # fmt: skip


def test_hidden_copies_do_not_count(tmp_path):
    tree = {"cat": 3, "cat/.ipynb_checkpoints": 2, "dog": 3}
    found = find_images(make(tmp_path, tree))
    assert len(found.train) + len(found.val) == 6


def test_a_folder_that_may_not_be_read_is_an_error_and_no_lost_class(tmp_path, monkeypatch):
    root = make(tmp_path, {"cat": 3, "dog": 3, "hen": 3})
    real = os.scandir

    def scandir(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("mscnn.data.walking.os.scandir", scandir)
    with pytest.raises(DatasetError, match="cannot be read: permission denied"):
        find_images(root)


def test_a_folder_without_pictures_is_no_class(tmp_path):
    assert find_images(make(tmp_path, {"cat": 3, "dog": 3, "notes": 0})).names == ("cat", "dog")


def test_however_much_is_held_out_something_is_left_to_learn(tmp_path):
    found = find_images(make(tmp_path, {"cat": 2, "dog": 3}), val_share=0.9)
    assert Counter(i for _, i in found.train) == {0: 1, 1: 1}


def test_unreadable_files_are_left_out_and_listed(folder):
    bad = {"00.png": b"", "01.png": b"not a picture", "02.png": b"%PDF-1.7"}
    for name, content in bad.items():
        (folder / "red" / name).write_bytes(content)
    (folder / "red" / "03.png").unlink()
    found = find_images(folder)
    gone = ImageFolders(found.names, (*found.train, (folder / "red" / "03.png", 1)), found.val)
    kept = drop_unreadable(gone)
    reasons = {path.rsplit("/", 1)[1]: reason for path, reason in kept.unreadable}
    assert set(reasons) == {*bad, "03.png"}
    assert all(name in reason for name, reason in reasons.items())
    assert "PDF" in reasons["02.png"]
    assert "does not exist" in reasons["03.png"]
    left = {path for path, _ in kept.train + kept.val}
    assert left == set(folder.rglob("*.png")) - {folder / "red" / name for name in bad}


class FakeTable:
    """What is used of ``datasets.Dataset``: features, columns, rows and ``cast_column``."""

    def __init__(self, rows, names, decoded=True):
        self.rows, self.names, self.decoded = rows, names, decoded
        label = type("ClassLabel", (), {"names": names})() if names else type("Value", (), {})()
        self.features = {"id": object(), "picture": type("Image", (), {})(), "label": label}

    def cast_column(self, column, feature):
        assert (column, feature.decode) == ("picture", False)
        return FakeTable(self.rows, self.names, decoded=False)

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        assert not self.decoded, "the package would decode the photograph"
        return self.rows[key]


@pytest.fixture
def fake_datasets(monkeypatch, tmp_path):
    """Install a stand-in for the optional package that returns what is put into ``saved``."""
    import io

    def png(kind, i):
        file = io.BytesIO()
        draw(kind, i).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    def rows(count, labels=(0, 1)):
        return [
            {"id": i, "picture": png(kind, i), "label": label}
            for kind, label in enumerate(labels)
            for i in range(count)
        ]

    saved: dict[str, object] = {}
    module = ModuleType("datasets")
    module.load_from_disk = lambda path: saved["it"]  # type: ignore[attr-defined]
    module.Image = lambda decode: SimpleNamespace(decode=decode)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    (tmp_path / "dataset_info.json").write_text("{}")
    return saved, rows


def test_a_saved_data_set_gives_its_rows(fake_datasets, tmp_path):
    saved, rows = fake_datasets
    saved["it"] = FakeTable([*rows(4), {"id": 9, "picture": None, "label": -1}], ["red", "blue"])
    found = open_data(tmp_path, val_share=0.25)
    assert found.names == ("red", "blue")
    assert (len(found.train), len(found.val)) == (6, 2)
    for photo, index in found.train + found.val:
        colour = np.asarray(read_photo(photo)).mean(axis=(0, 1))
        assert colour[0 if index == 0 else 2] > 150  # red or blue, as the label says


def test_a_saved_data_set_with_a_split_and_texts_as_labels(fake_datasets, tmp_path):
    saved, rows = fake_datasets
    parts = {
        name: FakeTable(rows(n, ("zebra", "ape")), None) for name, n in (("train", 3), ("test", 1))
    }
    saved["it"] = parts
    found = open_data(tmp_path)
    assert found.names == ("ape", "zebra")
    assert Counter(i for _, i in found.train) == {0: 3, 1: 3}
    assert sorted((photo.name, i) for photo, i in found.val) == [("val[0]", 1), ("val[1]", 0)]


def test_without_the_package_the_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(DatasetError, match="pip install datasets"):
        open_data(tmp_path)


def test_the_real_package_agrees(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = sorted(folder.rglob("*.png"))
    labels = [0 if path.parent.name == "red" else 1 for path in paths]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "blue"])}
    )
    columns = {"image": [str(path) for path in paths], "label": labels}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    found = open_data(tmp_path / "saved")
    assert (found.names, len(found.train), len(found.val)) == (("red", "blue"), 28, 4)
    photo, index = found.train[0]
    assert np.asarray(read_photo(photo)).mean(axis=(0, 1))[0 if index == 0 else 2] > 150
