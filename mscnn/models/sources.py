"""Find the weights of a model: named, bundled, cached or on the hub, in this order.

Nothing is loaded here. For models of the registry torch and timm are not imported either, so that
a table of all models with where each comes from is there at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from mscnn.errors import DownloadError, OptionError, UnknownModelError, WeightsError
from mscnn.models import files, hub, manifest, registry
from mscnn.models.hub import HubFile, IsCancelled, OnProgress
from mscnn.models.manifest import BundledWeights

T = TypeVar("T")
Kind = Literal["file", "folder", "bundled", "hub-cache", "download"]

_PRACTICAL_GMACS = 10.0  # what a laptop without a GPU answers in about a second


@dataclass(frozen=True)
class Source:
    """Where the weights of a model are, or would be downloaded from."""

    kind: Kind
    model: str  # in the registry or timm, or the model folder's own name
    label: str  # how a user would name the source
    path: Path | None = None  # the weights file; None where it must be downloaded
    folder: Path | None = None  # the model folder that describes the network
    bundled: BundledWeights | None = None
    hub_file: HubFile | None = None

    @property
    def download_bytes(self) -> int | None:
        """What must be downloaded first: 0 where nothing must, None where that is not known."""
        if self.kind != "download":
            return 0
        spec = registry.find(self.model)
        return spec.download_bytes if spec else None

    @property
    def note(self) -> str:
        """A short text for a table."""
        size = self.download_bytes
        return {
            "download": f"to download, {f'{size / 2**20:.0f} MiB' if size else 'size unknown'}",
            "bundled": "bundled",
            "hub-cache": "downloaded before",
        }.get(self.kind, f"from {self.label}")


def locate(name: str, weights: str | Path | None = None) -> Source:
    """Say where the weights of ``name`` come from; nothing is loaded or downloaded.

    ``name`` is a registry or timm name, or a folder that training wrote; ``weights`` a weights file
    or such a folder.

    Raises:
        UnknownModelError: nothing has this name.
        WeightsError: what was named is missing, or the manifest is broken.
    """
    folder, path = _folder(name), None if weights is None else _path(weights)
    if weights is not None and path is None:
        raise WeightsError(f"There is no weights file {Path(weights).name}.")
    if path is not None and not path.is_dir():
        model = folder.resolve().name if folder else _published(name)[0]
        return Source("file", model, path.name, path, folder=folder)
    if (folder := path or folder) is not None:
        own, path = folder.resolve().name, files.weights_in(folder)
        return Source("folder", own, f"{own}/{path.name}", path, folder=folder)
    model, hub_file = _published(name)
    bundled = manifest.load_manifest().get(model)
    if bundled is not None:
        path = manifest.weights_folder() / bundled.file
        return Source("bundled", model, bundled.source, path, bundled=bundled)
    if hub_file is None:
        raise WeightsError(
            f"No weights of {model} are bundled or published; give a weights file or a folder "
            "that training wrote."
        )
    cached = hub.cached_path(hub_file)
    kind: Kind = "download" if cached is None else "hub-cache"
    return Source(kind, model, hub_file.repo_id, cached, hub_file=hub_file)


def default_model() -> str:
    """Return the best model that is already on this machine, or raise ``WeightsError``.

    That is the registry model in the hub cache with the highest published accuracy, among those
    that a CPU runs in about a second; else a bundled one, ``starter_res2net`` first.
    """
    practical = [s for s in registry.list_backbones() if s.gmacs <= _PRACTICAL_GMACS and s.hub_id]
    cached = [s for s in practical if hub.cached_path(HubFile(s.hub_id or "")) is not None]
    if cached:
        return max(cached, key=lambda spec: spec.top1 or 0.0).name
    bundled = manifest.load_manifest()
    if not bundled:
        raise WeightsError(
            "No weights are on this machine; download a model or restore assets/weights."
        )
    return "starter_res2net" if "starter_res2net" in bundled else next(iter(bundled))


def default_or(other: T) -> str | T:
    """Return ``default_model``, or something else where there is none."""
    try:
        return default_model()
    except WeightsError:
        return other


def fetch(
    name: str, *, on_progress: OnProgress | None = None, is_cancelled: IsCancelled | None = None
) -> Path:
    """Return the weights file of a model, after downloading it where it is missing.

    Raises as ``locate`` and ``obtain``; ``UnsupportedModelError`` before a useless download.
    """
    source = locate(name)
    if source.kind == "download" and registry.find(source.model) is None:
        from mscnn.models import architecture

        architecture.check_supported(architecture.from_name(source.model))
    return obtain(source, on_progress=on_progress, is_cancelled=is_cancelled)


def obtain(
    source: Source,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    offline: bool = False,
) -> Path:
    """Return the weights file of ``source``, downloaded and checked where that is needed.

    A cached file whose sha256 is wrong is downloaded again; the old one is replaced at the end.

    Raises:
        WeightsError: a bundled or cached file is damaged and cannot be replaced.
        DownloadError: the hub could not deliver.
        Cancelled: ``is_cancelled`` returned True.
    """
    path = source.path
    if source.bundled is not None:
        return manifest.checked_path(source.bundled)
    if path is not None and (source.hub_file is None or hub.is_whole(path)):
        return path
    if source.hub_file is None:
        raise WeightsError(f"No weights of {source.model} were found.")
    if path is not None and (offline or hub.is_offline()):
        raise WeightsError(
            f"The downloaded weights of {source.model} are damaged (their sha256 is wrong), and "
            "offline mode forbids fetching them again; go online or choose another model."
        )
    if offline:
        raise DownloadError(
            f"The weights of {source.model} are not on this machine, and downloads are off; "
            "choose a model that is already here, or copy its weights file and name that."
        )
    return hub.download(
        source.hub_file, source.model, on_progress=on_progress, is_cancelled=is_cancelled,
        replace=path is not None,
    )  # fmt: skip


def is_path(name: str) -> bool:
    """Whether ``name`` is, or is written like, a path on this machine's disk.

    As for ``locate``, a folder that holds no model is none unless it is written like one: results
    may lie in a folder that is called like their network.
    """
    if registry.find(name) is not None:
        return False
    path = _path(name)
    there = path is not None and (path.is_file() or files.is_open_model_folder(path))
    return there or like_path(name)


def shown_name(name: str) -> str:
    """Return how results call a model that was asked for: of a folder the last part alone."""
    return (Path(name).name or name) if is_path(name) else registry.full_name(name)


def check_names(models: Sequence[str]) -> None:
    """Raise ``OptionError`` where results would call two of the models by one name."""
    names = [shown_name(model) for model in models]
    if len(set(names)) < len(names):
        raise OptionError("Two models have the same name; rename the folder of one of them.")


def like_path(name: str) -> bool:
    """Whether a name can only be that of a path."""
    bare = registry.without_prefix(name)
    return "/" in bare or "\\" in bare or bare.startswith((".", "~"))


def _path(name: str | Path) -> Path | None:
    """The path that was typed; None for what no disk can hold: too long, a NUL, ``~nobody``."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return path


