"""The table of commands and the options that stand before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import mscnn
from mscnn.cli.compare import compare
from mscnn.cli.download import download
from mscnn.cli.evaluate import evaluate
from mscnn.cli.explain import explain
from mscnn.cli.features import features
from mscnn.cli.models import models
from mscnn.cli.predict import predict
from mscnn.cli.rf import rf
from mscnn.cli.scales import scales
from mscnn.cli.serve import serve
from mscnn.cli.study import study
from mscnn.cli.sweep import sweep
from mscnn.cli.training import finetune, train

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_EPILOG = "\b\nStart with:\n  mscnn models\n  mscnn predict photo.jpg\n  mscnn serve"

# Plain text: no boxes in help or errors, and nothing but the result on stdout.
app = typer.Typer(
    name="mscnn",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=_CONTEXT,
)


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


COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    models: ("models", "models --json"),
    predict: (
        "predict lion.jpg",
        "predict *.jpg --model res2net50d.in1k --top-k 3 --json",
        "predict lion.jpg --model resnet50.tv_in1k --weights my.safetensors",
    ),
    explain: (
        "explain lion.jpg --out maps",
        'explain cup.jpg --target "espresso" --layer layer3 --out maps',
        "explain lion.jpg --method scorecam --out maps --json",
    ),
    compare: (
        "compare lion.jpg --models starter_res2net,starter_resnet --out lion",
        "compare lion.jpg --models res2net50_26w_4s.in1k,resnet50.tv_in1k --target lion --out lion",
    ),
    scales: (
        "scales lion.jpg --out lion-scales",
        "scales lion.jpg --model res2net50_26w_4s.in1k --target lion --out lion-scales --json",
    ),
    rf: (
        "rf res2net50_26w_4s.in1k",
        "rf starter_res2net --spectrum --json",
        "rf res2net50d.in1k --out rf",
    ),
    sweep: (
        "sweep lion.jpg --models starter_res2net,starter_resnet --out lion-zoom",
        "sweep lion.jpg --models starter_res2net --box 25,10,75,90 --sizes 2,1,0.5 --out lion-zoom",
    ),
    study: (
        "study photos --models starter_resnet,starter_res2net --out study",
        "study imagenet/val --models resnet50.tv_in1k,res2net50_26w_4s.in1k --out study",
    ),
    features: (
        "features photos --model starter_res2net --out photos.npz",
        "features photos --model starter_res2net --split layer3.1/2 --out split.npz",
    ),
    evaluate: (
        "evaluate photos --model starter_res2net --json",
        "evaluate photos --model my-model --out evaluation",
    ),
    download: ("download res2net50d.in1k resnest50d.in1k",),
    serve: ("serve", "serve --host 0.0.0.0 --port 7860"),
    train: (
        "train photos --model starter_res2net --out my-model",
        "train photos --model starter_res2net --out my-model --resume",
    ),
    finetune: (
        "finetune photos --model starter_res2net --out my-model",
        "finetune photos --model resnet50.a1_in1k --out my-model --freeze --epochs 5",
        "finetune labels.csv --model ./my-model --out better --resume",
    ),
}
"""Commands, in the order of the help, with the examples at the end of their own help."""

for _command, _examples in COMMANDS.items():
    _lines = "\n".join(f"  mscnn {line}" for line in _examples)
    # \b keeps the lines as they are.
    app.command(epilog=f"\b\nExamples:\n{_lines}")(_command)
