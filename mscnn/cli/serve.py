"""``mscnn serve``: the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from mscnn.cli import options
from mscnn.errors import OptionError


def serve(
    host: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]"
        ),
    ] = None,
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--port", help="Port to listen on.  [default: 7860 or the next free one]"),
    ] = None,
    device: options.Device = "auto",
    models: Annotated[
        str,
        typer.Option(
            "--models",
            metavar="A,B,C",
            help="Model folders of yours to offer, or folders of such folders, besides the list. "
            "What is added to a folder of folders later appears without a restart.",
        ),
    ] = "",
    features: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--features",
            metavar="FILE=FOLDER",
            help="File of 'mscnn features' and the folder it was made from, to search for similar "
            "photos; may be given several times.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open the page in which photos are explored; Ctrl-C ends it."""
    if port is not None and not 1 <= port <= 65535:
        raise OptionError(f"--port is {port}; it must lie between 1 and 65535.")
    chosen = options.split_names(models, "--models") if models else []
    files = [_file_and_folder(text) for text in features or ()]
    from mscnn.page.app import serve as serve_page

    try:
        serve_page(host=host, port=port, device=device, models=chosen, features=files)
    except OSError as error:
        where = f"{host or '127.0.0.1'}:{port}" if port else host or "any port"
        raise OptionError(
            f"The page cannot listen on {where}; give another --host or --port."
        ) from error


def _file_and_folder(text: str) -> tuple[Path, Path]:
    """Read ``FILE=FOLDER``; both names may hold further equals signs.

    Raises:
        OptionError: it is not written so, or FILE ends in no known kind.
    """
    found = re.fullmatch(r"(.+?\.(?:npz|parquet|safetensors))=(.+)", text, re.IGNORECASE)
    if found is None:
        raise OptionError(
            f"--features is {text!r}; give a file of 'mscnn features' and the folder it was made "
            "from, such as animals.npz=animals."
        )
    return Path(found[1]), Path(found[2])
