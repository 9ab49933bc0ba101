"""Which photographs a network finds most like another; no gradio."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from mscnn.data.neighbours import nearest
from mscnn.engine.network import Network
from mscnn.page.features_sets import PhotoSet, Where, fingerprint

SHOWN = 11
"""Neighbours with a picture; with the photo itself they fill rows of six, four, three or two."""
LISTED = 200
"""Neighbours in the table."""
_SAME_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Found:
    """One photograph of the set.

    Attributes:
        name: file name, or path below the folder.
        similarity: cosine, -1..1.
        url: a small picture; None where the photograph is missing or cannot be read, or where no
            picture was asked for.
    """

    name: str
    similarity: float
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one network finds like the photo.

    Attributes:
        model: its name.
        where: where its features were read.
        searched: how many photographs were compared.
        width: numbers per photograph.
        shown: the nearest ``SHOWN``, with pictures, most similar first.
        listed: the nearest ``LISTED``, most similar first.
        left_out: names of those that are the photo itself.
        note: why there is no answer; "" where there is one.
    """

    model: str
    where: Where
    searched: int = 0
    width: int = 0
    shown: tuple[Found, ...] = ()
    listed: tuple[Found, ...] = ()
    left_out: tuple[str, ...] = ()
    note: str = ""


def search(photos: PhotoSet, network: Network, where: Where, photo: Image.Image) -> Answer:
    """Find the photographs most like ``photo``, without those that are the photo itself.

    Those are told by their pixels, not by their names: an example that was uploaded again counts.
    Only the most similar ones are looked at, for the same pixels give the same features.

    Raises:
        UnknownLayerError, UnsupportedModelError: the network has no such place.
        OptionError: it has no such split, or the features do not fit.
        ImageError, DeviceError.
    """
    own = fingerprint(photo)
    rows = photos.vectors(network, where)
    vector = network.features(photo, stage=where.stage, split=where.split)
    shown: list[Found] = []
    left_out: dict[int, str] = {}
    near = nearest(vector, rows, LISTED + _SAME_AT_MOST)
    for neighbour in near:
        if len(shown) == SHOWN:
            break
        name, small = photos.names[neighbour.row], photos.picture(neighbour.row)
        if small is not None and small.fingerprint == own:
            left_out[neighbour.row] = name
        else:
            url = None if small is None else small.url
            shown.append(Found(name, neighbour.similarity, url))
    listed = [
        Found(photos.names[n.row], n.similarity) for n in near if n.row not in left_out
    ]  # fmt: skip
    return Answer(
        model=network.name,
        where=where,
        searched=len(rows) - len(left_out),
        width=rows.shape[1],
        shown=tuple(shown),
        listed=tuple(listed[:LISTED]),
        left_out=tuple(left_out.values()),
    )
