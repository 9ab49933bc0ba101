"""Nothing on the server can be read through the page: no path, no link, no metadata."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mscnn
from tests.page.serving import MODELS

RES2NET = MODELS[0]
META = {"_type": "gradio.FileData"}
REPOSITORY = Path(mscnn.__path__[0]).parent


@pytest.fixture
def secret(tmp_path, photo_bytes):
    """A photo on the server that nobody uploaded."""
    path = tmp_path / "private" / "secret.png"
    path.parent.mkdir()
    path.write_bytes(photo_bytes)
    return path


@pytest.fixture
def decoy(photo_bytes):
    """A web server inside the network, which must never be asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(photo_bytes)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.asked = asked  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


ARGUMENTS: dict[str, list[Any]] = {
    "predict": [RES2NET, 5],
    "explain": [RES2NET, "last", "top1", "gradcam"],
    "compare": [",".join(MODELS), "top1", "last"],
}


def refused(raw, image, *paths, endpoints=tuple(ARGUMENTS)):
    for endpoint in endpoints:
        rest = ARGUMENTS[endpoint]
        event, answer = raw(endpoint, [image, *rest])
        assert event == "error", f"{endpoint} read {image}"
        assert answer["error"].endswith("."), answer
        said = json.dumps(answer)
        for path in (*paths, REPOSITORY, "site-packages", "Traceback"):
            assert str(path) not in said


@pytest.mark.parametrize("named", ["path", "url", "both"])
def test_a_file_of_the_server_is_refused(raw, secret, folders, named):
    fields: dict[str, Any] = {"path": str(secret)} if named != "url" else {"path": None}
    if named != "path":
        fields["url"] = f"/gradio_api/file={secret}"
    refused(raw, {**fields, "meta": META}, folders.cache)


@pytest.mark.parametrize("path", [
    "/etc/passwd", str(REPOSITORY / "README.md"), "README.md", "mscnn/ui/app.py",
    "../../etc/passwd", "file:///etc/passwd", "/proc/self/environ", "/dev/zero", "", "a\0b",
])  # fmt: skip
def test_paths_are_refused_before_they_are_opened(raw, path):
    # All endpoints read photos through the same input; see test_endpoints.
    for more in ({}, {"orig_name": "photo.png", "size": 5}):
        refused(raw, {"path": path, **more, "meta": META}, endpoints=["predict"])


def test_dots_after_the_upload_folder_are_refused(raw, upload, photo_bytes, secret):
    stored = Path(upload(photo_bytes)["path"])
    climb = "/".join([".."] * (len(stored.parent.parts) - 1))
    refused(raw, {"path": f"{stored.parent}/{climb}{secret}", "meta": META})


def test_a_symlink_in_the_upload_folder_is_refused(raw, folders, secret):
    link = folders.cache / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    try:
        refused(raw, {"path": str(link), "meta": META}, secret)
    finally:
        link.unlink()


@pytest.mark.parametrize("field", ["path", "url", "both"])
def test_a_link_is_never_fetched(raw, decoy, field):
    link = f"http://127.0.0.1:{decoy.server_port}/photo.png"
    fields = {"path": link if field != "url" else None, "url": link if field != "path" else None}
    refused(raw, {**fields, "meta": META})
    assert decoy.asked == []


def test_the_weights_and_the_manifest_are_not_served(http, folders, secret):
    for path in (
        secret,
        folders.assets / "weights" / "MANIFEST.json",
        REPOSITORY / "README.md",
        REPOSITORY / "app.py",
        "README.md",
        "/etc/passwd",
        f"{folders.cache}/../assets/weights/MANIFEST.json",
    ):
        assert http.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_an_uploaded_picture_cannot_run_as_a_page(http, upload):
    """What a visitor uploaded is served as a download, not as HTML of this site."""
    stored = upload(b"<html><script>alert(1)</script></html>", "page.html")
    answer = http.get(f"/gradio_api/file={stored['path']}")
    assert (
        "attachment" in answer.headers.get("content-disposition", "") or answer.status_code == 403
    )


def marked_jpeg():
    """A JPEG with a place, a camera, a comment and a colour profile that must not travel on."""
    image = Image.new("RGB", (160, 120), "teal")
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif[0x9286] = "SECRETCOMMENT"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (48.0, 51.0, 29.0)
    gps[29] = "2026:01:01"
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif, comment=b"SECRETNOTE")
    return out.getvalue()


def test_metadata_never_leaves_through_answers(raw, http, upload):
    content = marked_jpeg()
    assert b"SECRETCAMERA" in content
    image = upload(content, "SECRETNAME.jpg")
    leaks = (b"SECRET", b"Exif", b"eXIf", b"2026:01:01")
    for endpoint, rest in (
        ("predict", [RES2NET, 5]),
        ("explain", [RES2NET, "last", "top1", "gradcam"]),
        ("compare", [",".join(MODELS), "top1", "last"]),
    ):
        event, answer = raw(endpoint, [image, *rest])
        assert event == "complete"
        numbers, *files = answer
        assert not any(leak.decode() in json.dumps(numbers) for leak in leaks)
        for file in files:
            got = http.get(f"/gradio_api/file={file['path']}").content
            assert len(got) > 100
            assert not any(leak in got for leak in leaks)


def test_no_answer_names_a_path_of_the_server(raw, upload, photo_bytes, folders):
    image = upload(photo_bytes)
    event, (numbers, *_) = raw("explain", [image, RES2NET, "last", "top1", "gradcam"])
    assert event == "complete"
    said = json.dumps(numbers)
    for path in (folders.cache, folders.assets, folders.assets.parent, REPOSITORY, Path.home()):
        assert f"{path}/" not in said


def test_the_pages_configuration_names_no_path_of_the_server(http, folders):
    config = http.get("/config").text
    for path in (folders.assets, REPOSITORY):
        assert f"{path}/" not in config


def test_an_upload_that_is_too_big_is_refused(http):
    answer = http.post("/gradio_api/upload", files={"files": ("big.png", b"\0" * (65 * 2**20))})
    assert answer.status_code == 413
