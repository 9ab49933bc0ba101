"""The table of commands, and their border: arguments in, exit code out, errors as one line."""

from __future__ import annotations

import difflib
import functools
import itertools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand

import mscnn
from mscnn.cli.console import RUNNING, complain, say, visible
from mscnn.cli.folders import evaluate, features, study
from mscnn.cli.networks import cite, download, models, rf, serve
from mscnn.cli.options import at_home
from mscnn.cli.photos import compare, explain, predict, scales, sweep, trust
from mscnn.cli.replay import replay
from mscnn.cli.training import finetune, train
from mscnn.errors import Cancelled, MscnnError, OptionError
from mscnn.results.writing import bare_name, reason

logger = logging.getLogger(__name__)

PROGRAM = "mscnn"
FAILED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # 128 + the number of SIGINT and of SIGPIPE
UNEXPECTED = (
    "Something unexpected went wrong; run 'mscnn --debug' with the same command to see where."
)
NO_TEMPORARY = "No folder for temporary files may be written; name one that may be as TMPDIR."
REFUSED = "The system refused {} ({}); 'mscnn --debug' with the same command shows where."
_EPILOG = "\b\nStart with:\n  mscnn models\n  mscnn predict photo.jpg\n  mscnn serve"

# Plain text: no boxes in help or errors, and nothing but the result on stdout.
app = typer.Typer(
    name=PROGRAM, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip


class _Command(TyperCommand):
    """Refuses an empty path, as of a shell's unset variable, before it becomes this folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        kinds = get_type_hints(self.callback)
        for parameter in self.params:
            kind = kinds[str(parameter.name)]
            if typed.get(parameter.name) == "" and Path in (kind, *get_args(kind)):
                name = str(parameter.opts[0])
                name = name if name[0] == "-" else name.upper()
                raise OptionError(f"{name} is empty; give a path, or . for this folder.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Note what runs, for the manifests that it writes."""
        ctx.params |= {k: at_home(v) for k, v in ctx.params.items() if isinstance(v, Path)}
        RUNNING.set((str(self.name), dict(ctx.params)))
        return super().invoke(ctx)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mscnn {mscnn.__version__}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def _before_command(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from (or set MSCNN_DEBUG=1).")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """See what a multi-scale CNN sees: labels, maps, the scale of a decision, comparisons.

    Errors are one line on stderr and exit code 2.
    """


COMMANDS = (
    models, predict, explain, compare, scales, rf, sweep, trust, replay, study, features, evaluate,
    download, cite, serve, train, finetune,
)  # fmt: skip
"""Commands, in the order of the help."""
EXAMPLES = """
models
models --json
predict lion.jpg
predict *.jpg --model res2net50d.in1k --top-k 3 --json
predict lion.jpg --model resnet50.tv_in1k --weights my.safetensors
explain lion.jpg --out maps
explain cup.jpg --target "espresso" --layer layer3 --out maps
explain lion.jpg --method scorecam --out maps --json
explain photos --target label --out photo-maps
compare lion.jpg --models starter_res2net,starter_resnet --out lion
compare lion.jpg --models res2net50_26w_4s.in1k,resnet50.tv_in1k --target lion --out lion
compare photos --models starter_res2net,starter_resnet --out both
scales lion.jpg --out lion-scales
scales lion.jpg --model res2net50_26w_4s.in1k --target lion --out lion-scales --json
rf res2net50_26w_4s.in1k
rf starter_res2net --spectrum --json
rf res2net50d.in1k --out rf
sweep lion.jpg --models starter_res2net,starter_resnet --out lion-zoom
sweep lion.jpg --models starter_res2net --box 25,10,75,90 --sizes 2,1,0.5 --out lion-zoom
trust lion.jpg --out lion-trust
trust lion.jpg --methods gradcam,layercam --layers stages --out lion-trust
trust photos --methods gradcam,layercam --out photo-trust
trust lion.jpg --target lion --against cougar --box 25,10,75,90 --out lion-trust --json
replay lion-trust/manifest.json
replay maps/manifest.json --photo lion.jpg --out again
study photos --models starter_resnet,starter_res2net --out study
study imagenet/val --models resnet50.tv_in1k,res2net50_26w_4s.in1k --out study
features photos --model starter_res2net --out photos.npz
features photos --model starter_res2net --split layer3.1/2 --out split.npz
evaluate photos --model starter_res2net --json
evaluate photos --model my-model --out evaluation
evaluate photos --model starter_res2net --against starter_resnet --report page
download res2net50d.in1k resnest50d.in1k
cite starter_res2net layercam
serve
serve --host 0.0.0.0 --port 7860
train photos --model starter_res2net --out my-model
train photos --model starter_res2net --out my-model --resume
finetune photos --model starter_res2net --out my-model
finetune photos --model resnet50.a1_in1k --out my-model --freeze --epochs 5
finetune labels.csv --model ./my-model --out better --resume
"""
"""They stand at the end of their command's own help."""

for _command in COMMANDS:
    _own = [line for line in EXAMPLES.splitlines() if line.split()[:1] == [_command.__name__]]
    # \b keeps the lines as they are.
    app.command(cls=_Command, epilog="\b\n" + "\n  mscnn ".join(["Examples:", *_own]))(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    ``argv``: arguments without the program's name; None for those of this process, which is then
    also set up: libraries' warnings are hidden unless asked for. Returns the exit code: 0; 2 for
    any error, said in one line on stderr; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _is_debug(arguments)
    if argv is None:
        _set_up_process(debug)
    try:
        code = guarded(lambda: _run(arguments), debug=debug)
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who reads our output has gone, such as ``head``; Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception:
        logger.debug("unexpected error", exc_info=True)
        return _fail(UNEXPECTED, FAILED, debug)


def guarded(work: Callable[[], int], *, debug: bool = False) -> int:
    """Return ``work``'s exit code, or say in a line what is expected to go wrong; else raise."""
    try:
        return work()
    except (KeyboardInterrupt, Cancelled):
        return _fail("Stopped.", INTERRUPTED, debug=False)
    except MscnnError as error:
        return _fail(str(error), FAILED, debug)
    except OSError as error:
        if "temporary directory" in str(error):  # of Python's tempfile, and of matplotlib
            return _fail(NO_TEMPORARY, FAILED, debug)
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        what = repr(bare_name(str(error.filename))) if error.filename else "a file"
        return _fail(REFUSED.format(what, reason(error)), FAILED, debug)


def _is_debug(arguments: Sequence[str]) -> bool:
    """Whether ``--debug`` stands before the command; asked before parsing, which may fail."""
    before_command = itertools.takewhile(lambda text: text.startswith("-"), arguments)
    return "--debug" in before_command or os.environ.get("MSCNN_DEBUG", "") not in ("", "0")


# It reads the options of all commands, which takes as long as many a command.
_click_command = functools.cache(typer.main.get_command)


def _run(arguments: list[str]) -> int:
    """Parse and run. typer's own ``main`` would print boxes, swallow Ctrl-C and leave Python."""
    command = _click_command(app)
    try:
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        # Newer typer has its own copy of click, older typer imports it: their usage errors have
        # this method in common, not a class.
        if callable(getattr(error, "format_message", None)):
            raise OptionError(_usage_sentence(error, arguments)) from error
        raise
    return 0


def _fail(sentence: str, code: int, debug: bool) -> int:
    if debug:
        say(*traceback.format_exc().rstrip().split("\n"), err=True)
    complain(sentence)
    return code


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(visible, super().format(record).split("\n")))


def _set_up_process(debug: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A file name or label that the terminal cannot show must not end the command.
            reconfigure(errors="backslashreplace")
    if debug:
        handler = logging.StreamHandler()
        handler.setFormatter(_Visible("%(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        logging.getLogger("mscnn").setLevel(logging.DEBUG)
        return
    logging.basicConfig(level=logging.CRITICAL)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _usage_sentence(error: Any, arguments: Sequence[str]) -> str:
    commands = sorted(getattr(_click_command(app), "commands", ()))
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
    # What was typed, where the message does not say: newer typer leaves it to pydantic.
    details = getattr(error.__cause__, "errors", None)
    given = f", not {details()[0].get('input')!r}" if callable(details) else ""
    return f"{' '.join(error.format_message().split()).rstrip('.')}{given}; {more}."


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
