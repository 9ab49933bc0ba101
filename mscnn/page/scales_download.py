"""The ZIP of the Scales tab: one folder per chart where there are several."""

from __future__ import annotations

from datetime import datetime, timezone

from PIL import Image

from mscnn.draw.files import DrawingOptions, scales_files
from mscnn.page.downloads import bare, cache_file, zipped
from mscnn.page.scales_view import Shown


def scales_zip(shown: Shown, opacity: float, cmap: str) -> str:
    """Pack all reports that are shown: charts, strips, tables and raw maps; returns the path."""
    photo, created = Image.fromarray(shown.photo), datetime.now(timezone.utc)
    drawing = DrawingOptions(opacity=opacity, colour_map=cmap)
    files: dict[str, bytes] = {}
    for number, report in enumerate(shown.reports):
        found = scales_files(
            report, photo, attention=shown.attention.get(number), drawing=drawing, created=created
        )
        folder = f"{number + 1}-{bare(report.prediction.model)}-{bare(report.target.label)}/"
        prefix = folder if len(shown.reports) > 1 else ""
        files |= {prefix + name: content for name, content in found.items()}
    first = shown.reports[0]
    name = f"mscnn-scales-{first.prediction.model}-{first.target.label}"
    return cache_file(f"{bare(name)}.zip", zipped(files))
