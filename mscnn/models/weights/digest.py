"""What a weights file is, byte for byte, without torch: its sha256 and why it cannot be read."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from mscnn.errors import WeightsError


def os_reason(error: OSError) -> str:
    """Say why the system refused, without the path that ``str(error)`` carries."""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return (error.strerror or type(error).__name__).lower()


_digests: dict[tuple[str, int, int], str] = {}


def sha256_of(path: Path) -> str:
    """Return the file's sha256 (64 hex digits); a file that has not changed is read once.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        state = path.stat()
        key = (str(path.resolve()), state.st_size, state.st_mtime_ns)
        if key not in _digests:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            _digests[key] = digest.hexdigest()
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path.name}.") from None
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    return _digests[key]
