"""The HTTP endpoints, which are MCP tools too: the methods of ``Functions`` in ``ENDPOINTS``.

Their names, parameters and docstrings are the endpoints'. Pictures go in and out as files, numbers
as JSON in which whole numbers beyond 2^53 are text.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.draw.charts import ablation_chart, cap_chart, evidence_chart, field_charts, sweep_chart
from mscnn.draw.figures import png
from mscnn.draw.files import DrawingOptions, explanation_files
from mscnn.draw.sheets import comparison_sheet
from mscnn.draw.trust import trust_chart
from mscnn.engine.lens_options import fair_baseline, parse_box
from mscnn.engine.network import ONE_CLASS, Photo
from mscnn.engine.pipeline import MAX_COMPARED, MAX_SWEPT, Engine, check_models
from mscnn.errors import ImageError, OptionError, UnsupportedModelError
from mscnn.http.feedback import http_errors
from mscnn.http.uploads import NO_PHOTO, PhotoInput, cache_file
from mscnn.photos.imaging import load_photo
from mscnn.results.cuts import Ablation, Cap
from mscnn.results.explanation import Comparison, Explanation, Prediction
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import BlockAttention, ScaleReport, Sweep
from mscnn.results.schema import JsonDict, document, json_schema, safe_integers
from mscnn.results.trust import Trust
from mscnn.trust.plan import Plan

Answer = tuple[Any, ...]
"""The document, then each file as ``(name, content)``."""


ENDPOINTS: dict[str, tuple[str, ...]] = {
    "predict": (),
    "explain": ("picture", "raw map"),
    **dict.fromkeys(("compare", "scales", "receptive_field", "sweep", "trust"), ("picture",)),
    "ablate": ("parts", "cap"),
}
"""Name of a method of ``Functions`` to the labels of the files beside its document."""
LONGEST = 300
"""Characters of a name, at most."""
_DOCUMENTS = {
    "predict": Prediction, "explain": Explanation, "compare": Comparison, "scales": ScaleReport,
    "receptive_field": ReceptiveField, "sweep": Sweep, "trust": Trust,
}  # fmt: skip


def answer_schema(endpoint: str) -> JsonDict:
    """Return the JSON Schema of an endpoint's document."""
    if endpoint == "ablate":
        parts = {"ablation": json_schema(Ablation), "cap": json_schema(Cap)}
        return {"type": "object", "properties": parts}
    schema = json_schema(_DOCUMENTS[endpoint])
    if endpoint == "predict":
        return {"type": "object", "properties": {"results": {"type": "array", "items": schema}}}
    if endpoint == "scales":
        schema["properties"]["attention"] = json_schema(list[BlockAttention] | None)
    if endpoint == "receptive_field":
        schema["properties"]["baseline"] = json_schema(ReceptiveField | None)
    return schema


