"""The page's HTTP interface, served once from this process; see ``tests/page/serving.py``."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client
from PIL import Image

ANSWER_LIMIT_S = 120.0


@pytest.fixture(scope="session")
def folders(served_folders):
    return served_folders


@pytest.fixture(autouse=True)
def _only_the_starters(folders, monkeypatch):
    folders.use(monkeypatch)


@pytest.fixture(scope="session")
def site(served):
    return served


@pytest.fixture(scope="session")
def _client(site, tmp_path_factory):
    got = tmp_path_factory.mktemp("downloads")
    return Client(site.url, verbose=False, analytics_enabled=False, download_files=str(got))


@pytest.fixture
def ask(_client):
    """``ask("/predict", image=..., model=...)``: a request through gradio's own client."""

    def request(endpoint, **arguments):
        job = _client.submit(**arguments, api_name=endpoint)
        return job.result(timeout=ANSWER_LIMIT_S)

    return request


@pytest.fixture
def http(site):
    with httpx.Client(base_url=site.url, timeout=ANSWER_LIMIT_S) as client:
        yield client


Answer = tuple[str, Any]
"""Name of the last event of the stream, ``complete`` or ``error``, and its data."""


@pytest.fixture
def raw(http):
    """``raw("predict", [image, model, 5])``: a request as anyone can send it, without a client."""

    def call(endpoint, data):
        started = http.post(f"/gradio_api/call/{endpoint}", json={"data": data})
        assert started.status_code == httpx.codes.OK, started.text
        event_id = started.json()["event_id"]
        answer = http.get(f"/gradio_api/call/{endpoint}/{event_id}").text
        event, _, rest = answer.rpartition("event: ")[2].partition("\n")
        return event, json.loads(rest.strip().removeprefix("data: "))

    return call


@pytest.fixture
def upload(http):
    """``upload(content, name)``: store a file as the page does; returns what names it."""

    def send(content, name="photo.png"):
        answer = http.post("/gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code == httpx.codes.OK, answer.text
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    return send


def synthetic(seed, size=(120, 90)):
    """A photo of coarse coloured patches with grain, different for each seed."""
    generator = np.random.default_rng(seed)
    patches = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(patches.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    grain = generator.integers(-12, 13, pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def make_photo():
    return synthetic


@pytest.fixture
def photo_bytes():
    out = io.BytesIO()
    synthetic(1).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def photo_file(tmp_path, photo_bytes):
    path = tmp_path / "photo.png"
    path.write_bytes(photo_bytes)
    return path
