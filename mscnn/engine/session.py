"""Loading networks, and keeping and sharing them in a bounded cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from mscnn.engine.device import choose_device
from mscnn.engine.network import IsCancelled, Network
from mscnn.errors import Cancelled, UnknownModelError
from mscnn.models import registry
from mscnn.models.architecture import from_name
from mscnn.models.loading import load_model
from mscnn.models.owners import OwnersModels
from mscnn.models.sources import is_path, like_path

Key = tuple[str, str, tuple[tuple[int, int], ...]]
_MOST_BYTES = 4 * 2**30  # of all weights that are kept; a free Space has 16 GiB for everything
_MODEL_FILES = (".safetensors", ".bin", ".pth", ".json")


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Network:
    """Load a backbone.

    Args:
        name: a registry name (``mscnn.list_backbones()``), another timm CNN, or a folder that
            training wrote; a ``Path`` is a folder.
        weights: a file or folder to use instead of the bundled, cached or hub weights.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        precision: ``"fp32"``, or ``"bf16"`` on a GPU.
        on_progress: called with (bytes done, bytes in total or None) during a download.

    Raises:
        UnknownModelError, UnsupportedModelError, WeightsError, DownloadError, DeviceError,
        OptionError: there is no such precision.
    """
    where = choose_device(device)
    if isinstance(name, Path):
        name = registry.folder_name(str(name))
    return Network(load_model(name, weights, on_progress=on_progress), where, precision)


class Session:
    """Networks by name, at most ``capacity`` and 4 GiB at a time; ``device`` as in ``load``.

    The least recently used one goes first; requests that still run on it finish undisturbed. An
    ``offline`` session never asks the hub. ``owners`` are the model folders that may be named, by
    their names for visitors, so that a page neither opens nor tells apart whatever else lies on its
    disk; None for any folder, by its path.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        capacity: int = 6,
        offline: bool = False,
        owners: OwnersModels | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.capacity, self.offline, self.owners = capacity, offline, owners
        self._networks: OrderedDict[Key, Network] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[Key, threading.Lock] = {}

    def network(
        self,
        name: str,
        weights: str | Path | None = None,
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Network:
        """Return a network, loading it (and downloading its weights) where needed.

        Two users who ask for the same model at once share one load. Raises ``UnknownModelError``,
        ``UnsupportedModelError``, ``WeightsError``, ``DownloadError``, ``Cancelled``.
        """
        place = self.place(name)
        key = _key(place, weights)
        while True:
            with self._lock:
                loading = self._loading.setdefault(key, threading.Lock())
            while not loading.acquire(timeout=0.1):
                if is_cancelled is not None and is_cancelled():
                    raise Cancelled("Stopped; the last result is kept.")
            with self._lock:
                if self._loading.get(key) is loading:
                    break
            loading.release()  # who loaded is done, and others may load anew, by another lock
        try:
            with self._lock:
                if key in self._networks:
                    self._networks.move_to_end(key)
                    return self._networks[key]
            loaded = load_model(
                place, weights, on_progress=on_progress, is_cancelled=is_cancelled,
                offline=self.offline,
            )  # fmt: skip
            network = Network(loaded, self.device)
            with self._lock:
                self._keep(key, network)
            return network
        finally:  # names that are no model's must not pile up
            with self._lock:
                self._loading.pop(key, None)
            loading.release()

    def offered(self) -> tuple[str, ...]:
        """What the owner offers now, by the names for visitors; empty without ``owners``."""
        return self.owners.names() if self.owners is not None else ()

    def place(self, name: str) -> str:
        """Return what ``name`` means to the loader: the owner's folder, or a model's name.

        Raises ``UnknownModelError``: a folder that is not offered, whether or not there is one.
        """
        if self.owners is None:
            return name
        folder = self.owners.folder(name)
        if folder is not None:
            return str(folder)
        if like_path(name) and is_path(name):
            raise UnknownModelError(
                "That is no model's name; choose one from the list, or type a timm CNN's name."
            )
        if is_path(name):  # something in the current folder is called so: timm's is meant, or none
            from_name(name)
            return f"hf-hub:{name}"
        return name

    def _keep(self, key: Key, network: Network) -> None:
        """Store a network; drop its earlier versions and what was used longest ago."""
        for other in [k for k in self._networks if k[:2] == key[:2]]:
            del self._networks[other]
        self._networks[key] = network
        while len(self._networks) > self.capacity or (
            len(self._networks) > 1 and sum(map(_bytes, self._networks.values())) > _MOST_BYTES
        ):
            self._networks.popitem(last=False)


def _bytes(network: Network) -> int:
    return sum(weight.nbytes for weight in network.loaded.model.parameters())


def _key(name: str, weights: str | Path | None) -> Key:
    """A model trained again into the same folder or file is another model."""
    spec = registry.find(name)
    version: tuple[tuple[int, int], ...] = ()
    # The name of a known backbone is no path, whatever lies in the current folder.
    if weights is not None or spec is None:
        version = _version(name if weights is None else weights)
    return (spec.name if spec else name, str(weights or ""), version)


def _version(name: str | Path) -> tuple[tuple[int, int], ...]:
    """Modification time (ns) and bytes of a file, or of each of a folder's; () where none is."""
    try:
        path = Path(name).expanduser()
        files = [f for f in path.iterdir() if f.suffix in _MODEL_FILES] if path.is_dir() else [path]
        return tuple((s.st_mtime_ns, s.st_size) for s in map(Path.stat, sorted(files)))
    except (OSError, RuntimeError, ValueError):  # of ~nobody, of a NUL in the name
        return ()
