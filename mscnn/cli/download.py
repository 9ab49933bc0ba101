"""``mscnn download``: weights into the hub cache, before they are needed."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import progress, tell
from mscnn.results.schema import JsonDict


def download(
    models: Annotated[
        list[str], typer.Argument(metavar="M...", help="Models; see 'mscnn models'.")
    ],
    json: options.Json = False,
) -> None:
    """Download weights, so that models work offline later.

    They go into the hub cache (HF_HUB_CACHE or HF_HOME move it). HF_HUB_OFFLINE=1 forbids it.
    """
    from mscnn.models.sources import fetch, locate

    # A name that is wrong is found before the first of many megabytes arrives.
    before = {name: locate(name).kind for name in models}
    rows: list[JsonDict] = []
    lines: list[str] = []
    for name, kind in before.items():
        with progress(f"downloading {name}", "B") as report:
            path = fetch(name, on_progress=report)
        # A damaged file in the cache is fetched again, though it was there before.
        new = kind == "download" or report.reported
        status = "downloaded" if new else f"already here ({kind})"
        size = path.stat().st_size
        rows.append({"model": name, "status": status, "bytes": size})
        lines.append(f"{name}: {status}, {size / 2**20:.1f} MiB")
    tell(json, lambda: {"results": rows}, lambda: lines)