@dataclass(frozen=True)
class Functions:
    """What the endpoints do; texts that are left empty arrive as their defaults.

    An ``image`` is an upload, and a ``model`` is by default the page's own.

    Attributes:
        engine: shared with the page.
        references: photos whose split attention is averaged beside a ResNeSt's, but the one that
            is asked about.
    """

    engine: Engine
    references: Sequence[Photo] = ()

    @functools.cached_property
    def _references(self) -> list[Image.Image]:
        return [load_photo(one) for one in self.references]

    def predict(self, image: Image.Image, model: str, top_k: float = 5) -> Answer:
        """Classify a photo with a multi-scale CNN.

        Args:
            image: the photo, uploaded.
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            top_k: how many classes to return.

        Returns:
            "results": one element with image, model, weights, device and top.
        """
        network, count = self.engine.session.network(model), _whole(top_k, "top_k", 1)
        prediction = network.predict(image, top_k=count, name="")
        return ({"results": [document(prediction)]},)

    def explain(
        self,
        image: Image.Image,
        model: str,
        layer: str = "last",
        target: str = "top1",
        method: str = "gradcam",
    ) -> Answer:
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
        found = self.engine.session.network(model).explain(
            image, layers=layer, targets=target, method=method, name=""
        )
        files = explanation_files(found, found.maps[0], image)
        return document(found), *((name, files[name]) for name in ("overlay.png", "cam.npy"))

    def compare(
        self, image: Image.Image, models: str, target: str = "top1", layer: str = "last"
    ) -> Answer:
        """Show the same photo and class through two to six models on one colour scale.

        Args:
            image: the photo, uploaded.
            models: names of models, separated by commas.
            target: a class by name or index, or "top1" for the first model's best class.
            layer: "last", or a stage number from 1 to 4.

        Returns:
            The comparison as JSON, and a contact sheet (PNG).
        """
        found = self.engine.compare(image, parse_names(models), target=target, layer=layer, name="")
        sheet = comparison_sheet(found, image, DrawingOptions())
        return document(found), ("comparison.png", png(sheet, 1600))

    def scales(self, image: Image.Image, model: str, target: str = "top1") -> Answer:
        """Show at which receptive-field size a network found its evidence for a class.

        Args:
            image: the photo, uploaded.
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            target: a class by name or index, or "top1".

        Returns:
            The share of each split in each block's evidence as JSON ("attention" for a ResNeSt),
            and a chart of the shares over depth (PNG).
        """
        network = self.engine.session.network(model)
        report = network.scales(image, target=target, name="")
        try:
            others = [one for one in self._references if one != image]
            attention = network.split_attention(
                image, target=report.target.index, references=others
            )
            gates = [document(block) for block in attention.blocks]
        except UnsupportedModelError:
            gates = None
        chart = ("attribution.png", png(evidence_chart(report), 1200))
        return {**document(report), "attention": gates}, chart

    def ablate(
        self,
        image: Image.Image,
        models: str,
        target: str = "top1",
        fill: str = "mean",
        draws: float = 20,
    ) -> Answer:
        """Cut parts out of networks, and measure which of them the answer needs.

        Args:
            image: the photo, uploaded.
            models: names of one to four models, separated by commas.
            target: a class by name or index, or "top1" for the first model's best class.
            fill: what stands in the place of a cut: mean (over example photographs) or zero.
            draws: how many random cuts the cap is compared with.

        Returns:
            As JSON "ablation", what the class loses without each split of the first model, and
            "cap", its probability when no part sees more than a limit; and a chart of each (PNG).
        """
        names, count = parse_names(models), _whole(draws, "draws", 0, 1000)
        check_models(names, 1, MAX_SWEPT)
        cut = self.engine.session.network(names[0]).ablate(image, target=target, fill=fill, name="")
        # By its name: where the first one cannot be capped, the others still are for this class.
        *_, cap = self.engine.cap_steps(
            image, names, target=cut.target.label, fill=fill, draws=count
        )
        charts = ("ablation.png", ablation_chart(cut)), ("cap.png", cap_chart(cap))
        shown = {"ablation": document(cut), "cap": document(cap)}
        return shown, *((name, png(chart, 1200)) for name, chart in charts)

    def receptive_field(self, model: str, baseline: str = "") -> Answer:
        """Tell how much of its input each stage, block and split of a network can see.

        Args:
            model: name of a model, such as starter_res2net or res2net50_26w_4s.in1k.
            baseline: name of a model to draw beside it; left empty, its fair pair in the list.

        Returns:
            Theoretical receptive fields in px of the input as JSON (numbers beyond 2^53 as text),
            and a chart of both models (PNG).
        """
        found = self.engine.receptive_field(model)
        other = self.engine.receptive_field(baseline) if baseline else fair_baseline(found.model)
        shown = document(found, details=True)
        shown["baseline"] = other and document(other, details=True)
        sheet = field_charts([found, *([other] if other else [])])
        return shown, ("receptive_field.png", png(sheet, 1200))

    def sweep(
        self,
        image: Image.Image,
        models: str,
        target: str = "top1",
        box: str = "",
        canvas: str = "mean",
    ) -> Answer:
        """Show one object at twelve sizes to networks, and measure at which they still know it.

        Args:
            image: the photo, uploaded.
            models: names of one to four models, separated by commas.
            target: a class by name or index, or "top1" for the first model's best class.
            box: left,top,right,bottom in percent of the photo or as fractions; empty: all of it.
            canvas: what surrounds the object: mean, grey, blur, edge or noise.

        Returns:
            Probability, rank, evidence on the object per area (energy_ratio; 1: an even spread)
            and evidence-weighted receptive field at each size as JSON, and charts of them (PNG).
        """
        names, where = parse_names(models), parse_box(box)
        found = self.engine.sweep(image, names, target=target, box=where, canvas=canvas.lower())
        return document(found), ("sweep.png", png(sweep_chart(found), 1200))

    def trust(
        self,
        image: Image.Image,
        model: str,
        target: str = "top1",
        method: str = "gradcam",
        layer: str = "last",
        box: str = "",
    ) -> Answer:
        """Tell whether a map can be believed: scores beside controls, checks, and a verdict.

        Args:
            image: the photo, uploaded.
            model: name of a model.
            target: a class by name or index, or "top1".
            method: gradcam, gradcam++, hirescam, layercam, xgradcam, eigencam, scorecam, ...
            layer: "last", a stage number from 1 to 4, or a module name such as layer3.
            box: the object: left,top,right,bottom in percent or as fractions; empty: the photo.

        Returns:
            Verdict, scores of the map and its controls, and checks as JSON, and a chart (PNG).
        """
        plan = Plan(methods=(method,), layers=(layer,), box=parse_box(box))
        found = self.engine.session.network(model).trust(image, target=target, plan=plan, name="")
        # Of "stages" a method may refuse the first ones.
        made = next(made for made in found.maps if made.candidates)
        chart = trust_chart(made, found.target.label)
        return document(found), ("trust.png", png(chart, 1200))


