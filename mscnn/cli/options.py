"""The options of the commands, each declared once, and what can be refused before a model loads.

typer reads these annotations at run time and takes an option's name from its parameter.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, CallbackParam, Option

from mscnn.errors import OptionError, UnknownClassError
from mscnn.models import registry
from mscnn.results.writing import check_folder


def at_home(path: Path) -> Path:
    """Read a ``~`` at the beginning, which a shell leaves as it is in ``--out=~/maps``."""
    with suppress(RuntimeError):  # there is no such user
        return path.expanduser()
    return path


def _writable(option: CallbackParam, folder: Path | None) -> Path | None:
    if folder is not None:
        check_folder(at_home(folder), f"--{option.name}")
    return folder


def _not_empty(image: str) -> str:
    if not image:
        raise OptionError("IMAGE is empty; give a path, or . for this folder.")
    return image


def _one_class(target: str) -> str:
    if target.strip().lower() in ("top5", "top-5"):
        raise UnknownClassError(
            "One class is drawn at a time; give a name, an index or top1 as --target."
        )
    return target


_DIR = "Folder for the files; created if it does not exist."
_MODEL = "A name from 'mscnn models', another timm CNN, or a folder that training wrote."
_BEST = "  [default: the best model on this machine]"
_WEIGHTS = "Weights file or folder to use instead of the model's own."
_CLASS = "Class to explain; a part of its name that no other class has is enough."
_OF_FOLDER = " For a folder of photos also label: the class that each photo's own folder names."
_WORKERS = "Extra processes that decode photos; 0 for none.  [default: one per CPU core]"

Image = Annotated[str, Argument(metavar="IMAGE", help="Photo.")]
Photos = Annotated[
    str, Argument(metavar="IMAGE", help="Photo, or a folder of photos.", callback=_not_empty)
]
NamedModel = Annotated[str, Argument(metavar="MODEL", help=_MODEL)]
Model = Annotated[str | None, Option(metavar="M", help=_MODEL + _BEST, show_default=False)]
Trained = Annotated[str, Option(metavar="M", help=_MODEL)]
Architecture = Annotated[
    str, Option(metavar="M", help="Architecture, by timm's name or a starter.")
]
Weights = Annotated[Path | None, Option(metavar="PATH", help=_WEIGHTS)]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, Option("--json", help="Print one JSON document and nothing else.")]
Out = Annotated[Path, Option(metavar="DIR", help=_DIR, callback=_writable)]
Target = Annotated[str, Option(metavar="NAME|INDEX", help=_CLASS, callback=_one_class)]
Targets = Annotated[
    str, Option(metavar="NAME|INDEX", help=_CLASS + _OF_FOLDER, callback=_one_class)
]
Box = Annotated[
    str,
    Option(
        metavar="L,T,R,B",
        help="The object: left, top, right and bottom in percent of the photo's width and "
        "height (25,10,75,90), or as fractions 0 to 1.  [default: the whole photo]",
        show_default=False,
    ),
]
Methods = Annotated[str, Option(metavar="A,B", help="Methods; a wrong name lists them all.")]
Layers = Annotated[
    str, Option(metavar="A,B", help="Layers, as for explain; or stages, for all stages.")
]
Against = Annotated[
    list[str] | None,
    Option(
        metavar="NAME|INDEX", help="Class to contrast it with: why not that one? May be repeated."
    ),
]
Parts = Annotated[
    str,
    Option(
        metavar="A,B",
        help="What to find out: scores, randomisation, stability, localisation.  [default: all; "
        "for a folder, brief scores: with blur only, 8 steps, 5 random maps and no ROAD]",
        show_default=False,
    ),
]
Opacity = Annotated[float, Option(help="Opacity of the map where it is strongest, 0 to 1.")]
ColourMap = Annotated[str, Option(help="inferno, viridis, magma or turbo.")]
BatchSize = Annotated[int, Option(help="Photos per batch.")]
Workers = Annotated[int, Option(help=_WORKERS, show_default=False)]

Sheet = Annotated[int, Option(help="Maximum number of photos on the contact sheet of a folder.")]
Restart = Annotated[
    bool,
    Option("--restart", help="Discard what an earlier run on a folder left, its results included."),
]


def optional_out(help: str) -> Any:
    """Return an ``--out`` that may be left out."""
    return Option(metavar="DIR", help=help, callback=_writable)


def split_names(texts: Sequence[str]) -> list[str]:
    """Read the ``"A, B,C"`` of each ``--models``; a folder's own name may hold commas.

    Empty names, as behind a last comma, are passed over. Raises ``OptionError``: there is no other.
    """
    names: list[str] = []
    for text in texts:
        parts = text.split(",")
        while parts:
            lengths = range(min(len(parts), 20), 1, -1)  # bounded: a list may have thousands
            starts = (",".join(parts[:count]).strip() for count in lengths)
            # Unlike Path.is_dir this accepts a name that is too long.
            name = next(filter(os.path.isdir, starts), parts[0])
            del parts[: name.count(",") + 1]
            names += [name.strip()] if name.strip() else []
    if not names:
        raise OptionError("--models names no model; give names separated by commas.")
    return names


def model_names(texts: Sequence[str], least: int, most: int) -> list[str]:
    """What ``--models`` names, before any is loaded; ``OptionError``: too few, many, or twice."""
    from mscnn.models.sources import check_names

    names = split_names(texts)
    if not least <= len(names) <= most:
        raise OptionError(
            f"--models names {len(names)} model(s); give {least} to {most}, separated by commas."
        )
    repeated = registry.first_repeated(names)
    if repeated is not None:
        raise OptionError(f"--models names {repeated} twice; give different models.")
    check_names(names)
    return names
