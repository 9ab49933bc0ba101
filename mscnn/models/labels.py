"""Class index <-> class name, without torch.

A class name is a WordNet lemma list, "lion, king of beasts, Panthera leo": synonyms separated by
``", "``, the usual word first. A name of any other data set is a list with one synonym.

The names of ImageNet come from the data files inside the installed timm package. They are read
without importing timm, which would load torch.
"""

from __future__ import annotations

import csv
import difflib
import functools
import importlib.util
import operator
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.errors import MscnnError, UnknownClassError

MAX_CANDIDATES = 8
"""How many classes an error message lists at most."""


def short(name: str) -> str:
    """Return the first synonym: ``"lion, king of beasts"`` -> ``"lion"``."""
    return _synonyms(name)[0]


@dataclass(frozen=True)
class LabelSet:
    """The classes of one model, in the order of its logits.

    The word ``"top1"`` is reserved: callers answer it from a prediction before they ask here.

    Attributes:
        names: one name per class; synonyms are separated by ``", "``.
    """

    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the full name of a class.

        Raises:
            UnknownClassError: the index is outside ``0..len(self) - 1``.
        """
        return self.names[self._checked(index)]

    def display(self, index: int) -> str:
        """Return a short name that no other class shares.

        It is the first synonym. Where several classes have the same one (ImageNet has two
        cranes, a bird and a machine), the second synonym or the index follows in brackets.
        ``resolve`` takes every display name back to its class.

        Raises:
            UnknownClassError: the index is outside ``0..len(self) - 1``.
        """
        return self._displays[self._checked(index)]

    def resolve(self, query: str | int) -> int:
        """Return the index of the class that ``query`` means.

        An ``int`` is an index. A string is tried as, in this order and ignoring case: a full
        name, a first synonym or a display name; an index in digits; any other synonym; a prefix
        of a synonym or whole words inside one. The first of these that fits must fit one class.

        Names go before digits because a folder of digits sorts "10" before "2", so there a class
        called "2" need not have the index 2. Prefixes and whole words count together: "fox" is
        the prefix of one ImageNet class only, but fox squirrel is not what was meant.

        Raises:
            UnknownClassError: no class fits, or several do; the message lists candidates.
        """
        if not isinstance(query, str):
            return self._checked(query)
        key = _key(query)
        if not key:
            raise UnknownClassError(f"The class name is empty; {self._accepted()}.")
        exact = [i for i in range(len(self)) if key in self._primary[i]]
        if not exact and key.isascii() and key.isdigit():
            # Python refuses to read numbers of thousands of digits; no model has 10^20 classes.
            return self._checked(int(key.lstrip("0")[:20] or "0"))
        exact = exact or [i for i in range(len(self)) if key in self._synonym_keys[i]]
        return self._only(query, exact) if exact else self._partial(query, key)

    def _partial(self, query: str, key: str) -> int:
        """Find ``key`` as a prefix or as whole words; ``query`` is for messages."""
        word = re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")
        keys = list(enumerate(self._synonym_keys))
        whole = [i for i, synonyms in keys if any(word.search(s) for s in synonyms)]
        prefix = [i for i, synonyms in keys if any(s.startswith(key) for s in synonyms)]
        # Whole words first: they are what the user more likely meant.
        candidates = list(dict.fromkeys([*whole, *prefix]))
        return self._only(query, candidates) if candidates else self._unknown(query, key)

    def _only(self, query: str, candidates: Sequence[int]) -> int:
        if len(candidates) == 1:
            return candidates[0]
        listed = ", ".join(self._entry(i) for i in candidates[:MAX_CANDIDATES])
        more = len(candidates) - MAX_CANDIDATES
        rest = f" and {more} more" if more > 0 else ""
        raise UnknownClassError(
            f"{_quoted(query)} fits {len(candidates)} classes: {listed}{rest}; "
            "give the index or more of the name."
        )

    def _unknown(self, query: str, key: str) -> int:
        """Raise for a name that fits nothing, with the names that look like it."""
        owner = {s: i for i in reversed(range(len(self))) for s in self._synonym_keys[i]}
        alike = difflib.get_close_matches(key[:100], owner, n=MAX_CANDIDATES, cutoff=0.7)
        found = list(dict.fromkeys(owner[s] for s in alike))
        close = f" Close: {', '.join(self._entry(i) for i in found)}." if found else ""
        raise UnknownClassError(f"No class fits {_quoted(query)}; {self._accepted()}.{close}")

    def _checked(self, index: int) -> int:
        try:
            position = operator.index(index)
        except TypeError:
            position = -1
        if not 0 <= position < len(self):
            raise UnknownClassError(f"There is no class {index}; {self._accepted()}.")
        return position

    def _accepted(self) -> str:
        if not self.names:
            return "this model has no classes"
        return (
            f"this model knows {len(self)} classes, "
            f"by name or by an index from 0 to {len(self) - 1}"
        )

    def _entry(self, index: int) -> str:
        return f"{index} " + self._displays[index].removesuffix(f" ({index})")

    @functools.cached_property
    def _synonym_keys(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(_key(s) for s in _synonyms(name)) for name in self.names)

    @functools.cached_property
    def _primary(self) -> tuple[frozenset[str], ...]:
        """What names a class before all other meanings of a word."""
        return tuple(
            frozenset({_key(name), keys[0], _key(shown)})
            for name, keys, shown in zip(
                self.names, self._synonym_keys, self._displays, strict=True
            )
        )

    @functools.cached_property
    def _displays(self) -> tuple[str, ...]:
        shown = [_synonyms(name)[0] for name in self.names]
        for distinguish in (_with_second_synonym, _with_index):
            count = Counter(_key(s) for s in shown)
            shown = [
                distinguish(i, self.names[i]) if count[_key(s)] > 1 else s
                for i, s in enumerate(shown)
            ]
        return tuple(shown)


@functools.lru_cache(maxsize=1)
def imagenet_labels() -> LabelSet:
    """Return the 1000 names of ImageNet-1k, in the order of timm's (and torchvision's) logits.

    Raises:
        MscnnError: the installed timm has no such data files.
    """
    return LabelSet(tuple(wordnet_lemmas(_timm_info("imagenet_synsets.txt").splitlines())))


def wordnet_lemmas(wnids: Iterable[str]) -> list[str]:
    """Return the names of WordNet ids such as ``"n02129165"``, the class ids of ImageNet's kin.

    Raises:
        UnknownClassError: an id is not among ImageNet's 21844.
        MscnnError: the installed timm has no such data files.
    """
    lemmas = _lemma_table()
    wnids = list(wnids)
    missing = [w for w in wnids if w not in lemmas]
    if missing:
        listed = ", ".join(_quoted(w) for w in missing[:MAX_CANDIDATES])
        raise UnknownClassError(
            f"{len(missing)} of {len(wnids)} class ids are not WordNet ids of ImageNet: {listed}."
        )
    return [lemmas[w] for w in wnids]


@functools.lru_cache(maxsize=1)
def _lemma_table() -> dict[str, str]:
    lines = _timm_info("imagenet_synset_to_lemma.txt").splitlines()
    return {wnid: lemmas for wnid, lemmas in csv.reader(lines, delimiter="\t")}


def _timm_info(file_name: str) -> str:
    """Read a text file of ``timm/data/_info`` without importing timm."""
    # find_spec of a top-level package only locates it.
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise MscnnError("The class names of ImageNet come with timm, which is not installed.")
    try:
        return (Path(spec.origin).parent / "data" / "_info" / file_name).read_text("utf-8")
    except OSError as error:
        raise MscnnError(f"The installed timm package has no readable {file_name}.") from error


def _synonyms(name: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in name.split(", ") if part.strip())
    return parts or (name,)


def _key(text: str) -> str:
    """Fold case and white space, so that what looks the same compares equal."""
    return " ".join(text.casefold().split())


def _with_second_synonym(index: int, name: str) -> str:
    synonyms = _synonyms(name)
    if len(synonyms) > 1:
        return f"{synonyms[0]} ({synonyms[1]})"
    return _with_index(index, name)


def _with_index(index: int, name: str) -> str:
    return f"{_synonyms(name)[0]} ({index})"


def _quoted(text: str) -> str:
    """Quote what a user typed, cut to a length that keeps a message one line."""
    text = " ".join(text.split())
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
