"""Any value for any parameter of any endpoint: an answer, or a sentence of its own."""

from typing import Any

import gradio as gr
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mscnn.http.endpoints import ENDPOINTS
from mscnn.http.feedback import MALFORMED, UNEXPECTED
from tests.page.serving import MODELS


def nested(depth):
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ODD = {
    "a long name": "a" * 5000, "300 letters": "a" * 300, "a million letters": "x" * 10**6,
    "names": ",".join(f"m{n}" for n in range(2000)), "slashes": "/" * 5000, "dots": "../" * 90,
    "hub": "hf-hub:" + "a" * 290, "a tag": "resnet18." + "t" * 280, "home": "~nobody/x",
    "digits": "9" * 5000, "few digits": "9" * 300, "superscript": "²", "NUL": "a\0b",
    "half a letter": "\ud800", "lines": "a\nb", "brackets": "[" * 1800 + "]" * 1800,
    "few brackets": "[" * 140 + "]" * 140, "a bracket": "[", "numbers": "[1, 2]",
    "lists": "[['a']]", "a set": "{'a'}", "bytes": "[b'a']", "a number": f"[{'9' * 290}]",
    "boxes": "nan,nan,nan,nan", "far": "1e999,0,1e999,1", "format": "%s%d{}{0.__class__}",
    "NaN": float("nan"), "infinity": float("-inf"), "huge": 10**400, "minus": -(10**30),
    "half": 0.5, "yes": True, "none": None, "dictionary": {"a": [1]}, "nested list": nested(40),
    "deeply nested list": nested(20_000), "list": ["a", "b"], "empty list": [],
}  # fmt: skip
GOOD = {"model": MODELS[1], "models": ", ".join(MODELS), "baseline": ""}


@pytest.fixture(scope="module")
def answer(site, make_photo):
    """``answer("predict", model=...)``: the sentence of the refusal, or "" for an answer.

    As gradio calls the endpoint, but for the queue and the upload.
    """
    events = {event.api_name: event for event in site.demo.fns.values()}
    photo = make_photo(1, (40, 30))

    def ask(endpoint, **odd):
        event, values = events[endpoint], []
        for block in event.inputs:
            name = block.label
            value = odd.get(name, GOOD.get(name, block.value))
            try:
                values.append(photo if name == "image" else block.preprocess(value))
            except Exception:  # what Page.preprocess_data does with it; see test_feedback
                return MALFORMED
        try:
            event.fn(*values)
        except gr.Error as error:
            return error.message
        return ""

    return ask


def parameters(site):
    """Each parameter with the first endpoint that has it: all are read in one place."""
    events = [event for event in site.demo.fns.values() if event.api_name in ENDPOINTS]
    found = {b.label: e.api_name for e in reversed(events) for b in e.inputs if b.label != "image"}
    return [(endpoint, name) for name, endpoint in found.items()]


def assert_a_sentence(text):
    assert text != UNEXPECTED
    assert text.endswith((".", "?"))
    assert len(text) < 800
    assert "Error" not in text
    assert max(map(len, text.split())) < 320


@pytest.mark.slow
@pytest.mark.parametrize("value", ODD)
def test_an_odd_value_is_answered_or_refused_with_a_sentence(answer, site, value):
    for endpoint, name in parameters(site):
        if ODD[value] is None and (endpoint, name) != ("predict", "top_k"):
            continue  # the default
        text = answer(endpoint, **{name: ODD[value]})
        if text:
            assert_a_sentence(text)


@pytest.mark.parametrize(("endpoint", "name", "value", "says"), [
    ("predict", "model", "a" * 5000, "model has 5,000 characters; give at most 300."),
    ("compare", "models", "a," * 3000, "models has 6,000 characters; give at most 1,800."),
    ("compare", "models", "[" * 100 + "]" * 100, "models must be names separated by commas."),
    ("compare", "models", [["a"], "b"], "models must be names separated by commas."),
    ("predict", "top_k", float("nan"), "top_k is nan; it must be a whole number of 1 or more."),
    ("predict", "top_k", [[5]], "top_k is no number; it must be a whole number of 1 or more."),
])  # fmt: skip
def test_the_sentence_names_the_parameter(answer, endpoint, name, value, says):
    assert answer(endpoint, **{name: value}) == says


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([*MODELS, "top1", "last", "gradcam", "0.1,0.1,0.9,0.9", "grey"]),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.slow
@settings(
    max_examples=250, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_any_json_is_answered_or_refused_with_a_sentence(answer, site, data):
    endpoint, name = data.draw(st.sampled_from(parameters(site)))
    odd = {name: data.draw(JSON | st.sampled_from(list(ODD.values())))}
    text = answer(endpoint, **odd)
    if text:
        assert_a_sentence(text)
