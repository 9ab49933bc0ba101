"""The ``config.json`` of a model folder: input from anybody, so each of its values is checked.

The format is that of timm's ``save_for_hf``: architecture, classes and model arguments, and in
``pretrained_cfg`` how photos are prepared; older versions of timm wrote all of it side by side.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import is_model

from mscnn.errors import UnsupportedModelError, WeightsError
from mscnn.models.files import CONFIG, no_model_folder
from mscnn.results.writing import reason

_MIN_PX, _MAX_PX = 8, 2048  # sides of a network's input: timm has up to 1024; 8,000 take 10 GB
_MAX_CHANNELS, _MAX_CLASSES = 64, 1_000_000
_MAX_BYTES = 2**25  # ImageNet's 21,843 classes with their descriptions take 3 MB
_MAX_ARGUMENT, _MAX_ARGUMENTS = 100_000, 1_000  # how large, and how many
# Arguments of timm.create_model that a model folder must not decide: they reach for other files or
# the network, return something that is not the classifier, or say where it is to be.
_NOT_FROM_FOLDER = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("features_only", "scriptable", "exportable", "no_jit", "pruned", "device", "dtype"),
}
_SIZES = ("input_size", "test_input_size", "min_input_size")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


@dataclass(frozen=True)
class FolderConfig:
    """What a config says, checked; ``pretrained_cfg`` as timm takes it, without label names."""

    architecture: str
    pretrained_cfg: Mapping[str, Any]
    model_args: Mapping[str, Any]
    labels: tuple[str, ...] | None  # class names in index order


def read_config(folder: Path) -> FolderConfig:
    """Read the config of a model folder; ``WeightsError`` says which value is wrong, and how.

    Raises ``UnsupportedModelError``: the network takes neither colours nor grey.
    """
    name = folder.resolve().name
    config = _read(folder, name)
    architecture = _architecture(config, name)
    nested, arguments = (config.get(key) for key in ("pretrained_cfg", "model_args"))
    nested, arguments = config if nested is None else nested, {} if arguments is None else arguments
    if not isinstance(nested, dict) or not isinstance(arguments, dict):
        raise unfit(name, "is not in timm's format: pretrained_cfg or model_args is no object")
    cfg = dict(nested)
    outer = ("num_classes", "label_names", "label_descriptions")
    cfg |= {key: config[key] for key in outer if key in config}
    # timm prefers the model's arguments, so what is the same there is checked as one.
    inner = ("num_classes", "in_chans")
    cfg |= {key: arguments[key] for key in inner if arguments.get(key) is not None}
    arguments = {k: v for k, v in arguments.items() if k not in _NOT_FROM_FOLDER and k not in inner}
    _check_arguments(arguments, name)
    found: dict[str, Any] = {"architecture": architecture}
    for key, (is_right, accepted) in _SETTINGS.items():
        if (value := cfg.get(key)) is not None:  # null leaves it to timm
            if not is_right(value):
                raise unfit(name, f"gives {key} as {_shown(value)}; accepted: {accepted}")
            found[key] = tuple(value) if isinstance(value, list) else value
    labels = _labels(cfg.get("label_names", cfg.get("labels")), cfg.get("label_descriptions"), name)
    classes = found.setdefault("num_classes", len(labels) if labels else 1000)
    if labels and len(labels) != classes:
        raise unfit(name, f"has {len(labels)} label names for {classes} classes")
    found.setdefault("input_size", (3, 224, 224))
    channels = found.pop("in_chans", found["input_size"][0])
    return FolderConfig(architecture, in_channels(name, found, channels), arguments, labels)


def in_channels(model: str, cfg: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """Return a model's ``pretrained_cfg`` for another number of input channels, 1 or 3.

    One mean or deviation holds for all channels; of colour's three a grey network takes the mean,
    as in timm's ``resolve_input_data_config``. Raises ``UnsupportedModelError``: no photo has so
    many channels; ``WeightsError``: a mean or deviation has another number of values.
    """
    if channels not in (1, 3):
        raise UnsupportedModelError(
            f"{model} takes {channels} channels, and a photo has three or, in grey, one."
        )
    changed: dict[str, Any] = {k: (channels, *cfg[k][1:]) for k in _SIZES if cfg.get(k)}
    # What timm takes where a config gives none is of colours.
    for key, usual in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
        if len(values := cfg.get(key) or usual) != channels:
            if len(values) > 1 < channels:
                raise unfit(model, f"gives {len(values)} numbers as {key} for {channels} channels")
            changed[key] = (sum(values) / len(values),) * channels
    return {**cfg, **changed}


def unfit(folder: str, fault: str) -> WeightsError:
    """Return the error for a folder's config; ``fault`` says what the config is or does."""
    return WeightsError(f"The {CONFIG} of {folder} {fault}.")


