"""``mscnn download``: weights into the hub cache, before they are needed."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import progress, tell


def download(
    models: Annotated[
        list[str], typer.Argument(metavar="M...", help="Models; see 'mscnn models'.")
    ],
    json: options.Json = False,
) -> None:
    """Download weights, so that models work offline later.

    They go into the hub cache (HF_HUB_CACHE or HF_HOME move it). HF_HUB_OFFLINE=1 forbids it.
    """
    from mscnn.models.weights import availability, fetch

    # A name that is wrong is found before the first of many megabytes arrives.
    before = {name: availability(name).kind for name in models}
    rows = []
    for name, kind in before.items():
        with progress(f"downloading {name}", "B") as report:
            path = fetch(name, on_progress=report)
        # A damaged file in the cache is fetched again, though it was there before.
        new = kind == "download" or report.reported
        status = "downloaded" if new else f"already here ({kind})"
        rows.append({"model": name, "status": status, "bytes": path.stat().st_size})
    lines = [f"{r['model']}: {r['status']}, {r['bytes'] / 2**20:.1f} MiB" for r in rows]  # type: ignore[operator]
    tell(json, lambda: {"results": rows}, lambda: lines)
