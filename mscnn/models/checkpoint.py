"""Read a weights file into named tensors, without running anything that is in it.

Two formats are opened: safetensors, which holds numbers only, and PyTorch checkpoints through
``torch.load(weights_only=True)``, whose reader knows tensors and plain containers and refuses
every other name a pickle may ask for. What else training programs keep beside the weights (NumPy
scalars, paths, options) becomes an empty object: neither NumPy nor anything else is called.
"""

from __future__ import annotations

import json
import logging
import pickle
import pickletools
import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import safetensors
import torch

from mscnn.errors import WeightsError
from mscnn.models.files import sha256_of

logger = logging.getLogger(__name__)

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".tar", ".pkl")
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
_MAX_BESIDE = 50  # kinds of objects beside the weights
_MAX_TUPLES = 100_000  # four for each tensor; to hash one nested more deeply kills the process
_MAX_DEPTH, _MAX_NAME = 8, 300  # mappings around a tensor, and letters of its whole name

_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch's older format begins with
# How files of other programs begin, and entries of archives that torch.save did not write.
_SEEMS = (
    (rb"PK|.{2,16}" + re.escape(_MAGIC), "a PyTorch checkpoint (rename it to .pth)"),
    (rb".{8}\{\"", "a safetensors file (rename it to .safetensors)"),
    (rb"\x89HDF", "an HDF5 file, such as Keras writes"),
    (rb"\x08[\x01-\x20][\x12\x3a\x42]", "an ONNX model"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"GGUF|.{4}TFL3", "a model of another program"),
    (rb"version https://git-lfs", "a Git LFS pointer ('git lfs pull' fetches the file itself)"),
    (rb"\s*<", "a web page (download the file itself)"),
    (rb"\s*[\[{]", "JSON text"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc|Rar!|.{257}ustar", "an archive (unpack it first)"),
    (rb"\x80[\x02-\x05]", "a pickle that torch.save did not write"),
)
_ARCHIVES = (
    (r".*/constants\.pkl|.*/code/.*", "a TorchScript program"),
    (r".*\.npy", "a NumPy archive"),
    (r".*\.h5", "a Keras model"),
    (r".*/archive_format", "a program that torch.export wrote"),
)
# What training programs keep beside the weights, by the names that pickles use.
_BESIDE = re.compile(
    r"(argparse|collections|datetime|decimal|fractions|numpy|pathlib|uuid|zoneinfo|addict|easydict"
    r"|lightning\w*|ml_collections|omegaconf|pytorch_lightning|torch\.torch_version|yacs)\..+"
    r"|builtins\.(bool|bytes|dict|float|frozenset|int|list|object|range|slice|str|tuple)"
    r"|types\.SimpleNamespace|typing\.Any"
)
_CLASSES = re.compile(r"class|label|categor", re.IGNORECASE)
_reading = threading.Lock()  # the names that torch's reader allows are the whole process's


class _Beside:
    """Stands for an object beside the weights: takes what its pickle says, and keeps nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# Stand for other kinds of dict and list; torch's reader fills only plain ones.
_Dict: Any = type("_Dict", (), {"__new__": lambda *_: OrderedDict()})
_List: Any = type("_List", (), {"__new__": lambda *_: []})


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds, as far as a network can use it.

    Attributes:
        tensors: by name, with ``/`` between nested mappings: ``"state_dict/module.conv1.weight"``;
            in the order of the file, outer ones first.
        labels: the network's class names in index order; None where the file does not say.
        lists: what may be such names.
    """

    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] | None = None
    lists: tuple[tuple[str, ...], ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a file; those of a PyTorch checkpoint stay in the file until used.

    Raises:
        WeightsError: the file is missing, unreadable, damaged, of another format, or holds code.
    """
    if not path.name.lower().endswith(_SUFFIXES):
        raise WeightsError(
            f"{path.name} is not a weights file; accepted endings are {', '.join(_SUFFIXES)}."
        )
    sha256_of(path)  # says why, where the file cannot be read; the result is kept for later
    if not path.stat().st_size:
        raise WeightsError(f"{path.name} is empty.")
    is_safetensors = path.name.lower().endswith(".safetensors")
    found = _read_safetensors(path) if is_safetensors else _flat(_read_pickle(path))
    if not found.tensors:
        raise WeightsError(
            f"{path.name} holds no named tensors; accepted are a state_dict, or a checkpoint that "
            "holds one."
        )
    return found


def printable(name: str) -> str:
    """Return a name from a file as a message may show it: one short line."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:81])
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except Exception as error:  # also torch's own, which may lack a type of numbers
        logger.info("%s: %s", path.name, error)
        raise WeightsError(f"{path.name} {_safetensors_fault(path)}.") from error
    return Checkpoint(tensors, labels=_header_labels(metadata, path.name))


def _safetensors_fault(path: Path) -> str:
    """Find out from the layout (8 bytes of header length, JSON header, data) what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if size >= 8 and length <= _MAX_HEADER_BYTES else None
    if head is not None and len(head) < length:
        return "is truncated: the file ends inside its header"
    try:
        fields = json.loads(head or b"")
        ends = [entry["data_offsets"][1] for key, entry in fields.items() if key != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        what = _seeming(path)
        also = f"; it seems to be {what}" if what and "safetensors" not in what else ""
        return f"is not a safetensors file: its header is broken{also}"
    if size < expected:
        return f"is truncated: it has {size} of {expected} bytes"
    return "is damaged: its safetensors header does not describe its content"


def _header_labels(metadata: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """Return the class names that a safetensors header carries under ``label_names``."""
    try:
        names = json.loads(metadata.get("label_names", "[]"))
    except (ValueError, RecursionError):
        names = None
    if names != [] and _listed(names) is None:
        raise WeightsError(f"The label_names in {name} are not a JSON list of names.")
    return _listed(names)


def _seeming(path: Path) -> str:
    """Say what a file seems to be by its first bytes; "" where these say nothing."""
    with path.open("rb") as file:
        head = file.read(512)
    return next((what for start, what in _SEEMS if re.match(start, head, re.DOTALL)), "")


def _foreign(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path.name} seems to be {what}; accepted are a network's state_dict as .safetensors, or "
        "as torch.save writes it."
    )


def _read_pickle(path: Path) -> Any:
    what = _seeming(path)
    if what and "PyTorch" not in what:
        raise _foreign(path, what)
    try:
        zipped = zipfile.is_zipfile(path)
        with _opened_archive(path) if zipped else path.open("rb") as file:
            _check_pickles(file, 1 if zipped else 5, path.name)
        with _reading:
            return _loaded(path, zipped)
    except WeightsError:
        raise
    except Exception as error:
        # A damaged file makes this parser fail in many ways: EOFError, RuntimeError, KeyError,
        # struct.error, UnicodeDecodeError. All of them mean the same to the user.
        logger.info("%s: %s: %s", path.name, type(error).__name__, error)
        raise WeightsError(
            f"{path.name} is not a weights file, or truncated or damaged, or saved with another "
            "pickle protocol than torch.save's own."
        ) from error


def _stand_in(name: str) -> Any:
    last = name.rpartition(".")[2].lower()
    if last.endswith("dict") or last == "cfgnode":
        return _Dict
    return _List if last in ("deque", "list") else _Beside


def _loaded(path: Path, zipped: bool) -> Any:
    """Let torch read a file, with empty objects for what it names beside the weights."""
    allowed: list[Any] = []
    while True:
        try:
            with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sparse and quantised tensors: refused later
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            name = found[1] if found else ""
            full = name if "." in name else f"builtins.{name}"  # torch leaves this one out
            if not _BESIDE.fullmatch(full) or len(allowed) > _MAX_BESIDE:
                # torch says the former of bytes that are no instruction of a pickle of its own.
                if "Unsupported operand" in str(error) or "truncated" in str(error):
                    raise
                such = f", such as {printable(name)}" if name else ""
                raise WeightsError(
                    f"{path.name} holds Python objects besides tensors{such}, so it was refused "
                    "without running anything in it; where it was made, save the state_dict alone, "
                    "best as .safetensors."
                ) from error
            allowed.append((_stand_in(full), full))


def _opened_archive(path: Path) -> IO[bytes]:
    """Return the pickle of an archive, unless this is damaged or not of ``torch.save``.

    torch neither compares checksums nor, in some versions, a tensor's size with its entry's.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for pattern, what in _ARCHIVES:
            if any(re.fullmatch(pattern, entry.filename, re.DOTALL) for entry in entries):
                raise _foreign(path, what)
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _foreign(path, "a ZIP archive that torch.save did not write")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise _foreign(path, "compressed, which torch.save never does")
        if archive.testzip() is not None:
            raise zipfile.BadZipFile("a checksum is wrong")
        return BytesIO(archive.read(pickles[0]))


def _check_pickles(file: IO[bytes], count: int, name: str) -> None:
    """Bound what the pickles of a checkpoint may hold; torch's older format begins with five."""
    codes = (code for _ in range(count) for code, _, _ in pickletools.genops(file))
    if sum("TUPLE" in code.name for code in codes) > _MAX_TUPLES:
        raise WeightsError(f"{name} has more than {_MAX_TUPLES:,} tuples, as no weights do.")


def _flat(content: Any) -> Checkpoint:
    """Gather the named tensors of nested mappings and lists, and what may be names of classes."""
    tensors: dict[str, torch.Tensor] = {}
    lists: list[tuple[str, ...]] = []
    queue, seen = [("", content)], set()
    for place, container in queue:
        is_mapping = isinstance(container, Mapping)
        if id(container) in seen or not (is_mapping or isinstance(container, (list, tuple))):
            continue
        seen.add(id(container))
        for key, value in container.items() if is_mapping else enumerate(container):
            name = f"{place}{key}" if isinstance(key, (str, int)) else "/" * _MAX_NAME
            if len(name) >= _MAX_NAME:
                continue
            if isinstance(value, torch.Tensor):
                if is_mapping and not value.is_nested:
                    tensors[name] = value
            elif name.count("/") < _MAX_DEPTH:
                queue.append((f"{name}/", value))
                if _CLASSES.search(str(key)) and (names := _listed(value)):
                    lists.append(names)
    return Checkpoint(tensors, lists=tuple(lists))


def _listed(value: Any) -> tuple[str, ...] | None:
    """Return the names of a list, or of a dict between names and indices, in index order."""
    if isinstance(value, Mapping):
        pairs = [(v, k) if isinstance(k, str) else (k, v) for k, v in value.items()]
        by_index = {index: name for index, name in pairs if type(index) is int}
        value = [by_index.get(index) for index in range(len(value))]
    names = tuple(value) if isinstance(value, (list, tuple)) else ()
    return names if names and all(isinstance(name, str) for name in names) else None
