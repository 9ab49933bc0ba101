"""The photo, the examples beside it, and what happens when a broken file is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from mscnn.errors import ImageError
from mscnn.http.uploads import PhotoInput, upload_of
from mscnn.page.examples import Example


def served(known: Sequence[Example]) -> tuple[Example, ...]:
    """Copy the example photographs to gradio's cache, the only place it serves them from."""
    cache = get_upload_folder()
    return tuple(replace(e, path=Path(save_file_to_cache(e.path, cache))) for e in known)


def build_photo_panel(known: Sequence[Example]) -> tuple[PhotoInput, list[gr.Button]]:
    """Lay out the photo's box and a button for each example."""
    photo = PhotoInput(
        label="Photo", elem_id="photo", sources=["upload", "clipboard", "webcam"],
        type="filepath", image_mode=None, height=300, buttons=[],
        placeholder="Drop a photo here, or click to choose one",
    )  # fmt: skip
    photo.keep_in_cache.update(str(example.path) for example in known)
    gr.Markdown("Or try one of these:")
    with gr.Row(elem_id="examples"):
        buttons = [
            gr.Button(example.label, icon=example.path, size="sm", min_width=84)
            for example in known
        ]
    return photo, buttons


def check_upload(photo: Any, kept: Any) -> tuple[Any, Any]:
    """Refuse a broken upload with a toast and put the photo back that was there before."""
    if photo is None:
        return gr.skip(), gr.skip()
    if isinstance(photo, ImageError):
        gr.Warning(str(photo), duration=10, title="That did not work")
        return kept, gr.skip()
    # The path, not the pixels: State is copied for each visitor, and pixels would come back lossy.
    return gr.skip(), upload_of(photo) or gr.skip()
