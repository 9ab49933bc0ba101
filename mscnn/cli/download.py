"""``mscnn download``: weights into the hub cache, before they are needed."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import print_json, progress
from mscnn.results.explanation import JsonDict


def download(
    models: Annotated[
        list[str], typer.Argument(metavar="M...", help="Models; see 'mscnn models'.")
    ],
    json: options.Json = False,
) -> None:
    """Download weights, so that models work offline later.

    They go into the hub cache (HF_HUB_CACHE or HF_HOME move it). HF_HUB_OFFLINE=1 forbids it.
    """
    from mscnn.models.sources import locate

    # A name that is wrong is found before the first of many megabytes arrives.
    before = {name: locate(name).kind for name in models}
    results = [_fetch(name, kind) for name, kind in before.items()]
    if json:
        print_json({"results": results})
        return
    for result in results:
        size = f"{result['bytes'] / 2**20:.1f} MiB"
        typer.echo(f"{result['model']}: {result['status']}, {size}")


def _fetch(name: str, before: str) -> JsonDict:
    from mscnn.models.sources import fetch

    with progress(f"downloading {name}", "B") as report:
        path = fetch(name, on_progress=report)
    # A damaged file in the cache is fetched again, though it was there before.
    new = before == "download" or report.reported
    status = "downloaded" if new else f"already here ({before})"
    return {"model": name, "status": status, "bytes": path.stat().st_size}
