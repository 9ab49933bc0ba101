"""Small folders of photographs of several shapes and formats."""

import numpy as np
import pytest
from PIL import Image


def draw(seed):
    """A photo of its own shape and colours: no two seeds look alike to any network."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(40, 130, 2))
    coarse = random.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def draw_kind(kind, seed, px=24):
    """Kind 0 is reddish noise, kind 1 bluish."""
    noise = np.random.default_rng([kind, seed]).integers(0, 90, (px, px, 3))
    noise[..., 0 if kind == 0 else 2] += 150
    return Image.fromarray(noise.astype(np.uint8))


@pytest.fixture
def fill():
    """``fill(root, {"folder": count}, suffix=".png")``: draws photos, returns their names."""

    def make(root, counts, suffix=".png"):
        names = []
        seed = 0
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                name = f"{folder}/{number:02}{suffix}"
                draw(seed).save(root / name)
                names.append(name)
        return names

    return make
