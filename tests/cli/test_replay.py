"""``mscnn replay``: the same arrays again, what differs, and what cannot be replayed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from mscnn.results.replay import differences
from tests.cli.conftest import run_json
from tests.page.serving import CLASSES

RES2NET, RESNET = "starter_res2net", "starter_resnet"
BOTH = f"{RES2NET},{RESNET}"
COMMANDS = {
    "explain": ("--layer", "layer3", "--target", "lion", "--opacity", "0"),
    "explain --method eigencam": ("--method", "eigencam"),
    "compare": ("--models", BOTH, "--layer", "3"),
    "scales": ("--model", RES2NET, "--ablate", "--draws", "2", "--fill", "zero"),
    "sweep": ("--models", BOTH, "--sizes", "2,0.5", "--box", "25,0,75,100", "--canvas", "noise"),
    "trust": ("--against", "lion", "--against", "sea lion", "--box", "0,0,0.5,1"),
}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    return tmp_path_factory.mktemp("made") / "e"


@pytest.fixture
def made(photo, made_once, capsys):
    """A map of the photo in the folder ``e``."""
    if not made_once.exists():
        how = ["--model", RESNET, "--target", "thing 3", "--out", str(made_once)]
        assert main(["explain", photo, *how]) == 0
        capsys.readouterr()
    return Path(shutil.copytree(made_once, "e"))


def model_folder(bundled, folder):
    """A folder as training writes it, with the weights of ``RESNET``."""
    folder.mkdir(parents=True)
    config = {"architecture": RESNET, "num_classes": len(CLASSES)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = bundled / "weights" / f"{RESNET}.safetensors"
    shutil.copy(weights, folder / "model.safetensors")


def test_a_folder_called_like_a_model_of_the_list_stays_a_folder(bundled, photo, capsys):
    model_folder(bundled, Path(RES2NET))
    for given in (f"./{RES2NET}", str(Path(RES2NET).absolute())):
        assert main(["explain", photo, "--model", given, "--out", "o"]) == 0
        capsys.readouterr()
        made = json.loads(Path("o/manifest.json").read_text("ascii"))["replay"]
        assert [made["options"]["model"], *made["weights"]] == [f"./{RES2NET}"] * 2
        assert run_json(capsys, "replay", "o")["same"] is True


@pytest.mark.parametrize("command", ["compare photo.png", "compare .", "sweep photo.png"])
def test_folders_of_one_name_are_refused(command, bundled, photo, capsys):
    for place in "ab":
        model_folder(bundled, Path(place, "net"))
    models = ",".join(str(Path(place, "net").absolute()) for place in "ab")
    assert main([*command.split(), "--models", models, "--out", "o"]) == 2
    assert "Two models have the same name; rename the folder of one" in capsys.readouterr().err
    assert not Path("o").exists()


def change(folder, **what):
    """Write other values into the manifest; into its record those that belong there."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text("ascii"))
    for key, value in what.items():
        (document["replay"] if key in document["replay"] else document)[key] = value
    path.write_text(json.dumps(document), encoding="ascii")


@pytest.mark.parametrize(
    "command",
    [
        name if "explain" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in COMMANDS
    ],
)
def test_a_second_run_gives_the_same(command, photo, few_steps, capsys):
    name = command.split()[0]
    run_json(capsys, name, photo, *COMMANDS[command], "--out", "o")
    found = run_json(capsys, "replay", "o/manifest.json", "--out", "again")
    assert found["same"] is True
    assert found["arrays"]
    assert set(found["arrays"].values()) == {None}
    assert any(one.startswith("cap.json ") for one in found["arrays"]) == (name == "scales")
    assert found["changed"] == {}
    assert found["options"].get("opacity", 0.6) == (0 if command == "explain" else 0.6)
    # It is so, read without our code; pictures too, for no option was forgotten.
    for path in Path("o").glob("*.np[yz]"):
        old, new = np.load(path), np.load(Path("again", path.name))
        pairs = (
            [(old[key], new[key]) for key in old.files] if path.suffix == ".npz" else [(old, new)]
        )
        for a, b in pairs:
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max(initial=0))
    for path in (*Path("o").glob("overlay.png"), *Path("o").glob("film.png")):
        assert path.read_bytes() == Path("again", path.name).read_bytes()
    assert main(["replay", "again"]) == 0


@pytest.mark.slow
def test_the_same_after_a_restart(photo, capsys):
    run_json(capsys, "scales", photo, "--out", "o")
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mscnn", "replay", "o", "--json"], env=env, capture_output=True,
        text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["same"] is True


