"""Start the page: ``python app.py``, and the entry point of a Hugging Face Space."""

from __future__ import annotations

import os
from pathlib import Path

try:
    # On ZeroGPU this must come before anything that touches CUDA.
    import spaces
except ImportError:
    spaces = None

from mscnn.page.app import serve

# What a call asks for; ZeroGPU weighs it against the visitor's daily quota.
GPU_SECONDS = 30
# Put a folder that training wrote in here, and the page offers it.
MODELS = Path(__file__).with_name("models")

if __name__ == "__main__":
    if spaces is not None and os.environ.get("SPACES_ZERO_GPU") == "true":
        serve(shelf=MODELS, gpu=spaces.GPU(duration=GPU_SECONDS))
    else:
        serve(shelf=MODELS)
