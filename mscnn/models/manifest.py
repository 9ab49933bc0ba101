"""The bundled weights and what vouches for them; ``docs/weights.md`` describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mscnn
from mscnn.errors import WeightsError
from mscnn.models.files import sha256_of
from mscnn.results.writing import reason

NAME = "MANIFEST.json"
SCHEMA = 1
_RESTORE = "restore it with 'git checkout -- assets/weights' or clone the repository again"
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("model", "file", "sha256", "dtype", "labels", "licence"), str),
    **{"bytes": int, "classes": int, "training": dict, "accuracy": (dict, type(None))},
}


@dataclass(frozen=True)
class BundledWeights:
    """One entry of the manifest, as ``docs/weights.md`` shows it; None: not measured."""

    model: str
    file: str
    sha256: str
    bytes: int
    dtype: str
    classes: int
    labels: tuple[str, ...] = field(repr=False)
    training: Mapping[str, Any]
    accuracy: Mapping[str, Any] | None
    licence: str
    reliability: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """How a user would name the file."""
        return f"assets/weights/{self.file}"


def assets_folder() -> Path:
    """Return the folder of shipped files.

    ``MSCNN_ASSETS`` where it is set (read at each call), else ``mscnn/_assets`` (an installed
    wheel), else ``assets`` beside the package (a clone; beside a wheel it is somebody else's).
    """
    if named := os.environ.get("MSCNN_ASSETS"):
        return Path(named)
    package = Path(mscnn.__path__[0])
    inside = package / "_assets"
    return inside if inside.is_dir() else package.parent / "assets"


def weights_folder() -> Path:
    """Return the folder of the bundled weights and their manifest; it need not exist."""
    return assets_folder() / "weights"


def load_manifest() -> dict[str, BundledWeights]:
    """Return weights by model name, {} without a manifest; ``WeightsError`` for a broken one."""
    path = weights_folder() / NAME
    if not path.is_file():
        return {}
    document = read_document(path)
    entries = [_parse(entry, document["labels"]) for entry in document["weights"]]
    return {entry.model: entry for entry in entries}


def read_document(path: Path) -> dict[str, Any]:
    """Return the manifest, or raise ``WeightsError`` where it is not JSON of this schema."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"assets/weights/{NAME} cannot be read: {reason(error)}.") from error
    except ValueError as error:
        raise _broken("is not valid JSON") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise _broken(f"is not of schema {SCHEMA}")
    if [type(found.get(key)) for key in ("labels", "weights")] != [dict, list]:
        raise _broken("lacks 'labels' or 'weights'")
    return found


def _parse(entry: Any, label_sets: Mapping[str, Any]) -> BundledWeights:
    if not isinstance(entry, dict):
        raise _broken("has an entry that is no object")
    who = entry.get("model", "?")
    for name, kind in _FIELDS.items():
        if name not in entry or not isinstance(entry[name], kind):
            raise _broken(f"has no usable {name!r} for {who}")
    # A manifest names files beside itself only.
    if Path(entry["file"]).name != entry["file"]:
        raise _broken(f"names a file outside its folder for {who}")
    labels = label_sets.get(entry["labels"])
    if not isinstance(labels, list) or len(labels) != entry["classes"]:
        count = len(labels) if isinstance(labels, list) else "no"
        raise _broken(f"has {count} names for the {entry['classes']} classes of {who}")
    own = {key: entry[key] for key in _FIELDS} | {"labels": tuple(map(str, labels))}
    return BundledWeights(**own, reliability=entry.get("reliability"))


def _broken(fault: str) -> WeightsError:
    return WeightsError(f"assets/weights/{NAME} {fault}; {_RESTORE}.")


def checked_path(entry: BundledWeights) -> Path:
    """Return the bundled file; ``WeightsError`` where its size or sha256 is not the manifest's."""
    path = weights_folder() / entry.file
    if not path.is_file():
        fault = "is missing"
    elif (size := path.stat().st_size) != entry.bytes:
        fault = f"has {size} bytes instead of {entry.bytes}"
    elif sha256_of(path) != entry.sha256.lower():
        fault = f"is damaged: its sha256 differs from {NAME}"
    else:
        return path
    raise WeightsError(f"The bundled file {entry.source} {fault}; {_RESTORE}.")
