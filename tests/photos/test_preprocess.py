"""Preprocessing against timm's own pipeline, and its geometry against pictures of coordinates."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from mscnn.photos import preprocess
from mscnn.photos.preprocess import Preprocessor

SIZES = [
    *((1, 1), (2, 3), (64, 64), (63, 65), (500, 333), (333, 500), (37, 900), (900, 37)),
    *((257, 256), (1, 300), (300, 1), (3000, 40)),
]
"""(width, height)"""
CONFIGS = [
    {"crop_mode": mode, "crop_pct": pct, "input_size": size, "interpolation": interpolation}
    for mode in ("center", "squash", "border")
    for pct, size, interpolation in (
        (0.875, (3, 64, 64), "bilinear"), (1.0, (3, 65, 65), "bicubic"),
        (0.95, (3, 48, 96), "bicubic"),
    )
]  # fmt: skip


def config_id(config):
    return f"{config['crop_mode']}-{config['crop_pct']}-{config['input_size'][1:]}"


def full(config, mean=0.4, std=0.25):
    return {"mean": (mean, 0.5, 0.6), "std": (std, 0.2, 0.3), **config}


def timm_fails(config, size):
    """timm rounds the shorter side of a long strip to 0 px when it fits the longer one."""
    if config["crop_mode"] != "border":
        return False
    sides = [int(s / config["crop_pct"]) for s in config["input_size"][:0:-1]]
    ratio = max(size[0] / sides[0], size[1] / sides[1])
    return min(round(size[0] / ratio), round(size[1] / ratio)) == 0


def cases(least_px=1):
    """All pairs of a configuration and a size that timm can handle."""
    return [
        pytest.param(config, size, id=f"{config_id(config)}-{size[0]}x{size[1]}")
        for config in CONFIGS
        for size in SIZES
        if min(size) >= least_px and not timm_fails(config, size)
    ]


def noise(size):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("config", "size"), cases())
def test_the_tensor_is_timms_to_the_bit(config, size):
    photo = noise(size)
    ours = Preprocessor(full(config))(photo)
    height, width = config["input_size"][1:]
    assert ours.x.shape == (1, 3, height, width)
    theirs = create_transform(**full(config), is_training=False)(photo)
    assert torch.equal(ours.x[0], theirs)
    # The view is the same picture before normalisation.
    mean, std = (torch.tensor(full(config)[key])[:, None, None] for key in ("mean", "std"))
    view = torch.from_numpy(ours.view).permute(2, 0, 1) / 255
    torch.testing.assert_close((view - mean) / std, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 300), (300, 1)])
def test_where_timm_fails_there_is_a_view_all_the_same(size):
    config = next(c for c in CONFIGS if c["crop_mode"] == "border")
    assert timm_fails(config, size)
    with pytest.raises(ValueError, match="must be > 0"):
        create_transform(**full(config), is_training=False)(noise(size))
    result = Preprocessor(full(config))(noise(size))
    assert result.view.shape == (64, 64, 3)
    assert min(result.geometry.resized) == 1


@pytest.mark.parametrize(("config", "size"), cases())
def test_the_short_way_for_long_strips_gives_the_same_view(config, size, monkeypatch):
    photo = noise(size)
    whole = Preprocessor(full(config))(photo)
    monkeypatch.setattr(preprocess, "_MOST_PX", 0)
    part = Preprocessor(full(config))(photo)
    assert part.geometry == whole.geometry
    # Pillow rounds after each of its two passes, so a level or two may differ.
    difference = np.abs(part.view.astype(int) - whole.view.astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.05


def coordinates(size, axis):
    """A float picture in which every pixel is its own centre's coordinate, in px."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return Image.fromarray(np.ascontiguousarray((x, y)[axis]))


def timms_view_of_coordinates(config, size, axis):
    """Push the coordinates through timm's geometric steps: what each view px shows."""
    transform = create_transform(**full(config), is_training=False)
    image = coordinates(size, axis)
    for step in transform.transforms[:2]:
        if hasattr(step, "fill"):
            step.fill = float("nan")  # padding shows no place of the photo
        image = step(image)
    return np.asarray(image)


