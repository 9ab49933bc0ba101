"""Split attention on the Scales tab: asked for once per answer, shown where the model has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.engine.pipeline import Engine
from mscnn.errors import UnsupportedModelError
from mscnn.geometry import FloatMap
from mscnn.page import attention_view as view
from mscnn.page.scales_view import Shown, is_photo_of
from mscnn.results.scales import AttentionReport, ScaleReport

OUTPUTS = ("state", "attention", "attention_note", "gates", "attention_blocks", "decided", "radix")
HIDDEN = (gr.update(visible=False), *[gr.skip()] * 5)


class Attention:
    """Split attention through the lens, with the mean gates of the examples kept.

    Args:
        lens: shared by all visitors.
        references: photographs to average the gates over.
    """

    def __init__(self, lens: Engine, references: Sequence[str | Path]) -> None:
        self._lens, self._references = lens, tuple(references)
        # The examples never change, so each model need see them only once.
        self._means: dict[tuple[str, str], dict[str, FloatMap | None]] = {}

    def show(self, shown: Shown | None, photo: Any, opacity: float, cmap: str) -> tuple[Any, ...]:
        """Outputs: ``OUTPUTS``; hides the part where the model has no split attention."""
        if shown is None or not view.may_have_attention(shown.report):
            return gr.skip(), *HIDDEN
        if shown.number not in shown.attention:
            if not isinstance(photo, Image.Image) or not is_photo_of(shown, photo):
                return gr.skip(), *HIDDEN
            report = self._asked(photo, shown.models[shown.number], shown.report)
            if report is None:
                return gr.skip(), *HIDDEN
            shown = replace(shown, attention={**shown.attention, shown.number: report})
        report = shown.attention[shown.number]
        block = view.block_of(report, shown.block)
        if block is None:
            return shown, *HIDDEN
        return (
            shown,
            gr.update(visible=True),
            view.note(block, report.references),
            gr.update(
                value=view.gates_picture(block, report.references), alt_text=view.gates_alt(block)
            ),
            view.block_rows(report),
            view.decided_rows(block),
            view.radix_html(shown, block, opacity, cmap),
        )

    def _asked(self, photo: Image.Image, model: str, scales: ScaleReport) -> AttentionReport | None:
        """None where the model turns out to have no split attention.

        Args:
            photo: the one that is shown.
            model: as it was asked for; a result bears only the last part of a folder's path.
            scales: what is shown of it.
        """
        prediction = scales.prediction
        key = (prediction.model, prediction.weights.sha256)
        known = self._means.get(key)
        try:
            report = self._lens.split_attention(
                photo,
                model,
                target=scales.target.index,
                references=() if known is not None else self._references,
            )
        except UnsupportedModelError:
            return None
        if known is None:
            self._means[key] = {b.block: b.reference for b in report.blocks}
            return report
        blocks = tuple(replace(b, reference=known.get(b.block)) for b in report.blocks)
        return replace(report, blocks=blocks, references=len(self._references))
