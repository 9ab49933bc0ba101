"""How often each method's maps can be believed, by starter: ``python -m scripts.leaderboard``.

    python -m scripts.leaderboard --data tiny-imagenet-200/val --photos 200 --out found --write

Each starter explains its own answer to the same photographs, spread evenly over ``--data``, by each
method at the last stage, and ``mscnn.data.folders.trust_folder`` sets every map beside its
controls. Into ``--out`` go links to the photographs, and a folder of results for each starter.
When it was stopped, the same command goes on; a starter that is done is not asked again.
``--write`` puts the table into docs/trust.md, between the marks ``leaderboard``; without it the
table is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.data.folders import trust_folder
from mscnn.data.listing import list_photos
from mscnn.engine.session import Session
from mscnn.maps.methods import METHODS
from mscnn.models.manifest import load_manifest
from mscnn.trust.plan import BRIEF
from scripts.readme import ROOT, fill

NAME = "leaderboard"


def choose(data: Path, out: Path, count: int) -> Path:
    """Link ``count`` photographs, spread evenly over a folder, into ``out/photos``."""
    found, chosen = list_photos(data), out / "photos"
    chosen.mkdir(parents=True, exist_ok=True)
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    for place in places.tolist():
        source = found.source(place).resolve()
        link = chosen / f"{place:06}{source.suffix}"
        if link.is_symlink() and link.readlink() != source:
            raise SystemExit(f"{out} holds other photographs; give another --out.")
        if not link.is_symlink():
            link.symlink_to(source)
    return chosen


def measured(model: str, photos: Path, out: Path, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is known of each method's maps, measured where it is not there yet."""
    done = out / "summary.json"
    if not done.is_file():
        network = Session("auto", offline=True).network(model)
        trust_folder(
            network, photos, out, plan=replace(BRIEF, methods=tuple(methods)),
            on_progress=lambda n, total: say(f"\r{model}: {n} of {total}"),
            on_estimate=lambda seconds: say(f"{model}: about {seconds / 60:.0f} min here\n"),
        )  # fmt: skip
        say("\n")
    found = json.loads(done.read_text(encoding="utf-8"))
    maps: list[dict[str, Any]] = found["maps"]
    looked_at = found["images"] + len(found["unreadable"])
    if [one["method"] for one in maps] != [*methods] or looked_at != len(list_photos(photos)):
        raise SystemExit(f"{out} holds other methods or photographs; give another --out.")
    return maps


def say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table: a row per method, those first whose maps beat all controls most often."""
    share: dict[str, dict[str, str]] = {}
    order: dict[str, float] = {}
    photos = 0
    for model, maps in found.items():
        for one in maps:
            method, means = one["method"], one["means"]
            every, random = means["better_than_all"], means["better_than_random"]
            mean, low, high = (100 * (every[key] or 0) for key in ("mean", "low", "high"))
            cell = f"{mean:.0f} ({low:.0f} to {high:.0f}), {100 * random['mean']:.0f}"
            share.setdefault(method, {})[model] = cell
            order[method] = order.get(method, 0.0) + every["mean"]
            photos = max(photos, every["photos"])
    lines = [
        f"| Method | {' | '.join(f'`{model}`' for model in found)} |",
        f"| --- |{' ---: |' * len(found)}",
    ]
    for method in sorted(order, key=lambda name: -order[name]):
        cells = (share[method].get(model, "-") for model in found)
        lines.append(f"| {METHODS[method].title} | {' | '.join(cells)} |")
    lines += [
        "",
        f"On how many of {photos} photographs, in %, a method's map of the starter's own answer is "
        "better than each of its random maps, a blob in the middle and its own blurred self, with "
        "Wilson's 95 % interval; then on how many, in %, it is better than each of its random maps."
        f" Last stage; scores in brief: {BRIEF.steps} steps, blur, {BRIEF.draws} random maps. "
        "Made with `python -m scripts.leaderboard`.",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.leaderboard")
    parser.add_argument("--data", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--photos", type=int, default=200, help="how many of them")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--models", default=",".join(load_manifest()))
    parser.add_argument("--out", type=Path, default=Path(NAME), help="folder for what is found")
    parser.add_argument("--write", action="store_true", help="put the table into docs/trust.md")
    options = parser.parse_args(argv)
    page = ROOT / "docs" / "trust.md"
    text = page.read_text(encoding="utf-8")
    if options.write:
        fill(text, {NAME: str})  # raises at once where the marks are missing
    photos, methods = choose(options.data, options.out, options.photos), options.methods.split(",")
    found = {
        model: measured(model, photos, options.out / model, methods)
        for model in options.models.split(",")
    }
    if not options.write:
        sys.stdout.write(table(found))
        return 0
    page.write_text(fill(text, {NAME: lambda: table(found)}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
