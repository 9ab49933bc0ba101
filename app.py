"""Start the page: ``python app.py``, and the entry point of a Hugging Face Space."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    # On ZeroGPU this must come before anything that touches CUDA.
    import spaces  # type: ignore[import-not-found, unused-ignore]  # noqa: F401

from mscnn.ui.app import serve

if __name__ == "__main__":
    serve()
