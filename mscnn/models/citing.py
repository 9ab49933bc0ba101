"""What to cite: BibTeX by the names that this program gives to families, methods and lenses.

They are the keywords of the entries in ``papers.bib``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import mscnn
from mscnn.models import registry

_ENTRY = re.compile(r"(@.*?)\n  keywords = {(.*?)},\n}", re.DOTALL)


@cache
def entries() -> dict[str, frozenset[str]]:
    """Every entry, without its keywords, and these."""
    text = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    found = _ENTRY.findall(text.replace("VERSION", mscnn.__version__))
    return {f"{entry}\n}}": frozenset(words.split(", ")) for entry, words in found}


def bibtex(*names: str) -> str:
    """Return the entries of networks, methods and lenses, each once; "" where none has one."""
    wanted = set(names)
    for spec in filter(None, map(registry.find, names)):
        wanted |= {spec.family, "timm" if spec.hub_id else "mscnn"}
    return "\n\n".join(entry for entry, words in entries().items() if words & wanted)
