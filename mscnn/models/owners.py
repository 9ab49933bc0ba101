"""The model folders that a page's owner offers, by names that visitors may see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mscnn.errors import OptionError
from mscnn.models import registry
from mscnn.models.files import is_model_folder, is_open_model_folder


class OwnersModels:
    """Model folders by the names that visitors use, which reveal nothing of the owner's disk.

    A name is the folder's own; where a model of the list is so called it begins with ``./``, and
    where several folders are, the later ones end with a number. ``places`` are model folders, and
    folders of these, else ``OptionError``; ``shelf`` is one more that may be made later.
    """

    def __init__(self, places: Sequence[str | Path] = (), *, shelf: Path | None = None) -> None:
        self._places = tuple(Path(place).expanduser() for place in places)
        for place in self._places:
            _check(place)
        if shelf is not None:
            self._places = (*self._places, shelf)

    def names(self) -> tuple[str, ...]:
        """What is offered now, in the order of the places; on a shelf by name."""
        return tuple(self._folders())

    def folder(self, name: str) -> Path | None:
        """Return the folder (absolute) of this name; None where none is offered."""
        return self._folders().get(name)

    def _folders(self) -> dict[str, Path]:
        # Read anew each time: what the owner puts on a shelf appears without a restart.
        found: dict[str, Path] = {}
        for folder in dict.fromkeys(f.resolve() for p in self._places for f in _models_in(p)):
            own = registry.folder_name(folder.name)
            names = (own, *(f"{own} ({number})" for number in range(2, len(found) + 3)))
            found[next(name for name in names if name not in found)] = folder
        return found


def _models_in(place: Path) -> Iterator[Path]:
    """Yield the place itself where it is a model folder, else the model folders in it."""
    if is_model_folder(place):
        yield place
        return
    try:
        inside = sorted(place.iterdir())
    except OSError:  # a shelf that is not there yet, or was taken away
        return
    yield from (path for path in inside if path.name[0] != "." and is_open_model_folder(path))


def _check(place: Path) -> None:
    wrote = "'mscnn finetune' or 'mscnn train' wrote"
    if not place.is_dir() and registry.find(str(place)) is not None:
        raise OptionError(
            f"{str(place)!r} is in the list of models anyway; --models takes folders of yours."
        )
    if not place.is_dir():
        raise OptionError(
            f"There is no folder {str(place)!r}; --models takes folders that {wrote}."
        )
    if not any(_models_in(place)):
        raise OptionError(
            f"The folder {str(place)!r} holds no model; give one that {wrote}, or a folder of such "
            "folders."
        )
