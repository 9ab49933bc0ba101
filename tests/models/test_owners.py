"""Model folders of a page's owner, and the names under which visitors know them."""

from pathlib import Path

import pytest

from mscnn.engine.session import Session
from mscnn.errors import OptionError, UnknownModelError
from mscnn.models.owners import OwnersModels
from mscnn.models.sources import locate


def made(folder):
    """A model folder as far as this module looks."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_is_offered_by_its_own_name_wherever_it_lies(tmp_path, monkeypatch):
    mine = made(tmp_path / "secret place" / "mine")
    owners = OwnersModels([mine])
    assert owners.names() == ("mine",)
    assert owners.folder("mine") == mine.resolve()
    assert owners.folder(str(mine)) is None
    monkeypatch.chdir(mine)
    assert OwnersModels(["."]).names() == ("mine",)


def test_a_name_of_the_list_and_a_name_given_twice_stay_apart(tmp_path):
    places = [made(tmp_path / a / b) for a, b in (("1", "starter_resnet"), ("1", "x"), ("2", "x"))]
    owners = OwnersModels([*places, places[1]])
    assert owners.names() == ("./starter_resnet", "x", "x (2)")
    assert [owners.folder(name) for name in owners.names()] == [p.resolve() for p in places]


def test_a_shelf_is_read_anew_each_time(tmp_path):
    shelf = tmp_path / "models"
    owners = OwnersModels(shelf=shelf)
    assert owners.names() == ()
    made(shelf / "b")
    made(shelf / ".hidden")
    (shelf / "unfinished").mkdir()
    (shelf / "notes.txt").write_text("no model")
    assert owners.names() == ("b",)
    made(shelf / "a")
    assert owners.names() == OwnersModels([shelf]).names() == ("a", "b")
    (shelf / "b" / "config.json").unlink()
    assert owners.names() == ("a",)
    assert owners.folder("b") is None


def test_a_folder_that_may_not_be_entered_hides_no_other(tmp_path, monkeypatch):
    """As lost+found on a volume of its own, before Python 3.14."""
    for name in ("a", "lost+found", "z"):
        made(tmp_path / name)
    real = Path.stat

    def stat(path, **how):
        if path.parent.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    assert OwnersModels([tmp_path]).names() == ("a", "z")


@pytest.mark.parametrize(("place", "says"), [
    ("nowhere", "There is no folder .*nowhere.*finetune"),
    ("starter_resnet", "starter_resnet.* is in the list of models anyway"),
    ("empty", "holds no model; give one that .*finetune"), ("a file", "There is no folder"),
])  # fmt: skip
def test_what_holds_no_model_is_a_sentence(tmp_path, monkeypatch, place, says):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("a file").write_text("x")
    with pytest.raises(OptionError, match=says):
        OwnersModels([place])


def test_a_session_of_a_page_tells_no_folder_from_none(tmp_path):
    mine, other = made(tmp_path / "mine"), made(tmp_path / "other")
    session = Session("cpu", owners=OwnersModels([mine]))
    assert session.place("mine") == str(mine.resolve())
    assert session.place("resnet50") == "resnet50"
    answers = set()
    for name in (str(mine), str(other), str(tmp_path / "none"), "./mine"):
        with pytest.raises(UnknownModelError) as caught:
            session.place(name)
        answers.add(str(caught.value))
    assert len(answers) == 1
    assert Session("cpu").place(str(other)) == str(other)


def test_a_bare_name_is_timms_whatever_lies_in_the_current_folder(tmp_path, monkeypatch):
    made(tmp_path / "other"), made(tmp_path / "resnet34")
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    session = Session("cpu", offline=True, owners=OwnersModels())
    for name in ("other", "notes.txt", "not there"):
        with pytest.raises(UnknownModelError, match=f"There is no model '{name}'"):
            session.network(name)
    assert locate(session.place("resnet34")).model == "resnet34.a1_in1k"
