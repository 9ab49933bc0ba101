"""The Features tab: which other photographs a network finds most like the visitor's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mscnn.http.feedback import toast
from mscnn.page import choices, features_view, scales_view
from mscnn.page.features_events import RESULTS, RUN, FeaturesEvents
from mscnn.page.features_sets import OwnersFile
from mscnn.scales import receptive_field as fields

LEAD = (
    "**Which other pictures does the network find most like yours?** It compares the numbers it "
    "computes just before it names the class."
)
HOW_TO_READ = """
**Features** are what a network has made of a photo: a list of some hundred numbers. *Pooled
features* are the list that its last layer names the class from. A stage, or a split of a block,
gives a list from further inside: the mean over the whole map, channel by channel. Early stages
tell colours and textures apart, late ones kinds of things.

**Cosine similarity** is the cosine of the angle between two lists. 1 is the same direction, 0
nothing in common. After a ReLU no number is below 0, so even very different photos may reach 0.8.
Compare the order of the photographs, and numbers of one model and one place only.

**What it does not prove.** Near in a network's eyes is not alike in yours: colour or background
may count for more than the thing itself. The nearest of a few photographs need not be near.

**Your own photographs.** Whoever starts the page can offer more to search: `mscnn features FOLDER
--out FILE` computes their features once, and `mscnn serve --features FILE=FOLDER` offers them. A
file belongs to one model and one place, so both are chosen with it.
"""


@dataclass(frozen=True)
class FeaturesTab:
    """The components that other parts of the page refer to."""

    state: gr.State
    front: gr.State
    also: gr.Dropdown
    where: gr.Dropdown
    among: gr.Dropdown
    run: gr.Button
    hint: gr.Markdown
    cards: gr.HTML
    table: gr.Dataframe

    @property
    def results(self) -> list[Any]:
        """Outputs of a run."""
        return [getattr(self, name) for name in RESULTS]


def build_features(
    first: str, extra: tuple[str, ...] = (), examples: int = 0, files: Sequence[OwnersFile] = ()
) -> FeaturesTab:
    """Lay the tab out; ``bind_features`` gives it life.

    Args:
        first: the model that the page opens with.
        extra: models of the owner, offered first.
        examples: how many example photographs there are.
        files: the owner's feature files.
    """
    gr.Markdown(LEAD, elem_id="features-lead", elem_classes=["lens-lead"])
    with gr.Row(equal_height=True):
        also = gr.Dropdown(
            label="Also show", choices=choices.model_choices(extra), value=[], multiselect=True,
            max_choices=scales_view.MAX_BESIDE, allow_custom_value=True, filterable=True,
            elem_id="features-also", scale=4, min_width=220,
        )  # fmt: skip
        where = gr.Dropdown(
            label="Where in the network", choices=features_view.where_choices(fields.known(first)),
            value=features_view.POOLED[1], filterable=True, elem_id="features-where",
            scale=4, min_width=220,
        )  # fmt: skip
    with gr.Row(equal_height=True):
        among = gr.Dropdown(
            label="Search among", choices=features_view.among_choices(examples, files),
            value=features_view.EXAMPLES, elem_id="features-among", scale=6, min_width=220,
        )  # fmt: skip
        run = gr.Button(RUN, variant="primary", elem_id="features-run", scale=2, min_width=130)
    hint = gr.Markdown("", elem_id="features-hint")
    cards = gr.HTML(
        features_view.EMPTY, elem_id="features-cards", label="The most similar photographs"
    )
    kinds: list[Literal["str", "number"]] = [
        "number" if name in features_view.NUMERIC else "str" for name in features_view.HEADERS
    ]
    table = gr.Dataframe(
        headers=list(features_view.HEADERS), datatype=kinds, label="All similarities",
        interactive=False, wrap=True, elem_id="features-table", elem_classes=["scroll-table"],
        max_height=340,
    )  # fmt: skip
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return FeaturesTab(
        gr.State(None, time_to_live=3600), gr.State(False), also, where, among, run, hint, cards,
        table,
    )  # fmt: skip


def bind_features(
    tab: FeaturesTab, events: FeaturesEvents, *, photo: gr.Image, model: gr.Dropdown,
    opacity: gr.Slider, cmap: gr.Dropdown, queue: dict[str, Any],
    tab_selected: Callable[..., Any], tab_left: Sequence[Callable[..., Any]] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab.

    Args:
        tab: this tab's components.
        events: its handlers.
        photo: the page's photo.
        model: the page's model.
        opacity: not used, for no map is drawn here; all tabs of the lens take the same.
        cmap: not used either.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.
        tab_selected: the ``select`` event of this tab.
        tab_left: the ``select`` events of the other tabs.

    Returns:
        Arguments of the events that follow a new photo or model, in order; they do nothing while
        another tab is in front, and never start a download.
    """
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [photo, model, tab.also, tab.where, tab.among]
    run: dict[str, Any] = {
        "fn": toast(len(tab.results))(events.run),
        "inputs": asked,
        "outputs": tab.results,
        "show_progress_on": [tab.cards],
        "api_visibility": "private",
        **queue,
    }
    refresh = {
        **run,
        "fn": toast(len(tab.results))(events.refresh),
        "inputs": [tab.front, tab.state, *asked],
        # It often has nothing to do, and a full one would cover the cards meanwhile.
        "show_progress": "minimal",
    }
    tab.run.click(**run)
    opened = tab_selected(lambda: True, None, [tab.front], queue=False, **light)
    opened.then(**refresh)
    for left in tab_left:
        left(lambda: False, None, [tab.front], queue=False, **light)
    for chooser in (tab.also, tab.where, tab.among):
        # Choices made while it computes are not lost.
        chooser.input(**refresh, trigger_mode="always_last")
    return [refresh]
