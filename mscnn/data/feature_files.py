r"""Feature files: ``.npz``, ``.safetensors`` and ``.parquet``, written and read.

All three hold ``features``, ``(n, d)`` float32, and ``paths``, relative to the folder and with
``/``, of the photographs that could be read; and say ``model``, ``weights_sha256``, ``stage`` and
``split`` ("" where none was chosen), the ``preparation`` of the photographs (timm's data
configuration as JSON; files of earlier versions lack it), and which were ``unreadable``.

- ``.npz``: each of these is an array; text is of NumPy's ``str`` type, nothing is pickled.
- ``.safetensors``: ``features``, and ``paths`` as uint8, UTF-8 text with ``\0`` between two paths
  (the header, where text belongs, may not grow with the folder); the others in the metadata,
  ``unreadable`` as a JSON list.
- ``.parquet``: columns ``path`` and ``features``; the others in the schema's metadata, likewise.

The content depends on the rows alone, not on the time or the machine. Rows may be mapped from a
file larger than memory. pyarrow need not be installed.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.errors import DatasetError, OptionError, OutputError
from mscnn.results.features import FeatureFile, FeatureHead, Rows, head_of
from mscnn.results.writing import replacing

SUFFIXES = (".npz", ".parquet", ".safetensors")
_ROW_GROUP = 8192
_LISTS = ("paths", "unreadable")
# Of a file read: rows, their paths, texts, and which photographs could not be read.
_Content = tuple[Rows, "tuple[str, ...]", "dict[str, str]", "Iterable[str]"]


def check_format(out: Path) -> None:
    """Raise ``OptionError`` for a file name of no known kind, or whose package is missing."""
    if out.suffix.lower() not in SUFFIXES:
        raise OptionError(
            f"--out is {str(out)!r}; give a file name that ends in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}."
        )
    if out.suffix.lower() == ".parquet":
        import_pyarrow()


def check_writable(out: Path) -> None:
    """Raise ``OutputError`` for a folder, or a file in one that is missing or not writable."""
    if out.is_dir():
        raise OutputError(f"{str(out)!r} is a folder; give a file name as --out.")
    parent = out.parent
    if not parent.is_dir():
        raise OutputError(f"There is no folder {str(parent)!r} for --out; make it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(parent)!r} may not be written; give another --out.")


def write_feature_file(path: Path, head: FeatureHead, paths: Iterable[str], rows: Rows) -> None:
    """Write a file of the kind that ``path`` ends in, perhaps half where an error comes.

    ``paths`` are gone through several times; ``rows`` may be mapped from a file.
    """
    _KINDS[path.suffix.lower()][0](path, head, paths, rows)


def read_feature_file(path: Path) -> FeatureFile:
    """Read a feature file whole, or raise ``DatasetError``; ``OptionError`` as ``check_format``."""
    check_format(path)
    try:
        features, paths, texts, unreadable = _KINDS[path.suffix.lower()][1](path)
        found = FeatureFile(head_of(features, texts, unreadable), paths, features)
        fits = features.ndim == 2 and len(paths) == len(features)
    except Exception as error:
        # Files come from anywhere, and three packages let many kinds of errors out.
        raise DatasetError(
            f"{path.name!r} is not there or is no feature file; make one with 'mscnn features'."
        ) from error
    if not fits:
        raise DatasetError(f"{path.name!r} does not hold one path per row; make it again.")
    return found


def _write_npz(path: Path, head: FeatureHead, paths: Iterable[str], rows: Rows) -> None:
    texts: dict[str, Any] = {k: np.array(v) for k, v in head.texts().items() if k != "unreadable"}
    texts["unreadable"] = np.array(list(head.unreadable), dtype=np.str_)
    text_type = np.dtype(f"<U{max((len(name) for name in paths), default=1)}")
    # Mapped from a file, as paths of a million photographs take hundreds of MB.
    mapped = path.with_suffix(".paths.npy")
    mapped.unlink(missing_ok=True)  # what an earlier try left
    names = map_reserved(mapped, text_type, (head.rows,))
    for number, name in enumerate(paths):
        names[number] = name
    with path.open("wb") as file:
        np.savez(file, features=rows, paths=names, **texts)
    del names
    mapped.unlink()


def _read_npz(path: Path) -> _Content:
    with np.load(path, allow_pickle=False) as archive:
        texts = {key: str(archive[key]) for key in archive if key not in ("features", *_LISTS)}
        paths, unreadable = (tuple(archive[key].tolist()) for key in _LISTS)
        return archive["features"], paths, texts, unreadable


def _write_safetensors(path: Path, head: FeatureHead, paths: Iterable[str], rows: Rows) -> None:
    """Write the format's parts in turn; its own package needs all tensors in memory.

    Eight bytes (little endian) for the length of a JSON header, the header filled up with spaces to
    a multiple of eight, the tensors one after the other.
    """
    text_bytes = sum(len(name.encode()) + 1 for name in paths) - 1 if head.rows else 0
    ends = (0, 4 * head.rows * head.width, 4 * head.rows * head.width + text_bytes)
    header = {
        "__metadata__": head.texts(),
        "features": {"dtype": "F32", "shape": list(rows.shape), "data_offsets": ends[:2]},
        "paths": {"dtype": "U8", "shape": [text_bytes], "data_offsets": ends[1:]},
    }
    encoded = json.dumps(header, separators=(",", ":")).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.write(memoryview(np.ascontiguousarray(rows, "<f4")).cast("B"))
        for number, name in enumerate(paths):
            file.write((b"\0" if number else b"") + name.encode())


def _read_safetensors(path: Path) -> _Content:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        features, packed = file.get_tensor("features"), file.get_tensor("paths")
        texts = dict(file.metadata())
    paths = tuple(packed.tobytes().decode().split("\0")) if len(features) else ()
    return features, paths, texts, json.loads(texts["unreadable"])


def _write_parquet(path: Path, head: FeatureHead, paths: Iterable[str], rows: Rows) -> None:
    pa, parquet = import_pyarrow()
    fields = [("path", pa.string()), ("features", pa.list_(pa.float32(), head.width))]
    schema = pa.schema(fields, metadata=head.texts())
    names = iter(paths)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), _ROW_GROUP):
            some = rows[start : start + _ROW_GROUP]
            text = pa.array(list(islice(names, len(some))), pa.string())
            matrix = pa.FixedSizeListArray.from_arrays(pa.array(some.ravel()), head.width)
            writer.write_table(pa.Table.from_arrays([text, matrix], schema=schema))


def _read_parquet(path: Path) -> _Content:
    table = import_pyarrow()[1].read_table(path)
    column = table.column("features").combine_chunks()
    features = column.flatten().to_numpy().astype(np.float32).reshape(len(column), -1)
    texts = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
    return features, tuple(table.column("path").to_pylist()), texts, json.loads(texts["unreadable"])


_KINDS: dict[str, tuple[Callable[..., None], Callable[[Path], _Content]]] = {
    ".npz": (_write_npz, _read_npz),
    ".parquet": (_write_parquet, _read_parquet),
    ".safetensors": (_write_safetensors, _read_safetensors),
}


def map_reserved(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Map an array, of zeros where it is new, with its space on the disk reserved.

    A write into a map that the disk has no room for would kill the process.
    """
    if not path.exists():
        with replacing(path) as fresh:
            np.lib.format.open_memmap(fresh, "w+", dtype, shape)
            _reserve(fresh)
    return np.lib.format.open_memmap(path, "r+")


def _reserve(path: Path) -> None:
    """Take the space for a file of zeros, behind NumPy's header."""
    with path.open("rb") as same, path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        else:
            shutil.copyfileobj(same, file, 1 << 22)


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet, or raise ``OptionError``."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise OptionError(
            "Parquet files need the package pyarrow, which is not installed; install it with "
            "'pip install pyarrow', or give a file name that ends in .npz or .safetensors."
        ) from None
    return pyarrow, parquet
