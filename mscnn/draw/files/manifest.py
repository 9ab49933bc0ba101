"""What every manifest starts with, and how documents and maps become bytes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import mscnn
from mscnn.geometry import FloatMap
from mscnn.results.explanation import JsonDict

SCHEMA = 1


def header(created: datetime | None, packages: tuple[str, ...] = ("torch", "timm")) -> JsonDict:
    """Schema, time (UTC) and versions.

    Args:
        created: with a time zone; None for now.
        packages: distributions whose versions matter beside our own.
    """
    versions: dict[str, str | None] = {"mscnn": mscnn.__version__}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    moment = created or datetime.now(timezone.utc)
    stamp = moment.astimezone(timezone.utc).isoformat(timespec="seconds")
    return {"schema": SCHEMA, "created": stamp, "versions": versions}


def bare_name(path: str | None) -> str:
    """Return the last part of a photo's path, on every system: files travel, paths must not."""
    return re.split(r"[\\/]", path or "")[-1]


def json_bytes(document: Mapping[str, object]) -> bytes:
    """Encode a document as indented JSON; ASCII, so that file names of any bytes survive."""
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode("ascii")


def npy_bytes(raw: FloatMap) -> bytes:
    """Encode a map as a ``.npy`` file of float32, without pickle."""
    out = io.BytesIO()
    np.save(out, np.asarray(raw, dtype=np.float32), allow_pickle=False)
    return out.getvalue()
