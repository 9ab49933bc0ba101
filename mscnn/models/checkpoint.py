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
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
_MAX_NESTING = 100  # of a pickle's containers; hashing a much deeper tuple kills the process
_MAX_DEPTH = 8  # of mappings that are searched for weights
_MAX_KEY = 300  # letters; a longer key names no part of a network
_ACCEPTED = "accepted are a state_dict, or a checkpoint that holds one"

_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's own, behind the pickle protocol
_SEEMS = (
    (rb"PK.*", "a ZIP archive that torch.save did not write"),
    (rb"\x89HDF", "an HDF5 file, such as Keras writes"),
    (rb"\x08[\x01-\x20][\x12\x3a\x42]", "an ONNX model"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"GGUF|.{4}TFL3", "a model of another program"),
    (rb"version https://git-lfs", "a Git LFS pointer; 'git lfs pull' fetches the file itself"),
    (rb"\s*<", "a web page; download the file itself"),
    (rb"\s*[\[{]", "JSON text"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc|Rar!|.{257}ustar", "an archive; unpack it first"),
    (rb".{8}\{\"", "a safetensors file; give it that ending"),
    (rb"\x80", "a pickle that torch.save did not write"),
)
# Entries of archives that torch.save did not write, or not for weights alone.
_ARCHIVES = (
    (r"constants\.pkl$|/code/", "a TorchScript program"),
    (r"\.npy$", "a NumPy archive (.npz)"),
    (r"\.h5$", "a Keras model"),
    (r"/archive_format$", "a program that torch.export wrote"),
)
# What training programs keep beside the weights, by the names that pickles use.
_BESIDE = re.compile(
    r"(argparse|collections|datetime|decimal|fractions|numpy|pathlib|uuid|zoneinfo|addict|easydict"
    r"|lightning\w*|ml_collections|omegaconf|pytorch_lightning|torch\.torch_version|yacs)\..+"
    r"|builtins\.(bool|bytes|dict|float|frozenset|int|list|object|range|slice|str|tuple)"
    r"|types\.SimpleNamespace|typing\.Any"
)
_NAMES = re.compile(r"class|label|categor", re.IGNORECASE)
_reading = threading.Lock()  # the names that torch's reader allows belong to the whole process


class _Beside:
    """Stands for an object beside the weights: takes what its pickle says, and keeps nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Dict:
    """Stands for the many kinds of dict; what torch's reader makes of it is a plain one."""

    def __new__(cls, *_: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]  # on purpose
        return OrderedDict()


class _List:
    """Stands for other kinds of list."""

    def __new__(cls, *_: object) -> list[Any]:  # type: ignore[misc]  # on purpose
        return []


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds, as far as a network can use it.

    Attributes:
        tensors: by name, with ``/`` between nested mappings: ``"state_dict/module.conv1.weight"``;
            in the order of the file, outer ones first.
        labels: class names in index order, that the file says are the network's; or None.
        lists: lists of names that may be those of the classes.
    """

    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] | None = None
    lists: tuple[tuple[str, ...], ...] = field(default=(), repr=False)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a file; those of a PyTorch checkpoint lie in the file until used.

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
    if path.name.lower().endswith(".safetensors"):
        return _read_safetensors(path)
    tensors, lists = _flat(_read_pickle(path))
    if not tensors:
        raise WeightsError(f"{path.name} holds no named tensors; {_ACCEPTED}.")
    return Checkpoint(tensors, lists=lists)


def printable(name: str) -> str:
    """Return a name from a file as a message may show it: one short line."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:81])
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except Exception as error:  # also of torch, which may lack a type of numbers
        logger.info("%s: %s", path.name, error)
        raise WeightsError(f"{path.name} is {_safetensors_fault(path)}.") from error
    return Checkpoint(tensors, labels=_header_labels(metadata, path.name))


def _safetensors_fault(path: Path) -> str:
    """Find out from the layout (8 bytes of header length, JSON header, data) what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if size >= 8 and length <= _MAX_HEADER_BYTES else None
    if head is not None and len(head) < length:
        return "truncated: the file ends inside its header"
    try:
        fields = json.loads(head or b"")
        ends = [entry["data_offsets"][1] for key, entry in fields.items() if key != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return f"not a safetensors file: its header is broken{_seeming(path)}"
    if size < expected:
        return f"truncated: it has {size} of {expected} bytes"
    return "damaged: its safetensors header does not describe its content"


def _header_labels(metadata: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """Return the class names that a safetensors header carries under ``label_names``."""
    try:
        names = json.loads(metadata.get("label_names", "[]"))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"The label_names in {name} are not a JSON list of names.")
    return tuple(names) or None


def _seeming(path: Path) -> str:
    """Say what a file of another format seems to be, as the end of a sentence."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK") or head[2:].startswith(_MAGIC):
        what = "a PyTorch checkpoint; give it the ending .pth"
    else:
        found = (what for pattern, what in _SEEMS if re.match(pattern, head, re.DOTALL))
        what = next(found, "")
    return f"; it seems to be {what}" if what else ""


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(512)
        zipped = head.startswith(b"PK")
        if not zipped and not head[2:].startswith(_MAGIC):
            raise WeightsError(
                f"{path.name} is not a weights file, or truncated or damaged: it cannot be read as "
                f"a PyTorch checkpoint{_seeming(path)}."
            )
    damaged = f"{path.name} is truncated or damaged: it cannot be read as a PyTorch checkpoint."
    try:
        names = _names_in_archive(path) if zipped else _names_in_stream(path)
        allowed: list[Any] = [(_stand_in(name), name) for name in names if _BESIDE.fullmatch(name)]
        with _reading, torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        logger.info("%s: %s", path.name, error)
        # torch says so of bytes that are no instruction of a pickle it could have written.
        if "Unsupported operand" in str(error) or "truncated" in str(error):
            raise WeightsError(damaged) from error
        named = re.search(r"GLOBAL (\S+)", str(error))
        such = f", such as {printable(named[1])}" if named else ""
        raise WeightsError(
            f"{path.name} holds Python objects besides tensors{such}, so it was refused without "
            "running anything in it; where it was made, save the state_dict alone, best as "
            ".safetensors."
        ) from error
    except Exception as error:
        # A damaged file makes this parser fail in many ways: EOFError, RuntimeError, KeyError,
        # struct.error, UnicodeDecodeError. All of them mean the same to the user.
        logger.info("%s: %s: %s", path.name, type(error).__name__, error)
        raise WeightsError(damaged) from error


