"""The page: one photo, many lenses."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before gradio is imported: it would ask its own servers for a newer version.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from mscnn.engine.pipeline import MAX_COMPARED, Engine
from mscnn.engine.session import Session
from mscnn.engine.zerogpu import ZeroGpuSession
from mscnn.errors import MscnnError
from mscnn.http.endpoints import build_api
from mscnn.http.feedback import Page, toast
from mscnn.models import registry
from mscnn.models.owners import OwnersModels
from mscnn.models.sources import default_model
from mscnn.page import choices, handlers
from mscnn.page.compare import CompareEvents, bind_compare, build_compare
from mscnn.page.examples import Example, examples
from mscnn.page.features_sets import OwnersFile, open_files
from mscnn.page.jobs import Jobs
from mscnn.page.lens_tabs import LENS_TABS, bind_lens_tabs, build_lens_tabs
from mscnn.page.look import bind_look, build_look
from mscnn.page.look_events import LookEvents
from mscnn.page.photo_panel import build_photo_panel, check_upload, served

STYLES = [Path(__file__).with_name(f"{name}.css") for name in ("style", "scales", "lens")]
TABS = ("look", *LENS_TABS, "compare")
MAX_UPLOAD = "64mb"
DELETE_AFTER_S = 3600
TITLE = "mscnn: see what a multi-scale CNN sees"
INTRO = """
# See what a multi-scale CNN sees
Give a photo. A network that looks at several scales at once says what it is, and the page shows
where in the photo each answer came from. Then compare networks on the same photo.
"""
# The address bar always holds a link to the model that is shown.
REMEMBER_MODEL = """(model) => {
  const url = new URL(window.location);
  url.searchParams.set("model", model);
  window.history.replaceState(null, "", url);
}"""
PRIVACY = (
    "Photos stay on the machine that runs this page and are deleted after an hour. "
    "Small starter models, trained by this project, know 200 kinds of things and need no download."
)


def build_app(engine: Engine, *, files: Sequence[OwnersFile] = ()) -> gr.Blocks:
    """Build the page.

    Args:
        engine: shared by all visitors; the owner's models of its session are offered first.
        files: feature files of the owner, offered on the Features tab.
    """
    extra = engine.session.offered()
    first = _first_model(extra)
    jobs, known = Jobs(), served(examples())
    # One model runs at a time: hooks are not re-entrant, and two would share the cores.
    queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
    with Page(
        title=TITLE, analytics_enabled=False, delete_cache=(900, DELETE_AFTER_S), fill_width=True
    ) as demo:
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                photo, buttons = build_photo_panel(known)
                model = gr.Dropdown(
                    label="Model", info="Type to search; any timm CNN by name", elem_id="model",
                    choices=choices.model_choices(extra), value=first, filterable=True,
                    allow_custom_value=True,
                )  # fmt: skip
                run = gr.Button("Explain", variant="primary", elem_id="run")
                note = gr.Markdown(handlers.model_note(engine, first), elem_id="model-note")
            with gr.Column(scale=9, min_width=320):
                notice = gr.Markdown("", elem_id="notice")
                with gr.Tabs(selected="look", overflow_behavior="wrap", elem_id="tabs") as tabs:
                    with gr.Tab("Look", id="look") as look_tab:
                        look = build_look()
                    lens = build_lens_tabs(first, extra, len(known), files)
                    with gr.Tab("Compare", id="compare") as compare_tab:
                        compare = build_compare(default_pair(first), extra)
        gr.Markdown(PRIVACY, elem_id="privacy")
        look_events = LookEvents(engine, jobs)
        chain = bind_look(
            look, look_events, photo=photo, model=model, run=run, notice=notice, queue=queue
        )
        bind_compare(
            compare, CompareEvents(engine, jobs), photo=photo, opacity=look.opacity,
            cmap=look.cmap, queue=queue,
        )  # fmt: skip
        chain += bind_lens_tabs(
            lens, engine, jobs, others=(look_tab, compare_tab),
            references=[example.path for example in known], files=files, photo=photo, model=model,
            opacity=look.opacity, cmap=look.cmap, queue=queue,
        )  # fmt: skip

        def explain_after(event: Any) -> Any:
            for step in chain:
                event = event.then(**step)
            return event

        kept = gr.State(None)
        checked = photo.input(
            toast(2)(check_upload), [photo, kept], [photo, kept], api_visibility="private"
        )
        explain_after(checked)
        for example, button in zip(known, buttons, strict=True):
            explain_after(
                button.click(
                    lambda path=str(example.path): (path, path),
                    None,
                    [photo, kept],
                    api_visibility="private",
                )
            )
        chosen = model.input(
            toast(2)(partial(_choose_model, engine)),
            [model],
            [note, run],
            api_visibility="private",
            concurrency_limit=None,
        )
        explain_after(chosen)
        model.input(None, [model], None, js=REMEMBER_MODEL, api_visibility="private")
        opened = demo.load(
            _open_page(engine, known), None,
            [photo, kept, model, note, compare.models, compare.layer, tabs],
            api_visibility="private",
        )  # fmt: skip
        offering = [model, compare.models, *lens.offering_models]
        demo.load(
            _offer_new_models(engine, extra, len(offering)), None, offering, queue=False,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        explain_after(opened).then(
            toast(3)(look_events.enlarge_stage),
            [look.state, compare.layer, look.opacity, look.cmap], look.drawn,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        build_api(engine, first, queue, references=[example.path for example in known])
    built: gr.Blocks = demo
    return built


def _offer_new_models(engine: Engine, built: tuple[str, ...], dropdowns: int) -> Any:
    def offer() -> list[Any]:
        """Offer what the owner's folders hold by now; nothing moves where it is what was built."""
        now = engine.session.offered()
        change = gr.skip() if now == built else gr.update(choices=choices.model_choices(now))
        return [change] * dropdowns

    return offer


