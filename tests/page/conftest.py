"""The page's parts on their own: seeded starters, an empty gradio cache, and a photo."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.page.serving import MODELS, make_folders


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("ui"))


@pytest.fixture(autouse=True)
def _only_the_starters(folders, monkeypatch):
    folders.use(monkeypatch)
    monkeypatch.setattr("mscnn.page.lenses.scales.DRAWS", 2)


@pytest.fixture
def cache(folders):
    """gradio's upload folder."""
    return folders.cache


@pytest.fixture(scope="session")
def _engine():
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session
    from mscnn.models.owners import OwnersModels

    return Engine(Session("cpu", offline=True, owners=OwnersModels()))


@pytest.fixture
def engine(_engine):
    """One engine for all tests of the page; its models load on first use."""
    return _engine


@pytest.fixture
def answering(engine):
    from mscnn.page.answering import Answering
    from mscnn.page.photos import PhotoStore

    return Answering(engine, PhotoStore(), lambda: MODELS[0])


@pytest.fixture
def pressing_stop(answering, monkeypatch):
    """``with pressing_stop(step)``: visitor a presses Stop once some of that step is done.

    Between two steps of the work itself: whoever reads the messages may be late.
    """
    from mscnn.page.lens import Context

    @contextmanager
    def at(step):
        tell = Context.progress

        def progress(self, done, total, what=""):
            if done and step in what:
                answering.stop(SimpleNamespace(session_hash="a"))
            tell(self, done, total, what)

        with monkeypatch.context() as patch:
            patch.setattr(Context, "progress", progress)
            yield

    return at


@pytest.fixture
def ask(request, answering):
    """``ask(**request)``: the answers, as the browser gets them, of the module's ``LENS``.

    ``with_progress`` keeps the messages in between.
    """

    def of(*, with_progress=False, visitor="a", **fields):
        data = {"serial": 1, "lens": request.module.LENS, "example": "lion", **fields}
        event, http = SimpleNamespace(_data=data), SimpleNamespace(session_hash=visitor)
        found = []
        for message in answering.ask(event, http):
            found.append(json.loads(json.dumps(message)))
        return [m for m in found if with_progress or "progress" not in m]

    return of
