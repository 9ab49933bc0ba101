"""The ZIP of the Zoom tab."""

from __future__ import annotations

from datetime import datetime, timezone

from mscnn.draw.files import DrawingOptions, sweep_files
from mscnn.page.downloads import bare, cache_file, zipped
from mscnn.results.scales import Sweep


def sweep_zip(sweep: Sweep, opacity: float, cmap: str) -> str:
    """Pack a sweep, which may be partial: curves, film strip, numbers; returns the path."""
    drawing = DrawingOptions(opacity=opacity, colour_map=cmap)
    files = sweep_files(sweep, drawing=drawing, created=datetime.now(timezone.utc))
    return cache_file(f"{bare(f'mscnn-zoom-{sweep.label}')}.zip", zipped(files))
