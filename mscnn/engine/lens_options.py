"""What a request to the lens says, read before any model is loaded; no torch.

The command line and HTTP share it: a box on the photo, sizes of the object, and the network that
a model is drawn beside.
"""

from __future__ import annotations

import math

import numpy as np

from mscnn.errors import BoxError, OptionError
from mscnn.models import registry
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import PhotoBox
from mscnn.scales import receptive_field as fields
from mscnn.scales.canvas import check_box

LARGEST, SMALLEST = 2.0, 0.1
"""Longer side of the object over the shorter side of the network's input, given only a count."""
MAX_SIZES = 48


def parse_box(text: str) -> PhotoBox | None:
    """Read a box on the photo, such as ``"25,10,75,90"`` or ``"0.25,0.1,0.75,0.9"``.

    The numbers are percent of the photo's width and height where one of them is above 1 or has a
    percent sign, else fractions 0..1: ``"0,0,1,1"`` is the whole photo. Returns
    ``(left, top, right, bottom)`` as fractions 0..1; None for an empty text. Raises ``BoxError``:
    these are not four numbers, or no photo can have this box.
    """
    bare = text.strip().strip("[]()")
    if not bare:
        return None
    known = _numbers(bare, "%")
    if known is None or len(known) != 4:
        raise BoxError(
            f"The box {_shown(text)} is not four numbers; give LEFT,TOP,RIGHT,BOTTOM in percent of "
            "the photo, or as fractions 0 to 1."
        )
    unit = 100.0 if "%" in bare or max(known) > 1 else 1.0
    left, top, right, bottom = (edge / unit for edge in known)
    check_box((left, top, right, bottom))
    return left, top, right, bottom


def parse_sizes(text: str) -> tuple[float, ...] | None:
    """Read sizes of the object: a count such as ``"12"``, or a list such as ``"2,1,0.5"``.

    A count gives that many sizes from ``LARGEST`` to ``SMALLEST``, in equal ratios. Returns sizes,
    largest first, each once; None for an empty text. ``mscnn.scales.sweep.Plan`` checks their
    range. Raises ``OptionError``: it is neither, or there are more than ``MAX_SIZES``.
    """
    bare = text.strip().strip("[]()")
    if not bare:
        return None
    if bare.isascii() and bare.isdigit():
        # Python refuses to read numbers of thousands of digits.
        count = int(bare.lstrip("0")[:6] or "0")
        if not 2 <= count <= MAX_SIZES:
            raise OptionError(
                f"The number of sizes is {count}; give 2 to {MAX_SIZES}, or a list such as 2,1,0.5."
            )
        return tuple(round(float(f), 3) for f in np.geomspace(LARGEST, SMALLEST, count))
    sizes = _numbers(bare)
    if sizes is None:
        raise OptionError(
            f"The sizes are {_shown(text)}; give a count such as 12, or sizes separated by commas, "
            "such as 2,1,0.5."
        )
    known = sorted(set(sizes), reverse=True)
    if len(known) > MAX_SIZES:
        raise OptionError(f"There are {len(known)} sizes; give at most {MAX_SIZES}.")
    return tuple(known)


def fair_baseline(model: str) -> ReceptiveField | None:
    """Return the fields of the network that the registry pairs with ``model``, where it has one."""
    spec = registry.find(model)
    return fields.known(spec.baseline) if spec is not None and spec.baseline else None


def _numbers(text: str, unit: str = "") -> list[float] | None:
    """Read finite numbers between commas, each with the unit or without; None for anything else."""
    try:
        numbers = [float(part.strip().removesuffix(unit)) for part in text.split(",")]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _shown(text: str) -> str:
    """Quote what was typed, on one line and not at any length."""
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
