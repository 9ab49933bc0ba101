"""Networks whose answer is no softmax over classes, and those of one channel, in every lens."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from timm.data import create_transform
from timm.data.model_config import resolve_input_data_config
from timm.models import save_for_hf

import mscnn
from mscnn.data.evaluation import evaluate
from mscnn.data.loading import Normalise
from mscnn.engine.network import Network
from mscnn.errors import UnsupportedModelError, WeightsError
from mscnn.models.labels import LabelSet

LENSES = {
    "predict": lambda net, photo: net.predict(photo),
    "explain": lambda net, photo: net.explain(photo),
    "a named class": lambda net, photo: net.explain(photo, targets=0, layers="2"),
    "a method": lambda net, photo: net.explain(photo, method="layercam"),
    "a slow method": lambda net, photo: net.explain(photo, method="scorecam"),
    "scales": lambda net, photo: net.scales(photo),
    "attention": lambda net, photo: net.split_attention(photo),
    "sweep": lambda net, photo: net.sweep(photo, target=0, factors=(1.0, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("lens", [*LENSES, "features", "features of a stage"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_lens_answers_with_numbers_that_are_none(lens, value, network, photo):
    net = network("resnest", fresh=True)
    lenses = {
        **LENSES,
        "features": lambda net, photo: net.features(photo),
        "features of a stage": lambda net, photo: net.features(photo, stage="layer2"),
    }
    with torch.no_grad():
        net.model.layer1[0].bn1.bias[0] = value
    with pytest.raises(WeightsError, match="no finite numbers; its weights are damaged"):
        lenses[lens](net, photo)


def test_features_do_not_need_a_sound_head(network, photo):
    net = network("resnet", fresh=True)
    with torch.no_grad():
        net.model.fc.weight.fill_(float("nan"))
    np.testing.assert_array_equal(net.features(photo), network("resnet").features(photo))


@pytest.mark.parametrize("lens", LENSES)
def test_one_logit_has_the_probability_of_its_class_alone(lens, network, photo):
    net = network("resnest", names=("defect",))
    shown = net.preprocess(photo)
    with torch.inference_mode():
        expected = float(torch.sigmoid(net.model(shown.x))[0, 0])
    assert 0.01 < expected < 0.99
    answer = LENSES[lens](net, photo)
    if lens == "sweep":
        full = net.sweep(photo, target=0, factors=(1.0,), canvas="grey").steps[0]
        with torch.inference_mode():
            logit = net.model(net.preprocess.tensor_of(full.view))
        assert full.probability == pytest.approx(float(torch.sigmoid(logit)), abs=1e-5)
        assert full.rank == 1
        return
    (score,) = getattr(answer, "prediction", answer).top
    assert (score.index, score.label) == (0, "defect")
    assert score.probability == pytest.approx(expected, abs=1e-5)
    explained = {*getattr(answer, "targets", ())} | {getattr(answer, "target", score)}
    assert {s.probability for s in explained} == {score.probability}


@pytest.mark.parametrize("lens", LENSES)
def test_without_classes_there_is_one_sentence(lens, loaded, photo):
    net = Network(replace(loaded("resnest"), labels=LabelSet(())), torch.device("cpu"))
    with pytest.raises(UnsupportedModelError, match=r"has no classes: .* use it for features"):
        LENSES[lens](net, photo)
    assert net.features(photo).shape == (1, 192)


@pytest.mark.parametrize(("names", "match"), [((), "has no classes"), (("a",), "has one class")])
def test_accuracy_of_fewer_than_two_classes_says_nothing(names, match, loaded, tmp_path):
    net = Network(replace(loaded("resnet"), labels=LabelSet(names)), torch.device("cpu"))
    with pytest.raises(UnsupportedModelError, match=match):
        evaluate(net, tmp_path)


@pytest.mark.parametrize("crop_mode", ["center", "border", "squash"])
def test_a_grey_network_sees_what_timm_shows_it(crop_mode, tmp_path, photo):
    """timm's loaders open photos as Pillow's "L", ITU-R BT.601, where a network has one channel."""
    torch.manual_seed(2)
    made = timm.create_model("test_resnet", num_classes=3, in_chans=1).eval()
    own = {"mean": (0.3,), "std": (0.2,), "crop_mode": crop_mode, "crop_pct": 0.9}
    config = resolve_input_data_config(made, args=own)
    written = {"model_config": {"pretrained_cfg": own}, "safe_serialization": True}
    save_for_hf(made, str(tmp_path / "grey"), **written)
    net = mscnn.load(str(tmp_path / "grey"), device="cpu")
    x = create_transform(**config, is_training=False)(photo.convert("L"))[None]
    shown = net.preprocess(photo)
    assert torch.equal(shown.x, x)
    with torch.inference_mode():
        np.testing.assert_allclose(net.predict(photo).logits, made(x)[0], atol=1e-6)
    assert (shown.view == shown.view[..., :1]).all()
    assert torch.equal(net.preprocess.tensor_of(shown.view), x)
    batch = Normalise(net)(torch.from_numpy(shown.view)[None])
    torch.testing.assert_close(batch, x, rtol=0, atol=1e-6)
    step = net.sweep(photo, target=0, factors=(1.0,)).steps[0]
    assert (step.view == step.view[..., :1]).all()
    assert net.explain(photo, layers=["2", "last"]).maps[1].raw.shape == (5, 5)
    assert net.effective_receptive_field(photo).gradient.shape == (160, 160)


def test_weights_tell_a_grey_network_where_nothing_else_does(tmp_path, photo):
    """timm before 1.0.31 saved a grey network with the config of a colour's, and no arguments."""
    torch.manual_seed(2)
    made = timm.create_model("test_resnet.r160_in1k", in_chans=1).eval()
    torch.save(made.state_dict(), tmp_path / "w.pth")
    net = mscnn.load("test_resnet.r160_in1k", weights=tmp_path / "w.pth", device="cpu")
    assert net.loaded.data_config["input_size"] == (1, 160, 160)
    # The mean of a colour's three, timm's own rule.
    assert net.loaded.data_config["mean"] == pytest.approx([np.mean(made.pretrained_cfg["mean"])])
    with torch.inference_mode():
        expected = made(net.preprocess(photo).x)[0]
    np.testing.assert_allclose(net.predict(photo).logits, expected, atol=1e-6)


def test_two_channels_are_refused(tmp_path):
    made = timm.create_model("test_resnet.r160_in1k", in_chans=2)
    torch.save(made.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UnsupportedModelError, match="takes 2 channels, and a photo has three or"):
        mscnn.load("test_resnet.r160_in1k", weights=tmp_path / "w.pth")
