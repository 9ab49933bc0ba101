"""Pictures as data URLs (RFC 2397) in every form that base64 (RFC 4648) is written in."""

import base64
from itertools import product
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from gradio.data_classes import ImageData
from gradio.route_utils import delete_files_created_by_app
from PIL import Image

from mscnn.errors import ImageError
from mscnn.http.uploads import FileSet, PhotoInput, cache_file

HEADS = (
    "data:image/png;base64,", "DATA:IMAGE/PNG;BASE64,", "Data:;base64,", "data:base64,",
    "data:image/png;charset=utf-8;base64,", " data:application/octet-stream; base64 ,",
    "data:nonsense;base64,", 'data:image/png;name="a,b.png";base64,', "data:image/png,", "data:,",
)  # fmt: skip


def written(content):
    """The same bytes as programs write them."""
    plain, safe = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    lines = base64.encodebytes(content).decode()
    return {
        "as it is": plain, "in lines": lines, "in lines of Windows": lines.replace("\n", "\r\n"),
        "with spaces": " ".join(plain[i : i + 8] for i in range(0, len(plain), 8)),
        "of the other alphabet": safe, "without padding": plain.rstrip("="),
        "of the other alphabet, without padding": safe.rstrip("="), "padded twice": f"{plain}==",
        "percent-encoded": quote(plain, safe=""),
    }  # fmt: skip


@pytest.fixture
def content(photo_bytes):
    """A PNG whose base64 has padding, and both letters in which the alphabets differ."""
    padded = photo_bytes + b"\0" * (1 + -len(photo_bytes) % 3)
    assert {"+", "/", "="} <= set(base64.b64encode(padded).decode())
    return padded


def test_every_form_of_a_data_url_is_the_same_photo(content, make_photo):
    expected = make_photo(1).tobytes()
    for head, (form, text) in product(HEADS, written(content).items()):
        photo = PhotoInput().preprocess(ImageData(url=head + text))
        assert isinstance(photo, Image.Image), (head, form)
        assert photo.tobytes() == expected, (head, form)


def test_a_data_url_without_base64_holds_percent_encoded_bytes(content, make_photo):
    photo = PhotoInput().preprocess(ImageData(url=f"data:image/png,{quote(content)}"))
    assert isinstance(photo, Image.Image)
    assert photo.tobytes() == make_photo(1).tobytes()


@pytest.mark.parametrize("link", [
    "data:", "data:,", "data:image/png;base64,", "data:image/png;base64,A", "data:;base64,é",
    "data:image/png;base64,iVBO!w0K", "data:text/plain,hello", "data:;base64,AA=A",
])  # fmt: skip
def test_a_data_url_without_a_picture_is_a_sentence(link):
    error = PhotoInput().preprocess(ImageData(url=link))
    assert isinstance(error, ImageError)
    assert str(error).endswith((".", "?"))


@pytest.mark.parametrize("link", ["date:image/png;base64,AAAA", "dat", "/etc/passwd"])
def test_what_is_no_data_url_is_no_upload(link):
    assert "not uploaded here" in str(PhotoInput().preprocess(ImageData(url=link)))


def test_the_folder_of_an_answer_goes_with_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    kept = FileSet({cache_file("a.png", b"x"), cache_file("a.png", b"y")})
    page = SimpleNamespace(blocks={}, temp_file_sets=[kept])
    delete_files_created_by_app(page, None)  # type: ignore[arg-type]
    assert (len(kept), list(tmp_path.iterdir())) == (0, [])
