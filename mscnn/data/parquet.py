"""Feature files in Parquet, through pyarrow, which need not be installed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.data.part_files import Rows
from mscnn.errors import OptionError
from mscnn.results.features import FeatureFile, FeatureHead, Paths, head_of

_ROW_GROUP = 8192


def write_parquet(path: Path, head: FeatureHead, paths: Paths, rows: Iterable[Rows]) -> None:
    """Write a file of columns ``path`` and ``features``, some rows at a time."""
    pa, parquet = pyarrow_or_error()
    fields = [("path", pa.string()), ("features", pa.list_(pa.float32(), head.width))]
    schema = pa.schema(fields, metadata=head.texts())
    names = iter(paths)
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _regrouped(rows):
            matrix = pa.FixedSizeListArray.from_arrays(pa.array(some.ravel()), head.width)
            text = pa.array([next(names) for _ in range(len(some))], pa.string())
            writer.write_table(pa.Table.from_arrays([text, matrix], schema=schema))


def read_parquet(path: Path) -> FeatureFile:
    """Read a file that ``write_parquet`` wrote."""
    _, parquet = pyarrow_or_error()
    table = parquet.read_table(path)
    column = table.column("features").combine_chunks()
    features = column.flatten().to_numpy().astype(np.float32).reshape(len(column), -1)
    texts = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
    paths = tuple(table.column("path").to_pylist())
    return FeatureFile(head_of(features, texts, json.loads(texts["unreadable"])), paths, features)


def _regrouped(rows: Iterable[Rows]) -> Iterator[Rows]:
    """Yield ``_ROW_GROUP`` rows at a time, the last time fewer: batches would be small groups."""
    kept: list[Rows] = []
    count = 0
    for some in rows:
        kept.append(some)
        count += len(some)
        while count >= _ROW_GROUP:
            joined = np.concatenate(kept)
            yield joined[:_ROW_GROUP]
            kept, count = [joined[_ROW_GROUP:]], count - _ROW_GROUP
    if count:
        yield np.concatenate(kept)


def pyarrow_or_error() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module.

    Raises:
        OptionError: the package is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise OptionError(
            "Parquet files need the package pyarrow, which is not installed; install it with "
            "'pip install pyarrow', or give a file name that ends in .npz or .safetensors."
        ) from None
    return pyarrow, parquet
