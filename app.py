"""Start the page: ``python app.py``, and the entry point of a Hugging Face Space."""

from __future__ import annotations

import os
from pathlib import Path

try:
    # On ZeroGPU this must come before anything that touches CUDA.
    import spaces
except ImportError:
    spaces = None

from mscnn.cli.app import guarded

# What a call asks for; ZeroGPU weighs it against the visitor's daily quota.
GPU_SECONDS = 30
# Put a folder that training wrote in here, and the page offers it.
MODELS = Path(__file__).with_name("models")


def start() -> int:
    """Serve until stopped."""
    # Late: without a folder for temporary files not even gradio's import succeeds.
    from mscnn.page.app import serve

    if spaces is not None and os.environ.get("SPACES_ZERO_GPU") == "true":
        serve(shelf=MODELS, gpu=spaces.GPU(duration=GPU_SECONDS))
    else:
        serve(shelf=MODELS)
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(start))
