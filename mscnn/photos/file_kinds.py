"""What a file is by its first bytes, to name it in the sentence that refuses it."""

from __future__ import annotations

# (offset, magic bytes, what it is), only asked once decoding has failed; first match wins.
_BROKEN = "a broken or rare {} file"
KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", _BROKEN.format("JPEG")),
    (0, b"\x89PNG", _BROKEN.format("PNG")),
    (0, b"GIF8", _BROKEN.format("GIF")),
    (8, b"WEBP", _BROKEN.format("WebP")),
    (0, b"II*\0", _BROKEN.format("TIFF")),
    (0, b"MM\0*", _BROKEN.format("TIFF")),
    (0, b"II+\0", _BROKEN.format("TIFF")),
    (0, b"MM\0+", _BROKEN.format("TIFF")),
    (0, b"BM", _BROKEN.format("BMP")),
    (4, b"ftypavi", _BROKEN.format("AVIF")),
    *((4, b"ftyp" + brand, "a HEIC photo") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\1\xba", "a video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL photo"),
    (0, b"\xff\x0a", "a JPEG XL photo"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 photo"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)


def kind_of(data: bytes) -> str:
    """Return in words what kind of file failed to decode."""
    text = data[:4096].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"<"):
        if b"<svg" in text and b"<html" not in text:
            return "an SVG drawing, which is not accepted"
        return "a web page or XML text, not a photo"
    for offset, magic, kind in KINDS:
        if data.startswith(magic, offset):
            accepted = "broken" in kind
            return kind if accepted else f"{kind}, which is not accepted"
    return "not a picture that can be read"
