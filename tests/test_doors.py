"""The doors that CONTRIBUTING.md names: what one adds there is known to every front end."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from mscnn.cli.app import main
from mscnn.engine import network as network_module
from mscnn.engine import session as session_module
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.http.endpoints import Functions
from mscnn.maps.methods import METHODS, Method
from mscnn.maps.single_pass import RawMaps
from mscnn.results.explanation import Prediction
from mscnn.results.schema import HIDDEN, cells, column, computed, csv_text, document, table

MODEL = "starter_resnet"


@pytest.fixture
def front_ends(loaded, photo, tmp_path, monkeypatch, capsys):
    """``front_ends(command, *options)``: the document of the command line; and HTTP's functions."""
    monkeypatch.setattr(session_module, "load_model", lambda name, *_, **__: loaded(name=name))
    photo.save(tmp_path / "photo.png")

    def command(name, *options):
        code = main([name, str(tmp_path / "photo.png"), "--model", MODEL, "--json", *options])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return command, Functions(Engine(Session("cpu")))


def brightness(model, x, layers, targets, *, method, call, **head):
    """How bright each quarter of the picture is, for every class."""
    with torch.inference_mode():
        logits = model(x)[0]
    chosen, brightness = targets.choose(logits), x.mean(1)[0]
    call.progress(1, 1)
    cells = brightness.unfold(0, 48, 48).unfold(1, 48, 48).mean((2, 3)).numpy()
    return RawMaps(logits.numpy(), chosen, {(n, t): cells for n in layers for t in chosen})


@pytest.fixture
def row(monkeypatch):
    made = Method(
        "brightness", "Brightness", "forward", False, "this test", "How bright it is.",
        by=f"{__name__}:brightness", packages=("torch",),
    )  # fmt: skip
    monkeypatch.setitem(METHODS, made.name, made)
    return made


def test_a_method_is_a_row_and_a_function(row, network, photo):
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


def test_a_method_is_known_to_the_command_line_and_http(row, front_ends, photo, tmp_path, capsys):
    command, http = front_ends
    out = str(tmp_path / "out")
    shown = command("explain", "--method", "brightness", "--out", out)
    assert shown["method"] == shown["map"]["method"] == "brightness"
    served, *_ = http.explain(photo, MODEL, "last", "top1", "brightness")
    assert [cam["method"] for cam in served["maps"]] == ["brightness"]
    assert (
        main(["explain", str(tmp_path / "photo.png"), "--out", out, "--method", "brightnes"]) == 2
    )
    assert "ablationcam, brightness. Did you mean 'brightness'?" in capsys.readouterr().err


@dataclass(frozen=True, slots=True)
class Toy:
    """A result with a number of each kind."""

    name: str
    size: float = field(metadata=column("size_px", digits=1))
    raw: Any = field(metadata=HIDDEN)

    @property
    @computed(before="size_px")
    def twice(self):
        return 2 * self.size


@dataclass(frozen=True, slots=True)
class Grown(Toy):
    """The same with one more field: nothing else has to be told of it."""

    depth: int = field(default=7, metadata=column())


def test_a_new_field_is_in_json_tables_and_csv():
    toy = Grown("a", 1.25, np.zeros(9))
    assert document(toy) == {"name": "a", "twice": 2.5, "size_px": 1.2, "depth": 7}
    assert list(document(toy)) == ["name", "twice", "size_px", "depth"]
    assert cells(toy) == document(toy)
    assert csv_text(table([toy])) == "name,twice,size_px,depth\na,2.5,1.2,7\n"


@dataclass(frozen=True, slots=True)
class Marked(Prediction):
    """A prediction with one more field."""

    mark: int = 7


def test_a_field_is_known_to_the_command_line_and_http(front_ends, photo, monkeypatch):
    monkeypatch.setattr(network_module, "Prediction", Marked)
    command, http = front_ends
    assert command("predict")["results"][0]["mark"] == 7
    assert http.predict(photo, MODEL, 5)[0]["results"][0]["mark"] == 7
    found = http.engine.session.network(MODEL).predict(photo)
    assert table([found]).headings[-1] == "mark"
    assert csv_text(table([found])).splitlines()[1].endswith(",7")
