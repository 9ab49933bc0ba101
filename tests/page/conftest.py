"""The page's parts on their own: seeded starters, an empty gradio cache, and a photo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.page.serving import Folders, make_folders

if TYPE_CHECKING:
    from mscnn.engine.pipeline import Engine


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("ui"))


@pytest.fixture(autouse=True)
def _only_the_starters(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.use(monkeypatch)


@pytest.fixture
def cache(folders: Folders) -> Path:
    """gradio's upload folder."""
    return folders.cache


@pytest.fixture(scope="session")
def _engine() -> Engine:
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session
    from mscnn.models.owners import OwnersModels

    return Engine(Session("cpu", offline=True, owners=OwnersModels()))


@pytest.fixture
def engine(_engine: Engine) -> Engine:
    """One engine for all tests of the page; its models load on first use."""
    return _engine
