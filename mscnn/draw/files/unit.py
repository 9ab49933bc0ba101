"""The files of effective receptive fields: pictures, numbers and the gradients themselves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from mscnn.draw.files.folder import Files
from mscnn.draw.files.manifest import header, json_bytes
from mscnn.draw.files.table import csv_bytes
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import EffectiveField
from mscnn.results.serialise_lens import effective_dict

_TABLE = ("model", "layer", "split", "trained", "inputs", "share", "side_px", "log_side_px")


def unit_files(
    fields: Sequence[EffectiveField],
    *,
    name: str = "",
    point: tuple[float, float] | None = None,
    picture: RgbArray | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of effective receptive fields that were measured at one point of a photo.

    ``unit.json``, ``unit.csv``, ``manifest.json``, ``gradient-<layer>[-split<n>]-<weights>.npy``
    for each, ``(H, W)`` float32, and ``unit.png`` where there is a picture.

    Args:
        fields: the results.
        name: the photo's own file name.
        point: ``(x, y)``, px of the photo; None where none was chosen.
        picture: of the units on the photo.
        created: with a time zone; None for now.
    """
    where = point and dict(zip(("x", "y"), point, strict=True))
    rows = [
        [one.model, one.layer, one.split, str(one.trained), one.inputs, raw.share, raw.side_px,
         log.side_px]
        for one in fields
        for raw, log in zip(one.squares, one.log_squares, strict=True)
    ]  # fmt: skip
    files = {
        "unit.json": json_bytes({"point": where, "units": [effective_dict(one) for one in fields]}),
        "unit.csv": csv_bytes(_TABLE, rows),
    }
    for one in fields:
        part = "" if one.split is None else f"-split{one.split}"
        out = io.BytesIO()
        np.save(out, one.gradient, allow_pickle=False)
        weights = "trained" if one.trained else "random"
        files[f"gradient-{one.layer}{part}-{weights}.npy"] = out.getvalue()
    if picture is not None:
        files["unit.png"] = to_png_bytes(picture)
    say = {**header(created), "image": {"name": name}, "point": where}
    return {**files, "manifest.json": json_bytes({**say, "files": [*files, "manifest.json"]})}
