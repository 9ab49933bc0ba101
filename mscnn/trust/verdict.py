"""What the scores say together: a verdict against the controls, ranks, and which map to use.

The verdict's rule. Only the scores count that ``METRICS`` lets decide. On a score a map beats its
random controls where it is better than every one of them (by luck alone: once in ``draws`` + 1),
and the blob or its blurred self where it is better; equal is not better. It beats a control where
it does on more than half of the scores. Its level is how many controls it beats, in the order
random, blob, blurred, up to the first that it does not beat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mscnn.results import trust as results
from mscnn.results.trust import CONTROLS, METRICS, Candidate, Kind, MapTrust, RankRow, Scores
from mscnn.trust.plan import CHANGES, method_of

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


def undecided(sentence: str = "Not scored.") -> results.Verdict:
    """The verdict where scores are missing, and why."""
    return results.Verdict(None, 0, 0, 0, 0, sentence)


def verdict(candidates: Sequence[Candidate]) -> results.Verdict:
    """Judge the first candidate, the map, beside the others, all its controls."""
    own = candidates[0]
    if not own.raw.max() > 0:
        return results.Verdict(0, 0, 0, 0, 0, "Nothing on this map speaks for the class.")
    names = [name for name in _DECIDE if getattr(own.scores, name) is not None]
    won = {kind: sum(_beats(name, own, candidates, kind) for name in names) for kind in CONTROLS}
    lost = [2 * won[kind] <= len(names) for kind in CONTROLS]
    level = [*lost, True].index(True)
    counts = won["random"], won["blob"], won["blurred"]
    said = (
        f"(Better than the random maps on {counts[0]}, the blob on {counts[1]}, the blurred map on "
        f"{counts[2]} of {len(names)} scores.)"
    )
    return results.Verdict(level, *counts, len(names), f"{_SENTENCES[level]} {said}")


def in_short(found: results.Verdict) -> str:
    """Return a verdict's sentence without its counts."""
    return found.sentence if not found.of else _SENTENCES[found.level or 0]


def said_of_checks(made: MapTrust) -> dict[str, str]:
    """Return a sentence on each check that was finished, by its name in ``PARTS``."""
    said, random = dict[str, str](), made.randomisation
    if random and random.follows_weights is not None:
        alike = random.steps[-1].similarity
        number = "" if alike is None else f" (rank correlation {alike:.2f})"
        said["randomisation"] = (
            f"With random weights the map is a different one{number}: it depends on what the "
            "network has learnt."
            if random.follows_weights
            else f"With random weights the map stays closely related{number}: it shows the photo "
            "more than what the network has learnt."
        )
    known = [(one.correlation, one.change) for one in made.stability if one.correlation is not None]
    if known and len(made.stability) == len(CHANGES):
        least, change = min(known)
        said["stability"] = (
            f"It moves most when the photo is {CHANGES[change]}: rank correlation {least:.2f}, "
            "where 1 is no change."
        )
    if made.localisation:
        hits = {one.kind: f"{one.pointing_game:.0%}" for one in made.localisation.mean}
        said["localisation"] = (
            f"At {len(made.localisation.placements)} known positions, the map's strongest point "
            f"lies on the object in {hits['map']} of the pictures (random maps: {hits['random']})."
        )
    return said


def _beats(name: str, own: Candidate, candidates: Sequence[Candidate], kind: Kind) -> bool:
    sign = 1 if METRICS[name].higher_is_better else -1
    others = [getattr(c.scores, name) for c in candidates if c.kind == kind]
    return all(sign * getattr(own.scores, name) > sign * other for other in others)


def ranks(maps: Sequence[MapTrust]) -> tuple[RankRow, ...]:
    """Rank all maps and, for each, the mean of each kind of its controls."""
    from scipy.stats import rankdata

    judged = [made for made in maps if made.verdict.level is not None]
    rows = [
        (made, kind) for made in judged for kind in dict.fromkeys(c.kind for c in made.candidates)
    ]
    found: list[dict[str, float]] = [{} for _ in rows]
    for name, metric in METRICS.items():
        if not judged or getattr(judged[0].scores, name) is None:
            continue
        sign = -1 if metric.higher_is_better else 1
        means = [
            np.mean([getattr(c.scores, name) for c in made.candidates if c.kind == kind])
            for made, kind in rows
        ]
        for row, rank in zip(found, rankdata(sign * np.array(means)), strict=True):
            row[name] = float(rank)
    return tuple(
        RankRow(made.method, made.layer, kind, _mean(row), Scores(**row))
        for (made, kind), row in zip(rows, found, strict=True)
    )


def _mean(row: dict[str, float]) -> float | None:
    deciding = [row[name] for name in _DECIDE if name in row]
    return float(np.mean(deciding)) if deciding else None


def disagreement(rows: Sequence[RankRow]) -> str:
    """Say what each score that decides likes best; "" without scores."""
    several = len({(row.method, row.layer) for row in rows}) > 1
    names = [name for name in _DECIDE if rows and getattr(rows[0].ranks, name) is not None]
    liked: Counter[str] = Counter()
    for name in names:
        top = min(float(getattr(row.ranks, name)) for row in rows)
        best, *others = (row for row in rows if getattr(row.ranks, name) == top)
        map_name = _name(best) if several else "the map"
        # Equal is not better, as in the verdict: a map as good as a control is not preferred.
        tied = any((row.kind == "map") != (best.kind == "map") for row in others)
        liked["neither the map nor a control" if tied else _KINDS.get(best.kind, map_name)] += 1
    if len(liked) < 2:
        return "".join(f"All {count} scores prefer {what}." for what, count in liked.items())
    said = ", ".join(f"{count} prefer {what}" for what, count in liked.most_common())
    return f"The scores disagree: of {len(names)}, {said}."


def _name(made: MapTrust | RankRow) -> str:
    return f"{method_of(made.method).title} at {made.layer}"


def recommend(maps: Sequence[MapTrust], rows: Sequence[RankRow]) -> results.Recommendation | None:
    """Choose among several maps: by level, then by mean rank, then by what the map costs."""
    mean = {(row.method, row.layer): row.mean for row in rows if row.kind == "map"}
    known = [
        (-(made.verdict.level or 0), rank, made.map_seconds, made)
        for made in maps
        if (rank := mean.get((made.method, made.layer))) is not None
    ]
    if len(maps) < 2 or not known:
        return None
    level, rank, took, best = min(known, key=lambda found: found[:3])
    if not level:
        return results.Recommendation(None, None, "No map is better than a random one.")
    peers = sum(found[0] == level for found in known)
    beaten = ("a random map", "a random map and a blob", "all three controls")[-level - 1]
    ranked = f"ranked best of the {peers} that do" if peers > 1 else "the only one that does"
    reason = (
        f"{_name(best)} beats {beaten} and is {ranked} (mean rank {rank:.1f} among all maps and "
        f"their controls); it takes {took:.2g} s."
    )
    return results.Recommendation(best.method, best.layer, reason)
