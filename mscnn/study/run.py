"""A whole study: choose photographs, measure every model, reduce to means and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mscnn.data.listing import MOMENTARY, Account, why_unreadable
from mscnn.engine.network import Network, Photo, Progress
from mscnn.errors import OptionError
from mscnn.models.sources import check_names
from mscnn.photos.imaging import load_photo
from mscnn.results.study import SplitField, Study, interval
from mscnn.scales.effective import with_random_weights
from mscnn.study.cuts import estimate, measure_cuts
from mscnn.study.measure import FACTORS, SETTINGS, ModelMeasures, measure
from mscnn.study.photos import choose, find_photos
from mscnn.study.summary import range_gains, summarise_model

LARGE, SMALL = 1.0, 0.4
FIELD_PHOTOS = 50
Report = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What to measure: at most ``limit`` photographs (2 or more, as an interval needs two).

    ``factors`` hold 1.0 and 0.4, which the changes compare; ``settings`` are canvases and the
    control; ``seed`` orders the photographs and the shuffled pixels; ``cuts``: see ``study.cuts``.
    """

    limit: int = 600
    factors: tuple[float, ...] = FACTORS
    settings: tuple[str, ...] = SETTINGS
    seed: int = 0
    cuts: bool = False

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise OptionError(f"--limit is {self.limit}; it must be 2 or more.")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"--seed is {self.seed}; it must be 0 to {2**32 - 1}.")
        if not {LARGE, SMALL} <= set(self.factors):
            raise OptionError(f"The factors must hold {LARGE} and {SMALL}, which are compared.")


def run_study(
    networks: Sequence[Network],
    folder: Path,
    options: StudyOptions | None = None,
    *,
    on_progress: Report = lambda *_: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> Study:
    """Run a study on the photographs of a folder; see ``find_photos``.

    The first of the networks is what the others' range of sizes is compared with. ``on_notice`` is
    told what was left out and what cuts will cost. Raises ``DatasetError``, ``OptionError``,
    ``UnsupportedModelError``, ``WeightsError``.
    """
    if not networks:
        raise OptionError("No model was named; name at least one.")
    names = [network.name for network in networks]
    check_names(names)
    for network in networks:
        network._check_classes()
        network.receptive_field()  # whoever has none is refused before the others are measured
    options = options or StudyOptions()
    files, labelled = find_photos(folder, options.seed, account := Account(folder))
    for line in (*account.notices, *account.lines()):
        on_notice(line)
    report = partial(on_progress, "choosing photographs")
    chosen = choose(networks, files, limit=options.limit, on_progress=report)
    for path in chosen.unreadable:
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        on_notice(f"left out {name}: {why_unreadable(path) or MOMENTARY}")
    paths = [photo.path for photo in chosen.photos[:FIELD_PHOTOS]]
    shown = (options.factors, options.settings)
    for which, network in enumerate(networks if options.cuts else ()):
        on_notice(estimate(network, chosen.photos, which))
    measures: list[ModelMeasures] = []
    summaries = []
    for which, network in enumerate(networks):
        made = measure(
            network, chosen.photos, which, factors=options.factors, settings=options.settings,
            seed=options.seed, on_progress=partial(on_progress, network.name),
        )  # fmt: skip
        measures.append(made)
        field = network.receptive_field()
        rf = {(b.block, s.index): s.rf_max_px for b in field.blocks for s in b.splits}
        report = partial(on_progress, f"{network.name}: fields")
        fields = split_fields(network, paths, on_progress=report)
        summary = summarise_model(made, rf, *shown, LARGE, SMALL, fields)
        if options.cuts:
            report = partial(on_progress, f"{network.name}: cuts")
            cuts = measure_cuts(
                network, chosen.photos, which, seed=options.seed, on_progress=report
            )
            summary = replace(summary, cuts=cuts)
        summaries.append(summary)
    photos = (len(chosen.photos), chosen.looked_at, labelled, len(chosen.unreadable))
    gains = range_gains(measures, *shown)
    compared = {"large": LARGE, "small": SMALL}
    return Study(*photos, *shown, compared, tuple(summaries), gains)


def split_fields(
    network: Network, photos: Sequence[Path], *, on_progress: Progress = lambda *_: None
) -> tuple[SplitField, ...]:
    """Measure the effective receptive field of each split, trained and with random weights.

    Of every block with a hierarchy (splits side by side see the same), photo by photo, so that the
    spread over photographs is known.
    """
    field = network.receptive_field()
    wanted = [(b.block, s) for b in field.blocks if b.kind == "hierarchy" for s in b.splits]
    if not wanted:
        return ()
    images = [network.preprocess(load_photo(path)) for path in photos]
    random, _ = network.guarded(lambda: with_random_weights(network.model))
    untrained = Network(replace(network.loaded, model=random), network.device, network.precision)
    found = []
    for number, (block, split) in enumerate(wanted, 1):
        sides = {
            weights: interval([_half_side(net, image, block, split.index) for image in images])
            for weights, net in (("trained", network), ("random", untrained))
        }
        found.append(SplitField(block, split.index, split.rf_max_px, sides))
        on_progress(number, len(wanted))
    return tuple(found)


def _half_side(network: Network, photo: Photo, block: str, split: int) -> float:
    """Side of the square that holds half of the gradient, px; NaN for a unit that is off."""
    measured = network.effective_receptive_field(photo, layer=block, split=split)
    return next((float(s.side_px) for s in measured.squares if s.share == 0.5), float("nan"))
