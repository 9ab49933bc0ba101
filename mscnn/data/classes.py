"""Which class of the model each class of the data is.

Only what names a class exactly counts: its full name, any one of its synonyms, the name that
results show, its index, or its WordNet id. Part of a name, which is enough when a person types
one, is not enough here: a data set's "fox" must not be measured as "fox squirrel".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mscnn.errors import DatasetError, UnknownClassError
from mscnn.models.labels import MAX_CANDIDATES, LabelSet, are_wnids, folded, wordnet_lemmas


def map_classes(names: Sequence[str], labels: LabelSet) -> npt.NDArray[np.int64]:
    """Find the model's class of each name, ``(len(names),)`` int64, or raise ``DatasetError``."""
    keys = [folded(name) for name in labels.names]
    count = Counter(keys)
    full = {key: index for index, key in enumerate(keys) if count[key] == 1}
    # A class called 2 is not the third one: names come before indices.
    known = {name: full[folded(name)] for name in names if folded(name) in full}
    known = {**_wordnet_ids(names, labels, full), **known}
    found = [known[name] if name in known else _named(name, labels) for name in names]
    unknown = [name for name, index in zip(names, found, strict=True) if index is None]
    if unknown:
        listed = ", ".join(repr(name[:60]) for name in unknown[:MAX_CANDIDATES])
        more = len(unknown) - MAX_CANDIDATES
        raise DatasetError(
            f"{len(unknown)} of the data's {len(names)} classes fit none of the model's "
            f"{len(labels)}, or several: {listed}{f' and {more} more' if more > 0 else ''}; name "
            "folders by the model's class names, their indices or WordNet ids, or choose another "
            "model."
        )
    return np.array(found, np.int64)


def _wordnet_ids(names: Sequence[str], labels: LabelSet, full: dict[str, int]) -> dict[str, int]:
    wanted = [name for name in names if are_wnids([name])]
    if labels.wnids:
        # ImageNet has two classes of one name (crane, the bird and the machine).
        index = {wnid: i for i, wnid in enumerate(labels.wnids)}
        return {wnid: index[wnid] for wnid in wanted if wnid in index}
    found = {}
    for wnid in wanted:
        try:
            key = folded(wordnet_lemmas([wnid])[0])
        except UnknownClassError:
            continue
        if key in full:
            found[wnid] = full[key]
    return found


def _named(name: str, labels: LabelSet) -> int | None:
    # Folders are often called golden_retriever.
    for text in dict.fromkeys((name, name.replace("_", " "))):
        try:
            index = labels.resolve(text)
        except UnknownClassError:
            continue
        # Where classes are called by numbers, another number is no index.
        numbered = any(known.isdigit() for known in labels.names)
        if (text.isdigit() and not numbered) or labels.is_exactly(index, text):
            return index
    return None
