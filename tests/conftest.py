"""Fixtures for all tests: tiny networks of each family, a photo, and guards around each test.

The networks are built by timm from its own block classes, small and seeded, with what makes a
fresh network degenerate taken out: batch statistics are random, and the last batch norm of a
block is not zero (timm's default would make every gradient inside a block exactly 0).
"""

import copy
import os
import socket
import tempfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Before anything imports huggingface_hub or torch, which read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Networks this small gain nothing from threads, and waiting threads starve one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FAMILIES = ("resnet", "resnext", "res2net", "res2next", "resnest")
INPUT_PX = 96
"""Stages of 24, 12, 6 and 3 px."""
CLASSES = 12
STAGES = ("layer1", "layer2", "layer3", "layer4")


def _build(family, classes, seed):
    import torch
    from timm.models.res2net import Bottle2neck
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import Bottleneck, ResNet

    options: dict[str, Any] = {
        "resnet": {"block": Bottleneck},
        "resnext": {"block": Bottleneck, "cardinality": 8, "base_width": 4},
        "res2net": {"block": Bottle2neck, "base_width": 26, "block_args": {"scale": 4}},
        "res2next": {
            "block": Bottle2neck, "base_width": 4, "cardinality": 8, "block_args": {"scale": 4},
        },
        "resnest": {
            "block": ResNestBottleneck, "stem_type": "deep", "stem_width": 8, "avg_down": True,
            "block_args": {"radix": 2, "avd": True, "avd_first": False},
        },
    }[family]  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet(
            layers=(2, 2, 2, 2), channels=(16, 24, 32, 48), num_classes=classes,
            zero_init_last=False, **options,
        )  # fmt: skip
        randomise_batch_norms(model)
    return model.eval().requires_grad_(False)


def randomise_batch_norms(model):
    """Give every batch norm statistics and weights that differ from channel to channel."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.2)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)


class _Watched:
    """A network shared by tests, and the state that every test must leave it in."""

    def __init__(self, model):
        self.model = model
        self.before = self.state()

    def state(self):
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        return {
            "train flags": {n: m.training for n, m in self.model.named_modules()},
            "modules": {n: type(m).__name__ for n, m in self.model.named_modules()},
            "requires_grad": {n: p.requires_grad for n, p in self.model.named_parameters()},
            "values": {n: (t.data_ptr(), t._version, t.dtype) for n, t in tensors},
        }

    def problems(self):
        found = [what for what, value in self.state().items() if value != self.before[what]]
        for name, module in self.model.named_modules():
            hooks = [key for key in vars(module) if key.endswith("_hooks") and vars(module)[key]]
            found += [f"{key} on {name!r}" for key in hooks]
        found += [f".grad of {n}" for n, p in self.model.named_parameters() if p.grad is not None]
        return found


_SHARED: dict[tuple[str, int, int], _Watched] = {}
_USED: set[tuple[str, int, int]] = set()
"""Those that were handed out since the last look."""


@pytest.fixture(scope="session")
def tiny():
    """``tiny(family, classes=12, seed=0)``: a tiny network, one object for the whole run."""

    def get(family, classes=CLASSES, seed=0):
        key = (family, classes, seed)
        if key not in _SHARED:
            _SHARED[key] = _Watched(_build(*key))
        _USED.add(key)
        return _SHARED[key].model

    return get


def _look_at(keys):
    problems = {k: found for k in keys if k in _SHARED and (found := _SHARED[k].problems())}
    _USED.clear()
    if problems:
        _SHARED.clear()  # the next test gets fresh ones, so one leak is one failure
        pytest.fail(f"this test left traces on shared networks: {problems}")


@pytest.fixture(autouse=True)
def _networks_are_left_as_they_were():
    yield
    _look_at(list(_USED))


@pytest.fixture(autouse=True, scope="module")
def _all_networks_are_left_as_they_were():
    """Those too that a fixture of the module keeps for several tests."""
    yield
    _look_at(list(_SHARED))


@pytest.fixture(autouse=True, scope="session")
def _no_file_outside(tmp_path_factory):
    """Temporary files of the program, such as locks, go with pytest's own."""
    tempfile.tempdir = str(tmp_path_factory.getbasetemp())
    yield
    tempfile.tempdir = None


@pytest.fixture(scope="session")
def served_folders(tmp_path_factory):
    """The seeded weights and the folders of the one page that this process serves."""
    from tests.page.serving import make_folders

    return make_folders(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def served(served_folders):
    """That page, for the tests of HTTP and those of the browser; see ``tests/page/serving.py``."""
    from tests.page.serving import serving

    with serving(served_folders) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuse connections to anything but this machine, unless the test is marked ``network``."""
    if request.node.get_closest_marker("network"):
        return

    def guarded(real):
        def connect(self, address, *args):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
                raise PermissionError(f"a test tried to reach {address}")
            return real(self, address, *args)

        return connect

    def getaddrinfo(host, *args, **kwargs):
        if not _is_local(host):
            raise PermissionError(f"a test tried to look up {host!r}")
        return resolve(host, *args, **kwargs)

    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


def _is_local(host):
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    return name in ("", "localhost", "::", "::1", "0.0.0.0") or name.startswith("127.")


@pytest.fixture
def photo():
    """A photo of 120 x 90 px that no network sees as flat: gradients, a square and grain."""
    y, x = np.mgrid[:90, :120]
    pixels = np.stack([2 * x, 255 - 2 * y, (x + y) % 256], axis=-1)
    pixels[30:60, 40:80] = (230, 40, 60)
    grain = np.random.default_rng(7).integers(-20, 21, pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


@pytest.fixture
def few_steps(monkeypatch):
    """What ``trust`` does by default, in few steps; gives its ``Plan``."""
    from mscnn.trust.plan import Plan

    for name, value in {"steps": 2, "draws": 2, "road": (), "factors": (0.6,)}.items():
        monkeypatch.setitem(Plan.__init__.__kwdefaults__, name, value)
    return Plan


@pytest.fixture
def x():
    """``(1, 3, 96, 96)`` float32: a seeded normalised input."""
    import torch

    return torch.randn(1, 3, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def loaded(tiny):
    """``loaded(family, name=..., names=..., fresh=False, **data_config)``: a tiny LoadedModel.

    ``names`` are the class names; ``fresh`` copies the network, for tests that change it.
    """

    def make(family="res2net", *, name="", names=None, seed=0, fresh=False, **data_config):
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        from mscnn.models.labels import LabelSet
        from mscnn.models.loading import LoadedModel
        from mscnn.results.explanation import WeightsInfo

        labels = LabelSet(names or tuple(f"thing {i}" for i in range(CLASSES)))
        model = tiny(family, len(labels), seed)
        return LoadedModel(
            name=name or f"tiny_{family}", model=copy.deepcopy(model) if fresh else model,
            labels=labels,
            weights=WeightsInfo("file", f"{family}.safetensors", "0" * 64),
            data_config={
                "input_size": (3, INPUT_PX, INPUT_PX),
                "interpolation": "bicubic", "mean": IMAGENET_DEFAULT_MEAN,
                "std": IMAGENET_DEFAULT_STD, "crop_pct": 0.875, "crop_mode": "center",
                **data_config,
            },
            stages=STAGES, head="fc",
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def network(loaded):
    """``network(family, **as for loaded)``: a tiny Network on the CPU."""

    def make(family="res2net", **options):
        import torch

        from mscnn.engine.network import Network

        return Network(loaded(family, **options), torch.device("cpu"))

    return make
