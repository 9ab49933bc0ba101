"""The border of the command line: arguments in, exit code out, errors as one line on stderr."""

from __future__ import annotations

import difflib
import itertools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from mscnn.cli.app import app
from mscnn.errors import Cancelled, MscnnError

logger = logging.getLogger(__name__)

PROGRAM = "mscnn"
FAILED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # 128 + the number of SIGINT and of SIGPIPE
UNEXPECTED = (
    "Something unexpected went wrong; run 'mscnn --debug' with the same command to see where."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None for those of this process, which is then
            also set up: libraries' warnings are hidden unless asked for.

    Returns:
        The exit code: 0; 2 for any error, said in one line on stderr; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = is_debug(arguments)
    if argv is None:
        _set_up_process(debug)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Cancelled):
        return _fail("Stopped.", INTERRUPTED, debug=False)
    except BrokenPipeError:
        return _leave_pipe()
    except MscnnError as error:
        return _fail(str(error), FAILED, debug)
    except Exception as error:
        if _is_usage_error(error):
            return _fail(_usage_sentence(error, arguments), FAILED, debug)
        logger.debug("unexpected error", exc_info=True)
        return _fail(UNEXPECTED, FAILED, debug)


def is_debug(arguments: Sequence[str]) -> bool:
    """Whether ``--debug`` stands before the command, or MSCNN_DEBUG is set to more than 0.

    Asked before the arguments are parsed, because parsing may fail.
    """
    before_command = itertools.takewhile(lambda text: text.startswith("-"), arguments)
    return "--debug" in before_command or os.environ.get("MSCNN_DEBUG", "") not in ("", "0")


def _run(arguments: list[str]) -> int:
    """Parse and run. typer's own ``main`` would print boxes, swallow Ctrl-C and leave Python."""
    command = typer.main.get_command(app)
    try:
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    return 0


def _fail(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    # One line whatever it quotes: names of files and classes may hold line breaks or escapes.
    line = "".join(c if c.isprintable() else "?" for c in " ".join(sentence.split()))
    typer.echo(f"{PROGRAM}: {line}", err=True)
    return code


def _leave_pipe() -> int:
    """Stop quietly when who reads our output has gone, such as ``head``."""
    # Python flushes stdout once more at exit, and would complain then.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    return PIPE_CLOSED


def _set_up_process(debug: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A file name or label that the terminal cannot show must not end the command.
            reconfigure(errors="backslashreplace")
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("mscnn").setLevel(logging.DEBUG)
        return
    logging.basicConfig(level=logging.CRITICAL)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _is_usage_error(error: BaseException) -> bool:
    # Newer typer has its own copy of click, older typer imports it: their errors have in common
    # these methods, not a class.
    return callable(getattr(error, "format_message", None))


def _usage_sentence(error: Any, arguments: Sequence[str]) -> str:
    """What was wrong, what is accepted, and where to read more."""
    commands = sorted(getattr(typer.main.get_command(app), "commands", ()))
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
    # What was typed, where the message does not say: newer typer leaves it to pydantic.
    errors = getattr(error.__cause__, "errors", None)
    if not callable(errors):
        return ""
    return f", not {errors()[0].get('input')!r}"


def _no_option(option: str, context: Any, path: str, more: str) -> str:
    if option in ("--debug", "--version"):
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
