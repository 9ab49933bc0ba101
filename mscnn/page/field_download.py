"""The ZIP of the Receptive field tab: theory, and the units that were measured."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from mscnn.draw.files import receptive_field_files
from mscnn.page import field_draw
from mscnn.page import field_view as view
from mscnn.page.downloads import bare, cache_file, zipped
from mscnn.page.field_view import Shown
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.schema import Table, csv_text, document, json_bytes


def field_zip(
    shown: Shown | None, theory: Sequence[ReceptiveField], measure: str, opacity: float, cmap: str
) -> str:
    """Pack what the tab shows; returns the path.

    Theory lies in one folder per model, the units in ``unit/``: the picture that is shown, a
    table, the numbers, and each unit's gradient as ``(H, W)`` float32, px of the network's input.
    """
    files: dict[str, bytes] = {}
    for number, field in enumerate(theory):
        beside = theory[1] if number == 0 and len(theory) > 1 else None
        found = receptive_field_files(field, beside)
        files |= {f"theory/{bare(field.model)}/{name}": c for name, c in found.items()}
    if shown is not None:
        files |= _unit_files(shown, measure, opacity, cmap)
    model = theory[0].model if theory else shown.asked.model if shown else ""
    return cache_file(f"{bare(f'mscnn-field-{model}')}.zip", zipped(files))


def _unit_files(shown: Shown, measure: str, opacity: float, cmap: str) -> dict[str, bytes]:
    drawn = field_draw.large(shown, measure, opacity, cmap)
    point = dict(zip(("x", "y"), shown.asked.point, strict=True))
    shown_ = {"point": point, "units": [document(one) for one in shown.fields]}
    files = {
        "unit/unit.png": to_png_bytes(drawn.picture),
        "unit/unit.csv": csv_text(Table([*view.HEADERS], view.rows(shown.fields))).encode(),
        "unit/unit.json": json_bytes(shown_),
    }
    for one in shown.fields:
        split = "" if one.split is None else f"-split{one.split}"
        name = bare(f"gradient-{one.layer}{split}-{view.weights_name(one)}")
        out = io.BytesIO()
        np.save(out, one.gradient, allow_pickle=False)
        files[f"unit/{name}.npy"] = out.getvalue()
    return files
