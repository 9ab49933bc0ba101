"""Changed photos and their maps put back, boxes, and networks with random weights."""

import copy

import numpy as np
import pytest
import timm

from mscnn.errors import BoxError
from mscnn.geometry import ViewGeometry
from mscnn.results.trust import Located
from mscnn.trust import checks
from mscnn.trust.plan import CHANGES
from tests.conftest import STAGES


@pytest.mark.parametrize("change", CHANGES)
def test_the_map_of_a_change_is_put_where_it_belongs(change):
    """The red channel taken for a map: a smooth one comes back as it was, where there is any."""
    rows, columns = np.mgrid[:96, :64]
    red = 127 + 60 * np.sin(rows / 15) + 60 * np.cos(columns / 12)
    view = np.repeat(red[..., None], 3, axis=2).astype(np.uint8)
    seen = checks.changed(view, change, np.random.default_rng(0))
    assert seen.shape == view.shape
    assert seen.dtype == np.uint8
    assert (seen != view).any()
    back = checks.put_back(seen[..., 0].astype(np.float32), change)
    known = ~np.isnan(back)
    error = np.abs(back - view[..., 0])[known]
    assert np.median(error) < (9 if change == "noise" else 1.5)
    fraction = {"shift": (90 / 96) * (60 / 64), "zoom": 0.9**2}.get(change, 1)
    assert known.mean() == pytest.approx(fraction, abs=0.03)


def test_a_shift_by_hand():
    seen = checks.changed(np.arange(48, dtype=np.uint8).reshape(16, 1, 3).repeat(16, 1), "shift",
                          np.random.default_rng(0))  # fmt: skip
    assert seen[:, 0, 0].tolist() == [*range(3, 48, 3), 45]


def test_the_cascade_draws_one_part_after_the_other(tiny):
    model = copy.deepcopy(tiny("resnet"))
    before = {name: p.clone() for name, p in model.named_parameters()}
    changed: list[set[str]] = []
    for _ in checks.cascade(model, STAGES, "fc", 0):
        now = dict(model.named_parameters())
        changed.append({name.split(".")[0] for name in now if (now[name] != before[name]).any()})
    new = [part - before for part, before in zip(changed, [set(), *changed], strict=False)]
    assert new == [{"fc"}, {"layer4"}, {"layer3"}, {"layer2"}, {"layer1"}, {"conv1", "bn1"}]


@pytest.mark.slow
def test_the_cascade_draws_what_lies_between_the_stages_with_the_later_one():
    """timm's stages of a VGG are ReLUs and a pool, which have no weights."""
    model = timm.create_model("vgg11", num_classes=2).eval()
    stages = [info["module"] for info in model.feature_info]
    before = {name: p.clone() for name, p in model.named_parameters()}
    changed: set[str] = set()
    drawn = []
    for _ in checks.cascade(model, stages, "head.fc", 0):
        now = dict(model.named_parameters())
        new = {name for name in now if (now[name] != before[name]).any()} - changed
        drawn.append({name.rpartition(".")[0] for name in new})
        changed |= new
    assert drawn == [
        {"head.fc"}, {"pre_logits.fc1", "pre_logits.fc2"}, {"features.16", "features.18"},
        {"features.11", "features.13"}, {"features.6", "features.8"}, {"features.3"}, set(),
        {"features.0"},
    ]  # fmt: skip


def test_entropy_rises_where_structure_is_lost():
    flat = np.zeros((10, 10), np.float32)
    two = flat.copy()
    two[:5] = 1
    assert checks.emprt(flat, two) is None
    even = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert checks.emprt(two, even) == pytest.approx(np.log(100) / np.log(2) - 1)


def test_a_box_of_the_photo_on_the_view():
    geometry = ViewGeometry((200, 100), (128, 64), (32, 0), (64, 64))
    assert checks.rect_of((0.25, 0.5, 0.5, 1), geometry) == (0, 32, 32, 64)
    assert checks.rect_of((0, 0, 1, 1), geometry) == (0, 0, 64, 64)
    with pytest.raises(BoxError, match="sees nothing"):
        checks.rect_of((0, 0, 0.2, 1), geometry)


def test_means_by_kind():
    found = [
        Located("map", 1, 3.0), Located("blob", 0, None),
        Located("map", 0, 1.0), Located("blob", 0, None), Located("map", 1, None),
    ]  # fmt: skip
    assert checks.mean_located(found) == (Located("map", 2 / 3, 2.0), Located("blob", 0, None))
    nothing = checks.located("map", np.zeros((3, 3), np.float32), (0, 0, 9, 9), (9, 9))
    assert nothing == Located("map", 0, None)
