"""The page's parts on their own: seeded starters, an empty gradio cache, and a photo."""

from typing import TYPE_CHECKING

import pytest

from tests.page.serving import make_folders

if TYPE_CHECKING:
    pass


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("ui"))


@pytest.fixture(autouse=True)
def _only_the_starters(folders, monkeypatch):
    folders.use(monkeypatch)


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