def _stand_in(name: str) -> type:
    last = name.rpartition(".")[2].lower()
    if last.endswith("dict") or last == "cfgnode":
        return _Dict
    return _List if last in ("deque", "list") else _Beside


def _names_in_archive(path: Path) -> set[str]:
    """Check an archive of ``torch.save``, and return the names its pickle asks for.

    torch neither compares checksums nor, in some versions, a tensor's size with its entry's.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for pattern, what in _ARCHIVES:
            if any(re.search(pattern, entry.filename) for entry in entries):
                raise WeightsError(
                    f"{path.name} seems to be {what}, not weights; where it was made, save the "
                    "network's state_dict."
                )
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(f"{path.name} is a ZIP archive that torch.save did not write.")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise WeightsError(
                f"{path.name} is compressed, which torch.save never does; save its content again."
            )
        if archive.testzip() is not None:
            raise zipfile.BadZipFile("a checksum is wrong")
        return _names(BytesIO(archive.read(pickles[0])), path.name)


def _names_in_stream(path: Path) -> set[str]:
    """Return the names that the pickles of torch's older format ask for."""
    with path.open("rb") as file:  # a magic number, the version, the system, the content, the keys
        return {name for _ in range(5) for name in _names(file, path.name)}


def _names(stream: IO[bytes], file: str) -> set[str]:
    """Return the names that a pickle asks for; ``WeightsError`` where it is nested too deeply."""
    found: set[str] = set()
    stack: list[int] = []  # how deeply each value is nested
    marks: list[list[int]] = []
    memo: dict[int, int] = {}
    for code, argument, _ in pickletools.genops(stream):
        value: Any = argument
        if code.name == "PROTO" and value > 2:
            raise WeightsError(
                f"{file} was saved with pickle protocol {value}, and torch reads only protocol 2 "
                "without running code; save it with torch.save's own."
            )
        if code.name == "GLOBAL":
            module, name = NAME_MAPPING.get((*value.split(" ", 1),), value.split(" ", 1))
            found.add(f"{IMPORT_MAPPING.get(module, module)}.{name}")
        if code.name == "MARK":
            marks.append(stack)
            stack = []
        elif "PUT" in code.name:
            memo[value] = stack[-1]
        elif "GET" in code.name:
            stack.append(memo[value])
        else:
            if pickletools.markobject in code.stack_before:
                items, stack = stack, marks.pop()
                count = code.stack_before.index(pickletools.markobject)
            else:
                items, count = [], len(code.stack_before)
            items = [*(stack.pop() for _ in range(count)), *items]
            if code.stack_after:
                stack.append(max(items, default=-1) + ("TUPLE" in code.name or not count))
        if stack and stack[-1] > _MAX_NESTING:
            raise WeightsError(
                f"{file} nests its content more than {_MAX_NESTING} deep; {_ACCEPTED}."
            )
    return found


def _flat(content: Any) -> tuple[dict[str, torch.Tensor], tuple[tuple[str, ...], ...]]:
    """Return all named tensors of nested mappings and lists, and lists of names of classes."""
    tensors: dict[str, torch.Tensor] = {}
    lists: list[tuple[str, ...]] = []
    queue: list[tuple[str, Any, int]] = [("", content, 0)]
    seen: set[int] = set()
    for place, container, depth in queue:
        if id(container) in seen:
            continue
        seen.add(id(container))
        for key, value in _items(container):
            if len(key) > _MAX_KEY:
                continue
            if isinstance(value, torch.Tensor):
                if isinstance(container, Mapping) and not value.is_nested:
                    tensors[place + key] = value
            elif isinstance(value, (Mapping, list, tuple)) and depth < _MAX_DEPTH:
                queue.append((f"{place}{key}/", value, depth + 1))
                if _NAMES.search(key) and (names := _listed(value)):
                    lists.append(names)
    return tensors, tuple(lists)


def _items(container: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(container, Mapping):
        return ((str(key), value) for key, value in container.items() if _is_key(key))
    named = container if isinstance(container, (list, tuple)) else ()
    return ((str(index), value) for index, value in enumerate(named))


def _is_key(key: object) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 62)


def _listed(value: Any) -> tuple[str, ...] | None:
    """Return the names that a list, or a dict between names and indices, holds in index order."""
    if isinstance(value, Mapping):
        pairs = [(v, k) if isinstance(k, str) else (k, v) for k, v in value.items()]
        by_index = {index: name for index, name in pairs if type(index) is int}
        value = [by_index.get(index) for index in range(len(value))]
    names = tuple(value)
    return names if names and all(isinstance(name, str) for name in names) else None
