"""``mscnn.geometry``: maps land where the network looked; resizing against torch's definition."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mscnn.geometry import ViewGeometry, resize_map
from mscnn.photos.preprocess import Preprocessor
from mscnn.results.explanation import CamMap

CELLS = 7


def config(mode, pct=0.875):
    return {
        "input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": pct, "crop_mode": mode,
        "mean": (0.0,) * 3, "std": (1.0,) * 3,
    }  # fmt: skip


def centroid(values):
    y, x = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    total = values.sum()
    return float((x * values).sum() / total), float((y * values).sum() / total)


@pytest.mark.parametrize("size", [(640, 480), (300, 500), (500, 500), (1200, 350), (90, 110)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_cell_under_a_spot_lights_up_the_spot(mode, size):
    """A white spot on the photo goes through the network's preprocessing; the cell of the map
    that then holds it, made hot, must come back to where the spot is on the photo."""
    run = Preprocessor(config(mode))
    generator = np.random.default_rng(5)
    left, top, right, bottom = run(Image.new("RGB", size)).geometry.crop
    margin = max(size) / 12
    low = max(left, 0) + margin, max(top, 0) + margin
    high = min(right, size[0]) - margin, min(bottom, size[1]) - margin
    for x, y in generator.uniform(low, high, (12, 2)):
        radius = max(size) / 60
        spot = Image.new("RGB", size)
        ImageDraw.Draw(spot).ellipse((x - radius, y - radius, x + radius, y + radius), "white")
        result = run(spot)
        in_view = centroid(result.view[..., 0].astype(np.float32))
        column, row = (int(v / 224 * CELLS) for v in in_view)
        raw = np.zeros((CELLS, CELLS), np.float32)
        raw[row, column] = 1
        heat = CamMap("layer4", 0, "gradcam", raw, result.geometry).on_photo()
        assert heat.shape == (size[1], size[0])
        cell = 32 * result.geometry.scale[0], 32 * result.geometry.scale[1]
        hot = centroid(heat)
        # The spot is somewhere in the cell, up to half a cell from its middle. At the rim the
        # resize has less to blend with on one side, which moves the centroid a little.
        for axis, point in ((0, x), (1, y)):
            assert abs(hot[axis] - point) <= 0.75 * cell[axis]


@pytest.mark.parametrize("size", [(640, 480), (301, 500), (1200, 350)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_hot_cell_lands_on_its_place_to_the_px(mode, size):
    geometry = Preprocessor(config(mode))(Image.new("RGB", size)).geometry
    for row, column in ((3, 3), (2, 4), (4, 2)):
        raw = np.zeros((CELLS, CELLS), np.float32)
        raw[row, column] = 2.5
        heat = CamMap("layer4", 0, "gradcam", raw, geometry).on_photo()
        expected = geometry.to_photo((column + 0.5) * 32, (row + 0.5) * 32)
        if not (0 < expected[0] < size[0] and 0 < expected[1] < size[1]):
            continue  # padding
        clear = all(
            side > 1.2 * 32 * scale
            for at, length, scale in zip(expected, size, geometry.scale, strict=True)
            for side in (at, length - at)
        )
        if clear:
            assert centroid(heat) == pytest.approx(expected, abs=0.6)
        peak = np.unravel_index(heat.argmax(), heat.shape)
        assert abs(peak[1] + 0.5 - expected[0]) <= 0.1 * 32 * geometry.scale[0] + 1
        assert abs(peak[0] + 0.5 - expected[1]) <= 0.1 * 32 * geometry.scale[1] + 1
        assert heat.max() == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (77, 1000)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_an_even_map_is_even_inside_the_crop_and_zero_outside(mode, size):
    geometry = Preprocessor(config(mode))(Image.new("RGB", size)).geometry
    heat = geometry.project(np.full((224, 224), 3.0, np.float32))
    left, top, right, bottom = (round(v) for v in geometry.crop)
    expected = np.zeros((size[1], size[0]), np.float32)
    expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 3
    np.testing.assert_allclose(heat, expected, rtol=1e-6)


def test_negative_evidence_is_not_drawn_but_kept():
    geometry = ViewGeometry((10, 10), (10, 10), (0, 0), (10, 10))
    raw = np.array([[-1.0, -2.0], [0.0, -0.5]], np.float32)
    cam = CamMap("layer4", 0, "gradcam", raw, geometry)
    assert cam.on_view().max() == 0
    assert cam.on_photo().max() == 0
    assert cam.raw.min() == -2


@pytest.mark.parametrize(("width", "height"), [(224, 224), (31, 97), (7, 7), (8, 7)])
def test_enlarging_is_torchs_bilinear(width, height):
    values = np.random.default_rng(2).normal(size=(7, 7)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=(height, width), mode="bilinear"
    )[0, 0]
    np.testing.assert_allclose(resize_map(values, width, height), expected, rtol=0, atol=1e-5)


GEOMETRIES = [
    ViewGeometry((640, 480), (341, 256), (58, 16), (224, 224)),
    ViewGeometry((100, 300), (85, 256), (-69, 16), (224, 224)),
    ViewGeometry((1, 40_000), (256, 10_240_000), (16, 5_119_888), (224, 224)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: str(g.photo))
def test_there_and_back(geometry):
    for point in ((0.0, 0.0), (112.0, 112.0), (224.0, 3.5)):
        assert geometry.to_view(*geometry.to_photo(*point)) == pytest.approx(point, abs=1e-6)
    assert geometry.crop[:2] == pytest.approx(geometry.to_photo(0, 0))
    assert geometry.crop[2:] == pytest.approx(geometry.to_photo(*geometry.view))


@pytest.mark.parametrize(("photo", "limits", "expected"), [
    ((640, 480), {}, (640, 480)), ((640, 480), {"max_px": 320}, (320, 240)),
    ((640, 480), {"max_px": 5000}, (640, 480)), ((480, 640), {"max_px": 64}, (48, 64)),
    ((1, 40_000), {"max_px": 512}, (1, 512)), ((10, 5), {"min_px": 100}, (100, 50)),
    ((1, 1), {"max_px": 224, "min_px": 224}, (224, 224)),
])  # fmt: skip
def test_the_size_of_a_drawing(photo, limits, expected):
    assert ViewGeometry(photo, photo, (0, 0), photo).drawn_size(**limits) == expected


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 37), (640, 480)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: str(g.photo))
def test_the_crop_on_a_drawing_is_never_empty_and_never_outside(geometry, size):
    x0, y0, x1, y1 = geometry.crop_on(size)
    assert 0 <= x0 < x1 <= size[0]
    assert 0 <= y0 < y1 <= size[1]
    heat = geometry.project(np.ones((224, 224), np.float32), size)
    assert heat.shape == (size[1], size[0])
    assert heat[y0:y1, x0:x1].min() == pytest.approx(1)
    assert heat.sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=1e-5)
