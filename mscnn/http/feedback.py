"""The page's border for errors: expected ones become sentences, others are logged and hidden."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from mscnn.errors import MscnnError

log = logging.getLogger(__name__)
UNEXPECTED = (
    "Something unexpected went wrong; your photo and settings are kept. "
    "Try again, or choose another model or method."
)
MALFORMED = "The request does not fit this endpoint; /gradio_api/info says what it takes."
NOT_UPLOADED = "That picture was not uploaded here; upload the file itself."


def http_errors(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an error of an HTTP endpoint into gradio's error answer with one sentence."""

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except MscnnError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            log.exception("unexpected error in an endpoint")
            raise gr.Error(UNEXPECTED, print_exception=False) from error

    return wrapped