def _first_model(owners: Sequence[str]) -> str:
    """The owner's first model, else the best one on disk; without any, the page still opens."""
    try:
        return owners[0] if owners else default_model()
    except MscnnError:
        return "starter_res2net"


def default_pair(model: str) -> list[str]:
    """The models that the Compare tab starts with: a model and its fair baseline."""
    spec = registry.find(model)
    pair = spec.baseline if spec is not None else None
    return [model, pair] if pair else [model]


def _choose_model(engine: Engine, name: str) -> tuple[str, Any]:
    """Tell what the model is, and how much must be downloaded, before anything runs."""
    note = handlers.model_note(engine, name)
    try:
        if handlers.must_download(engine, [name]):
            return note, gr.update(value=f"Download {handlers.download_size(name)} and explain")
    except MscnnError as error:
        gr.Warning(str(error), duration=10, title="That did not work")
    return note, gr.update(value="Explain")


def _open_page(engine: Engine, known: Sequence[Example]) -> Any:
    @toast(7)
    def opened(request: gr.Request) -> tuple[Any, ...]:
        """Fill the page from the link: ``?model=&models=&layer=&tab=&example=``."""
        query: Mapping[str, str] = dict(request.query_params)
        first = _first_model(engine.session.offered())
        model = query.get("model", first)
        try:
            handlers.must_download(engine, [model])
            note = handlers.model_note(engine, model)
        except MscnnError as error:
            gr.Warning(str(error))
            model, note = first, handlers.model_note(engine, first)
        models = [m.strip() for m in query.get("models", "").split(",") if m.strip()]
        wanted = query.get("example", "").lower()
        example = next((e for e in known if e.label.lower() == wanted), known[0] if known else None)
        layers = {value for _, value in choices.LAYERS}
        layer = query.get("layer", "last").removeprefix("layer").removeprefix("stage")
        tab = query.get("tab", "compare" if models else "look")
        path = str(example.path) if example else None
        return (
            path,
            path,
            model,
            note,
            models[:MAX_COMPARED] if models else gr.skip(),
            layer if layer in layers else "last",
            gr.update(selected=tab if tab in TABS else "look"),
        )

    return opened


def launch_options() -> dict[str, Any]:
    """What ``Blocks.launch`` gets, wherever the page runs."""
    return {
        "theme": gr.themes.Soft(font=[gr.themes.LocalFont("IBM Plex Sans"), "sans-serif"]),
        "css_paths": STYLES,
        "max_file_size": MAX_UPLOAD,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": ["api", "settings"],
        "strict_cors": True,
        "mcp_server": True,
        "quiet": False,
    }


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    device: str = "auto",
    models: Sequence[str] = (),
    shelf: Path | None = None,
    features: Sequence[tuple[Path, Path]] = (),
    gpu: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> None:
    """Start the page and block until it is stopped.

    Args:
        host: address to listen on; the local machine only where None.
        port: a free one from 7860 where None.
        device: see ``mscnn.engine.device.choose_device``.
        models: model folders to offer, or folders of such folders.
        shelf: one more folder of model folders, which need not be there yet.
        features: feature files to offer, each with the folder of its photographs.
        gpu: ZeroGPU's decorator, where the page has a GPU only inside decorated calls.
    """
    files, owners = open_files(features), OwnersModels(models, shelf=shelf)
    session = Session(device, owners=owners) if gpu is None else ZeroGpuSession(gpu, owners=owners)
    demo = build_app(Engine(session), files=files)
    demo.queue(max_size=64, default_concurrency_limit=1)
    demo.launch(server_name=host, server_port=port, **launch_options())
