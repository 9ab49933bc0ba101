r"""Feature files: ``.npz``, ``.safetensors`` and ``.parquet``, written and read.

All three hold ``features``, ``(n, d)`` float32, and ``paths``, relative to the folder and with
``/``, of the photographs that could be read; and say ``model``, ``weights_sha256``, ``stage`` and
``split`` ("" where none was chosen), and which photographs were ``unreadable``.

- ``.npz``: each of these is an array; text is of NumPy's ``str`` type, nothing is pickled.
- ``.safetensors``: ``features``, and ``paths`` as uint8, UTF-8 text with ``\0`` between two paths
  (the header, where text belongs, may not grow with the folder); the others in the metadata,
  ``unreadable`` as a JSON list.
- ``.parquet``: columns ``path`` and ``features``; the others in the schema's metadata, likewise.

The content depends on the rows alone, not on the time or the machine.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from mscnn.data.parquet import pyarrow_or_error, read_parquet, write_parquet
from mscnn.data.part_files import Rows
from mscnn.errors import DatasetError, OptionError, OutputError
from mscnn.results.features import FeatureFile, FeatureHead, Paths, head_of

SUFFIXES = (".npz", ".parquet", ".safetensors")


def check_format(out: Path) -> None:
    """Refuse a file name of no known kind, or one whose package is missing, before any work.

    Raises:
        OptionError: as said.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OptionError(
            f"--out is {str(out)!r}; give a file name that ends in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}."
        )
    if out.suffix.lower() == ".parquet":
        pyarrow_or_error()


def check_writable(out: Path) -> None:
    """Refuse a place that cannot be written, before any work.

    Raises:
        OutputError: it is a folder, or lies in one that is missing or may not be written.
    """
    if out.is_dir():
        raise OutputError(f"{str(out)!r} is a folder; give a file name as --out.")
    parent = out.parent
    if not parent.is_dir():
        raise OutputError(f"There is no folder {str(parent)!r} for --out; make it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(parent)!r} may not be written; give another --out.")


def write_feature_file(path: Path, head: FeatureHead, paths: Paths, rows: Iterable[Rows]) -> None:
    """Write a file of the kind that ``path`` ends in, some rows at a time.

    Args:
        path: replaced where it exists; not yet whole when an error comes.
        head: what it says.
        paths: ``head.rows`` of them.
        rows: ``head.rows`` in all.
    """
    writer = {".npz": _write_npz, ".parquet": write_parquet, ".safetensors": _write_safetensors}
    writer[path.suffix.lower()](path, head, paths, rows)


def read_feature_file(path: Path) -> FeatureFile:
    """Read a feature file whole.

    Raises:
        OptionError: the name ends in no known kind, or the package for it is missing.
        DatasetError: it is not there, or not such a file.
    """
    check_format(path)
    reader = {".npz": _read_npz, ".parquet": read_parquet, ".safetensors": _read_safetensors}
    try:
        found = reader[path.suffix.lower()](path)
        fits = found.features.ndim == 2 and len(found.paths) == len(found.features)
    except Exception as error:
        # Files come from anywhere, and three packages let many kinds of errors out.
        raise DatasetError(
            f"{path.name!r} is not there or is no feature file; make one with 'mscnn features'."
        ) from error
    if not fits:
        raise DatasetError(f"{path.name!r} does not hold one path per row; make it anew.")
    return found


def _write_npz(path: Path, head: FeatureHead, paths: Paths, rows: Iterable[Rows]) -> None:
    texts = {key: np.array(text) for key, text in head.texts().items() if key != "unreadable"}
    texts["unreadable"] = np.array(list(head.unreadable), dtype=np.str_)
    longest = max((len(name) for name in paths), default=1)
    text_type = np.dtype(f"<U{longest}")
    with zipfile.ZipFile(path, "w") as archive:
        with _member(archive, "features") as file:
            _npy_header(file, np.dtype("<f4"), (head.rows, head.width))
            for some in rows:
                file.write(np.ascontiguousarray(some, "<f4").tobytes())
        with _member(archive, "paths") as file:
            _npy_header(file, text_type, (head.rows,))
            for name in paths:
                file.write(np.array(name, text_type).tobytes())
        for key, array in texts.items():
            with _member(archive, key) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # ZipInfo's date is fixed; above 2 GiB zip needs longer fields from the start.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _npy_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _read_npz(path: Path) -> FeatureFile:
    with np.load(path, allow_pickle=False) as archive:
        features, paths = archive["features"], tuple(archive["paths"].tolist())
        texts = {key: str(archive[key]) for key in ("model", "weights_sha256", "stage", "split")}
        unreadable = tuple(archive["unreadable"].tolist())
    return FeatureFile(head_of(features, texts, unreadable), paths, features)


def _write_safetensors(path: Path, head: FeatureHead, paths: Paths, rows: Iterable[Rows]) -> None:
    """Write the format's parts in turn; its own package wants all tensors in memory.

    Eight bytes (little endian) for the length of a JSON header, the header filled up with spaces to
    a multiple of eight, the tensors one after the other.
    """
    matrix_bytes = 4 * head.rows * head.width
    text_bytes = sum(len(name.encode()) + 1 for name in paths) - 1 if head.rows else 0
    header = {
        "__metadata__": head.texts(),
        "features": {
            "dtype": "F32",
            "shape": [head.rows, head.width],
            "data_offsets": [0, matrix_bytes],
        },
        "paths": {
            "dtype": "U8",
            "shape": [text_bytes],
            "data_offsets": [matrix_bytes, matrix_bytes + text_bytes],
        },
    }
    encoded = json.dumps(header, separators=(",", ":")).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for some in rows:
            file.write(np.ascontiguousarray(some, "<f4").tobytes())
        for number, name in enumerate(paths):
            file.write((b"\0" if number else b"") + name.encode())


def _read_safetensors(path: Path) -> FeatureFile:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        features, packed = file.get_tensor("features"), file.get_tensor("paths")
        texts = dict(file.metadata())
    paths = tuple(packed.tobytes().decode().split("\0")) if len(features) else ()
    return FeatureFile(head_of(features, texts, json.loads(texts["unreadable"])), paths, features)
