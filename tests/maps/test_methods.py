"""The table of methods: names, costs, and lookups."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mscnn.cli import main
from mscnn.errors import MethodError
from mscnn.maps.methods import METHODS, Method, get_method
from mscnn.maps.single_pass import RawMaps


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_found_by_name_and_by_title(name) -> None:
    method = METHODS[name]
    assert get_method(name) is method
    assert get_method(f"  {method.title.upper()} ") is method


def test_names_and_titles_name_one_method_each() -> None:
    spoken = [text for m in METHODS.values() for text in {m.name, m.title.lower()}]
    assert len(spoken) == len(set(spoken))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("grad-cam+", "choose one of gradcam, .*ablationcam.* Did you mean 'gradcam"),
        ("saliency of my own", "There is no method 'saliency of my own'; choose one of gradcam"),
        ("", "There is no method ''"),
    ],
)
def test_an_unknown_method_is_refused_with_the_list(wanted, message) -> None:
    with pytest.raises(MethodError, match=message):
        get_method(wanted)


def test_the_table_loads_neither_torch_nor_the_package() -> None:
    code = (
        "import sys, mscnn.maps.methods as m; assert m.METHODS;"
        "print({'torch', 'pytorch_grad_cam'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def brightness(model, x, layers, targets, *, method, call, **head):
    """A method of one's own: how bright each quarter of the picture is, for every class."""
    with torch.inference_mode():
        logits = model(x)[0]
    chosen, brightness = targets.choose(logits), x.mean(1)[0]
    call.progress(1, 1)
    cells = brightness.unfold(0, 48, 48).unfold(1, 48, 48).mean((2, 3)).numpy()
    return RawMaps(logits.numpy(), chosen, {(n, t): cells for n in layers for t in chosen})


def test_a_method_of_ones_own_is_a_row_and_a_function(
    network, photo, tmp_path, capsys, monkeypatch
) -> None:
    row = Method(
        "brightness", "Brightness", "forward", False, "this test", "How bright it is.",
        by=f"{__name__}:brightness", packages=("torch",),
    )  # fmt: skip
    monkeypatch.setitem(METHODS, row.name, row)
    net, steps = network("resnet"), []
    found = net.explain(
        photo, method="Brightness", targets=[3, 4], layers=["1", "last"],
        on_progress=lambda *step: steps.append(step),
    )  # fmt: skip
    expected = net.preprocess(photo).x.mean(1).reshape(2, 48, 2, 48).mean((1, 3)).numpy()
    assert [(cam.method, cam.layer, cam.target) for cam in found.maps] == [
        ("brightness", layer, target) for layer in ("layer1", "layer4") for target in (3, 4)
    ]
    for cam in found.maps:
        np.testing.assert_allclose(cam.raw, expected, rtol=1e-5)
    np.testing.assert_allclose(found.prediction.logits, net.predict(photo).logits, rtol=1e-5)
    assert steps == [(1, 1)]
    # The command line knows it too: it lists it among the choices, and takes it.
    photo.save(tmp_path / "photo.png")
    arguments = ["explain", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--method", "brightnes"]) == 2
    assert "ablationcam, brightness. Did you mean 'brightness'?" in capsys.readouterr().err
