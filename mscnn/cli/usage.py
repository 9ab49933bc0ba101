"""What typer says of wrong arguments, in one sentence.

Newer typer carries its own copy of click, older typer imports it. Both give their errors the same
methods, so they are known by these and not by their class.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

GLOBAL = ("--debug", "--version")


def is_usage_error(error: BaseException) -> bool:
    """Whether typer or click raised this because of what was typed."""
    return callable(getattr(error, "format_message", None))


def usage_sentence(error: Any, arguments: Sequence[str], commands: Sequence[str]) -> str:
    """Return what was wrong, what is accepted, and where to read more.

    Args:
        error: one that ``is_usage_error`` knows.
        arguments: what was typed after the program's name.
        commands: the names of all commands.
    """
    context = getattr(error, "ctx", None)
    typed = next((text for text in arguments if not text.startswith("-")), None)
    path = f"mscnn {typed}" if typed in commands else "mscnn"
    path = context.command_path if context is not None else path
    more = f"'{path} --help' shows what is accepted"
    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        return _no_option(str(error.option_name), context, path, more)
    if typed is None:
        return f"No command was given; choose one of {', '.join(commands)}."
    if typed not in commands:
        alike = difflib.get_close_matches(typed, commands, n=1)
        close = f"did you mean {alike[0]}?" if alike else f"choose one of {', '.join(commands)}."
        return f"There is no command {typed!r}; {close}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}{_given(error)}; {more}."


def _given(error: BaseException) -> str:
    """Return what was typed where the message does not say: newer typer leaves it to pydantic."""
    errors = getattr(error.__cause__, "errors", None)
    if not callable(errors):
        return ""
    return f", not {errors()[0].get('input')!r}"


def _no_option(option: str, context: Any, path: str, more: str) -> str:
    if option in GLOBAL:
        return f"{option} goes before the command, as in 'mscnn {option} ...'."
    known = [
        name
        for parameter in (context.command.params if context is not None else ())
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]
    alike = difflib.get_close_matches(option, known, n=3, cutoff=0.6)
    close = f"did you mean {' or '.join(alike)}?" if alike else f"{more}."
    return f"'{path}' has no option {option}; {close}"
