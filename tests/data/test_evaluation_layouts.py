"""What is understood as labelled photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscnn.data.evaluation_layouts import find_labelled
from mscnn.data.listing import FileList, list_photos
from mscnn.data.walking import walk
from mscnn.errors import DatasetError


def found(root: Path) -> dict[str, str]:
    """Name of each photograph to its class."""
    data = find_labelled(root)
    return {
        data.photos.name(i): data.names[target] for i, target in enumerate(data.targets.tolist())
    }


def test_class_folders(tmp_path, fill) -> None:
    names = fill(tmp_path, {"b": 2, "a/deep": 1, "a": 1})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").touch()
    (tmp_path / "a" / "._hidden.png").touch()
    assert found(tmp_path) == {name: name[0] for name in names}
    assert find_labelled(tmp_path).part == "all images"


def test_one_class_can_be_evaluated(tmp_path, fill) -> None:
    fill(tmp_path, {"a": 2})
    assert set(found(tmp_path).values()) == {"a"}


@pytest.mark.parametrize(
    ("folders", "part"),
    [
        ({"train/a": 2, "train/b": 1, "val/a": 1}, "val"),
        ({"train/a": 1, "test/a": 2}, "test"),
        ({"validation/a": 1, "validation/b": 1}, "validation"),
        ({"train/a": 1}, "train"),
    ],
)
def test_a_part_of_its_own(tmp_path, fill, folders, part) -> None:
    names = [name for name in fill(tmp_path, folders) if name.startswith(f"{part}/")]
    assert found(tmp_path) == {name: name.split("/")[1] for name in names}
    assert find_labelled(tmp_path).part == f"the folder {part}"


def test_a_class_may_be_called_test(tmp_path, fill) -> None:
    names = fill(tmp_path, {"exam": 1, "test": 1})
    assert found(tmp_path) == {name: name.split("/")[0] for name in names}


@pytest.mark.parametrize("inside", ["", "val"])
def test_tiny_imagenet(tmp_path, fill, inside) -> None:
    root = tmp_path / inside
    fill(root, {"images": 3}, ".JPEG")
    lines = ["00.JPEG\tn02\t0\t0\t9\t9", "02.JPEG\tn01\t0\t0\t9\t9", "01.JPEG\tn02\t0\t0\t9\t9"]
    (root / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    prefix = f"{inside}/images" if inside else "images"
    assert found(tmp_path) == {
        f"{prefix}/00.JPEG": "n02", f"{prefix}/02.JPEG": "n01", f"{prefix}/01.JPEG": "n02",
    }  # fmt: skip


def test_a_table_also_beside_loose_photographs(tmp_path, fill) -> None:
    fill(tmp_path, {"in": 3})
    for number in range(3):
        (tmp_path / "in" / f"{number:02}.png").rename(tmp_path / f"{number}.png")
    (tmp_path / "in").rmdir()
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n0.png,x\n1.png,y\n2.png,x\n")
    assert found(table) == found(tmp_path) == {"0.png": "x", "1.png": "y", "2.png": "x"}


def test_a_table_with_a_validation_part(tmp_path, fill) -> None:
    fill(tmp_path, {"a": 3})
    table = tmp_path / "t.csv"
    table.write_text("path,label,split\na/00.png,x,train\na/01.png,y,val\na/02.png,z,train\n")
    assert found(table) == {"a/01.png": "y"}
    assert find_labelled(table).names == ("y",)  # the model need not know the other classes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "is empty"),
        (lambda root: (root / "a").mkdir(), "no image"),
        (lambda root: (root / "a.jpg").touch(), "1 images but nothing says"),
        (lambda root: (root / "val_annotations.txt").write_text("a.jpg\n"), "Line 1"),
        (lambda root: root.rmdir(), "There is no folder"),
    ],
)
def test_what_is_not_understood(tmp_path, make, words) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(DatasetError, match=words):
        find_labelled(root)


def test_names_are_packed_as_they_were(tmp_path) -> None:
    names = ["a/b.png", "ü é.jpg", "x" * 200 + ".png", "a\udcff.png"]
    packed = FileList(tmp_path, names)
    assert [packed.name(i) for i in range(len(packed))] == names
    assert packed.source(0) == tmp_path / "a" / "b.png"


def test_a_walk_is_sorted_and_follows_links_but_not_in_circles(tmp_path, fill) -> None:
    fill(tmp_path / "root", {"b": 1, "a": 2})
    fill(tmp_path / "other", {"c": 1})
    try:
        (tmp_path / "root" / "z").symlink_to(tmp_path / "other")
        (tmp_path / "root" / "a" / "back").symlink_to(tmp_path / "root")
        (tmp_path / "root" / "gone").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("links cannot be made here")
    assert list(walk(tmp_path / "root")) == ["a/00.png", "a/01.png", "b/00.png", "z/c/00.png"]


def test_a_digest_tells_changed_photographs(tmp_path, fill) -> None:
    fill(tmp_path, {"a": 2})
    before = list_photos(tmp_path).digest()
    assert list_photos(tmp_path).digest() == before
    with (tmp_path / "a" / "00.png").open("ab") as file:
        file.write(b"x")
    assert list_photos(tmp_path).digest() != before
