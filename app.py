"""Start the page: ``python app.py``, and the entry point of a Hugging Face Space."""

from __future__ import annotations

try:
    # On ZeroGPU this must come before anything that touches CUDA.
    import spaces
except ImportError:
    spaces = None

from gradio.utils import is_zero_gpu_space

from mscnn.pipeline import Engine
from mscnn.ui.app import serve
from mscnn.zerogpu import SECONDS, ZeroGpuSession

if __name__ == "__main__":
    if spaces is not None and is_zero_gpu_space():
        serve(engine=Engine(ZeroGpuSession(spaces.GPU(duration=SECONDS), folders=())))
    else:
        serve()
