"""Class index <-> class name, without torch.

A class name of ImageNet is a WordNet lemma list, "lion, king of beasts, Panthera leo": synonyms
separated by ``", "``, the usual word first. Any other name has one synonym, itself to the letter.

The names of ImageNet come from the data files inside the installed timm package. They are read
without importing timm, which would load torch. What each of these classes is a kind of (a tabby is
a cat) stands in ``hypernyms.tsv``, an excerpt of WordNet 3.0 that ``scripts.hypernyms`` wrote.
"""

from __future__ import annotations

import csv
import difflib
import functools
import importlib.util
import operator
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.errors import MscnnError, UnknownClassError

HYPERNYMS = "hypernyms.tsv"
_WNID = re.compile(r"n\d{8}")
MAX_CANDIDATES = 8  # in an error message


def short(name: str) -> str:
    """Return the first synonym, ``"tabby, tabby cat"`` -> ``"tabby"``, or a name of one's own."""
    return _synonyms(name)[0]


@dataclass(frozen=True)
class LabelSet:
    """The classes of one model, in the order of its logits.

    The word ``"top1"`` is reserved: callers answer it from a prediction before they ask here.

    Attributes:
        wnids: their WordNet ids, such as ``"n02012849"``, which also tell classes of one name
            apart; empty where only the names are known.
        numbered_in: sha256 of the weights whose classes nobody has named, so that they are only
            numbered here; "" where the names are names.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    numbered_in: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the full name of a class; ``UnknownClassError`` for an index there is not."""
        return self.names[self._checked(index)]

    def display(self, index: int) -> str:
        """Return a short name that no other class shares; ``resolve`` takes it back to its class.

        It is the first synonym. Where several classes have the same one (ImageNet has two cranes, a
        bird and a machine), the second synonym or the index follows in brackets. Names of one's own
        are the same only to the letter.
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
        key = folded(query)
        if not key:
            raise UnknownClassError(f"The class name is empty; {self._accepted()}.")
        exact = [i for i in range(len(self)) if key in self._primary[i]]
        if len(exact) > 1:  # of one's own there may be "a" and "A", or one name in two encodings
            exact = [i for i in exact if query == self._displays[i] and self._is_own(i)] or exact
        if not exact and key.isascii() and key.isdigit():
            # Python refuses to read numbers of thousands of digits; no model has 10^20 classes.
            return self._checked(int(key.lstrip("0")[:20] or "0"))
        exact = exact or [i for i in range(len(self)) if key in self._synonym_keys[i]]
        return self._only(query, exact) if exact else self._partial(query, key)

    def check_comparable(self, other: LabelSet) -> None:
        """Raise ``UnknownClassError`` where nothing says which classes of two sets are the same."""
        if (self.numbered_in or other.numbered_in) and self != other:
            raise UnknownClassError(
                "Which classes of these networks are the same is not known, because those of one "
                "are only numbered; name them as label_names in the config.json of its folder."
            )

    def is_exactly(self, index: int, name: str) -> bool:
        """Whether ``name`` is all of a class's name, its display name or a synonym, in any case."""
        keys = {folded(self.name(index)), folded(self.display(index)), *self._synonym_keys[index]}
        return folded(name) in keys

    def near(self, text: str, count: int = MAX_CANDIDATES) -> list[int]:
        """Return the classes that come nearest to a word that names none, nearest first.

        The first of these that finds any is all: the kinds of what the text, its singular or its
        last word means ("dog", "dogs" and "black dog" give the dogs); classes with it in their
        names; for a word of WordNet the kinds of what its definition begins with ("sedan: a car
        that ..." gives the cars); for another one those that are spelled much like it.
        """
        key = folded(text)[:100]
        if not key:
            return []
        words = list(dict.fromkeys(w for part in (key, *key.split()[-1:]) for w in _singular(part)))
        asked = (ask(w) for ask in (self._kinds, self._containing) for w in words)
        found = next(filter(None, asked), [])
        if not found and (defined := [w for word in words for w in _defining(word)]):
            # That a person is a being does not help.
            kinds = (self._kinds(word) for word in defined)
            found = next((f for f in kinds if f and 4 * len(f) < len(self)), [])
        elif not found:
            found = self._alike(key, (*self._kind_words, *self._owner))
        return found[: max(count, 0)]

    def _kinds(self, word: str) -> list[int]:
        """Return the classes that are a kind of ``word``; the most direct ones first."""
        steps = self._kind_words.get(word, {})
        return sorted(steps, key=lambda i: (steps[i], i))

    def _containing(self, key: str) -> list[int]:
        """Return the classes with ``key`` as whole words or a prefix of a synonym."""
        word = re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")
        keys = list(enumerate(self._synonym_keys))
        whole = [i for i, synonyms in keys if any(word.search(s) for s in synonyms)]
        prefix = [i for i, synonyms in keys if any(s.startswith(key) for s in synonyms)]
        # Whole words first: they are what the user more likely meant.
        return list(dict.fromkeys([*whole, *prefix]))

    def _alike(self, key: str, words: Iterable[str]) -> list[int]:
        """Return the classes of the words that are spelled much like ``key``, best first."""
        close = difflib.get_close_matches(key, words, n=MAX_CANDIDATES, cutoff=0.7)
        named = ([self._owner[w]] if w in self._owner else self._kinds(w) for w in close)
        return list(dict.fromkeys(i for each in named for i in each))

    def _partial(self, query: str, key: str) -> int:
        """Find ``key`` as a prefix or as whole words; ``query`` is for messages."""
        candidates = self._containing(key)
        if len(candidates) == 1 and len(kinds := self._kinds(key)) > 1:
            # The only bird by name may be a birdhouse.
            candidates = list(dict.fromkeys([*kinds, *candidates]))
        if candidates:
            return self._only(query, candidates)
        found = self._alike(key[:100], self._owner) or self.near(key)
        close = f" Close: {', '.join(self._entry(i) for i in found)}." if found else ""
        raise UnknownClassError(f"No class fits {_quoted(query)}; {self._accepted()}.{close}")

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
        last = len(self) - 1
        return f"this model knows {len(self)} classes, by name or by an index from 0 to {last}"

    def _entry(self, index: int) -> str:
        return f"{index} " + self._displays[index].removesuffix(f" ({index})")

    def _is_own(self, index: int) -> bool:
        return self.names[index] not in _imagenet_names()

    @functools.cached_property
    def _synonym_keys(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(folded(s) for s in _synonyms(name)) for name in self.names)

    @functools.cached_property
    def _owner(self) -> dict[str, int]:
        """The first class with a synonym."""
        return {s: i for i in reversed(range(len(self))) for s in self._synonym_keys[i]}

    @functools.cached_property
    def _kind_words(self) -> dict[str, dict[int, int]]:
        """By word, such as "dog": ImageNet's classes of that kind, and how many steps below."""
        try:
            leaves, parents, words = _hypernyms()
        except MscnnError:
            return {}
        found: dict[str, dict[int, int]] = {}
        last = ""
        for index, name in enumerate(self.names):
            wnids = leaves.get(folded(name)) or leaves.get(folded(short(name))) or []
            # ImageNet's kin are in the order of the ids, which tells the two cranes apart.
            level = [w for w in wnids if w > last][:1] or list(wnids)
            last = level[0] if level else last
            for steps in range(20):  # WordNet's hierarchy is not that deep
                for word in (word for wnid in level for word in words.get(wnid, ())):
                    found.setdefault(word, {}).setdefault(index, steps)
                level = [parent for wnid in level for parent in parents[wnid]]
        return found

    @functools.cached_property
    def _primary(self) -> tuple[frozenset[str], ...]:
        """What names a class before all other meanings of a word."""
        each = zip(self.names, self._synonym_keys, self._displays, strict=True)
        return tuple(frozenset({folded(n), keys[0], folded(shown)}) for n, keys, shown in each)

    @functools.cached_property
    def _displays(self) -> tuple[str, ...]:
        """First synonyms; where these are shared, with the second or the index behind them."""
        synonyms = [_synonyms(name) for name in self.names]
        shown = [first for first, *_ in synonyms]
        for with_second in (True, False):
            keys = [s if self._is_own(i) else folded(s) for i, s in enumerate(shown)]
            count = Counter(keys)
            for index, (first, *others) in enumerate(synonyms):
                if count[keys[index]] > 1:
                    shown[index] = f"{first} ({others[0] if with_second and others else index})"
        return tuple(shown)


