"""The files of a scale report: the stacked chart, the table, and the maps of each split."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mscnn.draw.charts import evidence_chart
from mscnn.draw.figures import png
from mscnn.draw.files.drawing import DrawingOptions, as_image
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import bare_name, header, json_bytes
from mscnn.draw.files.table import Value, csv_bytes
from mscnn.draw.sheets import SPLIT_UNIT, split_strip
from mscnn.results.explanation import JsonDict, RgbArray
from mscnn.results.scales import AttentionReport, ScaleReport
from mscnn.results.serialise_lens import attention_block_dict, attention_dict, scales_dict

CHART_PX = 1200
_TABLE = ("block", "split", "path", "rf_min_px", "rf_max_px", "evidence", "share")


def write_scales(
    folder: Path,
    report: ScaleReport,
    photo: Image.Image | RgbArray,
    *,
    attention: AttentionReport | None = None,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> list[str]:
    """Write the files of a scale report into ``folder``; see ``scales_files``.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    files = scales_files(report, photo, attention=attention, drawing=drawing, created=created)
    write_files(folder, files)
    return list(files)


def scales_files(
    report: ScaleReport,
    photo: Image.Image | RgbArray,
    *,
    attention: AttentionReport | None = None,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a scale report.

    ``scales.json``, ``attribution.png`` (shares over depth), ``attribution.csv``, for each block
    with a hierarchy ``splits-<block>.png``, ``splits.npz`` (per block ``(splits, h, w)`` float32,
    signed, before the ReLU) and ``manifest.json``. With ``attention`` also ``attention.json``,
    ``attention.csv`` and ``attention.npz`` (per block ``<block>.gates`` ``(radix, channels)`` and
    ``<block>.maps`` ``(radix, h, w)``, float32).

    Args:
        report: the result to write.
        photo: the whole upright photo, RGB.
        attention: split attention of the same photo and class, where the model has it.
        drawing: None for the usual colours and opacity.
        created: with a time zone; None for now.
    """
    drawing, image = drawing or DrawingOptions(), as_image(photo)
    document = scales_dict(report)
    document["image"]["path"] = bare_name(document["image"]["path"])
    files = {
        "scales.json": json_bytes(document),
        "attribution.png": png(evidence_chart(report), CHART_PX),
        "attribution.csv": attribution_csv(report),
    }
    for block in report.blocks:
        if block.kind == "hierarchy":
            files[f"splits-{block.block}.png"] = png(
                split_strip(report, block, image, drawing), CHART_PX
            )
    files["splits.npz"] = npz_bytes({block.block: block.maps for block in report.blocks})
    files |= _attention_files(attention) if attention is not None else {}
    manifest = _manifest(document, drawing, created, [*files, "manifest.json"])
    return {**files, "manifest.json": json_bytes(manifest)}


def attribution_csv(report: ScaleReport) -> bytes:
    """Write one row per block and split; lengths in px of the network's input."""
    rows: list[list[Value]] = [
        [
            *(block.block, split.index, " > ".join(split.path)),
            *(split.rf_min_px, split.rf_max_px, split.evidence, split.share),
        ]
        for block in report.blocks
        for split in block.splits
    ]
    return csv_bytes(_TABLE, rows)


def _attention_files(attention: AttentionReport) -> Files:
    document = attention_dict(attention)
    document["image"]["path"] = bare_name(document["image"]["path"])
    arrays = {f"{block.block}.gates": block.gates for block in attention.blocks}
    arrays |= {f"{block.block}.maps": block.maps for block in attention.blocks}
    return {
        "attention.json": json_bytes(document),
        "attention.csv": attention_csv(attention),
        "attention.npz": npz_bytes(arrays),
    }


def attention_csv(attention: AttentionReport) -> bytes:
    """Write one row per block: how its gates, 0..1, are spread over the radix branches."""
    branches = range(max((block.radix for block in attention.blocks), default=0))
    head = ["block", "radix", "cardinality", "channels", "entropy_bits"]
    rows: list[list[Value]] = []
    for block in map(attention_block_dict, attention.blocks):
        rows.append([block[name] for name in head] + block["mean_gates"])
    return csv_bytes([*head, *(f"mean_gate_{branch}" for branch in branches)], rows)


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Encode arrays by name as a compressed ``.npz`` file of float32, without pickle."""
    out = io.BytesIO()
    plain = {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}
    np.savez_compressed(out, allow_pickle=False, **plain)
    return out.getvalue()


def _manifest(
    document: JsonDict, drawing: DrawingOptions, created: datetime | None, names: list[str]
) -> JsonDict:
    image = dict(document["image"])
    return {
        **header(created),
        "image": {"name": image.pop("path"), **image},
        **{key: document[key] for key in ("model", "weights", "device", "class", "notices")},
        "method": "split evidence",
        "weighted_rf_px": document["weighted_rf_px"],
        "colour_scale": {
            **{"min": 0.0, "unit": SPLIT_UNIT, "scope": "each block has its own top"},
            **{"colour_map": drawing.colour_map, "opacity": drawing.opacity},
        },
        "files": names,
    }