def build_api(
    engine: Engine, default_model: str, queue: dict[str, Any], *, references: Sequence[Photo] = ()
) -> None:
    """Add all endpoints to the page that is being built.

    Args:
        engine: shared with the page.
        default_model: for requests that name none.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.
        references: see ``Functions``.
    """
    functions = Functions(engine, references)

    @functools.cache  # one component for all endpoints with such a parameter
    def component(name: str, default: Any) -> Any:
        if name == "image":
            return PhotoInput(label=name, sources=["upload"])
        if isinstance(default, int):
            # precision=0 would round 1.5 to 2 without a word.
            return gr.Number(default, label=name)
        return gr.Textbox(default, label=name)

    with gr.Group(visible=False):
        numbers = gr.JSON(label="result")
        for name, files in ENDPOINTS.items():
            function = getattr(functions, name)
            defaults = {
                parameter.name: default_model if parameter.name == "model"
                else None if parameter.default is parameter.empty else parameter.default
                for parameter in inspect.signature(function).parameters.values()
            }  # fmt: skip
            gr.Button(visible=False).click(
                _served(function, defaults), [component(*item) for item in defaults.items()],
                [numbers, *(gr.File(label=label) for label in files)], api_name=name,
                api_visibility="public", **queue,
            )  # fmt: skip


def _served(function: Callable[..., Answer], defaults: Mapping[str, Any]) -> Callable[..., Any]:
    """Read the request and keep the files of the answer where gradio serves them from."""

    @http_errors
    @functools.wraps(function)
    def served(*values: Any) -> Any:
        found, *files = function(*map(_read, defaults, values, defaults.values()))
        paths = [cache_file(name, content) for name, content in files]
        return (safe_integers(found), *paths) if paths else safe_integers(found)

    return served


def _read(name: str, value: Any, default: Any) -> Any:
    if name == "image":
        if isinstance(value, Image.Image):
            return value
        raise value or ImageError(NO_PHOTO)
    if isinstance(default, int):
        return value
    if value in ("", None):
        return default or ""  # a JSON null, as an empty text, is the default
    text = value.strip()
    if name == "target" and text.lower() in ("top5", "top-5"):
        raise OptionError(ONE_CLASS)
    longest = LONGEST * (MAX_COMPARED if name == "models" else 1)
    if len(text) > longest:
        raise OptionError(f"{name} has {len(text):,} characters; give at most {longest:,}.")
    return text


def parse_names(text: str) -> list[str]:
    """Split ``"a, b"``; a list written as JSON, or as Python writes it, works too."""
    text = text.strip()
    if text.startswith("["):
        try:
            names = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: nested deep
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise OptionError("models must be names separated by commas.")
        return [name.strip() for name in names]
    return [name.strip() for name in text.split(",") if name.strip()]


def _whole(value: Any, name: str, least: int, most: int = 2**31) -> int:
    # False for NaN and infinity, too.
    if not isinstance(value, int) and not (isinstance(value, float) and value.is_integer()):
        shown = str(value) if isinstance(value, float | str) else "no number"
        raise OptionError(f"{name} is {shown[:60]}; it must be a whole number of {least} or more.")
    if value > most:
        raise OptionError(f"{name} is too large; give at most {most:,}.")
    return int(value)
