"""The command line; ``mscnn.cli.main`` is the entry point.

torch, timm and gradio are imported inside commands only, so that help and the list of models are
there at once.
"""

from __future__ import annotations

try:
    from mscnn.cli.app import main
except KeyboardInterrupt:  # Ctrl-C before there is a border to meet it
    raise SystemExit(130) from None

__all__ = ["main"]
