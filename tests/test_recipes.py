"""docs/recipes.md: every block runs, and timm's way and ours give the same answer.

What is right is computed here a third way: the weights' file read into the architecture, and the
preprocessing written out with torchvision.
"""

import contextlib
import functools
import importlib.util
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BEFORE, TIMM, MSCNN = "", "With timm", "With mscnn"
TOLERANCE = 1e-4
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Block:
    section: str
    side: str
    language: str
    code: str
    line: int


@dataclass
class Ran:
    """What a run of the blocks left behind."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "recipes"})
    printed: dict[tuple[str, str], str] = field(default_factory=dict)

    def __getitem__(self, name):
        return self.names[name]


def blocks_of(text):
    found, section, side, opened = [], BEFORE, BEFORE, None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```") and opened is None:
            opened, code = (line[3:], number), list[str]()
        elif line == "```" and opened is not None:
            found.append(Block(section, side, opened[0], "\n".join(code) + "\n", opened[1]))
            opened = None
        elif opened is not None:
            code.append(line)
        elif line.startswith("## "):
            section, side = line[3:], BEFORE
        elif line.startswith("### "):
            side = line[4:]
    assert opened is None, f"the block of line {opened} has no end"
    return found


def run(blocks, ran):
    """Run blocks in order, in one namespace."""
    for block in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            {"python": run_python, "bash": run_shell}[block.language](block, ran)
        key = block.section, block.side
        ran.printed[key] = ran.printed.get(key, "") + out.getvalue()
    return ran


def run_python(block, ran):
    # Empty lines before it, so that a traceback names the line of the page.
    code = compile("\n" * block.line + block.code, "docs/recipes.md", "exec")
    exec(code, ran.names)


def run_shell(block, ran):
    # In this process: the imports of another would take longer than the command.
    for line in block.code.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        assert [program, *arguments[:2]] == ["python", "-m", "mscnn"], f"only our commands: {line}"
        assert main(arguments[2:]) == 0, line


@contextlib.contextmanager
def surroundings(folder):
    """The photo and the pictures, in the current folder; no GPU and no network."""
    import socket

    import torch

    spec = importlib.util.find_spec("gradio")
    assert spec is not None
    assert spec.origin is not None
    # gradio.media.get_image("lion.jpg"), without the seconds that importing gradio takes.
    shutil.copy(Path(spec.origin).parent / "media_assets/images/lion.jpg", folder / "photo.jpg")
    for kind, name in enumerate(CLASSES):
        (folder / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            pixels = np.random.default_rng([kind, i]).integers(0, 90, (64, 64, 3))
            pixels[..., 2 * kind] += 150
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / "pictures" / name / f"{i}.png")

    def refuse(*_):
        raise PermissionError("a recipe asked the network")

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        patch.chdir(folder)
        patch.delenv("MSCNN_ASSETS", raising=False)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.backends.mps, "is_available", lambda: False)
        yield


@functools.cache
def starter(name):
    """The bundled starter, in the architecture that timm builds of its name."""
    import timm
    from safetensors.torch import load_file

    import mscnn.starters  # noqa: F401 - registers the names

    model = timm.create_model(name)
    model.load_state_dict(load_file(ROOT / "assets" / "weights" / f"{name}.safetensors"))
    return model.eval().requires_grad_(False)


@functools.cache
def expected_input(photo):
    from torchvision import transforms as tv

    with Image.open(photo) as image:
        steps = [
            tv.Resize(72, tv.InterpolationMode.BICUBIC), tv.CenterCrop(72), tv.ToTensor(),
            tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]  # fmt: skip
        return tv.Compose(steps)(image.convert("RGB"))[None]


def softmax(logits):
    values = np.exp(np.asarray(logits, np.float64) - float(np.max(np.asarray(logits))))
    return values / values.sum()


def expected(ran, name="starter_res2net"):
    """The right probabilities: ``(classes,)`` float64."""
    return softmax(starter(name)(expected_input(ran.folder / "photo.jpg"))[0])


def close(found, right):
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, rtol=0, atol=TOLERANCE)


def middle(model):
    """The weights of a layer in the middle, as a vector."""
    return model.get_submodule("layer2.1.conv3").weight.detach().numpy().ravel()


def likeness(model, other):
    """Cosine between those weights: about 1 if one was made of the other, else about 0."""
    first, second = middle(model), middle(other)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def opened(folder):
    """A model folder of the current folder, through timm."""
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def check_load(ran):
    for model in (ran["model"], ran["net"].model):
        assert not model.training
        states = model.state_dict()
        assert states.keys() == starter("starter_res2net").state_dict().keys()
        for key, value in starter("starter_res2net").state_dict().items():
            np.testing.assert_array_equal(states[key].numpy(), value.numpy(), err_msg=key)


def check_preprocess(ran):
    right = expected_input(ran.folder / "photo.jpg")
    close(ran["tensor"], right)
    close(ran["prepared"].x, right)
    mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
    pixels = np.asarray(right)[0].transpose(1, 2, 0) * std + mean
    close(ran["prepared"].view / 255, pixels)
    width, height = ran["image"].size
    left, top, right_, bottom = ran["prepared"].geometry.crop
    # The square in the middle; the resized photo has whole pixels, so it may be off by one.
    side = min(width, height)
    pixel = side / 72
    found = right_ - left, bottom - top, (left + right_) / 2, (top + bottom) / 2
    np.testing.assert_allclose(found, (side, side, width / 2, height / 2), atol=pixel)


def check_predictions(ran):
    right = expected(ran)
    close(ran["probabilities"], right)
    close(softmax(ran["found"].logits), right)
    assert ran["found"].top[0].index == int(right.argmax())
    close(ran["found"].top[0].probability, right.max())


def check_top5(ran):
    right = expected(ran)
    best = list(np.argsort(-right)[:5])
    assert ran["top5_catid"].tolist() == best
    assert [score.index for score in ran["found"].top] == best
    section = "Get the top-5 class names"
    document = json.loads((ROOT / "assets/weights/MANIFEST.json").read_text(encoding="utf-8"))
    entry = next(e for e in document["weights"] if e["model"] == "starter_res2net")
    names = [document["labels"][entry["labels"]][i] for i in best]
    for side, wanted in ((TIMM, names), (MSCNN, [name.split(", ")[0] for name in names])):
        lines = [line.rsplit(" ", 1) for line in ran.printed[section, side].splitlines()]
        assert [name for name, _ in lines] == wanted
        close([float(value) for _, value in lines], right[best])


def check_variant(ran):
    from mscnn.models.registry import list_backbones

    right = expected(ran, "starter_resnet")
    close(softmax(ran["variant_out"][0]), right)
    best = np.argsort(-right)[:5]
    assert [score.index for score in ran["other"].top] == list(best)
    close([score.probability for score in ran["other"].top], right[best])
    lines = ran.printed["Use another variant", MSCNN].splitlines()
    assert [line.split()[0] for line in lines] == [spec.name for spec in list_backbones()]


def check_features(ran):
    model, x = starter("starter_res2net"), expected_input(ran.folder / "photo.jpg")
    kept: dict[str, Any] = {}
    hooks = [
        model.layer4.register_forward_hook(lambda *a: kept.update(layer4=a[2])),
        model.layer3.register_forward_hook(lambda *a: kept.update(layer3=a[2])),
        model.layer3[1].conv3.register_forward_pre_hook(lambda *a: kept.update(splits=a[1][0])),
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    layer3, layer4 = (kept[name].mean((2, 3)) for name in ("layer3", "layer4"))
    width = model.layer3[1].width
    close(ran["pooled"], layer4)
    close(ran["vector"], layer4)
    close(ran["layer3"], layer3)
    close(ran["stage_vector"], layer3)
    close(ran["split_vector"], kept["splits"][:, 2 * width : 3 * width].mean((2, 3)))


def check_finetune(ran):
    section = "Fine-tune on your own classes"
    photo = expected_input(ran.folder / "photo.jpg")
    for folder in ("my-model", "timm-tuned"):
        model = opened(folder)
        assert model.num_classes == 2
        assert tuple(model.pretrained_cfg["label_names"]) == CLASSES
        # Tuned, not trained afresh, and not left as it was.
        assert likeness(model, starter("starter_res2net")) > 0.9
        assert not np.array_equal(middle(model), middle(starter("starter_res2net")))
    mine = ran["mine"]
    assert mine.labels.names == CLASSES
    right = softmax(opened("my-model")(photo).detach()[0])
    close(softmax(mine.predict("photo.jpg").logits), right)
    close(softmax(ran["same"].eval()(photo).detach()[0]), right)
    printed = ran.printed[section, MSCNN].splitlines()
    assert printed[0].startswith("top-1 ")
    assert printed[-1] == CLASSES[int(right.argmax())]
    results = (
        "README.md", "curves.png", "confusion.png", "confusion.csv", "classes.csv", "classes.png",
    )  # fmt: skip
    assert [name for name in results if not (ran.folder / "my-model" / name).is_file()] == []


def check_train(ran):
    import mscnn

    for folder in ("my-fresh-model", "timm-fresh"):
        model = opened(folder)
        assert tuple(model.pretrained_cfg["label_names"]) == CLASSES
        assert abs(likeness(model, starter("starter_res2net"))) < 0.3
        assert mscnn.load(folder).labels.names == CLASSES
    printed = ran.printed["Train from scratch", MSCNN].splitlines()
    assert printed[0].startswith("top-1 ")
    assert printed[-1] == str(CLASSES)
    run_ = json.loads((ran.folder / "my-fresh-model" / "training.json").read_text("utf-8"))
    asked = {"opt": "sgd", "lr": 0.1, "schedule": "cosine", "mixup": 0.2, "cutmix": 1.0}
    assert {name: run_["recipe"][name] for name in asked} == asked
    assert run_["recipe"]["randaugment"] == "rand-m9-n2-mstd0.5"


# The sections of timm's model pages, in their order.
SECTIONS: dict[str, Callable[[Ran], None]] = {
    "Load a pretrained model": check_load,
    "Load and preprocess an image": check_preprocess,
    "Get the predictions": check_predictions,
    "Get the top-5 class names": check_top5,
    "Use another variant": check_variant,
    "Extract image features": check_features,
    "Fine-tune on your own classes": check_finetune,
    "Train from scratch": check_train,
}


def test_every_section_has_its_recipe_both_ways():
    assert re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE) == list(SECTIONS)
    found = {(block.section, block.side) for block in blocks_of(TEXT)}
    assert found == {(BEFORE, BEFORE), *((s, side) for s in SECTIONS for side in (TIMM, MSCNN))}
    for part in TEXT.split("\n## ")[1:]:
        assert "\nWhat mscnn adds: " in part, part.splitlines()[0]


def test_every_fence_is_a_block_that_runs():
    blocks = blocks_of(TEXT)
    assert 2 * len(blocks) == TEXT.count("```")
    assert {block.language for block in blocks} == {"python", "bash"}
    commands = [block.code for block in blocks if block.language == "bash"]
    assert [shlex.split(code)[3] for code in commands] == ["finetune", "train"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    with surroundings(folder):
        yield run(blocks_of(TEXT), Ran(folder))


@pytest.mark.parametrize("section", SECTIONS)
def test_both_ways_give_the_right_answer(section, ran):
    SECTIONS[section](ran)
