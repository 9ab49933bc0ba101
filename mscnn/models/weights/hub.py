"""The hub cache: what is in it, whether it is whole, and how a file gets into it.

``huggingface_hub`` (checked with 2.4) reads its environment once, at import. ``HF_HUB_CACHE``,
``HF_HOME``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are therefore read here again at each call, so
that a running app and the tests can change them; a variable that is set wins over the library's.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from mscnn.models.weights.digest import sha256_of

logger = logging.getLogger(__name__)

FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A partial file that nobody wrote to for an hour belongs to a process that was killed.
_STALE_S = 3600.0


@dataclass(frozen=True)
class HubFile:
    """The weights of one model on the hub.

    Attributes:
        repo_id: such as ``"timm/res2net50d.in1k"``.
        revision: branch, tag or commit.
        names: file names to try, best first.
    """

    repo_id: str
    revision: str = "main"
    names: tuple[str, ...] = FILE_NAMES

    @classmethod
    def of(cls, hub_id: str, file_name: str | None = None) -> HubFile:
        """Read timm's notation ``owner/name@revision``."""
        repo_id, _, revision = hub_id.partition("@")
        return cls(repo_id, revision or "main", (file_name,) if file_name else FILE_NAMES)


def cache_folder() -> Path:
    """Return the root of the hub cache, which need not exist."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(os.environ["HF_HOME"])).expanduser() / "hub"
    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Whether the environment forbids to use the network."""
    named = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    return named or constants.is_offline_mode()


def endpoint() -> str:
    """Return the hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def repo_folder(hub_file: HubFile) -> Path:
    """Return the folder of the repository in the cache, which need not exist."""
    return cache_folder() / repo_folder_name(repo_id=hub_file.repo_id, repo_type="model")


def cached_path(hub_file: HubFile) -> Path | None:
    """Return the cached weights, None where there are none; no network, nothing is hashed.

    The snapshot that the revision points to comes first. A download that broke may have moved the
    pointer before the new file was there; then the newest snapshot that has the file serves.
    """
    snapshots = repo_folder(hub_file) / "snapshots"
    try:
        folders = sorted(snapshots.iterdir(), key=lambda folder: -folder.stat().st_mtime)
    except OSError:
        return None
    ref = repo_folder(hub_file) / "refs" / hub_file.revision
    try:
        commit = ref.read_text(encoding="utf-8").strip()
    except OSError:
        commit = hub_file.revision
    folders.sort(key=lambda folder: folder.name != commit)
    for folder in folders:
        for name in hub_file.names:
            if (folder / name).is_file():
                return folder / name
    return None


def is_whole(path: Path) -> bool:
    """Compare a cached file with its sha256, which the cache uses as the blob's name.

    Small files and caches without symlinks carry no sha256; then there is nothing to compare.

    Raises:
        WeightsError: the file cannot be read.
    """
    expected = blob_sha256(path)
    return expected is None or sha256_of(path) == expected


def blob_sha256(path: Path) -> str | None:
    """Return the sha256 that a snapshot's link promises, None where it promises none."""
    try:
        # One step only: a blob may itself be a link into a store with other names.
        blob = path.readlink()
    except OSError:
        return None
    named = blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name)
    return blob.name if named else None


def remove_copy(path: Path) -> None:
    """Remove a damaged cached file: the snapshot's link and the blob it points to."""
    blob = path.parent / path.readlink() if path.is_symlink() else None
    path.unlink(missing_ok=True)
    if blob is not None:
        blob.unlink(missing_ok=True)


def remove_leftovers(hub_file: HubFile) -> None:
    """Remove partial files that a killed process left in the repository's cache."""
    for partial in (repo_folder(hub_file) / "blobs").glob("*.incomplete"):
        try:
            if time.time() - partial.stat().st_mtime > _STALE_S:
                partial.unlink()
        except OSError as error:
            logger.info("%s stays: %s", partial.name, error)
