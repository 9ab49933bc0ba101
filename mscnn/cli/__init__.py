"""The command line; ``mscnn.cli.main`` is the entry point.

torch, timm and gradio are imported inside commands only, so that help and the list of models are
there at once.
"""

from __future__ import annotations

from mscnn.cli.app import main

__all__ = ["main"]
