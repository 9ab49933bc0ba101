"""Tables of any length, written a thousand rows at a time: CSV and Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from mscnn.data.feature_files import import_pyarrow
from mscnn.errors import OptionError
from mscnn.results.schema import Cell, csv_text, table


def write_tables(
    folder: Path, name: str, kinds: Mapping[str, type], rows: Iterable[Mapping[str, Cell]]
) -> list[Path]:
    """Write ``name.csv``, and ``name.parquet`` where pyarrow is installed; return the files.

    ``kinds`` gives the columns in order, of ``str``, ``int`` or ``float``; a cell may be missing.
    What a file's name holds that is no text is written as an escape.
    """
    found, left, writer = [folder / f"{name}.csv"], iter(rows), None
    with ExitStack() as stack:
        text = stack.enter_context(
            found[0].open("w", encoding="utf-8", errors="backslashreplace", newline="")
        )
        text.write(csv_text(table([], [*kinds])))
        with suppress(OptionError):
            pa, parquet = import_pyarrow()
            types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
            schema = pa.schema([(column, types[kind]) for column, kind in kinds.items()])
            found.append(folder / f"{name}.parquet")
            writer = stack.enter_context(parquet.ParquetWriter(found[1], schema))
        while some := list(islice(left, 1000)):
            text.write(csv_text(table(some, [*kinds])).partition("\n")[2])
            if writer is not None:
                encodable = [{key: _encodable(cell) for key, cell in row.items()} for row in some]
                writer.write_table(pa.Table.from_pylist(encodable, schema=schema))
    return found


def _encodable(cell: Cell) -> Cell:
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