def _folder(name: str) -> Path | None:
    """Return the folder that ``name`` means, None for a model's; else raise UnknownModelError."""
    if registry.find(name) is not None:
        return None
    path = _path(name)
    if path and path.is_dir() and (like_path(name) or files.is_model_folder(path)):
        return path
    if path and path.is_file():
        raise UnknownModelError(
            f"{path.name} is a weights file, not a model; name its architecture, and the file as "
            "the weights."
        )
    if like_path(name):
        raise UnknownModelError(
            f"There is no folder {name}; give a model name or a folder that training wrote."
        )
    return None


def _published(name: str) -> tuple[str, HubFile | None]:
    """Return the full name of a model and its file on the hub, where it has one."""
    spec = registry.find(name)
    if spec is not None:
        return spec.name, HubFile(spec.hub_id) if spec.hub_id else None
    from timm.models import get_pretrained_cfg

    from mscnn.models.architecture import from_name

    blueprint = from_name(name)
    cfg = get_pretrained_cfg(blueprint.name)
    if cfg is None or not cfg.hf_hub_id:
        return blueprint.name, None
    repo_id, _, revision = cfg.hf_hub_id.partition("@")  # timm's notation
    hub_file = HubFile(repo_id, revision or "main")
    file_name = cfg.hf_hub_filename
    return blueprint.name, replace(hub_file, names=(file_name,)) if file_name else hub_file
