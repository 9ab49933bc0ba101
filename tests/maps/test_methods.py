"""The table of methods: names, costs, and lookups."""

import pytest

from mscnn.errors import MethodError
from mscnn.maps.methods import METHODS, get_method


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_found_by_name_and_by_title(name):
    method = METHODS[name]
    assert get_method(name) is method
    assert get_method(f"  {method.title.upper()} ") is method


def test_names_and_titles_name_one_method_each():
    spoken = [text for m in METHODS.values() for text in {m.name, m.title.lower()}]
    assert len(spoken) == len(set(spoken))


@pytest.mark.parametrize(("wanted", "message"), [
    ("grad-cam+", "choose one of gradcam, .*ablationcam.* Did you mean 'gradcam"),
    ("saliency of my own", "There is no method 'saliency of my own'; choose one of gradcam"),
    ("", "There is no method ''"),
])  # fmt: skip
def test_an_unknown_method_is_refused_with_the_list(wanted, message):
    with pytest.raises(MethodError, match=message):
        get_method(wanted)
