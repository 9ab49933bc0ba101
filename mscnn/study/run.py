"""A whole study: choose photographs, measure every model, reduce to means and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.engine.network import Network
from mscnn.errors import OptionError
from mscnn.results.study import Study
from mscnn.study.fields import split_fields
from mscnn.study.measure import FACTORS, SETTINGS, ModelMeasures, measure
from mscnn.study.photos import choose, find_photos
from mscnn.study.summary import range_gains, summarise_model

LARGE, SMALL = 1.0, 0.4
FIELD_PHOTOS = 50
Report = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What to measure.

    Attributes:
        limit: how many photographs to use at most, at least 2 (an interval needs two).
        factors: sizes; hold 1.0 and 0.4, which the changes compare.
        settings: canvases and the control.
        seed: of the order of photographs and of the shuffled pixels.
    """

    limit: int = 600
    factors: tuple[float, ...] = FACTORS
    settings: tuple[str, ...] = SETTINGS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise OptionError(f"--limit is {self.limit}; it must be 2 or more.")
        if not {LARGE, SMALL} <= set(self.factors):
            raise OptionError(f"The factors must hold {LARGE} and {SMALL}, which are compared.")


def run_study(
    networks: Sequence[Network],
    folder: Path,
    options: StudyOptions | None = None,
    *,
    on_progress: Report | None = None,
) -> Study:
    """Run a study.

    Args:
        networks: one or more; the first is what the others' range of sizes is compared with.
        folder: photographs; see ``mscnn.study.photos.find_photos``.
        options: None for the usual ones.
        on_progress: see ``Report``.

    Raises:
        DatasetError, OptionError.
    """
    if not networks:
        raise OptionError("No model was named; name at least one.")
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise OptionError("Two models have the same name; rename the folder of one of them.")
    options = options or StudyOptions()
    files, labelled = find_photos(folder, options.seed)
    report = _part(on_progress, "choosing photographs")
    chosen = choose(networks, files, labelled=labelled, limit=options.limit, on_progress=report)
    paths = [photo.path for photo in chosen.photos[:FIELD_PHOTOS]]
    measures: list[ModelMeasures] = []
    summaries = []
    for which, network in enumerate(networks):
        made = measure(
            network, chosen.photos, which, factors=options.factors, settings=options.settings,
            seed=options.seed, on_progress=_part(on_progress, network.name),
        )  # fmt: skip
        measures.append(made)
        field = network.receptive_field()
        rf = {(b.block, s.index): s.rf_max_px for b in field.blocks for s in b.splits}
        fields = split_fields(
            network, paths, on_progress=_part(on_progress, f"{network.name}: fields")
        )
        compared = (options.factors, options.settings, LARGE, SMALL)
        summaries.append(summarise_model(made, rf, *compared, fields))
    return Study(
        photos=len(chosen.photos),
        looked_at=chosen.looked_at,
        labelled=labelled,
        unreadable=len(chosen.unreadable),
        factors=options.factors,
        settings=options.settings,
        large=LARGE,
        small=SMALL,
        models=tuple(summaries),
        range_gain=range_gains(measures, options.factors, options.settings),
    )


def _part(report: Report | None, what: str) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(what, done, total)
