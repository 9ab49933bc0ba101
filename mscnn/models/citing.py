"""What to cite: BibTeX by families, methods and lenses, which are keywords in ``papers.bib``."""

from __future__ import annotations

import re
from pathlib import Path

from mscnn.models import registry


def bibtex(*names: str) -> str:
    """Return the entries of networks, methods and lenses, of all without names; "" for none.

    Case, hyphens and spaces do not count, so that ``Grad-CAM++`` is known as ``gradcam++``.
    """
    wanted = set(names)
    for spec in filter(None, map(registry.find, names)):
        wanted |= {spec.family, "timm" if spec.hub_id else "mscnn"}
    papers = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    found = re.findall(r"(@.*?)\n  keywords = {(.*?)},\n}", papers, re.DOTALL)
    wanted = set(map(_folded, wanted))
    cited = (e for e, k in found if not names or wanted & set(map(_folded, k.split(", "))))
    return "\n\n".join(f"{entry}\n}}" for entry in cited)


def _folded(name: str) -> str:
    return re.sub(r"[-\s]", "", name).casefold()
