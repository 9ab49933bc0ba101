"""A server's resident memory: after it has seen each kind of request, more of them add nothing."""

import io
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from scripts.running import ROOT, free_port, wait_for
from tests.page.serving import MODELS

CLIENTS, WARM_UP, MEASURED, GROWTH = 8, 160, 160, 0.05
"""The warm-up fills the caches and 64 sessions. Unbounded, 70 requests and 160 more added 24 %."""
SIZES = ((640, 480), (480, 640), (900, 600), (4000, 3000))
META = {"_type": "gradio.FileData"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc"),
]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The page as a process of its own: its address and number."""
    monkeypatch.setattr("scripts.running.START_LIMIT_S", 180.0)  # a machine that does much else
    port = free_port()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "mscnn", "serve", "--port", str(port)], cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/", process)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()


def resident_mb(pid):
    """What is resident once the answers are out and their memory is back, MB."""
    lowest, until = float("inf"), time.monotonic() + 4
    while time.monotonic() < until:
        status = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1]
        lowest = min(lowest, int(status.split()[0]) / 1024)
        time.sleep(0.2)
    return lowest


def ask(http, kind, photo, model, lens_event):
    """One request of a client that has not been here before, and all of its answer."""
    image = http.post("/gradio_api/upload", files={"files": ("photo.jpg", photo)}).json()[0]
    if kind == "page":
        visitor = os.urandom(8).hex()
        body = {"serial": 1, "lens": "look", "photo": image, "model": model}
        http.post("/gradio_api/queue/join", json={
            "data": [], "event_data": body, "fn_index": lens_event["id"],
            "session_hash": visitor, "trigger_id": lens_event["targets"][0][0],
        })  # fmt: skip
        answer = http.get("/gradio_api/queue/data", params={"session_hash": visitor}).text
        assert '"process_completed"' in answer
        assert '"error"' not in answer
        return
    rest = {
        "predict": [model, 5], "explain": [model, "last", "top1", "gradcam"],
        "scales": [model, "top1"], "compare": [", ".join(MODELS), "top1", "last"],
    }[kind]  # fmt: skip
    data = [{"path": image, "meta": META}, *rest]
    event = http.post(f"/gradio_api/call/{kind}", json={"data": data}).json()["event_id"]
    assert "event: complete" in http.get(f"/gradio_api/call/{kind}/{event}").text


def test_a_server_does_not_grow_under_use(server, make_photo):
    url, pid = server
    choose, photos = random.Random(1), []
    for seed, size in enumerate(SIZES):
        out = io.BytesIO()
        make_photo(seed, size).save(out, "JPEG")
        photos.append(out.getvalue())
    kinds = ["predict"] * 5 + ["explain"] * 2 + ["page"] * 3

    def visits(count):
        config = httpx.get(f"{url}/config", timeout=60).json()
        event = next(e for e in config["dependencies"] if e["targets"][0][1] == "ask")
        # One photo in ten is large; one request in forty compares.
        jobs = [
            (
                "compare" if number % 40 == 0 else choose.choice(kinds),
                photos[3 if number % 10 == 0 else choose.randrange(3)], choose.choice(MODELS),
            )
            for number in range(count)
        ]  # fmt: skip

        def client(start):
            with httpx.Client(base_url=url, timeout=300) as http:
                for kind, photo, model in jobs[start::CLIENTS]:
                    ask(http, kind, photo, model, event)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(CLIENTS)))
        return resident_mb(pid)

    before = visits(WARM_UP)
    after = visits(MEASURED)
    assert after < (1 + GROWTH) * before, f"{before:.0f} MB became {after:.0f} MB"
    print(f"\n{before:.0f} MB, then {after:.0f} MB")
