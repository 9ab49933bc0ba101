"""The photographs that the page offers: six that the default model gets right, one that it fails.

``tests/test_starters.py`` asks the default model for each of them. When the starters are trained
anew, this table is what to revisit.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from mscnn.models import manifest


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled photograph.

    Attributes:
        label: what is on it, as the button shows it.
        path: where it lies, in an installed package or among the project's assets.
        credit: who made it, under which licence, and where it comes from.
        expected: the class, by a name that ImageNet's class has.
        fails: how the default model is wrong about it; "" where it is right.
    """

    label: str
    path: Path
    credit: str
    expected: str
    fails: str = ""

    @property
    def id(self) -> str:
        """As links name it."""
        return self.label.lower()


_GRADIO = "gradio's sample photographs"
_SHIPPED = "assets"
# Label, package (or the project's assets), file, credit, class, why it fails.
_WANTED = (
    ("Cat", _SHIPPED, "cat.jpg", "Pexels 20787, CC0", "tabby", ""),
    ("Elephant", _SHIPPED, "elephant.jpg", "Pexels, CC0", "African elephant", ""),
    ("Coffee", "skimage", "data/coffee.png", "Rachel Michetti, public domain, in scikit-image",
     "espresso", ""),
    ("Sports car", _SHIPPED, "sports_car.jpg", "Pixabay, CC0", "sports car", ""),
    ("Pizza", _SHIPPED, "pizza.jpg", "Pexels 774487, CC0", "pizza", ""),
    ("Dam", _SHIPPED, "dam.jpg", "László Szalai, public domain", "dam", ""),
    ("Lion", "gradio", "media_assets/images/lion.jpg", _GRADIO, "lion",
     "A lion is one of the starters' 200 classes, yet Starter Res2Net is sure of a bighorn: a high "
     "probability is no proof. Its map shows what it went by; other networks may know better."),
)  # fmt: skip


def examples() -> tuple[Example, ...]:
    """Those of the photographs that are on this machine."""
    found = (
        Example(label, path, credit, expected, fails)
        for label, package, file, credit, expected, fails in _WANTED
        if (path := _path(package, file)) is not None
    )
    return tuple(found)


def _path(package: str, file: str) -> Path | None:
    if package == _SHIPPED:
        path = manifest.assets_folder() / "examples" / file
    else:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / file
    return path if path.is_file() else None
