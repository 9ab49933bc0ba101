"""What to cite: BibTeX by families, methods and lenses, which are keywords in ``papers.bib``."""

from __future__ import annotations

import re
from pathlib import Path

from mscnn.models import registry


def bibtex(*names: str) -> str:
    """Return the entries of networks, methods and lenses, of all without names; "" for none."""
    wanted = set(names)
    for spec in filter(None, map(registry.find, names)):
        wanted |= {spec.family, "timm" if spec.hub_id else "mscnn"}
    papers = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    found = re.findall(r"(@.*?)\n  keywords = {(.*?)},\n}", papers, re.DOTALL)
    return "\n\n".join(f"{e}\n}}" for e, k in found if wanted & set(k.split(", ")) or not names)
