"""``evaluate`` and ``features`` as they are typed."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from mscnn.data.feature_files import read_feature_file
from mscnn.models import registry
from mscnn.training.networks import fresh
from mscnn.training.results import export_folder

ROOT = str(Path(registry.__file__).parents[2])
QUICK = ["--workers", "0", "--device", "cpu"]


@pytest.fixture
def data(bundled):
    """Three photographs in two class folders, and a file that is none."""
    random = np.random.default_rng(0)
    for number, folder in enumerate(("lion", "lion", "7")):
        pixels = random.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Path("data", folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((90, 70)).save(f"data/{folder}/{number}.png")
    Path("data/7/bad.jpg").write_text("no picture")
    return Path("data")


def run(capsys, *argv):
    code = main([*argv, *QUICK, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_evaluate_prints_the_contract(data, bundled, capsys):
    code, document, err = run(capsys, "evaluate", "data", "--model", "starter_resnet")
    assert (code, err) == (0, "")  # nothing is written beside a model of the list
    weights = (bundled / "weights" / "starter_resnet.safetensors").read_bytes()
    assert document["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert (document["model"], document["images"]) == ("starter_resnet", 3)
    assert document["unreadable"] == ["7/bad.jpg"]
    assert 0 <= document["top1"] <= document["top5"] <= 1
    assert document["images_per_second"] > 0
    assert 0 <= document["ece"] <= 1
    assert document["class_map"] == {
        "7": {"index": 7, "label": "thing 7"}, "lion": {"index": 198, "label": "lion"},
    }  # fmt: skip
    assert "classes" not in document


def test_evaluate_agrees_with_predict(data, capsys):
    photos = ["data/7/2.png", "data/lion/0.png", "data/lion/1.png"]
    assert main(["predict", *photos, "--model", "starter_resnet", "--device", "cpu", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["results"]
    wanted = [7, 198, 198]
    ranks = [[s["index"] for s in answer["top"]] for answer in answers]
    _, document, _ = run(capsys, "evaluate", "data", "--model", "starter_resnet")
    assert document["top1"] == np.mean([r[0] == w for r, w in zip(ranks, wanted, strict=True)])
    assert document["top5"] == np.mean([w in r for r, w in zip(ranks, wanted, strict=True)])


def test_evaluate_writes_files_and_says_so(data, capsys):
    code, document, _ = run(
        capsys, "evaluate", "data", "--model", "starter_resnet", "--out", "found"
    )
    assert code == 0
    assert sorted(document["files"]) == sorted(p.name for p in Path("found").iterdir())
    assert [row["images"] for row in document["classes"]] == [1, 2]
    assert main(["evaluate", "data", "--model", "starter_resnet", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "3 photographs of 2 classes" in text
    assert "left out 7/bad.jpg: 'bad.jpg'" in text


@pytest.mark.parametrize(("labels", "options", "written"), [
    (("7", "lion"), [], True),
    (("7", "lion", "tiger"), [], False),  # no photograph of a tiger
    (("7", "lion"), ["--weights", "mine"], False),
])  # fmt: skip
def test_evaluate_keeps_the_reliability_of_a_users_model(labels, options, written, data, capsys):
    export_folder(fresh("starter_resnet", len(labels), 0).model, Path("mine"), labels)
    code, document, err = run(capsys, "evaluate", "data", "--model", "./mine", *options)
    assert (code, Path("mine/reliability.json").is_file()) == (0, written)
    if not written:
        assert err == ""
        return
    assert err.startswith("written mine/reliability.json: ")
    assert err.count("\n") == 1
    kept = json.loads(Path("mine/reliability.json").read_text())
    assert (kept["set"], kept["images"], len(kept["bins"])) == ("data, all images", 3, 10)
    assert sum(b["images"] for b in kept["bins"]) == 3
    assert sum(b["right"] for b in kept["bins"]) == pytest.approx(3 * document["top1"])


def test_evaluate_leaves_a_models_own_tables_alone(data, capsys):
    Path("mine").mkdir()
    Path("mine", "config.json").write_text("{}")
    Path("mine", "classes.csv").write_text("of training")
    assert main(["evaluate", "data", "--model", "starter_resnet", "--out", "mine", *QUICK]) == 2
    assert "--out is a model's folder" in capsys.readouterr().err
    assert Path("mine", "classes.csv").read_text() == "of training"


def test_evaluate_writes_a_page_and_its_numbers(data, capsys):
    one = ["evaluate", "data", "--model", "starter_resnet", "--out", "found", "--report", "page"]
    code, document, err = run(capsys, *one, "--against", "starter_res2net")
    assert (code, err) == (0, "")
    assert [path.name for path in Path("page").iterdir()] == ["index.html"]
    assert (document["report"], document["out"]) == ("page", "found")
    against = document["against"]
    counts = [against[k] for k in ("both_right", "only_first", "only_second", "both_wrong")]
    assert (sum(counts), against["model"]) == (3, "starter_res2net")
    assert document["top1"] == pytest.approx(sum(counts[:2]) / 3)
    assert json.loads(Path("found/evaluation.json").read_text())["against"] == against
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert f'<data value="{document["top1"]}">' in page
    assert str(Path.cwd()) not in page
    code, alone, _ = run(capsys, "evaluate", "data", "--model", "starter_resnet")
    assert alone == {key: alone[key] for key in document if key in alone}
    assert main([*one[:4], "--report", "page2", *QUICK]) == 0
    assert "written page2: index.html" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "words"), [
    (["--report", "data/7/2.png"], ["2.png' is not a folder", "--report"]),
    (["--report", "data/7/2.png/x"], ["2.png' is not a folder", "--report"]),
    (["--against", "starter_res2net"], ["--against is for the page", "--report"]),
    (["--against", "starter_resnet", "--report", "page"], ["is the same model"]),
    (["--against", "./mine", "--report", "page"], ["has other classes", "starter_resnet"]),
    (["--against", "no_such", "--report", "page"], ["no_such"]),
])  # fmt: skip
def test_a_page_that_cannot_be_made_is_one_line(options, words, data, capsys):
    export_folder(fresh("starter_resnet", 2, 0).model, Path("mine"), ("7", "lion"))
    assert main(["evaluate", "data", "--model", "starter_resnet", *options, *QUICK]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err
    assert not Path("page").exists()


def test_a_page_where_nothing_may_be_written(data, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    command = ["evaluate", "data", "--model", "starter_resnet", "--report", "page", *QUICK]
    assert main(command) == 2
    assert "may not be written; give another --report." in capsys.readouterr().err


def test_features_of_a_folder(data, capsys):
    code, document, err = run(
        capsys, "features", "data", "--model", "starter_res2net", "--out", "f.npz",
        "--split", "layer2.1/3",
    )  # fmt: skip
    assert code == 0
    assert err.startswith("left out 7/bad.jpg: ")
    assert err.count("\n") == 1
    file = read_feature_file(Path("f.npz"))
    assert file.paths == ("7/2.png", "lion/0.png", "lion/1.png")
    assert (document["images"], document["width"]) == file.features.shape
    assert (document["stage"], document["split"]) == ("layer2.1", 3)
    assert file.head.weights_sha256 == document["weights"]["sha256"]
    assert document["unreadable"] == ["7/bad.jpg"]


@pytest.mark.parametrize(
    ("command", "words"),
    [  # beside those in tests/golden
        ("evaluate other --model starter_resnet", ["'unicorn'"]),
        ("evaluate data --model starter_resnet --real-labels real.json", ["1000 classes"]),
        ("evaluate data --model starter_resnet --out data", ["--out is the folder of the photos"]),
        ("study data --models starter_resnet --out ./data", ["--out is the folder of the photos"]),
        ("features data --model starter_resnet", ["--out"]),
        ("features data --model starter_resnet --out f.npz --split layer3.1/1", ["its only one"]),
    ],
)
def test_wrong_things_are_one_line(command, words, data, capsys):
    Path("other/unicorn").mkdir(parents=True)
    Path("other/unicorn/a.png").write_bytes(Path("data/7/2.png").read_bytes())
    Path("real.json").write_text("[[1]]")
    assert main([*command.split(), "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err
    assert not Path("f.npz").exists()


def torchrun(*arguments):
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*together, "--nproc-per-node=2", "-m", "mscnn", *arguments],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_torchrun_with_two_processes_gives_the_page_of_one(data, capsys):
    arguments = ["evaluate", "data", "--model", "starter_resnet", *QUICK, "--batch-size", "1"]
    arguments += ["--against", "starter_res2net"]
    assert main([*arguments, "--report", "one"]) == 0
    torchrun(*arguments, "--report", "two")
    one, two = (Path(name, "index.html").read_text("utf-8") for name in ("one", "two"))
    # Without the time and the charts' own random ids.
    assert re.sub(r"c[0-9a-f]{10}-|<p>20.*?</p>", "", one) == re.sub(
        r"c[0-9a-f]{10}-|<p>20.*?</p>", "", two
    )


@pytest.mark.slow
def test_torchrun_with_two_processes_gives_the_file_of_one(data, bundled, capsys):
    arguments = ["features", "data", "--model", "starter_resnet", *QUICK, "--batch-size", "2"]
    assert main([*arguments, "--out", "one.npz"]) == 0
    done = torchrun(*arguments, "--out", "two.npz")
    assert done.stdout.count("written two.npz") == 1
    assert Path("two.npz").read_bytes() == Path("one.npz").read_bytes()
