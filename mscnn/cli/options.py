"""Options that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mscnn.errors import OptionError, UnknownClassError
from mscnn.models import registry
from mscnn.results.writing import check_folder

if TYPE_CHECKING:
    from PIL.Image import Image as Photo

    from mscnn.draw.files import DrawingOptions

# typer reads annotations at run time, and on Python 3.10 "X | None" inside Annotated is fine, but
# a bare alias of it is not; Optional works everywhere.
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model",
        metavar="M",
        help="A name of 'mscnn models', another timm CNN, or a folder that training wrote."
        "  [default: the best model on this machine]",
        show_default=False,
    ),
]
Weights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--weights",
        metavar="PATH",
        help="Weights file or folder to use instead of the model's own.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Image = Annotated[str, typer.Argument(metavar="IMAGE", help="Photo.")]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made where missing.")
]
Target = Annotated[
    str,
    typer.Option(
        "--target", metavar="NAME|INDEX", help="Class to explain; a unique part is enough."
    ),
]
Opacity = Annotated[float, typer.Option("--opacity", help="Of the strongest place, 0 to 1.")]
ColourMap = Annotated[str, typer.Option("--colour-map", help="inferno, viridis, magma or turbo.")]


def split_names(text: str, option: str) -> list[str]:
    """Read ``"A, B,C"`` as names.

    Raises:
        OptionError: there is no name in it.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError(f"{option} names no model; give names separated by commas.")
    return names


def model_names(text: str, least: int, most: int) -> list[str]:
    """Return what ``--models`` names, as the engine accepts it, before any of them is loaded.

    Raises:
        OptionError: too few or too many are named, or one twice.
    """
    names = split_names(text, "--models")
    if not least <= len(names) <= most:
        raise OptionError(
            f"--models names {len(names)} model(s); give {least} to {most}, separated by commas."
        )
    repeated = registry.first_repeated(names)
    if repeated is not None:
        raise OptionError(f"--models names {repeated} twice; give different models.")
    return names


def drawing(opacity: float, colour_map: str) -> DrawingOptions:
    """Return how maps are drawn.

    Raises:
        OptionError: there is no such opacity or colour map.
    """
    from mscnn.draw.files import DrawingOptions

    return DrawingOptions(opacity=opacity, colour_map=colour_map)


def open_photo(path: str, out: Path) -> Photo:
    """Open the photo, once it is sure that its files can be written into ``out``.

    Raises:
        OutputError, ImageError.
    """
    from mscnn.photos.imaging import load_photo

    check_folder(out)
    return load_photo(path)


def one_class(target: str) -> str:
    """Return the class asked for; several at once are the page's business.

    Raises:
        UnknownClassError: five classes were asked for.
    """
    if target.strip().lower() in ("top5", "top-5"):
        raise UnknownClassError(
            "One class is drawn at a time; give a name, an index or top1 as --target."
        )
    return target
