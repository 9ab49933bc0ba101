"""The tabs of the multi-scale lens, laid out and connected, and Features beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from mscnn.engine.pipeline import Engine
from mscnn.page.features import FeaturesTab, bind_features, build_features
from mscnn.page.features_events import FeaturesEvents
from mscnn.page.features_sets import OwnersFile
from mscnn.page.field import FieldTab, bind_field, build_field
from mscnn.page.field_events import FieldEvents
from mscnn.page.jobs import Jobs
from mscnn.page.scales import ScalesTab, bind_scales, build_scales
from mscnn.page.scales_events import ScalesEvents
from mscnn.page.zoom import ZoomTab, bind_zoom, build_zoom
from mscnn.page.zoom_events import ZoomEvents
from mscnn.page.zoom_view import default_models

LENS_TABS = ("scales", "rf", "zoom", "features")
"""Ids of the tabs, as a link names them."""


@dataclass(frozen=True)
class LensTabs:
    """The tabs themselves and what is on them."""

    tabs: tuple[gr.Tab, gr.Tab, gr.Tab, gr.Tab]
    scales: ScalesTab
    field: FieldTab
    zoom: ZoomTab
    features: FeaturesTab

    @property
    def offering_models(self) -> list[gr.Dropdown]:
        """What offers models, besides the page's own dropdown."""
        return [self.scales.also, self.field.others, self.zoom.models, self.features.also]


def build_lens_tabs(
    first: str, extra: tuple[str, ...], examples: int, files: Sequence[OwnersFile] = ()
) -> LensTabs:
    """Lay the tabs out, inside of ``gr.Tabs``.

    Args:
        first: the model that the page opens with.
        extra: models of the owner.
        examples: how many example photographs there are.
        files: the owner's feature files.
    """
    with gr.Tab("Scales", id="scales") as scales_tab:
        scales = build_scales(extra)
    with gr.Tab("Receptive field", id="rf") as field_tab:
        field = build_field(extra, examples)
    with gr.Tab("Zoom", id="zoom") as zoom_tab:
        zoom = build_zoom(default_models(first), extra)
    with gr.Tab("Features", id="features") as features_tab:
        features = build_features(first, extra, examples, files)
    tabs = (scales_tab, field_tab, zoom_tab, features_tab)
    return LensTabs(tabs, scales, field, zoom, features)


def bind_lens_tabs(
    lens: LensTabs, engine: Engine, jobs: Jobs, *, others: Sequence[gr.Tab],
    references: Sequence[Path], files: Sequence[OwnersFile], photo: gr.Image,
    model: gr.Dropdown, opacity: gr.Slider, cmap: gr.Dropdown, queue: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tabs.

    Args:
        lens: what ``build_lens_tabs`` gave.
        engine: shared by all visitors.
        jobs: Stop flags.
        others: the page's other tabs.
        references: the example photographs, to average over and to search.
        files: the owner's feature files.
        photo: the page's photo.
        model: the page's model.
        opacity: of all maps.
        cmap: their colours.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.

    Returns:
        Arguments of the events that follow a new photo or model, in order. They do nothing while
        another tab is in front, and never start a download.
    """
    shared: dict[str, Any] = {
        "photo": photo, "model": model, "opacity": opacity, "cmap": cmap, "queue": queue
    }  # fmt: skip
    every = [*others, *lens.tabs]

    def around(tab: gr.Tab) -> dict[str, Any]:
        left = [other.select for other in every if other is not tab]
        return {**shared, "tab_selected": tab.select, "tab_left": left}

    scales_tab, field_tab, zoom_tab, features_tab = lens.tabs
    features = FeaturesEvents(engine, references, files)
    return [
        *bind_scales(lens.scales, ScalesEvents(engine, references), **around(scales_tab)),
        *bind_field(lens.field, FieldEvents(engine, jobs, references), **around(field_tab)),
        *bind_zoom(lens.zoom, ZoomEvents(engine, jobs), **around(zoom_tab)),
        *bind_features(lens.features, features, **around(features_tab)),
    ]
