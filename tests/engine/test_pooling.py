"""Features of photographs against timm's own methods and plain hooks."""

import numpy as np
import pytest
import torch
from PIL import Image

from mscnn.errors import OptionError, UnknownLayerError


@pytest.fixture
def photos(photo):
    return [photo, photo.transpose(Image.Transpose.ROTATE_90), photo.rotate(20)]


def inputs(net, photos):
    return torch.cat([net.preprocess(p).x for p in photos])


def close(found, expected):
    """Equal but for float32's noise, which grows with the largest number that is summed."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def hooked(net, module, x, *, of_input):
    """What a plain hook sees."""
    kept = []
    handle = net.model.get_submodule(module).register_forward_hook(
        lambda _, args, out: kept.append((args[0] if of_input else out).clone())
    )
    with torch.no_grad():
        net.model(x)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("family", ["resnet", "res2net", "resnest"])
def test_pooled_features_are_timms(network, photos, family):
    net = network(family)
    with torch.no_grad():
        maps = net.model.forward_features(inputs(net, photos))
        expected = net.model.forward_head(maps, pre_logits=True).numpy()
    found = net.features(photos, batch_size=2)
    assert found.dtype == np.float32
    assert found.shape == (3, 192)
    close(found, expected)
    # They are what the last layer classifies.
    logits = found @ net.model.fc.weight.numpy().T + net.model.fc.bias.numpy()
    close(logits[0], net.predict(photos[0]).logits)


@pytest.mark.parametrize(
    ("stage", "module"), [("layer3", "layer3"), ("2", "layer2"), ("layer2.1",) * 2]
)
def test_a_stage_is_the_mean_over_places(network, photos, stage, module):
    net = network("res2net")
    expected = hooked(net, module, inputs(net, photos), of_input=False).numpy().mean((2, 3))
    close(net.features(photos, stage=stage), expected)


@pytest.mark.parametrize("split", [0, 1, 2, 3])
def test_a_split_in_timms_order(network, photos, split):
    net = network("res2net")
    block = net.model.layer3[1]
    whole = hooked(net, "layer3.1.conv3", inputs(net, photos), of_input=True).numpy()
    part = whole[:, split * block.width : (split + 1) * block.width]
    found = net.features(photos, stage="layer3.1", split=split)
    close(found, part.mean((2, 3)))


def test_one_photo_gives_one_row(network, photo):
    net = network("resnet")
    one = net.features(photo)
    assert one.shape == (1, 192)
    close(net.features(np.array(photo)), one)


@pytest.mark.parametrize(("stage", "split", "words"), [
    (None, 1, "belongs to a block"),
    ("layer3", 0, "layer3 is no block, so it has no splits; choose one of layer1.0"),
    ("layer3.1", 4, "0 to 3"), ("layer3.1", -1, "0 to 3"),
])  # fmt: skip
def test_splits_that_are_not_there(network, stage, split, words):
    with pytest.raises((OptionError, UnknownLayerError), match=words):
        network("res2net").feature_point(stage, split)


def test_refusals(network, photo):
    net = network("resnet")
    with pytest.raises(UnknownLayerError, match="layer9"):
        net.features(photo, stage="layer9")
    with pytest.raises(OptionError, match="No photo"):
        net.features([])
    with pytest.raises(OptionError, match="batch size is 0"):
        net.features(photo, batch_size=0)