def _shown(value: Any) -> str:
    text = _REPR.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise unfit(name, f"is larger than {_MAX_BYTES >> 20} MiB")
        # From bytes json sees whether they are UTF-8, 16 or 32, with a byte order mark or without.
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise no_model_folder(folder) from None
    except OSError as error:
        raise unfit(name, f"cannot be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise unfit(name, "is not UTF-8 text; save it in that encoding") from error
    except RecursionError:
        raise unfit(name, "is nested too deeply") from None
    except ValueError as error:
        raise unfit(name, "is not valid JSON") from error
    if not isinstance(config, dict):
        raise unfit(name, "is not in timm's format: it is no object")
    return config


def _architecture(config: Mapping[str, Any], folder: str) -> str:
    named, kinds = config.get("architecture"), config.get("architectures")
    if isinstance(named, str) and is_model(named):
        return named.partition(".")[0]
    kind = kinds[0] if isinstance(kinds, list) and kinds else config.get("model_type")
    if named is None and isinstance(kind, str):
        fault = f"describes a transformers model, {_shown(kind)}, which is not read here; "
        raise unfit(folder, f"{fault}give a timm name, or a folder that save_for_hf wrote")
    raise unfit(folder, f"names the architecture {_shown(named)}, which timm does not know")


def _check_arguments(arguments: Mapping[str, Any], folder: str) -> None:
    """Refuse what no network needs, and what would keep timm busy before its size is known."""
    left: list[Any] = [arguments]
    for value in left:  # which grows by what is inside
        if isinstance(value, dict):
            if wrong := next((key for key in value if not key.isidentifier()), None):
                raise unfit(folder, f"has the name {_shown(wrong)} in model_args")
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int | float) and not abs(value) <= _MAX_ARGUMENT:
            number = _shown(value)
            raise unfit(folder, f"has {number} in model_args; accepted: up to {_MAX_ARGUMENT:,}")
        if len(left) > _MAX_ARGUMENTS:
            raise unfit(folder, f"has more than {_MAX_ARGUMENTS:,} values in model_args")


def _labels(names: Any, descriptions: Any, folder: str) -> tuple[str, ...] | None:
    """Return names in index order; timm stores a list, or an object of index to name."""
    if isinstance(names, dict):
        try:
            by_index = {int(index): name for index, name in names.items()}
            names = [by_index[i] for i in range(len(names))]
        except (ValueError, KeyError):
            raise unfit(folder, "gives label_names that are not numbered from 0") from None
    if not (names is None or (isinstance(names, list) and all(map(_is_text, names)))):
        raise unfit(folder, "gives label_names that are no list of names")
    known: Any = {} if descriptions is None else descriptions
    if not isinstance(known, dict) or not all(map(_is_text, known.values())):
        raise unfit(folder, "gives label_descriptions that are no texts by name")
    return tuple(str(known.get(name, name)) for name in names) if names else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any, low: float, high: float, kind: Any = (int, float)) -> bool:
    return isinstance(value, kind) and type(value) is not bool and low <= value <= high


def _is_whole(value: Any, low: int, high: int) -> bool:
    return _is_number(value, low, high, int)


def _is_list(value: Any, is_right: Callable[[Any], bool], *lengths: int) -> bool:
    fits = isinstance(value, list) and (len(value) in lengths if lengths else len(value) > 0)
    return fits and all(map(is_right, value))


def _is_px(value: Any) -> bool:
    return _is_whole(value, _MIN_PX, _MAX_PX)


def _is_size(value: Any) -> bool:
    is_triple = _is_list(value, lambda _: True, 3)
    return is_triple and _is_whole(value[0], 1, _MAX_CHANNELS) and all(map(_is_px, value[1:]))


def _one_or_list(value: Any) -> bool:
    return _is_text(value) or _is_list(value, _is_text)


def _is_one_of(*known: str) -> _Setting:
    return lambda value: isinstance(value, str) and value in known, ", ".join(known)


_Setting = tuple[Callable[[Any], bool], str]
_SIZE: _Setting = _is_size, f"[channels, height, width], sides of {_MIN_PX} to {_MAX_PX} px"
_CELLS: _Setting = (
    lambda value: _is_list(value, lambda n: _is_whole(n, 1, _MAX_PX), 2),
    ("two whole numbers"),
)
_CROP: _Setting = lambda value: _is_number(value, 0.05, 1.5), "a number from 0.05 to 1.5"
_SETTINGS: dict[str, _Setting] = {
    "num_classes": (
        lambda value: _is_whole(value, 0, _MAX_CLASSES), f"a whole number up to {_MAX_CLASSES:,}"
    ),
    "in_chans": (lambda value: _is_whole(value, 1, _MAX_CHANNELS), "a whole number from 1"),
    **dict.fromkeys(_SIZES, _SIZE),
    "fixed_input_size": (lambda value: isinstance(value, bool), "true or false"),
    "interpolation": _is_one_of("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming"),
    **dict.fromkeys(("crop_pct", "test_crop_pct"), _CROP),
    "crop_mode": _is_one_of("center", "squash", "border"),
    "mean": (
        lambda value: _is_list(value, lambda n: _is_number(n, -1, 1)),
        "numbers from -1 to 1, of colours from 0 to 1",
    ),
    "std": (
        lambda value: _is_list(value, lambda n: _is_number(n, 1e-4, 10)),
        "numbers from 0.0001 to 10, of colours from 0 to 1",
    ),
    **dict.fromkeys(("pool_size", "test_pool_size"), _CELLS),
    **dict.fromkeys(("first_conv", "classifier"), (_one_or_list, "names of layers")),
    **dict.fromkeys(
        ("tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"),
        (_one_or_list, "text"),
    ),
}  # fmt: skip
"""What is read besides the architecture, the arguments and the names: a check, and what passes."""
