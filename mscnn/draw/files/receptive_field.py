"""The files of theoretical receptive fields: the numbers, and a model beside its fair baseline.

No torch: the fields of registry models come from a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mscnn.draw.charts import growth_chart, spectrum_chart
from mscnn.draw.figures import png
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import json_bytes
from mscnn.draw.files.table import Value, csv_bytes
from mscnn.results.serialise_lens import receptive_field_dict
from mscnn.scales.receptive_field import ReceptiveField, Spectrum

CHART_PX = 1200
_TABLE = (
    *("model", "level", "name", "split", "kind", "path", "stride_px"),
    *("rf_min_px", "rf_max_px", "distinct_sizes", "paths"),
)


def write_receptive_field(
    folder: Path, field: ReceptiveField, baseline: ReceptiveField | None
) -> list[str]:
    """Write the files of receptive fields into ``folder``; see ``receptive_field_files``.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    files = receptive_field_files(field, baseline)
    write_files(folder, files)
    return list(files)


def receptive_field_files(field: ReceptiveField, baseline: ReceptiveField | None) -> Files:
    """Make the files of a model's receptive fields.

    ``rf.json`` (with the spectrum of each stage), ``rf.csv`` (stages, blocks and splits),
    ``spectrum.png`` and ``growth.png``.

    Args:
        field: of the model.
        baseline: of the network drawn and listed beside it; None for none.
    """
    shown = [field, *([baseline] if baseline is not None else [])]
    document = receptive_field_dict(field, spectrum=True)
    document["baseline"] = receptive_field_dict(baseline, spectrum=True) if baseline else None
    return {
        "rf.json": json_bytes(document),
        "rf.csv": receptive_field_csv(shown),
        "spectrum.png": png(spectrum_chart(shown), CHART_PX),
        "growth.png": png(growth_chart(shown), CHART_PX),
    }


def receptive_field_csv(shown: Sequence[ReceptiveField]) -> bytes:
    """Write one row per stage, block and split; ``paths`` are exact, lengths px of the input."""
    rows: list[list[Value]] = []
    for field in shown:
        for stage in field.stages:
            head = [field.model, "stage", stage.stage, None, None, None, stage.stride_px]
            rows.append([*head, *_extent(stage.spectrum)])
        for block in field.blocks:
            head = [field.model, "block", block.block, None, block.kind, None, block.stride_px]
            rows.append([*head, *_extent(block.spectrum)])
            for split in block.splits:
                path = " > ".join(split.path)
                place = [split.index, block.kind, path, block.stride_px]
                rows.append([field.model, "split", block.block, *place, *_extent(split.spectrum)])
    return csv_bytes(_TABLE, rows)


def _extent(spectrum: Spectrum) -> tuple[int, int, int, int]:
    return spectrum.rf_min_px, spectrum.rf_max_px, spectrum.distinct, spectrum.paths
