"""``import mscnn``: its names, their attributes, what the results hold, and a light import."""

import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mscnn
from tests.golden.trees import merge_all

ROOT = str(Path(__file__).parents[2])


def signature(function):
    """Parameters with their defaults; annotations name types that may move."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def surface(thing):
    """Public attributes of a class, or the signature of a function."""
    if not inspect.isclass(thing):
        return signature(thing)
    attributes = {}
    for name in sorted(set(dir(thing)) - set(dir(Exception))):
        value = inspect.getattr_static(thing, name)
        if not name.startswith("_"):
            plain = getattr(thing, name)
            attributes[name] = signature(plain) if callable(plain) else _sort(value)
    found: dict[str, Any] = {"attributes": attributes}
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing)]
        # Fields are told apart from the rest, in order; whether they have slots is no matter.
        found["attributes"] = {k: v for k, v in attributes.items() if k not in names}
        found = {"create": signature(thing), "fields": names, **found}
    return found


def _sort(value):
    computed = isinstance(value, property) or type(value).__name__ == "cached_property"
    return "property" if computed else "value"


def test_public_names(golden):
    assert mscnn.__version__
    assert set(mscnn.__all__) <= set(dir(mscnn))
    names = {name: surface(getattr(mscnn, name)) for name in mscnn.__all__}
    assert issubclass(mscnn.MscnnError, Exception)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mscnn.nothing  # noqa: B018
    golden("python/names", names)


def shape(thing):
    """Fields and properties of a result, all the way down, with types and shapes of arrays."""
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype} {list(thing.shape)}"
    if isinstance(thing, (tuple, list)):
        return [merge_all([shape(item) for item in thing])] if thing else []
    if isinstance(thing, Image.Image):
        return "picture"
    if dataclasses.is_dataclass(thing):
        kind = type(thing)
        names = [field.name for field in dataclasses.fields(thing)]
        # Some properties do not apply to every result; they are part of the names above.
        computed = [
            n for n in sorted(dir(kind)) if _sort(inspect.getattr_static(kind, n)) != "value"
        ]
        found = {}
        for name in [*names, *(n for n in computed if n[0] != "_" and n not in names)]:
            try:
                found[name] = shape(getattr(thing, name))
            except mscnn.MscnnError as error:
                found[name] = f"raises {type(error).__name__}"
        return found
    if isinstance(thing, dict):
        return {"dict of": merge_all([shape(value) for value in thing.values()])} if thing else {}
    return "null" if thing is None else type(thing).__name__


@pytest.fixture
def net(here):
    return mscnn.load("starter_res2net", device="cpu")


def test_results(net, golden):
    gated = mscnn.load("starter_resnest", device="cpu")
    explained = net.explain("cat.png", layers=["layer3", "layer4"], targets=["top1", "tabby"])
    results = {
        "predict": net.predict("cat.png"), "explain": explained,
        "explain.map": explained.map("layer4", 30),
        "scales": net.scales("cat.png", target="tabby"),
        "split_attention": gated.split_attention("cat.png"),
        "receptive_field": net.receptive_field(),
        "receptive_field.stage": net.receptive_field().stage("layer2"),
        "effective_receptive_field": net.effective_receptive_field("cat.png"),
        "sweep": net.sweep("cat.png", factors=(1.0, 0.5)),
        "features": net.features(["cat.png", "coffee.png"]),
        "features.stage": net.features("cat.png", stage="layer3"),
        "list_backbones": mscnn.list_backbones(),
    }  # fmt: skip
    golden("python/results", {name: shape(result) for name, result in results.items()})


def test_a_loaded_network(net, golden):
    """Public attributes that are set when a network is made, beside those of its class."""
    own = sorted(set(dir(net)) - set(dir(type(net))))
    golden("python/network", [name for name in own if not name.startswith("_")])


RF = ["rf", "res2net101_26w_4s.in1k"]
LIGHT = [
    *([], ["--help"], ["models"], RF, [*RF, "--json"], [*RF, "--spectrum"]),
    *([command, "--help"] for command in ("explain", "predict", "models")),
]


def test_light_imports(here):
    """In one process: what was loaded by any of them would still be there."""
    script = (
        "import sys, mscnn\n"
        "heavy = {'torch', 'torchvision', 'timm', 'gradio', 'matplotlib', 'scipy'}\n"
        "heavy |= {'pytorch_grad_cam'}\n"
        f"for argv in {LIGHT}:\n"
        "    if argv:\n"
        "        from mscnn.cli import main\n"
        "        assert main(argv) == 0, argv\n"
        "    assert not heavy & set(sys.modules), (argv, heavy & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
