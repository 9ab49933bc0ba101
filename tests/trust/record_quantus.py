"""Record what quantus 0.6.0 gives for ``oracle.py``: writes ``quantus.json`` beside this file.

It is no test requirement: it brings opencv-python, which writes over the headless build of
grad-cam and needs libGL. In an environment of its own, from the project's root:

    pip install -r requirements.txt cachetools && pip install --no-deps quantus==0.6.0
    python -m tests.trust.record_quantus
"""

import copy
import json
from pathlib import Path

import numpy as np
import quantus
import torch
from quantus.helpers.model.pytorch_model import PyTorchModel

from tests.trust.oracle import BOX, SIDE, STEPS, TARGET, Small, cam, picture


def randomised(self, order="top_down", seed=42):
    """As quantus does, from the head down, but with another seed for each layer."""
    model = copy.deepcopy(self.model)
    layers = [m for m in model.named_modules() if hasattr(m[1], "reset_parameters")][::-1]
    for number, (name, module) in enumerate(layers):
        torch.manual_seed(number)
        module.reset_parameters()
        yield name, model


def explain(model, inputs, targets, **_):
    """The maps of some inputs."""
    inputs = torch.as_tensor(inputs)
    return np.stack(
        [cam(model, x[None], int(t))[None] for x, t in zip(inputs, targets, strict=True)]
    )


def main():
    """Record."""
    PyTorchModel.get_random_layer_generator = randomised
    model, x, y = Small().eval(), picture().numpy(), np.array([TARGET])
    a = explain(model, x, y)
    positive, mask = np.maximum(a, 0), np.zeros((1, 1, SIDE, SIDE), bool)
    mask[..., BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    plain = {"abs": False, "normalise": False, "disable_warnings": True}
    step = 3 * SIDE**2 // STEPS
    flipping = quantus.PixelFlipping(features_in_step=step, perturb_baseline=0.0, **plain)
    mprt = quantus.MPRT(layer_order="top_down", **plain)
    emprt = quantus.EfficientMPRT(layer_order="top_down", **plain)
    asked = {"model": model, "x_batch": x, "y_batch": y}
    shown = {"explain_func": explain, "explain_func_kwargs": {}}
    pointing = quantus.PointingGame(**plain)
    mass = quantus.RelevanceMassAccuracy(**plain)
    complexity = quantus.Complexity(normalise=False, disable_warnings=True)
    recorded = {
        "quantus": quantus.__version__,
        "pixel_flipping": np.ravel(flipping(**asked, a_batch=a)).tolist(),
        "mprt": {k: float(v[0]) for k, v in mprt(**asked, a_batch=a, **shown).items()},
        "emprt": float(emprt(**asked, a_batch=a, **shown)[0]),
        "complexity": float(complexity(**asked, a_batch=positive)[0]),
        "pointing_game": float(pointing(**asked, a_batch=positive, s_batch=mask)[0]),
        "relevance_mass": float(mass(**asked, a_batch=positive, s_batch=mask)[0]),
    }
    place = Path(__file__).with_name("quantus.json")
    place.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
