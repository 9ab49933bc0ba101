"""The owner's feature files, each with the folder of its photographs; no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from mscnn.data.feature_files import read_feature_file
from mscnn.errors import DatasetError
from mscnn.results.features import FeatureHead, Rows


@dataclass(frozen=True, slots=True)
class OwnersFile:
    """A feature file that the owner named.

    Attributes:
        name: the file's, without its folder.
        head: what it says of itself.
        paths: of its photographs, below ``folder``; as the file has them, so from anywhere.
        features: ``(n, d)`` float32.
        folder: where the photographs are; no visitor's business.
    """

    name: str
    head: FeatureHead
    paths: tuple[str, ...] = field(repr=False)
    features: Rows = field(repr=False)
    folder: Path = field(repr=False)

    def photo(self, row: int) -> Path | None:
        """Return where a photograph is; None where its path leads out of the folder.

        By its words alone: links that the owner has put into the folder are followed, as they
        were when the features were computed.
        """
        name = self.paths[row]
        kinds = (PurePosixPath(name), PureWindowsPath(name))
        if any(path.anchor or ".." in path.parts for path in kinds):
            return None
        return self.folder / name


def open_files(pairs: Sequence[tuple[Path, Path]]) -> tuple[OwnersFile, ...]:
    """Read the owner's feature files, when the page starts.

    Args:
        pairs: a feature file, and the folder that ``mscnn features`` was given.

    Raises:
        DatasetError: a file is no feature file or holds nothing, or the folder is missing.
        OptionError: its name ends in no known kind.
    """
    opened = []
    for path, folder in pairs:
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {str(folder)!r}; after {path.name}= give the folder whose "
                "photographs the file describes."
            )
        content = read_feature_file(path)
        if not content.paths:
            raise DatasetError(f"{path.name!r} holds no photographs; make it anew.")
        opened.append(OwnersFile(path.name, content.head, content.paths, content.features, folder))
    return tuple(opened)
