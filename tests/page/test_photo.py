"""The photo input: what was uploaded is read, anything else is refused before it is opened."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from mscnn.errors import ImageError
from mscnn.http.feedback import NOT_UPLOADED
from mscnn.http.uploads import PhotoInput, upload_of

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def png(pixels: Any = PIXELS) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture
def upload(cache: Path) -> Path:
    folder = cache / "0123abcd"
    folder.mkdir(exist_ok=True)
    path = folder / "photo.png"
    path.write_bytes(png())
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "secret.png"
    path.write_bytes(png())
    return path


def preprocess(**fields: Any) -> Any:
    return PhotoInput().preprocess(ImageData(**fields))


def test_an_uploaded_file_is_decoded(upload):
    photo = preprocess(path=str(upload))
    assert photo.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(photo), PIXELS)


def test_a_photo_knows_its_upload_while_that_exists(upload):
    photo = preprocess(path=str(upload))
    assert upload_of(photo) == str(upload.resolve())
    assert photo.info == {}
    upload.unlink()
    assert upload_of(photo) is None
    assert upload_of(preprocess(url=data_url(png()))) is None


def test_no_photo_is_no_error():
    assert PhotoInput().preprocess(None) is None


def test_a_data_url_is_decoded():
    np.testing.assert_array_equal(np.asarray(preprocess(url=data_url(png()))), PIXELS)


def test_a_data_url_wins_over_a_path(outside):
    """With a data URL no file is read, whatever path stands beside it."""
    other = 255 - PIXELS
    photo = preprocess(path=str(outside), url=data_url(png(other)))
    np.testing.assert_array_equal(np.asarray(photo), other)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,!!!!",
        "data:image/png;base64,iVBORw0KGgo",
        "data:image/png;base64,",
        "data:image/png;base64",
        "data:image/png,plain",
        "data:,",
        "data:",
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        data_url(png()[:60]),
        data_url(b"hello", "text/plain"),
    ],
)
def test_a_broken_data_url_is_an_image_error(url):
    problem = preprocess(url=url)
    assert isinstance(problem, ImageError)
    assert str(problem).endswith(".")
    assert "Traceback" not in str(problem)


def refused(**fields: Any) -> None:
    problem = preprocess(**fields)
    assert isinstance(problem, ImageError)
    assert str(problem) == NOT_UPLOADED


def test_a_file_elsewhere_is_refused(outside):
    refused(path=str(outside))


def test_dots_do_not_lead_out(upload, outside, cache):
    climb = Path(*[".."] * (len(upload.parent.resolve().parts) - 1))
    sly = upload.parent / climb / outside.resolve().relative_to("/")
    assert sly.exists()
    refused(path=str(sly))


def test_a_folder_whose_name_starts_alike_is_refused(cache):
    twin = cache.with_name(cache.name + "-twin")
    twin.mkdir(exist_ok=True)
    (twin / "photo.png").write_bytes(png())
    refused(path=str(twin / "photo.png"))


def test_a_symlink_out_of_the_folder_is_refused(upload, outside):
    link = upload.with_name("link.png")
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    refused(path=str(link))


def test_a_linked_folder_is_refused(cache, outside):
    link = cache / "linked"
    link.unlink(missing_ok=True)
    link.symlink_to(outside.parent)
    refused(path=str(link / outside.name))


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:1/a.png",
        "https://example.org/a.png",
        "HTTPS://example.org/a.png",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "ftp://example.org/a.png",
        "/etc/passwd",
        "~/photo.png",
        "pyproject.toml",
        "",
        "a\0b",
    ],
)
def test_links_and_paths_are_refused(path):
    problem = preprocess(path=path)
    assert isinstance(problem, ImageError)
    assert "passwd" not in str(problem)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "file:///etc/passwd", "/etc/passwd"])
def test_a_url_without_a_file_is_refused(url):
    refused(url=url)


def test_a_missing_upload_is_an_image_error(cache):
    problem = preprocess(path=str(cache / "gone" / "photo.png"))
    assert isinstance(problem, ImageError)
    assert str(cache) not in str(problem)


def test_the_upload_folder_itself_is_an_image_error(cache):
    problem = preprocess(path=str(cache))
    assert isinstance(problem, ImageError)
    assert str(cache.parent) not in str(problem)


def test_a_broken_upload_is_an_image_error_that_names_no_path(upload):
    broken = upload.with_name("broken.png")
    broken.write_bytes(png()[:80])
    problem = preprocess(path=str(broken))
    assert isinstance(problem, ImageError)
    assert str(upload.parent) not in str(problem)


def moved(path: str) -> str | None:
    return asyncio.run(PhotoInput().async_move_resource_to_block_cache(path))


def test_links_are_never_fetched():
    for link in ("http://127.0.0.1:1/a.png", "https://example.org/a.png", "http://[", "http://"):
        with pytest.raises(gr.Error, match="not uploaded here"):
            moved(link)


def test_a_link_to_an_upload_means_the_upload(upload):
    """That is how an MCP client names what it uploaded; nothing is fetched."""
    assert moved(f"http://127.0.0.1:1/gradio_api/file={upload}") == str(upload)
    assert moved(f"https://me-space.hf.space/gradio_api/file={upload}?x=1") == str(upload)


def test_a_link_to_another_file_of_this_machine_is_refused(upload, outside):
    link = upload.with_name("link2.png")
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    dots = upload.parent / ".." / ".." / outside.name
    for path in (outside, "/etc/passwd", dots, link, "", "relative.png", "%2Fetc%2Fpasswd"):
        with pytest.raises(gr.Error, match="not uploaded here"):
            moved(f"http://127.0.0.1:1/gradio_api/file={path}")
