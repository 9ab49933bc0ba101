"""What every answer says of papers and licences."""

import html
import re

import pytest

from tests.page.serving import MODELS

LENS = "look"


def keys(text):
    return set(re.findall(r"@\w+\{(\w+),", html.unescape(text)))


@pytest.mark.parametrize(("fields", "cited"), [
    ({"lens": "look", "method": "layercam"},
     "gao2021res2net jiang2021layercam guo2017calibration"),
    ({"lens": "scales"}, "gao2021res2net selvaraju2017gradcam araujo2019fields"),
    # Theory, its weights are not here.
    ({"lens": "rf", "model": "resnest50d.in1k"},
     "zhang2020resnest araujo2019fields luo2016effective ding2022replknet"),
    ({"lens": "compare"}, "gao2021res2net he2016resnet selvaraju2017gradcam"),
    ({"lens": "features"}, "gao2021res2net"),
    # Against another class it is the difference of two Grad-CAMs, whatever the method.
    ({"lens": "trust", "method": "eigencam", "target": "lion", "options": {"against": "espresso"}},
     "gao2021res2net selvaraju2017gradcam chattopadhay2018gradcampp wang2020scorecam "
     "petsiuk2018rise rong2022road yeh2019infidelity bhatt2020evaluating adebayo2018sanity "
     "hedstrom2024fresh zhang2018excitation"),
])  # fmt: skip
def test_an_answer_cites_its_networks_its_method_and_its_lens(ask, few_steps, fields, cited):
    models = MODELS if fields["lens"] == "compare" else [fields.get("model", MODELS[0])]
    told = ask(**fields)[-1]["cite"]
    assert keys(told) == {*cited.split(), "wightman2019timm", "mscnn"}
    assert "This program: Apache-2.0." in told
    assert told.count("Weights of") == len(models)
