"""What a file is by its first bytes, to name it in the sentence that refuses it."""

from __future__ import annotations

# (offset, magic bytes, what it is), only asked once decoding has failed; first match wins.
_BROKEN = "a broken or rare {} file"
KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", _BROKEN.format("JPEG")),
    (0, b"\x89PNG", _BROKEN.format("PNG")),
    (0, b"GIF8", _BROKEN.format("GIF")),
    (8, b"WEBP", _BROKEN.format("WebP")),
    *((0, tiff, _BROKEN.format("TIFF")) for tiff in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (0, b"BM", _BROKEN.format("BMP")),
    (4, b"ftypavi", _BROKEN.format("AVIF")),
    *((4, b"ftyp" + brand, "a HEIC photo") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *((at, magic, "a video") for at, magic in ((4, b"ftyp"), (8, b"AVI "))),
    *((0, magic, "a video") for magic in (b"\x1aE\xdf\xa3", b"\0\0\1\xba")),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop file"),
    *((0, magic, "a JPEG XL photo") for magic in (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 photo"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)


def kind_of(data: bytes) -> str:
    """Return in words what kind of file failed to decode."""
    text = data[:4096].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"<") and (b"<svg" not in text or b"<html" in text):
        return "a web page or XML text, not a photo"
    kinds = (kind for offset, magic, kind in KINDS if data.startswith(magic, offset))
    kind = "an SVG drawing" if text.startswith(b"<") else next(kinds, "")
    if not kind:
        return "not a picture that can be read"
    return kind if "broken" in kind else f"{kind}, which is not accepted"
