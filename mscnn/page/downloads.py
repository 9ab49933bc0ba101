"""Files for the visitor to keep, written straight into gradio's own cache.

gradio serves files from there, and ``delete_cache`` removes them later; a file made anywhere else
would be copied and its original left behind.
"""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime, timezone

from PIL import Image

from mscnn.draw.files import DrawingOptions, comparison_files, explanation_files
from mscnn.http.uploads import cache_file as cache_file
from mscnn.page.handlers import Look
from mscnn.results.explanation import Comparison
from mscnn.results.writing import Files


def zipped(files: Files) -> bytes:
    """Pack files into a ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def explanation_zip(shown: Look, opacity: float, cmap: str) -> str:
    """The map that is shown: pictures, raw numbers and manifest."""
    files = explanation_files(
        shown.explanation,
        shown.cam,
        Image.fromarray(shown.photo),
        drawing=DrawingOptions(opacity=opacity, colour_map=cmap),
        created=datetime.now(timezone.utc),
    )
    model = shown.explanation.prediction.model
    return cache_file(_safe(f"mscnn-{model}-{shown.label}-{shown.layer}.zip"), zipped(files))


def comparison_zip(comparison: Comparison, photo: Image.Image, opacity: float, cmap: str) -> str:
    """A comparison: contact sheet, table, raw numbers and manifest."""
    files = comparison_files(
        comparison,
        photo,
        drawing=DrawingOptions(opacity=opacity, colour_map=cmap),
        created=datetime.now(timezone.utc),
    )
    return cache_file(_safe(f"mscnn-compare-{comparison.label}.zip"), zipped(files))


def bare(name: str) -> str:
    """A name that can stand between slashes in an archive: no path, no dots around it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[-100:]


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-120:]
