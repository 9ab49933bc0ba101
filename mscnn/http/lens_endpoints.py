"""The HTTP endpoints of the multi-scale lens, MCP tools too; see ``mscnn.http.endpoints``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from matplotlib.figure import Figure
from PIL import Image

from mscnn.draw.charts import evidence_chart, field_charts, sweep_chart
from mscnn.draw.figures import png
from mscnn.engine.lens_options import fair_baseline, parse_box
from mscnn.engine.network import Photo
from mscnn.engine.pipeline import Engine
from mscnn.errors import ImageError, UnsupportedModelError
from mscnn.http.endpoints import parse_names
from mscnn.http.feedback import http_errors
from mscnn.http.uploads import PhotoInput, cache_file, need_photo
from mscnn.results.explanation import JsonDict
from mscnn.results.serialise_lens import (
    attention_dict,
    receptive_field_dict,
    safe_integers,
    scales_dict,
    sweep_dict,
)


def build_lens_api(
    lens: Engine, first: str, queue: dict[str, Any], *, references: Sequence[Photo] = ()
) -> None:
    """Add ``/scales``, ``/receptive_field`` and ``/sweep`` to the page that is being built.

    Args:
        lens: shared with the page.
        first: the model of requests that name none.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.
        references: photos whose split attention is averaged beside a ResNeSt's.
    """

    def named(model: str) -> str:
        # A JSON null, as for the other texts, is the default.
        return (model or first).strip()

    @http_errors
    def scales(
        image: Image.Image | ImageError | None, model: str, target: str
    ) -> tuple[dict[str, Any], str]:
        """Show at which receptive-field size a network found its evidence for a class.

        Args:
            image: the photo, uploaded.
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            target: a class by name or index, or "top1".

        Returns:
            The share of each split in each block's evidence as JSON ("attention" for a ResNeSt),
            and a chart of the shares over depth (PNG).
        """
        photo = need_photo(image)
        report = lens.scales(photo, named(model), target=target or "top1", name="")
        gates = _attention(lens, photo, named(model), report.target.index, references)
        document = {**scales_dict(report), "attention": gates}
        return document, _picture("attribution.png", evidence_chart(report))

    @http_errors
    def receptive_field(model: str, baseline: str) -> tuple[dict[str, Any], str]:
        """Tell how much of its input each stage, block and split of a network can see.

        Args:
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            baseline: name of a model to draw beside it; left empty, its fair pair in the list.

        Returns:
            Theoretical receptive fields in px of the input as JSON (numbers beyond 2^53 as text),
            and a chart of both models (PNG).
        """
        field = lens.receptive_field(named(model))
        beside = (baseline or "").strip()
        other = lens.receptive_field(beside) if beside else fair_baseline(field.model)
        document = receptive_field_dict(field, spectrum=True)
        document["baseline"] = receptive_field_dict(other, spectrum=True) if other else None
        sheet = _picture("receptive_field.png", field_charts([field, *([other] if other else [])]))
        return safe_integers(document), sheet

    @http_errors
    def sweep(
        image: Image.Image | ImageError | None, models: str, target: str, box: str, canvas: str
    ) -> tuple[dict[str, Any], str]:
        """Show one object at twelve sizes to networks, and measure at which they still know it.

        Args:
            image: the photo, uploaded.
            models: names of one to four models, separated by commas.
            target: a class by name or index, or "top1" for the first model's best class.
            box: left,top,right,bottom in percent of the photo or as shares 0..1; empty: all of it.
            canvas: what surrounds the object: mean, grey, blur, edge or noise.

        Returns:
            Probability, rank, share of the evidence on the object and evidence-weighted receptive
            field at each size as JSON, and charts of them (PNG).
        """
        photo = need_photo(image)
        result = lens.sweep(
            photo,
            parse_names(models or ""),
            target=target or "top1",
            box=parse_box(box or ""),
            canvas=(canvas or "mean").strip().lower(),
        )
        return sweep_dict(result), _picture("sweep.png", sweep_chart(result))

    with gr.Group(visible=False):
        image = PhotoInput(label="image", sources=["upload"])
        model = gr.Textbox(first, label="model")
        baseline = gr.Textbox("", label="baseline")
        models = gr.Textbox(label="models")
        target = gr.Textbox("top1", label="target")
        box = gr.Textbox("", label="box")
        canvas = gr.Textbox("mean", label="canvas")
        numbers = gr.JSON(label="result")
        picture = gr.File(label="picture")
        for fn, inputs in (
            (scales, [image, model, target]),
            (receptive_field, [model, baseline]),
            (sweep, [image, models, target, box, canvas]),
        ):
            gr.Button(visible=False).click(
                fn, inputs, [numbers, picture], api_name=fn.__name__, api_visibility="public",
                **queue,
            )  # fmt: skip


def _attention(
    lens: Engine, photo: Image.Image, model: str, target: int, references: Sequence[Photo]
) -> list[JsonDict] | None:
    """The blocks' split attention; None for a model without."""
    try:
        report = lens.split_attention(photo, model, target=target, references=references)
    except UnsupportedModelError:
        return None
    blocks: list[JsonDict] = attention_dict(report)["blocks"]
    return blocks


def _picture(name: str, drawn: Figure) -> str:
    return cache_file(name, png(drawn, 1200))
