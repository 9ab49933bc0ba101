"""A table of photographs and their classes, as a CSV file of any usual dialect."""

from __future__ import annotations

import csv
from pathlib import Path
from unicodedata import normalize

from mscnn.data.parts import VAL_NAMES, composed, is_part, usual
from mscnn.errors import DatasetError
from mscnn.results.writing import reason

_HEADER = "the header path,label or path,label,split"


def table_rows(path: Path) -> list[tuple[str, str, str]]:
    """Return path, label and split of every line; the split is empty where none is given."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline(1 << 16)
            file.seek(0)
            # A spreadsheet separates by what its country's numbers leave free.
            by = max(",;\t|", key=header.count)
            reader = csv.DictReader(file, restval="", delimiter=by, skipinitialspace=True)
            fields = [name.strip().lower() for name in reader.fieldnames or ()]
            if not {"path", "label"} <= set(fields):
                found = ", ".join(fields)[:80].encode("ascii", "replace").decode() or "nothing"
                raise DatasetError(
                    f"{path.name!r} begins with {found!r}; a table of images begins with {_HEADER}."
                )
            reader.fieldnames = fields
            rows = [
                (reader.line_num, [row.get(k, "").strip() for k in ("path", "label", "split")])
                for row in reader
            ]
    except PermissionError as error:
        raise DatasetError(f"{path.name!r} cannot be read: {reason(error)}.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path.name!r} cannot be read as a table; give a folder of images, or a CSV file in "
            f"UTF-8 with {_HEADER}."
        ) from error
    for number, (file_name, label, split) in rows:
        if not file_name or not label:
            raise DatasetError(f"Line {number} of {path.name!r} has no path or no label.")
        if "split" in fields and not is_part(split):
            raise DatasetError(
                f"Line {number} of {path.name!r} has the split {split!r}; accepted are train, "
                f"{', '.join(VAL_NAMES)}."
            )
    spelt: dict[str, str] = {}
    return [
        (file, spelt.setdefault(composed(name), name), usual(split))
        for _, (file, name, split) in rows
    ]


def below(root: Path, name: str) -> str:
    """Return a table's path relative to its folder, as this system and this disk write it."""
    if "\\" in name or not name.isascii():
        turned = name.replace("\\", "/")
        forms = [normalize(form, n) for n in (name, turned) for form in ("NFC", "NFD")]
        name = next((form for form in (name, *forms) if (root / form).is_file()), turned)
    path = root / name
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
