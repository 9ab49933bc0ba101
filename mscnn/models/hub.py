"""The Hugging Face hub: weights in its cache, and downloads that show progress and can be stopped.

What ``huggingface_hub`` (1.16 to 2.4) does, and what follows from it:

* Its environment is read once, at import. ``HF_HUB_CACHE``, ``HF_HOME``, ``HF_ENDPOINT`` and
  ``HF_HUB_OFFLINE`` are read here again at each call, so that a running app can change them.
* ``hf_hub_download``, with ``dry_run`` too, tries for half a minute to reach a hub that is not
  there. ``get_hf_file_metadata`` asks once, so it is called first.
* A download is written to an ``.incomplete`` file and renamed at the end, so a file in the cache
  is whole or absent. A connection that drops is resumed by a Range request, five times; one that
  is reset is not.
* The Xet transport reports progress from native threads, where an exception does not stop the
  transfer. Plain HTTPS is used instead: it can be stopped between two chunks.
* A stalled connection is noticed after 10 s. The transfer therefore runs in a thread of its own,
  so that Cancel is followed at once.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import (
    constants,
    errors,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.file_download import repo_folder_name

from mscnn.errors import Cancelled, DownloadError
from mscnn.models.files import sha256_of
from mscnn.results.writing import reason

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, "int | None"], None]
"""Called with bytes done and bytes in total, None where the total is unknown."""
IsCancelled = Callable[[], bool]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_POLL_S = 0.1
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 16 << 20  # for the file system's own needs beside the file
_STALE_S = 3600.0  # a partial file untouched for so long is of a process that was killed
_INSTEAD = "choose a model that is already here, or copy its weights file and name that"


@dataclass(frozen=True)
class HubFile:
    """The weights of one model on the hub."""

    repo_id: str  # such as "timm/res2net50d.in1k"
    revision: str = "main"  # a branch, tag or commit
    names: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")  # to try, best first


def is_offline() -> bool:
    """Whether the environment forbids to use the network."""
    named = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    return named or constants.is_offline_mode()


def cached_path(hub_file: HubFile) -> Path | None:
    """Return the cached weights, None where there are none; no network, nothing is hashed.

    A download that broke may have moved the revision's pointer before the new file was there;
    then the newest snapshot that has the file serves.
    """
    try:
        snapshots = [*(_repo_folder(hub_file) / "snapshots").iterdir()]
        snapshots.sort(key=lambda folder: -folder.stat().st_mtime)
        for revision in (hub_file.revision, *(folder.name for folder in snapshots)):
            for name in hub_file.names:
                found = try_to_load_from_cache(hub_file.repo_id, name, _cache_folder(), revision)
                if isinstance(found, str):
                    return Path(found)
    except OSError as error:  # usually: there is no such folder
        logger.debug("no cached %s: %s", hub_file.repo_id, error)
    return None


def is_whole(path: Path) -> bool:
    """Compare a cached file with the sha256 that its blob is called by; without one it passes."""
    try:
        # One step only: a blob may itself be a link into a store with other names.
        blob = path.readlink()
    except OSError:
        return True
    named = blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name)
    return not named or sha256_of(path) == blob.name


def download(
    hub_file: HubFile,
    name: str,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    replace: bool = False,
) -> Path:
    """Download the weights of the model ``name`` into the hub cache and check their sha256.

    ``on_progress`` is called in this thread, about ten times a second, and ``is_cancelled`` asked
    as often. ``replace`` downloads even if the cache has the file (it is damaged).

    Raises:
        DownloadError: the file could not be had; the cache is as it was.
        Cancelled: ``is_cancelled`` returned True.
    """
    if is_offline():
        raise DownloadError(f"{_absent(name)}, and offline mode is on; {_INSTEAD}.")
    transfer = _Transfer(hub_file, name, replace)
    transfer.start()
    running = True
    while running:
        transfer.join(_POLL_S)
        running = transfer.is_alive()
        if running and is_cancelled is not None and is_cancelled():
            transfer.stopped = True
            # Usually the next chunk ends it; a stalled one ends by itself, with nothing left.
            transfer.join(1.0)
            raise Cancelled("The download was cancelled.")
        if on_progress is not None and transfer.done:
            on_progress(transfer.done, transfer.total)
    if transfer.error is not None:
        raise transfer.error
    path = transfer.path
    if not is_whole(path):
        if path.is_symlink():
            (path.parent / path.readlink()).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DownloadError(
            f"The weights of {name} arrived damaged (their sha256 differs from the hub's) and "
            "were removed; try again."
        )
    return path


class _Transfer(threading.Thread):
    """The thread of one download: ends with ``path`` or ``error``, sooner where ``stopped``."""

    def __init__(self, hub_file: HubFile, name: str, replace: bool) -> None:
        super().__init__(name="mscnn-download", daemon=True)
        self.done, self.stopped, self.path = 0, False, Path()
        self.total: int | None = None
        self.error: Exception | None = None
        self._hub_file, self._model, self._replace = hub_file, name, replace

    def run(self) -> None:
        try:
            self.path = Path(self._fetch())
        except Exception as error:
            self.error = error
            if sentence := _sentence(error, self._model, self._hub_file):
                logger.info("download of %s failed", self._model, exc_info=error)
                self.error = DownloadError(sentence)
                self.error.__cause__ = error

    def _fetch(self) -> str:
        # The library's switches are module constants; both are read at each request.
        constants.HF_HUB_DISABLE_XET = True
        constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, _CHUNK_BYTES)
        hub_file = self._hub_file
        _remove_leftovers(hub_file)
        file_name, self.total = _ask(hub_file)
        _check_room(self.total, self._model)
        attempt = 1
        while True:
            try:
                return hf_hub_download(
                    hub_file.repo_id, file_name, revision=hub_file.revision,
                    cache_dir=_cache_folder(), endpoint=_endpoint(), force_download=self._replace,
                    tqdm_class=type("_BoundBar", (_Bar,), {"transfer": self}),
                )  # fmt: skip
            except Exception as error:
                if attempt == _ATTEMPTS or self.stopped or not _broke_midway(error):
                    raise
                logger.info("download of %s broke, starting again: %s", self._model, error)
                attempt += 1


class _Bar:
    """The part of tqdm that ``huggingface_hub`` calls while it downloads; prints nothing."""

    transfer: _Transfer

    def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
        self.transfer.total = total or self.transfer.total
        self.transfer.done = initial

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing; there is no terminal line to clean."""

    def update(self, n: float | None = 1) -> None:
        self.transfer.done += int(n or 0)
        if self.transfer.stopped:
            raise Cancelled("The download was cancelled.")


