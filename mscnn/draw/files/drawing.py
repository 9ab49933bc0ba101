"""How maps are drawn onto a photo for files; see ``mscnn.draw.sheets``."""

from __future__ import annotations

from mscnn.draw.sheets import MAX_PX, MIN_PX, DrawingOptions, as_image, drawn, fitted

__all__ = ["MAX_PX", "MIN_PX", "DrawingOptions", "as_image", "drawn", "fitted"]
