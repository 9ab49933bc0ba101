"""What the scores say together: a verdict against the controls, ranks, and which map to use.

The verdict's rule. Only the scores count that ``METRICS`` lets decide. On a score a map beats its
random controls where it is better than every one of them (by luck alone: once in ``draws`` + 1),
and the blob or its blurred self where it is better; equal is not better. It beats a control where
it does on more than half of the scores. Its level is how many controls it beats, in the order
random, blob, blurred, up to the first that it does not beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mscnn.results.trust import (
    CONTROLS,
    METRICS,
    Candidate,
    Kind,
    MapTrust,
    RankRow,
    Recommendation,
    Scores,
    Verdict,
)
from mscnn.trust.plan import EVERY

_DECIDE = tuple(name for name, metric in METRICS.items() if metric.decides)
_SENTENCES = (
    "No better than a random map.",
    "Better than a random map, but no better than a blob in the middle.",
    "Better than a random map and a blob in the middle, but no better than the same map blurred: "
    "believe the region, not its outline.",
    "Better than a random map, a blob in the middle, and the same map blurred.",
)
_KINDS: dict[Kind, str] = {
    "random": "a random map", "blob": "a blob in the middle", "blurred": "a blurred map",
}  # fmt: skip


def undecided(sentence: str = "Not scored.") -> Verdict:
    """The verdict where scores are missing, and why."""
    return Verdict(None, 0, 0, 0, 0, sentence)


def verdict(candidates: Sequence[Candidate]) -> Verdict:
    """Judge the first candidate, the map, beside the others, all its controls."""
    own = candidates[0]
    if not own.raw.max() > 0:
        return Verdict(0, 0, 0, 0, 0, "There is nothing on this map that speaks for the class.")
    names = [name for name in _DECIDE if getattr(own.scores, name) is not None]
    won = {kind: sum(_beats(name, own, candidates, kind) for name in names) for kind in CONTROLS}
    level = 0
    for kind in CONTROLS:
        if 2 * won[kind] <= len(names):
            break
        level += 1
    said = f"{_SENTENCES[level]} (On {won['random']}, {won['blob']} and {won['blurred']} of "
    return Verdict(
        level,
        won["random"],
        won["blob"],
        won["blurred"],
        len(names),
        f"{said}{len(names)} scores.)",
    )


def _beats(name: str, own: Candidate, candidates: Sequence[Candidate], kind: Kind) -> bool:
    sign = 1 if METRICS[name].higher_is_better else -1
    others = [getattr(c.scores, name) for c in candidates if c.kind == kind]
    return all(sign * getattr(own.scores, name) > sign * other for other in others)


def ranks(maps: Sequence[MapTrust]) -> tuple[RankRow, ...]:
    """Rank all maps and, for each, the mean of each kind of its controls."""
    from scipy.stats import rankdata

    rows = [
        (made, kind, [c.scores for c in made.candidates if c.kind == kind])
        for made in maps
        if made.verdict.level is not None
        for kind in dict.fromkeys(c.kind for c in made.candidates)
    ]
    found: list[dict[str, float]] = [{} for _ in rows]
    for name, metric in METRICS.items():
        values = [[getattr(s, name) for s in scores] for _, _, scores in rows]
        if not values or any(value is None for of_row in values for value in of_row):
            continue
        means = np.array([np.mean(of_row) for of_row in values])
        order = rankdata(-means if metric.higher_is_better else means)
        for row, rank in zip(found, order, strict=True):
            row[name] = float(rank)
    return tuple(
        RankRow(made.method, made.layer, kind, _mean(row), Scores(**row))
        for (made, kind, _), row in zip(rows, found, strict=True)
    )


def _mean(row: dict[str, float]) -> float | None:
    deciding = [row[name] for name in _DECIDE if name in row]
    return float(np.mean(deciding)) if deciding else None


def disagreement(rows: Sequence[RankRow]) -> str:
    """Say what each score that decides likes best; "" without scores."""
    several = len({(row.method, row.layer) for row in rows}) > 1
    best: dict[str, int] = {}
    for name in _DECIDE:
        first = min(rows, key=lambda row: _rank(row, name), default=None)
        if first is not None and _rank(first, name) < np.inf:
            map_name = f"{EVERY[first.method].title} at {first.layer}" if several else "the map"
            liked = map_name if first.kind == "map" else _KINDS[first.kind]
            best[liked] = best.get(liked, 0) + 1
    if len(best) < 2:
        return "".join(f"All {count} scores prefer {liked}." for liked, count in best.items())
    first_liked, *others = sorted(best, key=lambda liked: -best[liked])
    said = "".join(f", {best[liked]} {liked}" for liked in others)
    total = sum(best.values())
    return f"The scores disagree: of {total}, {best[first_liked]} prefer {first_liked}{said}."


def _rank(row: RankRow, name: str) -> float:
    rank = getattr(row.ranks, name)
    return np.inf if rank is None else float(rank)


def recommend(maps: Sequence[MapTrust], rows: Sequence[RankRow]) -> Recommendation | None:
    """Choose among several maps: by level, then by mean rank, then by what the map costs."""
    mean = {(row.method, row.layer): row.mean for row in rows if row.kind == "map"}
    known = [made for made in maps if mean.get((made.method, made.layer)) is not None]
    if len(maps) < 2 or not known:
        return None

    def place(made: MapTrust) -> tuple[Any, ...]:
        rank = mean[made.method, made.layer]
        return -(made.verdict.level or 0), rank, made.map_seconds

    best = min(known, key=place)
    level = best.verdict.level
    if not level:
        return Recommendation(None, None, "No map is better than a random one.")
    peers = sum(made.verdict.level == level for made in known)
    beaten = ("a random map", "a random map and a blob", "all three controls")[level - 1]
    ranked = f"ranked best of the {peers} that do" if peers > 1 else "the only one that does"
    reason = (
        f"{EVERY[best.method].title} at {best.layer} beats {beaten} and is {ranked} (mean rank "
        f"{mean[best.method, best.layer]:.1f} among all maps and their controls); it takes "
        f"{best.map_seconds:.2g} s."
    )
    return Recommendation(best.method, best.layer, reason)
