"""The HTTP endpoints, which are MCP tools too: typed, named, pictures as files, numbers as JSON."""

from __future__ import annotations

import ast
from datetime import datetime, timezone
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.draw.files import DrawingOptions, comparison_files, explanation_files
from mscnn.engine.pipeline import Engine
from mscnn.errors import ImageError, OptionError
from mscnn.http.feedback import http_errors
from mscnn.http.uploads import PhotoInput, cache_file, need_photo
from mscnn.results.serialise import comparison_dict, explanation_dict, predictions_dict


def build_api(engine: Engine, default_model: str, queue: dict[str, Any]) -> None:
    """Add ``/predict``, ``/explain`` and ``/compare`` to the page that is being built.

    Args:
        engine: shared with the page.
        default_model: for requests that name none.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.
    """

    def named(model: str) -> str:
        # A JSON null, as for the other texts, is the default.
        return (model or default_model).strip()

    @http_errors
    def predict(image: Image.Image | ImageError | None, model: str, top_k: float) -> dict[str, Any]:
        """Classify a photo with a multi-scale CNN.

        Args:
            image: the photo, uploaded.
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            top_k: how many classes to return.

        Returns:
            "results": one element with image, model, weights, device and top.
        """
        photo = need_photo(image)
        prediction = engine.predict(photo, named(model), top_k=_whole(top_k), name="")
        return predictions_dict([prediction])

    @http_errors
    def explain(
        image: Image.Image | ImageError | None, model: str, layer: str, target: str, method: str
    ) -> tuple[dict[str, Any], str, str]:
        """Show where in a photo the evidence for a class lies.

        Args:
            image: the photo, uploaded.
            model: name of a model.
            layer: "last", a stage number from 1 to 4, or a module name such as layer3.
            target: a class by name or index, or "top1".
            method: gradcam, gradcam++, hirescam, layercam, xgradcam, eigencam, scorecam, ...

        Returns:
            The explanation as JSON, the overlay (PNG), and the raw map (NumPy, float32).
        """
        photo = need_photo(image)
        explanation = engine.explain(
            photo, named(model), layers=layer or "last", targets=target or "top1",
            method=method or "gradcam", name="",
        )  # fmt: skip
        cam = explanation.maps[0]
        files = explanation_files(
            explanation, cam, photo, drawing=DrawingOptions(), created=datetime.now(timezone.utc)
        )
        overlay = cache_file("overlay.png", files["overlay.png"])
        return explanation_dict(explanation), overlay, cache_file("cam.npy", files["cam.npy"])

    @http_errors
    def compare(
        image: Image.Image | ImageError | None, models: str, target: str, layer: str
    ) -> tuple[dict[str, Any], str]:
        """Show the same photo and class through two to six models on one colour scale.

        Args:
            image: the photo, uploaded.
            models: names of models, separated by commas.
            target: a class by name or index, or "top1" for the first model's best class.
            layer: "last", or a stage number from 1 to 4.

        Returns:
            The comparison as JSON, and a contact sheet (PNG).
        """
        photo = need_photo(image)
        comparison = engine.compare(
            photo,
            parse_names(models or ""),
            target=target or "top1",
            layer=layer or "last",
            name="",
        )
        files = comparison_files(
            comparison, photo, drawing=DrawingOptions(), created=datetime.now(timezone.utc)
        )
        return comparison_dict(comparison), cache_file("comparison.png", files["comparison.png"])

    with gr.Group(visible=False):
        image = PhotoInput(label="image", sources=["upload"])
        model = gr.Textbox(default_model, label="model")
        models = gr.Textbox(label="models")
        # precision=0 would round 1.5 to 2 without a word.
        top_k = gr.Number(5, label="top_k")
        layer = gr.Textbox("last", label="layer")
        target = gr.Textbox("top1", label="target")
        method = gr.Textbox("gradcam", label="method")
        numbers = gr.JSON(label="result")
        picture = gr.File(label="picture")
        raw = gr.File(label="raw map")
        for fn, inputs, outputs in (
            (predict, [image, model, top_k], [numbers]),
            (explain, [image, model, layer, target, method], [numbers, picture, raw]),
            (compare, [image, models, target, layer], [numbers, picture]),
        ):
            gr.Button(visible=False).click(
                fn, inputs, outputs, api_name=fn.__name__, api_visibility="public", **queue
            )


def parse_names(text: str) -> list[str]:
    """Split ``"a, b"``; a list written as JSON works too."""
    text = text.strip()
    if text.startswith("["):
        try:
            names = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            names = None
        if not isinstance(names, list):
            raise OptionError("models must be names separated by commas.")
        return [str(name).strip() for name in names]
    return [name.strip() for name in text.split(",") if name.strip()]


def _whole(value: float | None) -> int:
    # False for NaN and infinity, too.
    if not (isinstance(value, int | float) and float(value).is_integer()):
        raise OptionError(f"top_k is {value}; it must be a whole number of 1 or more.")
    return int(value)
