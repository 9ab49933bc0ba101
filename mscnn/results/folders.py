"""The maps of all photographs of a folder: what they say on average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mscnn.geometry import FloatMap
from mscnn.results.explanation import WeightsInfo
from mscnn.results.schema import HIDDEN, LEFT_OUT, NOT_USED, column
from mscnn.results.study import Interval


@dataclass(frozen=True, slots=True)
class ClassMean:
    """The mean map of one class, ``(h, w)`` float32 as the network sees photos, signed."""

    index: int
    label: str
    photos: int
    raw: FloatMap = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsSummary:
    """The maps of one model, method and layer, which lie in the array ``file``.

    ``means`` are over the photographs, by column of the table. Of scores there is also the
    difference to each control within each photograph (``deletion_blur_less_blob``), and the
    fraction of maps that are ``better_than_random``, and ``better_than_all`` controls, with
    Wilson's interval. ``classes`` are in the order of ``mean-maps.npz``.
    """

    model: str
    weights: WeightsInfo
    method: str
    layer: str
    file: str
    shape: tuple[int, int]
    means: Mapping[str, Interval]
    classes: tuple[ClassMean, ...] = field(repr=False, metadata=column(details=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderMaps:
    """What a folder's run found.

    Attributes:
        target: ``top1``, ``label`` or the index of a class of the first model.
        images: photographs in the table.
        unreadable: what was left out, as ``(name, reason)``.
        not_used: reason to names of files that are no photographs; None for none.
        sheet: photographs on the contact sheet.
        computed: photographs of this run, of all models; the others were there from before.
        files: what was written, once it is.
    """

    command: str
    target: str | int
    images: int
    unreadable: tuple[tuple[str, str], ...] = field(repr=False, metadata=LEFT_OUT)
    device: str
    maps: tuple[MapsSummary, ...]
    sheet: tuple[str, ...]
    seconds: float
    computed: int
    notices: tuple[str, ...] = ()
    not_used: dict[str, list[str]] | None = field(default=None, repr=False, metadata=NOT_USED)
    files: tuple[str, ...] | None = field(default=None, metadata=column(optional=True))
