"""Tables as CSV that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Value = str | float | None
"""A cell; None is written empty. Whole numbers of any size are written exactly."""


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Write a table; every row gets as many cells as ``head`` has."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([cell(value) for value in (*row, *[None] * (len(head) - len(row)))])
    return out.getvalue()


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[Value]]) -> bytes:
    """Like ``csv_text``, as UTF-8."""
    return csv_text(head, rows).encode("utf-8")


def cell(value: Value) -> str | float:
    """Keep a spreadsheet from taking text for a formula (OWASP, CSV injection)."""
    if value is None:
        return ""
    # Line breaks start a new cell's text in some importers.
    text = " ".join(value.split()) if isinstance(value, str) else None
    if text is None:
        return value
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "|", "%")) else text