def test_text_says_what_is_the_same(made, capsys):
    assert main(["replay", "e"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "explain of photo.png: 1 of 1 arrays are the same" in out
    assert f"same weights, {RESNET} " in out
    assert "same settings, same versions of packages" in out


@pytest.mark.parametrize(("factor", "code"), [(1 + 1e-6, 0), (1 + 1e-4, 1), (1e-9, 1)])
def test_a_tolerance_relative_to_the_largest_magnitude(factor, code, made, capsys):
    cam = np.load(made / "cam.npy")
    np.save(made / "cam.npy", cam * np.float32(factor))
    assert main(["replay", "e"]) == code
    assert ("cam.npy differs by up to " in capsys.readouterr().out) == bool(code)


def test_what_differs_is_said(made, capsys):
    np.save(made / "cam.npy", np.zeros((3, 3), np.float32))
    change(made, versions={"mscnn": "0.0.1", "torch": "1.0"}, compare=["cam.npy"],
           options={"model": RESNET, "target": "thing 4"})  # fmt: skip
    assert main(["replay", "e"]) == 1
    out = capsys.readouterr().out
    assert "0 of 1 arrays" in out
    assert "cam.npy was of shape (3, 3), now it is of shape (9, 9)" in out
    assert "torch was 1.0, now it is " in out
    assert "class label was thing 3, now it is thing 4" in out


def test_differences_by_hand():
    one = np.ones(1)
    old = {"a": np.array([0.0, 200.0]), "b": np.zeros(2), "c": np.array([np.nan, 1.0]), "d": one}
    new = {"a": np.array([0.0019, 200.0]), "b": np.array([0, 1e-30]), "c": np.ones(2), "e": one}
    found = differences(old, new)
    assert sorted(found) == ["b", "c", "d", "e"]
    assert found["d"] == "was of shape (1,), now it is missing"
    assert sorted(differences({"a": old["a"]}, {"a": np.array([0.0021, 200.0])})) == ["a"]


@pytest.mark.slow
def test_of_a_sweep_that_was_stopped_only_what_it_holds_is_compared(photo, capsys):
    run_json(capsys, "sweep", photo, "--models", BOTH, "--sizes", "2,1,0.5", "--out", "o")
    document = json.loads(Path("o/sweep.json").read_text("ascii"))
    del document["models"][1]["steps"][1:]
    Path("o/sweep.json").write_text(json.dumps(document), encoding="ascii")
    assert main(["replay", "o"]) == 1
    capsys.readouterr()
    change(Path("o"), partial=True)
    assert main(["replay", "o"]) == 0


def test_a_manifest_holds_no_path_of_this_machine(photo, tmp_path, capsys):
    weights = Path(os.environ["MSCNN_ASSETS"], "weights", f"{RESNET}.safetensors")
    shutil.copy(weights, "own.safetensors")
    for given in (Path("own.safetensors").resolve(), Path("own.safetensors")):
        how = ("--model", RESNET, "--weights", str(given), "--out", "o")
        run_json(capsys, "explain", str(Path(photo).resolve()), *how)
        text = Path("o/manifest.json").read_text("ascii")
        assert str(tmp_path) not in text
        assert json.loads(text)["replay"]["options"]["weights"] == "own.safetensors"
        assert run_json(capsys, "replay", "o")["same"] is True


@pytest.mark.parametrize("place", ["o", ".", "sub", "given"])
def test_the_photo_is_found(place, photo, capsys):
    run_json(capsys, "explain", photo, "--out", "sub/o")
    Path("elsewhere").mkdir()
    given = []
    if place == "given":
        shutil.move(photo, "elsewhere/other name.png")
        given = ["--photo", "elsewhere/other name.png"]
    elif place != ".":
        shutil.move(photo, "sub/o" if place == "o" else "sub")
    assert run_json(capsys, "replay", "sub/o", *given)["same"] is True


def test_an_example_of_the_page_needs_no_photo(photo, bundle_folder, monkeypatch, capsys):
    from mscnn.models.examples import examples

    lion = next(example for example in examples() if example.label == "Lion")
    run_json(capsys, "explain", str(lion.path), "--out", "o")
    assert run_json(capsys, "replay", "o")["photo"]["name"] == lion.path.name


def other_photo(folder):
    Image.new("RGB", (9, 9)).save("photo.png")


BAD = {
    "there is none": (lambda f: shutil.rmtree(f), "cannot be read"),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{"), "no manifest that mscnn wrote"),
    "deep": (lambda f: (f / "manifest.json").write_text("[" * 99_999), "no manifest that mscnn"),
    "bytes": (lambda f: (f / "manifest.json").write_bytes(b"\xff\0"), "no manifest that mscnn"),
    "other JSON": (lambda f: (f / "manifest.json").write_text("[]"), "no manifest that mscnn"),
    "older": (lambda f: (f / "manifest.json").write_text('{"versions": {}}'), "how it was made"),
    "a broken record": (lambda f: change(f, replay={"command": 3}), "no manifest that mscnn wrote"),
    "a record of numbers": (lambda f: change(f, replay=[3]), "no manifest that mscnn wrote"),
    "a list of numbers": (lambda f: change(f, compare=[3]), "no manifest that mscnn wrote"),
    "models of numbers": (
        lambda f: change(f, command="compare", options={"models": [3, 4]}), "'3'"
    ),
    "models of one number": (
        lambda f: change(f, command="compare", options={"models": 7}), "'7'"
    ),
    "an option of no such kind": (lambda f: change(f, options={"opacity": {"a": 1}}), "opacity"),
    "a command that writes": (lambda f: change(f, command="train"), "'train' cannot do"),
    "an option that writes": (lambda f: change(f, options={"out": "x"}), "'explain' cannot do"),
    "an unknown option": (lambda f: change(f, options={"bogus": 1}), "'explain' cannot do"),
    "an unknown model": (lambda f: change(f, options={"model": "./no"}), "There is no folder ./no"),
    "a model that is no name": (lambda f: change(f, options={"model": 3}), "3"),
    "an empty record": (lambda f: change(f, photo={}, weights={}, compare=[]), "no manifest that"),
    "nothing to compare": (lambda f: change(f, compare=[]), "no manifest that mscnn wrote"),
    "a photo without a name": (lambda f: change(f, photo={"name": "", "sha256": "0"}), "no mani"),
    "a complex array": (lambda f: np.save(f / "cam.npy", np.array([1j])), "or damaged"),

    "other weights": (
        lambda f: change(f, weights={RESNET: "c0ffee" * 10}),
        "The manifest is of other weights of starter_resnet: sha256 c0ffeec0ffee, not ",
    ),
    "photo gone": (lambda f: Path("photo.png").unlink(), "The photo 'photo.png' was not found"),
    "another photo": (other_photo, "'photo.png' is another photo"),
    "array gone": (lambda f: (f / "cam.npy").unlink(), "'cam.npy' is not beside the manifest"),
    "array damaged": (lambda f: (f / "cam.npy").write_bytes(b"\x93NUMPY\x01"), "or damaged"),
    "array of objects": (
        lambda f: np.save(f / "cam.npy", np.array([{}]), allow_pickle=True), "or damaged"
    ),
    "array elsewhere": (lambda f: change(f, compare=["../photo.npy"]), "'photo.npy' is not beside"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_replayed_is_a_sentence(fault, made, capsys, tmp_path):
    spoil, words = BAD[fault]
    spoil(made)
    before = sorted(Path().rglob("*"))
    assert main(["replay", "e/manifest.json", "--out", "new"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert str(tmp_path) not in err
    assert "Something unexpected" not in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(("what", "words"), [
    ({"weights": {"x": "y"}}, "starter_resnet: sha256 unknown, not"),
    ({"command": "unit", "options": {"model": RESNET, "point": [0.5, 0.5],
                                     "units": ["layer3.1/\u00b2"]}}, "beside the manifest"),
])  # fmt: skip
def test_a_record_that_shows_only_after_the_run_to_be_wrong(what, words, made, capsys):
    change(made, **what)
    assert main(["replay", "e"]) == 2
    assert words in capsys.readouterr().err


def test_arguments_that_are_refused(made, capsys):
    for arguments, words in (
        (["--out", "e"], "--out is the folder of the manifest"),
        (["--photo", "no.png"], "'no.png' does not exist; give a JPEG"),
        (["--photo", "e"], "'e' is a folder; give a JPEG"),
        (["--photo", "e/manifest.json"], "'manifest.json' is not a picture"),
        (["--photo="], "--photo is empty"),
        (["--photo", "e/overlay.png"], "'overlay.png' is another photo"),
        (["--device", "tpu"], "tpu"),
    ):
        assert main(["replay", "e", *arguments]) == 2
        assert words in capsys.readouterr().err
