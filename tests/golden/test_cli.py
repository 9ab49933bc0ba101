"""The command line: help, errors, JSON documents and written files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from tests.golden.conftest import PHOTOS, copy_photo
from tests.golden.trees import describe_folder, mask, skeleton

COMMANDS = (
    *("models", "predict", "explain", "compare", "scales", "rf", "sweep", "trust", "replay"),
    *("study", "features", "evaluate", "download", "cite", "serve", "train", "finetune"),
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command, here, golden, capsys):
    assert main([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    golden(f"help/{command or 'mscnn'}", out)


def test_short_help_and_version(here, capsys):
    assert main(["--help"]) == 0
    long = capsys.readouterr().out
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == long
    assert main(["--version"]) == 0
    assert re.fullmatch(r"mscnn \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


ERRORS = """
xyz
predcit
predict
predict cat.png --modle x
predict cat.png --json=3
predict cat.png --debug
predict cat.png --top-k five
predict cat.png --top-k 0
predict cat.png --model res2nt50
predict cat.png --model ./no
predict cat.png --model vit_tiny_patch16_224
predict cat.png --model resnet50.tv_in1k
predict cat.png --weights no.safetensors
predict cat.png --device tpu
predict no.jpg
predict empty
predict text.png
predict cut.png
predict drawing.svg
predict cat.png empty/no.png
predict https://example.org/a.jpg
explain cat.png
explain cat.png --out o --layer layer9
explain cat.png --out o --method gradcm
explain cat.png --out o --target unicorn
explain cat.png --out o --target cat
explain cat.png --out o --target 200
explain cat.png --out o --target -1
explain cat.png --out o --target top5
explain cat.png --out o --opacity 1.5
explain cat.png --out o --colour-map jet
explain cat.png --out cat.png
explain cat.png --out cat.png/maps
compare cat.png --out o
compare cat.png --models , --out o
compare cat.png --models starter_resnet --out o
compare cat.png --models starter_resnet,starter_resnet --out o
compare cat.png --models starter_resnet,nope --out o
compare cat.png --models starter_resnet,starter_res2net --layer layer9 --out o
compare cat.png --models starter_resnet,starter_res2net --target unicorn --out o
scales cat.png
scales cat.png --target top5 --out o
scales cat.png --target unicorn --out o
scales cat.png --out cat.png
rf
rf res2nt50
rf vit_tiny_patch16_224
rf resnet50 --out cat.png
sweep cat.png --models a,b,c,d,e --out o
sweep cat.png --models starter_resnet --box 1,2,3 --out o
sweep cat.png --models starter_resnet --box 75,0,25,100 --out o
sweep cat.png --models starter_resnet --box 0,0,150,100 --out o
sweep cat.png --models starter_resnet --sizes many --out o
sweep cat.png --models starter_resnet --sizes 1 --out o
sweep cat.png --models starter_resnet --sizes 1,99 --out o
sweep cat.png --models starter_resnet --canvas polka --out o
trust cat.png --out o --methods gradcm
trust cat.png --out o --layers layer9
trust cat.png --out o --box 75,0,25,100
trust cat.png --out o --box 1,2,3
trust cat.png --out o --target unicorn
trust cat.png --out cat.png
replay
replay no.json
replay cat.png
replay empty
study empty --models starter_resnet --out o
study no --models starter_resnet --out o
study empty --models starter_resnet --limit 1 --out o
features empty --out f.npz
features no --out f.npz
features photos --out f.csv
features photos --out no/f.npz
features photos --out f.npz --stage layer9
features photos --out f.npz --split layer3.1
features photos --out f.npz --split layer3.1/9
features photos --out f.npz --stage layer3 --split layer3.1/0
evaluate no
evaluate empty
evaluate photos
evaluate photos --batch-size 0
evaluate photos --workers -3
evaluate photos --out cat.png
download
download starter_resnet nope
download resnet50.tv_in1k
serve --port 70000
serve --features animals.csv=animals
serve --models ,
train no --model starter_resnet --out o
train empty --model starter_resnet --out o
train photos --out o
train photos --model starter_resnet --out o --epochs 0
train photos --model starter_resnet --out o --device tpu
train photos --model starter_resnet --out o --opt sgdd
train photos --model starter_resnet --out o --amp int3
train photos --model starter_resnet --out o --sizes huge
train photos --model starter_resnet --out o --resume
train photos --model nope --out o
finetune no --model starter_resnet --out o
finetune photos --model nope --out o
"""


def test_errors(here, golden, capsys):
    """Each is one line on stderr, with an exit code and nothing on stdout or on the disk."""
    Path("empty").mkdir()
    for name in ("griffin", "unicorn"):
        copy_photo("cat.png", Path("photos", name, "cat.png"))
    Path("text.png").write_text("no picture")
    Path("cut.png").write_bytes(Path("cat.png").read_bytes()[:20_000])
    Path("drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    before = sorted(here.rglob("*"))
    found = {}
    for line in ERRORS.strip().splitlines():
        code = main(line.split())
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), line
        found[line] = {"code": code, "stderr": err}
    golden("errors", found)
    assert sorted(here.rglob("*")) == before


BOTH = "starter_res2net,starter_resnet"
QUICK = "--workers 0 --device cpu"
TRAINING = f"--out o --epochs 1 --batch-size 4 {QUICK}"
DOCUMENTS = {
    "models": "models",
    "download": "download starter_resnet",
    "predict": "predict cat.png coffee.png --top-k 3 --device cpu",
    "explain": "explain cat.png --model starter_resnet --target tabby --layer layer3 --out o",
    "explain-method": "explain coffee.png --method eigencam --out o",
    "compare": f"compare cat.png --models {BOTH} --target tabby --out o",
    "scales": "scales cat.png --model starter_res2net --out o",
    "scales-attention": "scales cat.png --model starter_resnest --out o",
    "rf": "rf starter_res2net --out o",
    "rf-spectrum": "rf starter_resnet --spectrum",
    "sweep": f"sweep cat.png --models {BOTH} --sizes 1,0.5 --box 33.3333333,10,80,90 --out o",
    "features-npz": f"features data --out f.npz {QUICK}",
    "features-parquet": f"features data --out f.parquet --stage layer3 {QUICK}",
    "features-safetensors": f"features data --out f.safetensors --split layer2.1/3 {QUICK}",
    "evaluate": f"evaluate data {QUICK}",
    "evaluate-out": f"evaluate data --out o {QUICK}",
}


@pytest.fixture
def data(here):
    """Photographs of two classes, and a file that is none."""
    copy_photo("cat.png", here / "data/tabby/cat.png")
    copy_photo("coffee.png", here / "data/espresso/coffee.png")
    (here / "data/tabby/bad.jpg").write_text("no picture")
    return here


@pytest.fixture
def run(data, capsys):
    """``run(line)``: what a command that succeeds prints and which files it writes."""

    def go(line, also=frozenset()):
        before = {path.relative_to(data).as_posix() for path in data.rglob("*")}
        code = main(line.split())
        out, err = capsys.readouterr()
        assert code == 0, err
        files = describe_folder(data, but=before, also=also)
        return {"command": line, "stdout": out, "stderr": err, "files": files}

    return go


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_and_files(name, run, golden):
    if "parquet" in name:
        pytest.importorskip("pyarrow", reason="parquet needs mscnn[formats]")
    found = run(f"{DOCUMENTS[name]} --json")
    golden(f"documents/{name}", {**found, "stdout": mask(json.loads(found["stdout"]))})


@pytest.mark.slow
def test_document_and_files_of_a_study(run, golden):
    for name in PHOTOS:
        copy_photo(name, Path("loose", name))
    found = run(f"study loose --models {BOTH} --limit 2 --device cpu --out o --json")
    document = skeleton(mask(json.loads(found["stdout"])))
    golden("documents/study", {**found, "stdout": document})


@pytest.mark.slow
def test_document_and_files_of_trust(run, golden):
    found = run("trust cat.png --device cpu --out o --json")
    document = skeleton(mask(json.loads(found["stdout"])))
    golden("documents/trust", {**found, "stdout": document})


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_files_of_training(command, run, golden):
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        Path("small", name).mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 90, (24, 24, 3))
            pixels[..., channel] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(f"small/{name}/{i}.png")
    # What an epoch on ten pictures leads to is not the same on every machine.
    learnt = frozenset({"loss", "top1", "top5"})
    found = run(f"{command} small --model starter_resnet {TRAINING}", learnt)
    assert found.pop("stdout").startswith("top-1 ")
    assert re.search(
        r"^written o; see it with 'mscnn serve --models o'$", found.pop("stderr"), re.M
    )
    golden(f"documents/{command}", found)
