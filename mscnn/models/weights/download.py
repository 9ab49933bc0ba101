"""Bring a file from the hub into the cache: progress, cancel, clean errors.

What ``huggingface_hub`` (1.16 to 2.4) does, and what follows from it:

* It writes to an ``.incomplete`` file beside the blobs and renames at the end, so a file in the
  cache is whole or absent. When the connection drops it resumes by a Range request, five times.
  What a transfer that failed for good leaves behind is resumed (1.x) or was removed (2.x).
* Its Xet transport reports progress from native threads, where an exception does not stop the
  transfer. Plain HTTPS is used instead: it can be stopped between two chunks.
* A stalled connection is noticed after 10 s. The transfer runs in its own thread, so that Cancel
  is followed at once; callbacks run in the caller's thread.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mscnn.errors import Cancelled, DownloadError
from mscnn.models.weights import hub
from mscnn.models.weights.digest import os_reason
from mscnn.models.weights.hub import HubFile

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, "int | None"], None]
"""Called with bytes done and bytes in total, None where the total is unknown."""
IsCancelled = Callable[[], bool]

# EDQUOT (a quota is used up) does not exist on Windows.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_POLL_S = 0.1
_NOTHING_THERE = (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError)
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20
# Room for the file system's own needs beside the file.
_SPARE_BYTES = 16 << 20


class _Transfer:
    """What the transfer's thread and the caller tell each other."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self.stop = threading.Event()
        self.path: str | None = None
        self.error: BaseException | None = None

    def bar(self) -> type[_Bar]:
        """Return the progress bar class that reports to this transfer."""
        return type("_BoundBar", (_Bar,), {"transfer": self})


class _Bar:
    """The part of tqdm that ``huggingface_hub.file_download.http_get`` uses; prints nothing."""

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
        if self.transfer.stop.is_set():
            raise Cancelled("The download was cancelled.")


def download(
    hub_file: HubFile,
    name: str,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    replace: bool = False,
) -> Path:
    """Download the weights into the hub cache and check their sha256.

    Args:
        hub_file: which file of which repository.
        name: the model, for messages.
        on_progress: called in this thread, about ten times a second.
        is_cancelled: asked as often.
        replace: download even if the cache has the file (it is damaged).

    Returns:
        The file in the cache.

    Raises:
        DownloadError: the file could not be had; the cache is as it was.
        Cancelled: ``is_cancelled`` returned True.
    """
    if hub.is_offline():
        raise DownloadError(f"{_absent(name)}, and offline mode is on; {_instead()}.")
    transfer = _Transfer()
    arguments = (transfer, hub_file, name, replace)
    worker = threading.Thread(target=_run, args=arguments, name="mscnn-download", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_POLL_S)
        if is_cancelled is not None and is_cancelled():
            transfer.stop.set()
            # Usually the next chunk ends it; a stalled one ends by itself, with nothing left.
            worker.join(1.0)
            raise Cancelled("The download was cancelled.")
        if on_progress is not None and transfer.done:
            on_progress(transfer.done, transfer.total)
    if on_progress is not None and transfer.done:
        on_progress(transfer.done, transfer.total)
    if transfer.error is not None:
        raise transfer.error
    return _checked(Path(transfer.path or ""), name)


def _checked(path: Path, name: str) -> Path:
    if hub.is_whole(path):
        return path
    hub.remove_copy(path)
    raise DownloadError(
        f"The weights of {name} arrived damaged (their sha256 differs from the hub's) and were "
        "removed; try again."
    )


def _run(transfer: _Transfer, hub_file: HubFile, name: str, replace: bool) -> None:
    try:
        transfer.path = _fetch(transfer, hub_file, name, replace)
    except (DownloadError, Cancelled) as error:
        transfer.error = error
    except Exception as error:
        # Raised again in the caller's thread; what is no fault of the transfer stays as it is.
        transfer.error = _translate(error, name, hub_file)


