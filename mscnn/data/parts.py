"""What the parts of a data set are called, in folders, tables and saved data sets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import normalize

VAL_NAMES = ("val", "valid", "validation", "test")
_USUAL = ("train", *VAL_NAMES)
_WORD = re.compile(
    r"(?P<train>train(?:ing|val)?|trn)|(?P<val>val(?:id(?:at(?:e|ion))?)?|dev|eval(?:uation)?)"
    r"|(?P<test>test(?:ing|e)?|tst)"
)
_SAYS_NOTHING = re.compile(
    r"|set|data|dataset|split|part|folder|images?|imgs?|photos?|pictures?|\d+"
)


@lru_cache(1 << 10)
def kind(name: str) -> tuple[str, str] | None:
    """Return ``train``, ``val`` or ``test``, and what else tells in a part's name; else None.

    ``Train``, ``training_set`` and ``TrainImages`` say no more than ``train``; ``seg_train`` does.
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = re.findall(r"[^\W\d_]+", apart)
    for word in words:
        found = _WORD.match(word)
        if found and _SAYS_NOTHING.fullmatch(word[found.end() :]):
            rest = [w for w in words if w is not word and not _SAYS_NOTHING.fullmatch(w)]
            return str(found.lastgroup), " ".join(rest)
    return None


def is_part(name: str) -> bool:
    """Whether a name says that this is a part, and nothing else."""
    return (found := kind(name)) is not None and not found[1]


def usual(name: str) -> str:
    """Return a part's name in lower case, ``train`` for all that mean it."""
    return "train" if kind(name) == ("train", "") else name.lower()


def train_and_val(names: Iterable[str]) -> tuple[str, str]:
    """Return which part to learn from, and which to measure with; "" where there is none.

    Both are called alike but for the one word; without such a pair, by that word alone.
    """
    found: dict[str, dict[str, list[str]]] = {"": {}}
    for name in sorted(names, key=lambda n: (_USUAL.index(n) if n in _USUAL else 9, n)):
        if known := kind(name):
            found.setdefault(known[1], {}).setdefault(known[0], []).append(name)
    best = next((rest for rest in sorted(found) if {"train"} < set(found[rest])), "")
    train, val, test = (found[best].get(word, []) for word in ("train", "val", "test"))
    return next(iter(train), ""), next(iter(val + test), "")


def composed(name: str) -> str:
    """Return a name in the one form that all ways to compose its letters have in common."""
    return normalize("NFC", name)
