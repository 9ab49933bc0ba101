"""What every answer says of papers and licences."""

import html
import re

import pytest

from mscnn.models.citing import bibtex
from tests.page.serving import MODELS

LENS = "look"


def keys(text):
    return set(re.findall(r"@\w+\{(\w+),", html.unescape(text)))


@pytest.mark.parametrize(("fields", "cited"), [
    ({"lens": "look", "method": "layercam"}, ("look", "layercam")),
    ({"lens": "scales"}, ("scales",)),
    ({"lens": "rf", "model": "resnest50d.in1k"}, ("rf",)),  # theory, its weights are not here
    ({"lens": "compare"}, ("gradcam",)),
    ({"lens": "features"}, ()),
])  # fmt: skip
def test_an_answer_cites_its_networks_its_method_and_its_lens(ask, fields, cited):
    models = MODELS if fields["lens"] == "compare" else [fields.get("model", MODELS[0])]
    told = ask(**fields)[-1]["cite"]
    assert keys(told) == keys(bibtex(*models, *cited, "timm", "mscnn"))
    assert "This program: Apache-2.0." in told
    assert told.count("Weights of") == len(models)
