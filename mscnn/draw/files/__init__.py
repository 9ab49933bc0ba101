"""The files of a result: pictures, raw maps and a manifest, drawn in memory and written at once.

No torch. Nothing reaches the disk before everything is drawn, so an error leaves no half result.
"""

from __future__ import annotations

from mscnn.draw.files.comparison import comparison_csv, comparison_files, write_comparison
from mscnn.draw.files.drawing import MAX_PX, DrawingOptions
from mscnn.draw.files.explanation import explanation_files, explanation_manifest, write_explanation
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.receptive_field import receptive_field_files, write_receptive_field
from mscnn.draw.files.scales import scales_files, write_scales
from mscnn.draw.files.study import study_files, write_study
from mscnn.draw.files.sweep import sweep_files, write_sweep
from mscnn.draw.files.unit import unit_files

__all__ = [
    "MAX_PX",
    "DrawingOptions",
    "Files",
    "check_folder",
    "comparison_csv",
    "comparison_files",
    "explanation_files",
    "explanation_manifest",
    "receptive_field_files",
    "scales_files",
    "study_files",
    "sweep_files",
    "unit_files",
    "write_comparison",
    "write_explanation",
    "write_files",
    "write_receptive_field",
    "write_scales",
    "write_study",
    "write_sweep",
]
