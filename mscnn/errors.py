"""What can go wrong, as one tree; every message is fit to be shown to a user.

A message is one sentence (two at most), says what was found and what is accepted, and holds
neither a traceback nor a path that the user did not name. The borders (``mscnn.cli`` and
``mscnn.http.feedback``) are the only places that catch this tree.
"""

from __future__ import annotations

import re

_ENDLESS = re.compile(r"(\S{80})\S{220,}?(\S{0,2})(?!\S)")


def without_endless_names(message: str) -> str:
    """Return a message in which a word of more than 300 letters is cut to 80."""
    return _ENDLESS.sub(r"\1...\2", message)


class MscnnError(Exception):
    """Root of all expected failures; ``str(error)`` is the text for the user."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_endless_names(message))


class ImageError(MscnnError):
    """The picture cannot be read, or is refused for its size or format."""


class UnknownModelError(MscnnError):
    """No registry entry, model folder or timm model has this name."""


class UnsupportedModelError(MscnnError):
    """The model lacks what was asked for: a convolutional last stage, classes, blocks, gates."""


class WeightsError(MscnnError):
    """The weights are missing, damaged, unsafe or do not fit the architecture."""


class DownloadError(WeightsError):
    """The weights could not be downloaded; what was there before is untouched."""


class UnknownClassError(MscnnError):
    """The model has no such class, or the given name fits several."""


class UnknownLayerError(MscnnError):
    """The model has no such layer."""


class PointError(MscnnError):
    """The point lies where the network did not look."""


class BoxError(MscnnError):
    """The box on the photo is empty, too small or outside of it."""


class MethodError(MscnnError):
    """The explanation method is unknown or does not fit the request."""


class OptionError(MscnnError):
    """An option has a value that is not accepted."""


class DeviceError(MscnnError):
    """The device is not available, or ran out of memory."""


class DatasetError(MscnnError):
    """The folder of images cannot be used for training or evaluation."""


class TrainingError(MscnnError):
    """The training run cannot start or go on."""


class OutputError(MscnnError):
    """A result could not be written where the user asked for it."""


class Cancelled(MscnnError):
    """The user stopped the work; nothing is broken."""