def _cache_folder() -> Path:
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser() / below
    return Path(constants.HF_HUB_CACHE)


def _repo_folder(hub_file: HubFile) -> Path:
    return _cache_folder() / repo_folder_name(repo_id=hub_file.repo_id, repo_type="model")


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _ask(hub_file: HubFile) -> tuple[str, int | None]:
    """Return the name and size of the first of the file's names that the hub has."""
    # The library's default for the timeout was read at import.
    seconds, missing = float(constants.HF_HUB_ETAG_TIMEOUT), Exception()
    for name in hub_file.names:
        url = hf_hub_url(hub_file.repo_id, name, revision=hub_file.revision, endpoint=_endpoint())
        try:
            return name, get_hf_file_metadata(url, timeout=seconds, endpoint=_endpoint()).size
        except errors.EntryNotFoundError as error:
            missing = error
    raise missing


def _remove_leftovers(hub_file: HubFile) -> None:
    """Remove partial files that a killed process left in the repository's cache."""
    for partial in (_repo_folder(hub_file) / "blobs").glob("*.incomplete"):
        try:
            if time.time() - partial.stat().st_mtime > _STALE_S:
                partial.unlink()
        except OSError as error:
            logger.info("%s stays: %s", partial.name, error)


def _check_room(size: int | None, name: str) -> None:
    cache = _cache_folder()
    folder = next((path for path in (cache, *cache.parents) if path.exists()), None)
    free = shutil.disk_usage(folder).free if folder is not None else math.inf
    if size is not None and free < size + _SPARE_BYTES:
        raise DownloadError(
            f"The disk is too full for the weights of {name}: they need {size / 2**20:.0f} MiB "
            f"and {free / 2**20:.0f} MiB are free; make room or choose a model that is already "
            "here."
        )


def _broke_midway(error: Exception) -> bool:
    """Whether bytes were flowing and then stopped, so that another attempt may work."""
    # The library is built on httpx, httpx2 or requests, by version; it re-exports none of them.
    broken = {"ReadError", "RemoteProtocolError", "ChunkedEncodingError", "IncompleteRead"}
    return type(error).__name__ in broken or "Consistency check failed" in str(error)


def _sentence(error: Exception, name: str, hub_file: HubFile) -> str | None:
    """Say what went wrong; None where it is said already or no fault of hub, line or disk."""
    if isinstance(error, (DownloadError, Cancelled)):
        return None
    transport = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    missing = (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.EntryNotFoundError,
    )
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return (
            f"The hub does not give out the weights of {name} without permission; ask for access "
            f"to {hub_file.repo_id} there and set HF_TOKEN, or {_INSTEAD}."
        )
    # The hub answers 401 for repositories that do not exist, but to a token that counts with 404.
    request = getattr(getattr(error, "response", None), "request", None)
    if status == 401 and getattr(request, "headers", {}).get("authorization"):
        return (
            f"{_absent(name)}, and the hub refuses your access token, which may have expired; "
            f"renew or remove it (HF_TOKEN, or 'hf auth logout'), or {_INSTEAD}."
        )
    if isinstance(error, missing) and status in (401, 404):
        return f"The hub has no weights at {hub_file.repo_id} for {name}; {_INSTEAD}."
    if _broke_midway(error):
        return f"The download of {name} broke off; try again, or {_INSTEAD}."
    refused = isinstance(error, OSError) and error.errno is not None and reason(error)
    if refused == "the disk is full":
        return (
            f"The disk is full, so the weights of {name} were not saved; make room and try again."
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        why = "offline mode is on"
    elif isinstance(error, errors.HfHubHTTPError):
        why = f"the hub answers with error {status}"
    elif "Timeout" in type(error).__name__:
        why = "the hub does not answer in time"
    elif transport & {"httpx", "httpx2", "requests", "urllib3"}:
        why = "the hub cannot be reached"
    elif refused:
        return f"The hub cache cannot be written: {refused}."
    elif isinstance(error, OSError):
        why = "the hub gives no usable answer"
    else:
        return None
    return f"{_absent(name)}, and {why}; {_INSTEAD}."


def _absent(name: str) -> str:
    return f"The weights of {name} are not on this machine"
