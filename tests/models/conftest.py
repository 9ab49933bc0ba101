"""A hub in a box: an HTTP server on the loopback that speaks the hub's file protocol."""

import hashlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 64 * 1024


@dataclass
class FakeHub:
    """What the server has and how it misbehaves.

    Attributes:
        files: content by ``owner/name/file``.
        etags: instead of the content's own sha256.
        status: answer of every request, if not 200.
        error_code: the hub's ``X-Error-Code`` header.
        cuts: for the next GETs in turn: close after so many bytes (0: not at all).
        reset: close with a TCP reset instead of a clean end.
        pause_s: wait before every 64 KiB.
        hang_s: wait before any answer.
        requests: method, path and Range of every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    status: int = 200
    error_code: str = ""
    cuts: list[int] = field(default_factory=list)
    reset: bool = False
    pause_s: float = 0.0
    hang_s: float = 0.0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""

    def gets(self):
        return [request for request in self.requests if request[0] == "GET"]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def _handler(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, body):
            wanted = self.headers.get("Range", "")
            fake.requests.append((self.command, self.path, wanted))
            time.sleep(fake.hang_s)
            repo, _, rest = self.path.lstrip("/").partition("/resolve/")
            key = f"{repo}/{rest.partition('/')[2]}"
            content = fake.files.get(key)
            if fake.status != 200 or content is None:
                self.send_response(fake.status if fake.status != 200 else 404)
                code = fake.error_code or ("" if fake.status != 200 else "EntryNotFound")
                self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", f'"{fake.etags.get(key, sha256(content))}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) - start))
            if wanted:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            self.end_headers()
            if body:
                self._send(content[start:])

        def _send(self, content):
            cut = fake.cuts.pop(0) if fake.cuts else 0
            try:
                for position in range(0, cut or len(content), CHUNK):
                    time.sleep(fake.pause_s)
                    self.wfile.write(content[position : position + CHUNK])
            except OSError:
                cut = 1  # the client left
            if cut:
                self.close_connection = True
                if fake.reset:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.wfile.flush()
                    self.connection.close()

        def log_message(self, format, *args):
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A connection that a test cut on purpose is no news."""


@pytest.fixture(autouse=True)
def no_outside(tmp_path, monkeypatch):
    """Empty assets, an empty hub cache, and a hub address where nobody listens."""
    for name in ("HF_HUB_OFFLINE", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MSCNN_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def fake_hub(no_outside, monkeypatch):
    fake = FakeHub()
    server = _Server(("127.0.0.1", 0), _handler(fake))
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", fake.address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def put_into_cache(cache, repo_id, content, *, sha=None):
    """Lay out a downloaded file the way ``huggingface_hub`` does; return the snapshot's link."""
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    blob = repo / "blobs" / (sha or sha256(content))
    link = repo / "snapshots" / COMMIT / "model.safetensors"
    ref = repo / "refs" / "main"
    for path in (blob, link, ref):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    ref.write_text(COMMIT)
    link.symlink_to(Path("..") / ".." / "blobs" / blob.name)
    return link


@pytest.fixture
def cache_put(tmp_path):
    """``cache_put(repo_id, content, sha=None)`` into this test's hub cache."""
    return partial(put_into_cache, tmp_path / "hub")
