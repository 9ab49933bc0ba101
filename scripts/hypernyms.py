"""Write what WordNet says the 1000 ImageNet classes are: ``python -m scripts.hypernyms data.noun``.

``data.noun`` is a file of WordNet 3.0 (in Debian: the package wordnet-base), whose byte offsets are
ImageNet's ids. Of each class, and of all that it is a kind of, ``mscnn/models/hypernyms.tsv`` gets
a line: id, ids of the direct hypernyms, and for what is no class itself the words for it. Left out
is what more than half of the classes are, such as "object".
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from mscnn.models import labels

Synsets = dict[str, tuple[list[str], list[str]]]
"""By id: the words, and the ids of the direct hypernyms."""


def read(path: Path) -> tuple[list[str], Synsets]:
    """Return the licence at the head of ``data.noun``, and its synsets; see wndb(5WN)."""
    licence, synsets = [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            licence.append(line.split(maxsplit=1)[1:])
            continue
        fields = line.split(" | ")[0].split()
        end = 4 + 2 * int(fields[3], 16)
        pointers = fields[end + 1 : end + 1 + 4 * int(fields[end])]
        hypernyms = [
            f"n{pointers[i + 1]}" for i in range(0, len(pointers), 4) if pointers[i] in ("@", "@i")
        ]
        words = [word.replace("_", " ") for word in fields[4:end:2]]
        synsets[f"n{fields[0]}"] = words, hypernyms
    return ["".join(text) for text in licence], synsets


def above(wnid: str, synsets: Synsets) -> set[str]:
    """Return all that a synset is a kind of, itself included."""
    return {wnid}.union(*(above(parent, synsets) for parent in synsets[wnid][1]))


def table(classes: Sequence[str], licence: Sequence[str], synsets: Synsets) -> str:
    """Return the text of the file."""
    reached = Counter(kind for wnid in classes for kind in above(wnid, synsets))
    kept = {kind for kind, count in reached.items() if 2 * count <= len(classes)}
    lines = [f"# {line}".rstrip() for line in licence]
    for wnid in sorted(kept):
        words, hypernyms = synsets[wnid]
        parents = " ".join(sorted(kept.intersection(hypernyms)))
        lines.append(f"{wnid}\t{parents}\t{'' if wnid in classes else ', '.join(words)}".rstrip())
    return "\n".join(lines) + "\n"


def main() -> None:
    classes = ImageNetInfo().label_names()
    text = table(classes, *read(Path(sys.argv[1])))
    (Path(labels.__file__).parent / labels.HYPERNYMS).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
