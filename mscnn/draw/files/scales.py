"""The files of a scale report: the stacked chart, the table, and the maps of each split."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mscnn.draw.charts import Chart, shares_chart
from mscnn.draw.files.drawing import DrawingOptions, as_image, fitted
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import bare_name, header, json_bytes
from mscnn.draw.files.table import Value, csv_bytes
from mscnn.draw.strip import SplitPanel, split_strip
from mscnn.geometry import FloatMap
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.explanation import JsonDict, RgbArray
from mscnn.results.scales import AttentionReport, BlockScales, ScaleReport, SplitEvidence
from mscnn.results.serialise_lens import attention_block_dict, attention_dict, scales_dict

CHART_PX = 1200
PANEL_PX = 420
"""Longer side of the photo in a strip."""
SPLIT_UNIT = "evidence, 1 = an even spread over all splits and places"
"""Unit of ``split_heats``."""
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
        "attribution.png": to_png_bytes(attribution_chart(report).picture),
        "attribution.csv": attribution_csv(report),
    }
    for block in report.blocks:
        if block.kind == "hierarchy":
            files[f"splits-{block.block}.png"] = to_png_bytes(
                block_strip(report, block, image, drawing)
            )
    files["splits.npz"] = npz_bytes({block.block: block.maps for block in report.blocks})
    files |= _attention_files(attention) if attention is not None else {}
    manifest = _manifest(document, drawing, created, [*files, "manifest.json"])
    return {**files, "manifest.json": json_bytes(manifest)}


def attribution_chart(report: ScaleReport, *, width_px: int = CHART_PX) -> Chart:
    """Draw each block's shares over depth, with the evidence-weighted receptive field."""
    target = report.target
    return shares_chart(
        [block.block for block in report.blocks],
        [[split.share for split in block.splits] for block in report.blocks],
        weighted_rf=[block.weighted_rf_px for block in report.blocks],
        rf=[[split.rf_max_px for split in block.splits] for block in report.blocks],
        title=f"{report.prediction.model}: evidence for {target.label} ({target.probability:.1%})",
        width_px=width_px,
    )


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


def split_heats(block: BlockScales, size: tuple[int, int]) -> tuple[list[FloatMap], float]:
    """Put a block's maps on the photo, on one scale.

    ReLU(map) divided by its mean over all splits and the view, so that a split with little
    evidence stays dark beside one with much.

    Args:
        block: with its maps.
        size: ``(width, height)`` of a drawing of the photo.

    Returns:
        Per split ``(height, width)`` float32 in ``SPLIT_UNIT``, 0 outside the crop, and the
        largest value of all: the top of their colour scale, 0 without evidence.
    """
    cams = [block.cam(split.index) for split in block.splits]
    mean = float(np.mean([cam.on_view().mean() for cam in cams]))
    heats = [cam.on_photo(size) / mean if mean > 0 else np.zeros(size[::-1]) for cam in cams]
    as_float32 = [heat.astype(np.float32) for heat in heats]
    return as_float32, max(float(heat.max()) for heat in as_float32)


def block_strip(
    report: ScaleReport, block: BlockScales, photo: Image.Image, drawing: DrawingOptions
) -> RgbArray:
    """Draw the maps of a block's splits side by side, with what each split can see.

    Returns:
        ``(h, w, 3)`` uint8 RGB.
    """
    size = block.geometry.drawn_size(PANEL_PX, PANEL_PX)
    heats, vmax = split_heats(block, size)
    panels = [
        SplitPanel(heat, f"Split {split.index}", _caption(split), split.path)
        for heat, split in zip(heats, block.splits, strict=True)
    ]
    return split_strip(
        fitted(photo, size),
        panels,
        vmax=vmax,
        unit=SPLIT_UNIT,
        title=f"{report.prediction.model}, inside {block.block}: {report.target.label}",
        opacity=drawing.opacity,
        cmap=drawing.colour_map,
        crop=block.geometry.crop_on(size),
    )


def _caption(split: SplitEvidence) -> str:
    share = f"{split.share:.0%} of the evidence"
    if split.rf_max_px is None:
        return share
    least = "" if split.rf_min_px in (None, split.rf_max_px) else f"{split.rf_min_px} to "
    return f"{share}; sees {least}{split.rf_max_px} px"


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
