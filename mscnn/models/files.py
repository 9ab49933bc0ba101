"""Files of weights and folders of models, as far as they need no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mscnn.errors import WeightsError
from mscnn.results.writing import reason

CONFIG = "config.json"  # timm's description of the network makes a folder a model folder
_WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_digests: dict[tuple[str, int, int], str] = {}


def is_model_folder(path: Path) -> bool:
    """Whether this is a folder that training or timm's ``save_for_hf`` wrote."""
    return (path / CONFIG).is_file()


def is_open_model_folder(path: Path) -> bool:
    """The same, and False for a folder that may not be entered, such as a volume's lost+found."""
    try:
        return is_model_folder(path)
    except OSError:
        return False


def no_model_folder(folder: Path) -> WeightsError:
    """Return the error for a folder that has no ``config.json``."""
    return WeightsError(
        f"The folder {folder.resolve().name} has no {CONFIG}; accepted is a folder that training "
        "or timm's save_for_hf wrote."
    )


def weights_in(folder: Path) -> Path:
    """Return a model folder's weights, of a usual name or any safetensors, or ``WeightsError``."""
    if not is_model_folder(folder):
        raise no_model_folder(folder)
    usual = [folder / file for file in _WEIGHT_NAMES if (folder / file).is_file()]
    found = [*usual, *sorted(folder.glob("*.safetensors"))]
    if not found:
        raise WeightsError(
            f"The folder {folder.resolve().name} has no model.safetensors or pytorch_model.bin."
        )
    return found[0]


def sha256_of(path: Path) -> str:
    """Return a readable file's sha256 (64 hex digits), else raise ``WeightsError``."""
    try:
        state = path.stat()
        key = (str(path.resolve()), state.st_size, state.st_mtime_ns)
        if key not in _digests:  # a file that has not changed is read once
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            _digests[key] = digest.hexdigest()
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path.name}.") from None
    except OSError as error:
        may = "may not" if isinstance(error, PermissionError) else "cannot"
        raise WeightsError(f"{path.name} {may} be read: {reason(error)}.") from error
    return _digests[key]
