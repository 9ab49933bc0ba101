"""The page's border for errors: a toast on the page, one sentence over HTTP, nothing more."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from mscnn.errors import Cancelled, ImageError, UnknownModelError
from mscnn.http.feedback import UNEXPECTED, http_errors, toast

Toasts = list[tuple[str, str]]
SKIPPED = gr.skip()


@pytest.fixture
def toasts(monkeypatch: pytest.MonkeyPatch) -> Toasts:
    """The toasts shown, as (kind, text)."""
    shown: Toasts = []
    for kind in ("Info", "Warning"):

        def show(message: str, *args: Any, kind: str = kind, **kwargs: Any) -> None:
            shown.append((kind, message))

        monkeypatch.setattr(gr, kind, show)
    return shown


def test_an_expected_error_is_a_toast_and_leaves_all_outputs(toasts):
    @toast(3)
    def handler() -> Any:
        raise ImageError("photo.txt is no picture.")

    assert handler() == (SKIPPED,) * 3
    assert toasts == [("Warning", "photo.txt is no picture.")]


def test_one_output_is_not_wrapped_in_a_tuple(toasts):
    @toast(1)
    def handler() -> Any:
        raise ImageError("No.")

    assert handler() == SKIPPED
    assert toasts == [("Warning", "No.")]


def test_what_was_shown_before_an_error_stays(toasts):
    @toast(2)
    def handler() -> Iterator[Any]:
        yield ("first", "part")
        raise UnknownModelError("There is no model 'x'.")

    assert list(handler()) == [("first", "part"), ("first", "part")]
    assert toasts == [("Warning", "There is no model 'x'.")]


def test_stop_is_an_information_and_no_warning(toasts):
    @toast(2)
    def handler() -> Iterator[Any]:
        raise Cancelled("Stopped.")
        yield

    assert list(handler()) == [(SKIPPED, SKIPPED)]
    assert toasts == [("Info", "Stopped.")]


def test_an_unexpected_error_is_logged_and_shown_as_one_sentence(toasts, caplog):
    @toast(2)
    def handler() -> Any:
        raise KeyError("/srv/secret/path")

    with caplog.at_level(logging.ERROR):
        assert handler() == (SKIPPED, SKIPPED)
    assert toasts == [("Warning", UNEXPECTED)]
    assert "KeyError" in caplog.text


def test_gradios_own_errors_pass(toasts):
    @toast(1)
    def handler() -> Any:
        raise gr.Error("Too many visitors.")

    with pytest.raises(gr.Error, match="Too many"):
        handler()
    assert toasts == []


def test_results_pass_unchanged(toasts):
    assert toast(2)(lambda a, b=1: (a, b))(5) == (5, 1)
    assert toasts == []


def test_the_signature_stays_for_gradio_to_read():
    def handler(photo: str, request: gr.Request, event: gr.SelectData) -> Any:
        """What it does."""

    for wrapped in (toast(1)(handler), http_errors(handler)):
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
