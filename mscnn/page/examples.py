"""Example photographs, read from installed packages; the project ships no photo of its own."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled photo.

    Attributes:
        label: what is on it, as the button shows it.
        path: where the installed package keeps it.
        credit: where it comes from.
        fails: why the small starters get it wrong; "" where they need not.
    """

    label: str
    path: Path
    credit: str
    fails: str = ""

    @property
    def id(self) -> str:
        """As links name it."""
        return self.label.lower()


_WANTED = (
    ("Lion", "gradio", "media_assets/images/lion.jpg", "gradio's sample photographs"),
    ("Cat", "skimage", "data/chelsea.png", "Stéfan van der Walt, CC0, in scikit-image"),
    ("Coffee", "skimage", "data/coffee.png", "Rachel Michetti, public domain, in scikit-image"),
    ("Rocket", "skimage", "data/rocket.jpg", "SpaceX, CC0, in scikit-image"),
    ("Cheetah", "gradio", "media_assets/images/cheetah.jpg", "gradio's sample photographs"),
    ("Tower", "gradio", "media_assets/images/tower.jpg", "gradio's sample photographs"),
)

_FAILS = {
    "Tower": "A failure, shown on purpose: the small starter networks know no towers of this kind, "
    "so they answer with something else that has its colours and lines.",
}


def examples() -> tuple[Example, ...]:
    """Those of the known photographs that the installed packages hold."""
    found = []
    for label, package, file, credit in _WANTED:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        path = Path(spec.origin).parent / file
        if path.is_file():
            found.append(Example(label, path, credit, _FAILS.get(label, "")))
    return tuple(found)