def _fetch(transfer: _Transfer, hub_file: HubFile, name: str, replace: bool) -> str:
    # The library's switches are module constants; both are read at each request.
    constants.HF_HUB_DISABLE_XET = True
    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, _CHUNK_BYTES)
    hub.remove_leftovers(hub_file)
    file_name, size = _ask(hub_file)
    _check_room(size, name)
    transfer.total = size
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return hf_hub_download(
                hub_file.repo_id,
                file_name,
                revision=hub_file.revision,
                cache_dir=hub.cache_folder(),
                endpoint=hub.endpoint(),
                force_download=replace,
                tqdm_class=transfer.bar(),
            )
        except Exception as error:
            if attempt == _ATTEMPTS or transfer.stop.is_set() or not _broke_midway(error):
                raise
            logger.info("download of %s broke, starting again: %s", name, error)
    raise AssertionError("unreachable")


def _ask(hub_file: HubFile) -> tuple[str, int | None]:
    """Ask the hub for the file's name and size with one quick request each.

    ``hf_hub_download`` alone would try for half a minute to reach a hub that is not there.
    """
    for position, file_name in enumerate(hub_file.names, start=1):
        url = hf_hub_url(
            hub_file.repo_id, file_name, revision=hub_file.revision, endpoint=hub.endpoint()
        )
        try:
            return file_name, _size_of(url)
        except EntryNotFoundError:
            if position == len(hub_file.names):
                raise
    raise AssertionError("unreachable")


def _size_of(url: str) -> int | None:
    # The library's default for the timeout was read at import.
    seconds = float(constants.HF_HUB_ETAG_TIMEOUT)
    return get_hf_file_metadata(url, timeout=seconds, endpoint=hub.endpoint()).size


def _free_bytes(folder: Path) -> int | None:
    """Return the room on the disk that holds ``folder`` or will hold it; None if unknown."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except OSError:
            continue
    return None


def _check_room(size: int | None, name: str) -> None:
    free = _free_bytes(hub.cache_folder())
    if size is not None and free is not None and free < size + _SPARE_BYTES:
        raise DownloadError(
            f"The disk is too full for the weights of {name}: they need {_mib(size)} and "
            f"{_mib(free)} are free; make room or choose a model that is already here."
        )


def _broke_midway(error: Exception) -> bool:
    """Whether bytes were flowing and then stopped, so that another attempt may work."""
    # The library is built on httpx, httpx2 or requests, by version; it re-exports none of them.
    broken = {"ReadError", "RemoteProtocolError", "ChunkedEncodingError", "IncompleteRead"}
    return type(error).__name__ in broken or "Consistency check failed" in str(error)


def _translate(error: Exception, name: str, hub_file: HubFile) -> BaseException:
    sentence = _sentence(error, name, hub_file)
    if sentence is None:
        return error
    logger.info("download of %s failed", name, exc_info=error)
    translated = DownloadError(sentence)
    translated.__cause__ = error
    return translated


def _sentence(error: Exception, name: str, hub_file: HubFile) -> str | None:
    transport = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or status == 403:
        return (
            f"The hub does not give out the weights of {name} without permission; ask for access "
            f"to {hub_file.repo_id} there and set HF_TOKEN, or {_instead()}."
        )
    # The hub answers 401 for repositories that do not exist.
    if isinstance(error, _NOTHING_THERE) and status in (401, 404):
        return f"The hub has no weights at {hub_file.repo_id} for {name}; {_instead()}."
    if isinstance(error, OfflineModeIsEnabled):
        return f"{_absent(name)}, and offline mode is on; {_instead()}."
    if isinstance(error, HfHubHTTPError):
        return f"{_absent(name)}, and the hub answers with error {status}; {_instead()}."
    if "Timeout" in type(error).__name__:
        return f"{_absent(name)}, and the hub does not answer in time; {_instead()}."
    if _broke_midway(error):
        return f"The download of {name} broke off; try again, or {_instead()}."
    if transport & {"httpx", "httpx2", "requests", "urllib3"}:
        return f"{_absent(name)}, and the hub cannot be reached; {_instead()}."
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"The disk is full, so the weights of {name} were not saved; make room and try again."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return f"The hub cache cannot be written: {os_reason(error)}."
    if isinstance(error, OSError):
        return f"{_absent(name)}, and the hub gives no usable answer; {_instead()}."
    return None


def _absent(name: str) -> str:
    return f"The weights of {name} are not on this machine"


def _instead() -> str:
    return "choose a model that is already here, or copy its weights file and name that"


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
