"""Golden copies of what must not change while the inside of the program does.

The tests here know the program only from outside: its commands, ``import mscnn``, the page and
its HTTP interface as ``python app.py`` serves them. What they expect lies in ``recorded/``; after
a change that is wanted, record it again and review the difference:

    python -m pytest tests/golden --record -n 0 -m ""
"""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

# The helper starts app.py as a process of its own and imports nothing of the program.
from scripts import running
from tests.golden.trees import as_text, differences

RECORDED = Path(__file__).with_name("recorded")
AGAIN = 'If this is wanted: python -m pytest tests/golden --record -n 0 -m ""'
PHOTOS = {"cat.png": "data/chelsea.png", "coffee.png": "data/coffee.png"}
"""Photographs that scikit-image brings, free of rights and stored without loss."""


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="Write golden copies anew.")


@pytest.fixture
def golden(request):
    """``golden(name, value)``: compare a text or a JSON tree with the copy of that name."""

    def check(name, value):
        is_text = isinstance(value, str)
        path = RECORDED / f"{name}.{'txt' if is_text else 'json'}"
        if request.config.getoption("--record", default=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value if is_text else as_text(value), encoding="utf-8", newline="\n")
        assert path.is_file(), f"nothing is recorded as {path.name}. {AGAIN}"
        wanted = path.read_text("utf-8")
        if is_text:
            assert value == wanted, AGAIN
            return
        found = differences(value, json.loads(wanted), name)
        assert not found, "\n".join([*found[:20], f"{len(found)} differences. {AGAIN}"])

    return check


def _isolate(patch, root):
    """Only the starters that the project ships are here; there is no hub and no wide screen."""
    for name in ("MSCNN_ASSETS", "MSCNN_DEBUG", "HF_HOME"):
        patch.delenv(name, raising=False)
    for name, value in {
        "HF_HUB_CACHE": str(root / "no-hub"), "HF_HUB_OFFLINE": "1", "COLUMNS": "100",
        "GRADIO_TEMP_DIR": str(root / "gradio"), "GRADIO_ANALYTICS_ENABLED": "False",
    }.items():  # fmt: skip
        patch.setenv(name, value)


def copy_photo(name, to):
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    to.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(Path(spec.origin).parent / PHOTOS[name], to))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with two photographs, where relative names can be typed."""
    _isolate(monkeypatch, tmp_path)
    work = tmp_path / "work"
    for name in PHOTOS:
        copy_photo(name, work / name)
    monkeypatch.chdir(work)
    return work


@pytest.fixture(scope="session")
def app_url(tmp_path_factory):
    """Address of the page, without a slash at its end; served by ``python app.py``."""
    root = tmp_path_factory.mktemp("golden-app")
    with pytest.MonkeyPatch.context() as patch, (root / "log").open("w") as log:
        _isolate(patch, root)
        # Beside other tests it starts slowly.
        patch.setattr(running, "START_LIMIT_S", 200.0)
        with running.running_app(log) as url:
            patch.undo()
            yield url.rstrip("/")