@functools.lru_cache(maxsize=1)
def imagenet_labels() -> LabelSet:
    """Return the 1000 names of ImageNet-1k, in the order of timm's (and torchvision's) logits."""
    wnids = _timm_info("imagenet_synsets.txt").splitlines()
    return LabelSet(tuple(wordnet_lemmas(wnids)), tuple(wnids))


def wordnet_lemmas(wnids: Sequence[str]) -> list[str]:
    """Return the names of ImageNet's 21844 ids such as "n02129165", or ``UnknownClassError``."""
    lemmas = _lemma_table()
    if missing := [w for w in wnids if w not in lemmas]:
        listed = ", ".join(_quoted(w) for w in missing[:MAX_CANDIDATES])
        raise UnknownClassError(
            f"{len(missing)} of {len(wnids)} class ids are not WordNet ids of ImageNet: {listed}."
        )
    return [lemmas[w] for w in wnids]


@functools.lru_cache(maxsize=1)
def _lemma_table() -> dict[str, str]:
    lines = _timm_info("imagenet_synset_to_lemma.txt").splitlines()
    return {wnid: lemmas for wnid, lemmas in csv.reader(lines, delimiter="\t")}


@functools.lru_cache(maxsize=1)
def _imagenet_names() -> frozenset[str]:
    return frozenset(_lemma_table().values())


