"""Start the app as a user does and ask it one question: ``python -m scripts.smoke``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx

ROOT = Path(__file__).parents[1]
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 120.0


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


def ask(url: str) -> list[dict[str, Any]]:
    """Return the classes that the app's default model gives for the lion."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, analytics_enabled=False)
    job = client.submit(image=handle_file(str(lion())), api_name="/predict")
    answer = job.result(timeout=ANSWER_LIMIT_S)
    top = answer["results"][0]["top"]
    print(
        f"{answer['results'][0]['model']}:", *(f"{s['label']} {s['probability']:.2f};" for s in top)
    )
    return list(top)


def main() -> int:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            started = time.monotonic()
            with running_app(log) as url:
                print(f"The page answered after {time.monotonic() - started:.1f} s")
                top = ask(url)
            if len(top) != 5 or not any("lion" in score["label"] for score in top):
                raise RuntimeError("a photograph of a lion did not get five classes with a lion")
        except Exception as error:
            log.seek(0)
            print(f"Smoke test failed: {error}", "--- output of app.py ---", log.read(), sep="\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
