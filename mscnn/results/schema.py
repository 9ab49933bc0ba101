"""What each number of a result is called and how it is written, said once, beside its field.

A field of a result that needs no more than its own name needs nothing. What differs is said by
``field(metadata=column(...))``; a property counts as a field when its getter is ``@computed(...)``.
From these follow the JSON document, the rows of tables and CSV.

In JSON, numbers that are not finite are null; whole numbers are exact, of any size.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral
from typing import Annotated, Any, NamedTuple, TypeVar

import mscnn

JsonDict = dict[str, Any]
Cell = str | float | None
"""A cell of a table; None is empty. Whole numbers of any size are exact."""

SCHEMA = 1
"""Version of the manifests."""
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JavaScript holds exactly (ECMA-262, Number.MAX_SAFE_INTEGER)."""
BigInteger = Annotated[int, "text beyond MAX_SAFE_INTEGER"]
"""A whole number of any size; see ``safe_integers``."""
_NULL = {"type": "null"}
_JSON_TYPES: dict[Any, JsonDict] = {
    str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # null where it is not finite
    BigInteger: {"type": ["integer", "string"]}, types.NoneType: _NULL,
}  # fmt: skip
_KEY = "column"
_Getter = TypeVar("_Getter", bound=Callable[[Any], Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How one number of a result is written.

    Attributes:
        name: key in JSON; "" for the field's own name, None where it is left out.
        heading: of its column in CSV; None for ``name``, "" where it has no column. ``"gate_{}"``
            gives each element of a list a column. Other lists have none, but texts are joined.
        digits: after the point; None for all.
        flatten: the keys of the value stand beside the others, after ``prefix``.
        before: the key that it stands before; "" for the order of the class.
        details, optional: only in documents with details; left out where it is None.
        empty, convert: what stands for None; makes what is written from the value.
    """

    name: str | None = ""
    heading: str | None = None
    digits: int | None = None
    flatten: bool = False
    prefix: str = ""
    before: str = ""
    details: bool = False
    optional: bool = False
    empty: Any = None
    convert: Callable[[Any], Any] | None = None


def column(name: str | None = "", **how: Any) -> Mapping[str, Any]:
    """Return the metadata of a field; see ``Column``."""
    return {_KEY: Column(name=name, **how)}


HIDDEN: Mapping[str, Any] = column(None, heading="")
"""Metadata of a field that stands in no document and no table, such as an array."""


def _left_out(unreadable: Sequence[tuple[str, str]]) -> JsonDict:
    return {"unreadable": [name for name, _ in unreadable], "unreadable_reasons": dict(unreadable)}


LEFT_OUT: Mapping[str, Any] = column(heading="", flatten=True, convert=_left_out)
"""Metadata of ``unreadable``, ``(name, reason)`` of files: their names, and reasons by name."""
NOT_USED: Mapping[str, Any] = column(optional=True, heading="")
"""Metadata of ``not_used``, reasons to names of files that were not looked at."""


def computed(name: str | None = "", **how: Any) -> Callable[[_Getter], _Getter]:
    """Mark the getter of a property, below ``@property``, as a number like those of the fields."""

    def mark(getter: _Getter) -> _Getter:
        vars(getter)[_KEY] = Column(name=name, **how)
        return getter

    return mark


class _Member(NamedTuple):
    attribute: str
    key: str
    column: Column


@functools.cache
def _members(cls: type) -> tuple[_Member, ...]:
    """The numbers of a result in the order in which they are written."""
    marked = {f.name: f.metadata.get(_KEY, Column()) for f in dataclasses.fields(cls)}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            how = vars(getattr(value, "fget", None) or object).get(_KEY)
            if isinstance(value, property) and how is not None:
                marked[name] = how
    members = [_Member(name, how.name or name, how) for name, how in marked.items()]

    def in_order(before: str) -> Iterator[_Member]:
        for member in members:
            if member.column.before == before:
                yield from in_order(member.key)
                yield member

    found = tuple(in_order(""))
    if len(found) < len(members):
        raise TypeError(f"{cls.__name__}: a number stands before one that there is not")
    return found


def _flattened_type(cls: type, attribute: str) -> type:
    hint = typing.get_type_hints(cls)[attribute]
    types: list[type] = [hint, *typing.get_args(hint)]
    return next(
        kind for kind in types if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
    )


def document(result: Any, *, details: bool = False) -> JsonDict:
    """Return a result of ``mscnn.results`` as a plain document, fit for JSON.

    With ``details`` also what is long, such as the spectrum of each stage.
    """
    return _document(type(result), result, details)


def _document(cls: type, result: Any | None, details: bool) -> JsonDict:
    out: JsonDict = {}
    for attribute, key, how in _members(cls):
        if how.name is None or (how.details and not details):
            continue
        value = None if result is None else getattr(result, attribute)
        if value is None and how.optional:
            continue
        if how.convert is not None and result is not None:
            value = how.convert(value)
        if how.flatten:
            if value is None:
                part = _document(_flattened_type(cls, attribute), None, details)
            else:
                part = plain(value, details=details)
            out |= {how.prefix + inner: content for inner, content in part.items()}
        else:
            out[key] = how.empty if value is None else plain(value, how.digits, details=details)
    return out


def json_schema(kind: Any) -> JsonDict:
    """Return the JSON Schema of ``safe_integers(document(result, details=True))``.

    ``kind`` is the class of the result, or any type of a field. What a ``convert`` makes may be
    anything.
    """
    if kind in _JSON_TYPES:
        return dict(_JSON_TYPES[kind])
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"enum": list(inside)}
    if origin in (list, tuple, typing.Union, types.UnionType):
        parts = [json_schema(part) for part in dict.fromkeys(inside) if part is not ...]
        either = parts[0] if len(parts) == 1 else {"anyOf": parts}
        return {"type": "array", "items": either} if origin in (list, tuple) else either
    if hasattr(kind, "_fields"):  # a NamedTuple is written by name
        properties = {key: json_schema(of) for key, of in typing.get_type_hints(kind).items()}
        return {"type": "object", "properties": properties, "required": [*properties]}
    if not dataclasses.is_dataclass(kind):
        return {}
    cls, properties = typing.cast(type, kind), {}
    required: list[str] = []
    hints = typing.get_type_hints(cls, include_extras=True)
    for attribute, key, how in _members(cls):
        if how.name is None:
            continue
        getter = getattr(getattr(cls, attribute), "fget", None)
        more = typing.get_type_hints(getter, include_extras=True) if getter else hints
        hint = more["return" if getter else attribute] if how.convert is None else Any
        part = {key: json_schema(hint)}
        if how.flatten:
            inner = json_schema(hint if how.convert else _flattened_type(cls, attribute))
            may_miss = types.NoneType in typing.get_args(hint)
            part = {
                how.prefix + name: {"anyOf": [of, _NULL]} if may_miss else of
                for name, of in inner.get("properties", {}).items()
            }
        properties |= part
        required += [] if how.optional else part
    return {"type": "object", "properties": properties, "required": required}


def plain(value: Any, digits: int | None = None, *, details: bool = False) -> Any:
    """Return a value as JSON has it: None, texts, numbers (to ``digits``), lists, dictionaries."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral) and digits is None:
        return int(value)
    if dataclasses.is_dataclass(value):
        return document(value, details=details)
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(inside, digits, details=details) for key, inside in value.items()}
    if isinstance(value, Iterable) and getattr(value, "shape", None) != ():
        return [plain(inside, digits, details=details) for inside in value]
    number = float(value)
    if not math.isfinite(number):
        return None
    return number if digits is None else round(number, digits)


def safe_integers(value: Any) -> Any:
    """Return a copy in which integers beyond ``MAX_SAFE_INTEGER`` are decimal text.

    For readers that hold every number as a 64-bit float, such as JavaScript and gradio's encoder.
    """
    if isinstance(value, dict):
        return {key: safe_integers(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [safe_integers(inside) for inside in value]
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        return str(value)
    return value


def json_bytes(content: Mapping[str, object]) -> bytes:
    """Encode a document with indents; ASCII, so that file names of any bytes survive."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode("ascii")


def manifest(content: Mapping[str, Any], packages: Sequence[str] = ("torch", "timm")) -> JsonDict:
    """Return what ``manifest.json`` holds: version of the schema, time (UTC), versions, content.

    The versions of ``packages`` matter.
    """
    versions: dict[str, str | None] = {"mscnn": mscnn.__version__}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    head = {"schema": SCHEMA, "created": now}
    return {**head, "versions": versions, **plain(content)}


class Table(NamedTuple):
    """A table; each row has as many cells as there are headings."""

    headings: list[str]
    rows: list[list[Cell]]


def cells(result: Any) -> dict[str, Cell]:
    """Return what of a result stands in a row of a table: heading to single value."""
    return _cells(type(result), result)


def headings(cls: type) -> tuple[str, ...]:
    """Return the headings that results of a class have in a table, also where there are none."""
    return tuple(_cells(cls, None))


def _cells(cls: type, result: Any | None) -> dict[str, Cell]:
    out: dict[str, Cell] = {}
    for attribute, key, how in _members(cls):
        heading = key if how.heading is None else how.heading
        if not heading or how.details:
            continue
        value = None if result is None else getattr(result, attribute)
        if how.flatten:
            inner = _flattened_type(cls, attribute)
            out |= {how.prefix + name: cell for name, cell in _cells(inner, value).items()}
            continue
        if how.convert is not None and result is not None:
            value = how.convert(value)
        value = how.empty if value is None else plain(value, how.digits)
        if "{}" in heading:
            out |= {heading.format(i): cell for i, cell in enumerate(value or ())}
        elif isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            out[heading] = " > ".join(value)
        elif not isinstance(value, list | dict):
            out[heading] = value
    return out


def table(rows: Iterable[Any], first: Sequence[str] = ()) -> Table:
    """Make a table of results, or of dictionaries from heading to cell; what is missing is None.

    Headings in ``first`` come first, and stand there also where there are no rows.
    """
    filled = [dict(row) if isinstance(row, Mapping) else cells(row) for row in rows]
    names = list(dict.fromkeys([*first, *(name for row in filled for name in row)]))
    return Table(names, [[row.get(name) for name in names] for row in filled])


def csv_text(content: Table) -> str:
    """Write a table as CSV that a spreadsheet opens without running anything in it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(content.headings)
    writer.writerows([harmless(cell) for cell in row] for row in content.rows)
    return out.getvalue()


_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def harmless(cell: Cell) -> Cell:
    """Keep a spreadsheet from taking text for a formula (OWASP, CSV injection)."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    # Line breaks start a new cell's text in some importers.
    text = _BREAKS.sub(" ", cell)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@", "|", "%")) else text