@functools.lru_cache(maxsize=1)
def _hypernyms() -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
    """Return ImageNet's ids by name and synonym; of each id the hypernyms; the words for these."""
    leaves: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    words: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / HYPERNYMS).read_text("utf-8").splitlines():
        if line[0] != "#":
            wnid, above, known = f"{line}\t\t".split("\t")[:3]
            parents[wnid] = above.split()
            if known:
                words[wnid] = [folded(word) for word in known.split(", ")]
                continue
            lemmas = _lemma_table()[wnid]
            for name in dict.fromkeys([lemmas, *_synonyms(lemmas)]):
                leaves.setdefault(folded(name), []).append(wnid)
    return leaves, parents, words


def _defining(word: str) -> list[str]:
    """Return the words that WordNet's definitions of an ImageNet word begin with, in singular."""
    try:
        known = {
            wnid
            for wnid, lemmas in _lemma_table().items()
            if word in lemmas.casefold() and word in map(folded, _synonyms(lemmas))
        }
        lines = _timm_info("imagenet_synset_to_definition.txt").splitlines() if known else []
    except MscnnError:
        return []
    texts = [text for wnid, _, text in (line.partition("\t") for line in lines) if wnid in known]
    first = [w for text in texts for w in re.findall(r"[\w-]+", folded(text))[:8]]
    return [singular for w in first for singular in _singular(w)]


def _singular(word: str) -> list[str]:
    """Return the word, and what it may be the plural of."""
    endings = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))
    return [word, *(word.removesuffix(a) + b for a, b in endings if word[2:].endswith(a))]


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
    # Nothing is looked up for a name without a comma.
    return tuple(name.split(", ")) if ", " in name and name in _imagenet_names() else (name,)


def are_wnids(names: Iterable[str]) -> bool:
    """Whether all of these are WordNet ids of ImageNet, and not only written like some."""
    return all(_WNID.fullmatch(name) and name in _lemma_table() for name in names)


def folded(text: str) -> str:
    """Fold case, white space and Unicode's two ways to write an accent, by which names compare."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _quoted(text: str) -> str:
    """Quote what a user typed, cut to a length that keeps a message one line."""
    text = " ".join(text.split())
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
