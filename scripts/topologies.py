"""Write the table of receptive-field graphs: ``python -m scripts.topologies --write``.

One row per architecture of the registry, traced from timm's own code. Without ``--write`` nothing
is changed, and the exit code is 1 where the table is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mscnn.models import registry
from mscnn.models.architecture import check_supported, from_name
from mscnn.scales.graph import Graph, to_row
from mscnn.scales.receptive_field import TABLE
from mscnn.scales.topology import trace

PATH = Path(__file__).parents[1] / "mscnn" / "scales" / TABLE


def architectures() -> tuple[str, ...]:
    """Return the architectures of all backbones of the registry, each once."""
    return tuple(dict.fromkeys(spec.architecture for spec in registry.list_backbones()))


def graph(architecture: str) -> Graph:
    """Build an architecture without weights, and trace it."""
    blueprint = from_name(architecture)
    return trace(blueprint.build(device="meta"), check_supported(blueprint))


def text() -> str:
    """Return the table: one line per architecture, so that a change of one shows as such."""
    rows = (
        f"{json.dumps(name)}:{json.dumps(to_row(graph(name)), separators=(',', ':'))}"
        for name in architectures()
    )
    return '{"architectures":{\n' + ",\n".join(rows) + "\n}}\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table")
    arguments = parser.parse_args(argv)
    fresh = text()
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == fresh:
        return 0
    if not arguments.write:
        sys.stderr.write(f"{TABLE} is stale: run python -m scripts.topologies --write\n")
        return 1
    PATH.write_text(fresh, encoding="utf-8")
    sys.stderr.write(f"wrote {TABLE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