@pytest.mark.parametrize(("config", "size"), cases(least_px=2))
def test_each_view_px_shows_the_place_that_the_geometry_names(config, size):
    geometry = Preprocessor(full(config))(noise(size)).geometry
    height, width = config["input_size"][1:]
    checked = 0
    for axis, length in ((0, width), (1, height)):
        shown = timms_view_of_coordinates(config, size, axis)
        # A bicubic filter reaches two px (of the coarser grid) and bends at the photo's edge;
        # its finite samples are off by 1 % of a px elsewhere.
        reach = 2.5 * max(1.0, geometry.scale[axis])
        for i in range(length):
            point = geometry.to_photo(i + 0.5, i + 0.5)[axis]
            line = shown[:, i] if axis == 0 else shown[i]
            seen = line[np.isfinite(line) & (line != 0)]
            if not 0 <= point <= size[axis]:
                assert seen.size == 0, f"the geometry calls px {i} padding, timm does not"
            elif reach < point < size[axis] - reach:
                np.testing.assert_allclose(seen, point, rtol=0, atol=0.02 * geometry.scale[axis])
                checked += 1
    assert checked > 0 or min(size) < 6


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_the_crop_holds_what_timm_shows_of_a_photo(config):
    """Coarse but without any filter's theory: the first and last colours in the view."""
    size = (500, 333)
    left, top, right, bottom = Preprocessor(full(config))(noise(size)).geometry.crop
    for axis, (low, high) in ((0, (left, right)), (1, (top, bottom))):
        shown = timms_view_of_coordinates(config, size, axis)
        seen = shown[np.isfinite(shown) & (shown != 0)]
        step = (high - low) / config["input_size"][2 - axis]
        assert seen.min() == pytest.approx(max(low, 0) + step / 2, abs=step)
        assert seen.max() == pytest.approx(min(high, size[axis]) - step / 2, abs=step)


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (3, 40_000)], ids=str)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_strip_gives_a_view_of_its_middle(mode, size):
    config = {"crop_mode": mode, "crop_pct": 0.9, "input_size": (3, 224, 224)}
    photo = Image.new("RGB", size, (10, 200, 30))
    result = Preprocessor(full({**config, "interpolation": "bicubic"}))(photo)
    assert result.view.shape == (224, 224, 3)
    column, row = (int(v) for v in result.geometry.to_view(size[0] / 2, size[1] / 2))
    assert result.view[row, column].tolist() == [10, 200, 30]
    middle = result.geometry.to_photo(112, 112)
    # Half a view px is up to 40,000 / 248 / 2 px of the photo.
    assert middle == pytest.approx((size[0] / 2, size[1] / 2), abs=81)
    heat = result.geometry.project(np.ones((224, 224), np.float32), (size[0], size[1]))
    assert heat.shape == (size[1], size[0])
    assert heat.max() == 1


@pytest.mark.slow
def test_a_strip_needs_little_memory():
    """timm's way takes 8 GB; measured in a process of its own, since peaks only ever grow."""
    code = """
import resource, sys
from PIL import Image
from mscnn.photos.preprocess import Preprocessor
config = dict(input_size=(3, 416, 416), interpolation="bicubic", crop_pct=0.9,
              crop_mode="center", mean=(0.5,) * 3, std=(0.5,) * 3)
run = Preprocessor(config)
run(Image.new("RGB", (640, 480)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(Image.new("RGB", (1, 40_000)))
run(Image.new("RGB", (40_000, 1)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in KiB on Linux only")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 1024


def test_an_unknown_step_is_not_guessed():
    config = full({"crop_mode": "center", "crop_pct": 1.0, "input_size": (3, 32, 32)})
    run = Preprocessor({**config, "interpolation": "bilinear"})
    run._geometric.append(lambda image: image.rotate(90))
    with pytest.raises(TypeError, match="no geometry is known"):
        run(noise((40, 40)))
