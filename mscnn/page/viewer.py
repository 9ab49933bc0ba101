"""The page's one component: its HTML, its styles and scripts, and what the browser must know."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from mscnn.draw.overlay import COLOUR_MAPS, palette
from mscnn.engine.pipeline import MAX_COMPARED
from mscnn.maps.methods import METHODS
from mscnn.models import registry
from mscnn.page.lenses import LENSES
from mscnn.page.messages import help_html, model_title, render, words_html
from mscnn.page.photos import PhotoStore, thumbnail

STATIC = Path(__file__).with_name("static")
SCRIPTS = ("store.js", "viewer.js", "tour.js", "panels.js")
STYLES = [STATIC / "style.css"]
TOUR_MODEL = next(s.name for s in registry.list_backbones(group="starter") if s.scales > 1)
OTHER_MODEL = ("other", "Another timm CNN, by its name …")
GROUPS = {
    "starter": "Starters: here, no download",
    "multi-scale": "Multi-scale",
    "baseline": "Baselines",
}
_LAYERS = (("last", "Last stage"), *((str(n), f"Stage {n}") for n in range(1, 5)))
PRIVACY = (
    "Photos stay on the machine that runs this page and are deleted after an hour. "
    "Small starter models, trained by this project, know 200 kinds of things and need no download."
)


@cache
def script() -> str:
    """The page's scripts, as one function body; its events are "ask" and "stop"."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)


class Viewer(gr.HTML):
    """Photo, lenses and controls; the value is a message to the browser, a JSON object.

    gradio copies this class into a stub beside the module, so it names nothing of ours.
    """

    def __init__(self, config: Any, page: str, js: str, pack: Any) -> None:
        super().__init__(
            config, html_template=page, js_on_load=js, apply_default_css=False,
            elem_classes=["mscnn"], server_functions=[pack],
        )  # fmt: skip

    def api_info(self) -> dict[str, Any]:
        """A message is a JSON object, not text."""
        return {"type": "object"}


def build_viewer(
    photos: PhotoStore,
    *,
    model: str,
    offered: Sequence[str],
    max_bytes: int,
    pack: Callable[[Any], Any],
) -> Viewer:
    """Make the page's component.

    Args:
        photos: the examples offered.
        model: the model that the page starts with.
        offered: the owner's models.
        max_bytes: of an upload.
        pack: makes a lens's file from a request.
    """
    known = photos.examples.values()
    served = {e.id: photos.served(e) for e in known}
    thumbs = {e.id: thumbnail(e.path) for e in known}
    config = {
        "lenses": [
            {"id": lens.id, "needs": lens.needs, "covers": lens.covers}
            for lens in LENSES.values()
        ],
        "examples": [{"id": e.id, "label": e.label, "path": served[e.id]} for e in known],
        "choices": choices(offered),
        "model": model,
        "tour": {"example": next((e.id for e in known if not e.fails), None), "model": TOUR_MODEL},
        "max_bytes": max_bytes,
        "max_compared": MAX_COMPARED,
        "colour_maps": list(COLOUR_MAPS),
        "colours": {name: b64encode(palette(name).tobytes()).decode()
                    for name in (*COLOUR_MAPS, "signed")},
    }  # fmt: skip

    def call(data: Any) -> Any:  # gradio marks it, which it cannot do to a method
        return pack(data)

    call.__name__ = "pack"  # as the page's scripts call it
    page = _page([
        # With slashes on Windows too: a backslash would be read by gradio.
        {"id": e.id, "label": e.label, "thumb": Path(thumbs[e.id]).as_posix(), "fails": e.fails}
        for e in known
    ])  # fmt: skip
    viewer = Viewer({"config": config}, page, script(), call)
    viewer.keep_in_cache.update((*served.values(), *thumbs.values()))
    return viewer


def choices(offered: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The lists that selects are filled from: groups of (value, text)."""
    models = [{"group": "Yours", "items": [[name, model_title(name)] for name in offered]}]
    for group, title in GROUPS.items():
        items = [[s.name, s.title] for s in registry.list_backbones(group=group)]  # type: ignore[arg-type]
        models.append({"group": title, "items": items})
    models.append({"group": "", "items": [list(OTHER_MODEL)]})
    methods = [[m.name, m.title + (" (slow)" if m.is_slow else "")] for m in METHODS.values()]
    return {
        "models": [group for group in models if group["items"]],
        "methods": [{"group": "", "items": methods}],
        "layers": [{"group": "", "items": [list(layer) for layer in _LAYERS]}],
    }


def _page(examples: Sequence[Mapping[str, str]]) -> str:
    page = render(
        "page.html", lenses=LENSES.values(), help=help_html, words=words_html, examples=examples,
        colour_maps=COLOUR_MAPS, privacy=PRIVACY,
        tour=[step.split("</h2>") for step in help_html("tour").split("<h2>")[1:]],
    )  # fmt: skip
    # gradio reads it as a Handlebars template inside a JavaScript one.
    for special in ("{{", "${", "`", "\\"):
        if special in page:
            raise ValueError(f"the page's template holds {special!r}, which gradio would interpret")
    return page
