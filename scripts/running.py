"""Start the app as a user does, for tests, benchmarks and screenshots."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(__file__).parents[1]
START_LIMIT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lion() -> Path:
    """Return a photograph that the installed gradio package brings."""
    spec = importlib.util.find_spec("gradio")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("gradio is not installed")
    return Path(spec.origin).parent / "media_assets" / "images" / "lion.jpg"


@contextlib.contextmanager
def running_app(log: IO[str]) -> Iterator[str]:
    """Run app.py on a free port, without the hub, and yield its address once it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    environment = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        wait_for(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Poll until the page is served.

    Raises:
        RuntimeError: the app ended, or took longer than START_LIMIT_S.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"app.py ended with exit code {server.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise RuntimeError(f"app.py did not answer within {START_LIMIT_S:.0f} s")
