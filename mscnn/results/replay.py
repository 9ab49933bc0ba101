"""How a result was made, so that it can be made again, and whether that gives the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.errors import OptionError
from mscnn.results.schema import JsonDict, json_bytes
from mscnn.results.writing import Files, bare_name, reason

MANIFEST = "manifest.json"
TOLERANCE = 1e-5
"""Of an array's own largest magnitude. Maps of different methods and layers lie orders of magnitude
apart: an absolute limit would pass whatever a small one holds, and refuse a large one for the
rounding of float32."""
_NOT_COMPARED = ("seconds", "map_seconds", "created", "versions", "replay", "reason")
Arrays = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class MadeBy:
    """What makes a result again.

    Attributes:
        command, options: of the command line, by the names of its parameters.
        photo: ``name`` of its file, and ``sha256`` of the file's bytes.
        weights: sha256 by model, as ``options`` name it.
        compare: files with arrays; without any, the documents.
    """

    command: str
    options: dict[str, Any]
    photo: dict[str, str]
    weights: dict[str, str]
    compare: list[str]


def recorded(
    files: Files,
    command: str,
    options: Mapping[str, Any],
    photo: tuple[str, str],
    weights: Mapping[str, str],
) -> Files:
    """Return files whose manifest also holds a ``MadeBy``; ``photo`` is ``(name, sha256)``."""
    compare = [name for name in files if name.endswith((".npy", ".npz"))]
    compare = compare or [n for n in files if n.endswith(".json") and n != MANIFEST]
    # What no array of splits holds. A page's cap may be of several networks; the command has one.
    one = "cap.json" in files and len(json.loads(files["cap.json"])["models"]) == 1
    compare += ["ablation.json"] * ("ablation.json" in files) + ["cap.json"] * one
    made = {
        "command": command,
        "options": {k: v for k, v in options.items() if v or (v == 0 and v is not False)},
        "photo": {"name": bare_name(photo[0]), "sha256": photo[1]},
        **{"weights": dict(weights), "compare": compare},
    }
    return {**files, MANIFEST: json_bytes({**json.loads(files[MANIFEST]), "replay": made})}


def read_manifest(path: Path) -> tuple[JsonDict, MadeBy]:
    """Return a manifest and what made it; ``OptionError``: it is none, or says nothing of that."""
    name = bare_name(str(path))
    try:
        found = json.loads(path.read_bytes())
        if not (isinstance(found, dict) and isinstance(found.get("versions"), dict)):
            raise ValueError("something else")
        if "replay" in found:
            made = MadeBy(**found["replay"])
            texts = (made.command, *made.photo.values(), *made.weights.values(), *made.compare)
            kinds = isinstance(made.options, dict), isinstance(made.compare, list)
            if all(isinstance(text, str) for text in texts) and all(
                (*kinds, made.compare, made.photo["name"], made.photo["sha256"])
            ):
                return found, made
            raise ValueError("a record of something else")
    except OSError as error:
        said = f"{name!r} cannot be read ({reason(error)}); give the manifest.json of a result."
        raise OptionError(said) from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        said = f"{name!r} is no manifest that mscnn wrote; give the manifest.json of a result."
        raise OptionError(said) from error
    raise OptionError(
        f"{name!r} does not say how it was made: it is older than that, or not of one photo; make "
        "the result again."
    )


def arrays_in(folder: Path, names: Sequence[str]) -> Arrays:
    """Return the arrays of files, ``maps.npz layer4`` of an archive; of JSON the numbers by key.

    Raises ``OptionError``: a file is missing or damaged.
    """
    found: Arrays = {}
    for name in names:
        path, parts = folder / bare_name(name), dict[str, Any]()
        try:
            if path.suffix == ".json":
                for where, value in leaves(json.loads(path.read_bytes())):
                    if type(value) in (int, float):
                        parts.setdefault(where, []).append(value)
            else:
                loaded = np.load(path, allow_pickle=False)
                parts = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
            for key, values in parts.items():
                real = np.asarray(values).astype(np.float64, casting="same_kind")
                found[f"{name} {key}".strip()] = np.atleast_1d(real)
        except Exception as error:  # files come from anywhere, and NumPy lets many kinds out
            said = f"{path.name!r} is not beside the manifest, or damaged; keep a result's files"
            raise OptionError(f"{said} together.") from error
    return found


def leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (keys, value) of what is neither list nor object, but for times and versions."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in _NOT_COMPARED:
                yield from leaves(value, f"{where} {key}".strip())
    elif isinstance(tree, list):
        for value in tree:
            yield from leaves(value, where)
    else:
        yield where, tree


def differences(before: Arrays, after: Arrays) -> dict[str, str]:
    """Say of each array that is not the same, within ``TOLERANCE``, how it differs."""
    said: dict[str, str] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old.shape != new.shape:
            had, has = ("missing" if x is None else f"of shape {x.shape}" for x in (old, new))
            said[name] = f"was {had}, now it is {has}"
            continue
        known = np.isfinite(old)
        top, gap = (float(np.abs(x[known]).max(initial=0)) for x in (old, old - new))
        if not np.array_equal(known, np.isfinite(new)):
            said[name] = "has numbers in other places"
        elif gap > TOLERANCE * top:
            said[name] = f"differs by up to {gap:.3g}; its largest magnitude is {top:.3g}"
    return said
