"""The border for errors over HTTP: one sentence, nothing more."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import gradio as gr
import pytest

from mscnn.errors import ImageError
from mscnn.http.feedback import UNEXPECTED, http_errors


def test_the_signature_stays_for_gradio_to_read():
    def handler(photo: str, request: gr.Request, event: gr.SelectData) -> Any:
        """What it does."""

    wrapped = http_errors(handler)
    assert inspect.signature(wrapped) == inspect.signature(handler)
    assert wrapped.__doc__ == "What it does."


def test_over_http_an_expected_error_is_one_sentence():
    @http_errors
    def handler() -> Any:
        raise ImageError("photo.txt is no picture.")

    with pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == "photo.txt is no picture."
    assert not caught.value.print_exception


def test_over_http_an_unexpected_error_says_nothing_of_the_inside(caplog):
    @http_errors
    def handler() -> Any:
        raise RuntimeError("/srv/secret/path")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == UNEXPECTED
    assert "/srv/secret/path" in caplog.text
