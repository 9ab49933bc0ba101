"""What to cite: BibTeX by families, methods and lenses, which are keywords in ``papers.bib``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from mscnn.models import registry


@cache
def _entries() -> list[tuple[str, set[str]]]:
    text = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    found = re.findall(r"(@.*?)\n  keywords = {(.*?)},\n}", text, re.DOTALL)
    return [(f"{entry}\n}}", set(words.split(", "))) for entry, words in found]


def bibtex(*names: str) -> str:
    """Return the entries of networks, methods and lenses, of all without names; "" for none."""
    wanted = set(names)
    for spec in filter(None, map(registry.find, names)):
        wanted |= {spec.family, "timm" if spec.hub_id else "mscnn"}
    return "\n\n".join(entry for entry, words in _entries() if words & wanted or not names)
