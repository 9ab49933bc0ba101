"""What a golden copy holds of a document or a file, and how two copies are compared.

This module knows JSON and file formats only; it imports nothing of the program.
"""

import csv
import json
import math
import re
import struct
from collections import defaultdict
from typing import Any

import numpy as np
from PIL import Image

MASKED = {
    *("seconds", "latency_ms", "images_per_second", "created", "device"),
    *("latency_range_ms", "threads", "torch", "timm", "mscnn"),
}
"""Keys whose values differ from run to run or from machine to machine; their type is kept."""
WITH_VALUES = {"manifest.json", "training.json"}
"""Written JSON files that are kept with their values; of others only the skeleton is."""
RELATIVE, ABSOLUTE = 1e-3, 2e-4
MOST_DIGITS = 8
"""A number with more digits after the point has not been rounded."""


def mask(document, also=frozenset()):
    """Replace what is not deterministic by its type."""
    if isinstance(document, dict):
        hidden = MASKED | also
        return {
            key: f"<{kind(value)}>" if key in hidden else mask(value, also)
            for key, value in document.items()
        }
    return [mask(item, also) for item in document] if isinstance(document, list) else document


def kind(value):
    return "null" if value is None else type(value).__name__


def skeleton(document):
    """Keys in their order with the types of their values; a list has one merged element."""
    if isinstance(document, dict):
        return {key: skeleton(value) for key, value in document.items()}
    if isinstance(document, list):
        return [merge_all([skeleton(item) for item in document])] if document else []
    return document if isinstance(document, str) and document[:1] == "<" else kind(document)


def merge_all(parts):
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part)
    return merged


def merge(a, b):
    """One skeleton for both; ``key?`` is not in all elements, ``{"null or": ...}`` may be null."""
    if a == b:
        return a
    if isinstance(a, list) and isinstance(b, list):
        return [merge_all([*a, *b])] if a or b else []
    if isinstance(a, dict) and isinstance(b, dict):
        if "null or" in a or "null or" in b:
            return {"null or": merge(a.get("null or", a), b.get("null or", b))}
        merged = {}
        for key in dict.fromkeys(key.rstrip("?") for key in (*a, *b)):
            values = [part[k] for part in (a, b) for k in (key, f"{key}?") if k in part]
            merged[key if key in a and key in b else f"{key}?"] = merge_all(values)
        return merged
    if "null" in (a, b):
        other = b if a == "null" else a
        if not isinstance(other, str):
            return other if "null or" in other else {"null or": other}
    return "|".join(sorted({*str(a).split("|"), *str(b).split("|")}))


def differences(got, wanted, where=""):
    """Say where two trees differ: keys and their order, types, values, digits after the point."""
    return [*_differences(got, wanted, where), *_rounding(got, wanted)]


def _differences(got, wanted, where):
    if type(got) is not type(wanted):
        yield f"{where}: {got!r:.200} is not {wanted!r:.200}"
    elif isinstance(wanted, dict):
        if list(got) != list(wanted):
            yield f"{where}: keys {[*got]} are not {[*wanted]}"
        for key in wanted:
            if key in got:
                yield from _differences(got[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        if len(got) != len(wanted):
            yield f"{where}: {len(got)} elements, not {len(wanted)}"
        for i, (a, b) in enumerate(zip(got, wanted, strict=False)):
            yield from _differences(a, b, f"{where}[{i}]")
    elif isinstance(wanted, float):
        if not math.isclose(got, wanted, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield f"{where}: {got} is not {wanted}"
    elif got != wanted:
        yield f"{where}: {got!r} is not {wanted!r}"


def _rounding(got, wanted):
    found, expected = _digits(got, ""), _digits(wanted, "")
    for where, digits in expected.items():
        most = max(found.get(where, [0]))
        # With up to one digit the number may as well be a sum that came out even.
        rounded = 1 < max(digits) <= MOST_DIGITS
        if (rounded and most != max(digits)) or (max(digits) > MOST_DIGITS >= most):
            yield f"{where}: {most} digits after the point, not {max(digits)}"


def _digits(tree, where):
    """Digits after the point of all floats, by their place with list indices left out."""
    found = defaultdict(list)
    inner: list[tuple[str, Any]] = []
    if isinstance(tree, dict):
        inner = [(f"{where}.{key}", value) for key, value in tree.items()]
    elif isinstance(tree, list):
        inner = [(f"{where}[*]", value) for value in tree]
    elif isinstance(tree, float):
        mantissa, _, exponent = repr(tree).partition("e")
        found[where] = [max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))]
    for place, value in inner:
        for key, digits in _digits(value, place).items():
            found[key] += digits
    return found


def as_text(tree):
    """JSON with an element per line, short lists of numbers on one."""
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    one_line = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return one_line + "\n"


def describe_folder(root, *, but, also=frozenset()):
    """What is fixed of each file below a folder, by its relative name; some are left out."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: describe(files[name], also) for name in sorted(set(files) - but)}


def describe(path, also=frozenset()):
    """Shapes and types of arrays, headers of tables, skeletons of JSON; pictures only open."""
    return _READERS.get(path.suffix, lambda path, also: "a file")(path, also)


def _array(array):
    # The length of a text column is that of its longest text.
    name = "text" if array.dtype.kind in "US" else str(array.dtype)
    return f"{name} {list(array.shape)}"


def _npy(path, also):
    return _array(np.load(path, allow_pickle=False))


def _npz(path, also):
    with np.load(path, allow_pickle=False) as arrays:
        return {key: _array(arrays[key]) for key in arrays.files}


def _safetensors(path, also):
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    metadata = list(header.pop("__metadata__", {}))
    tensors = {key: f"{entry['dtype']} {entry['shape']}" for key, entry in header.items()}
    return {"metadata": metadata, "tensors": tensors if len(tensors) < 9 else len(tensors)}


def _parquet(path, also):
    from pyarrow import parquet

    table = parquet.read_table(path)
    columns = {field.name: str(field.type) for field in table.schema}
    metadata = [key.decode() for key in table.schema.metadata or {}]
    return {"rows": table.num_rows, "columns": columns, "metadata": metadata}


def _picture(path, also):
    with Image.open(path) as image:
        image.load()
        return f"a {image.format} picture"


def _csv(path, also):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {"header": ",".join(header), "rows": len(rows)}


def _json(path, also):
    document = mask(json.loads(path.read_text("utf-8")), also)
    return document if path.name in WITH_VALUES else skeleton(document)


def _markdown(path, also):
    return [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]


_READERS: dict[str, Any] = {
    ".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet,
    ".png": _picture, ".jpg": _picture, ".csv": _csv, ".json": _json, ".md": _markdown,
}  # fmt: skip
