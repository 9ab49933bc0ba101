"""The files of a result: pictures, raw maps and a manifest, drawn in memory and written at once.

No torch. Nothing reaches the disk before everything is drawn, so an error leaves no half result.
"""

from __future__ import annotations

from mscnn.artifacts.comparison import comparison_csv, comparison_files, write_comparison
from mscnn.artifacts.drawing import MAX_PX, DrawingOptions
from mscnn.artifacts.explanation import (
    explanation_files,
    explanation_manifest,
    write_explanation,
)
from mscnn.artifacts.folder import Files, check_folder, write_files

__all__ = [
    "MAX_PX",
    "DrawingOptions",
    "Files",
    "check_folder",
    "comparison_csv",
    "comparison_files",
    "explanation_files",
    "explanation_manifest",
    "write_comparison",
    "write_explanation",
    "write_files",
]
