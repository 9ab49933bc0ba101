"""The whole analysis of a photo, to keep: a page that opens by itself, and each lens's files."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from markupsafe import Markup

import mscnn
from mscnn.draw.figures import theme_css
from mscnn.errors import MscnnError, OptionError
from mscnn.http.uploads import in_upload_folder
from mscnn.maps.methods import METHODS
from mscnn.models import registry
from mscnn.page.lens import Context, NeedsConsent
from mscnn.page.lenses import LENSES
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import TEMPLATES, Message, drawn, model_title, percent, render, webp
from mscnn.page.request import UNREADABLE, Request
from mscnn.photos.imaging import load_photo, thumbnail_of
from mscnn.results.replay import MANIFEST

LARGE_PX, SMALL_PX, WIDTH = 900, 240, 440.0


def kept(
    requests: Sequence[Request], context: Callable[[], Context]
) -> tuple[str, Mapping[str, bytes]]:
    """Return a name and the files: ``report.html``, the photo, and a folder for each lens.

    ``requests`` are of one photo and each of another lens; ``context`` makes a fresh one. Raises
    ``OptionError``: they are not, or there is none; ``ImageError``: the photo is no longer there. A
    lens that fails is said to.
    """
    lenses = {request.lens for request in requests}
    of_one = len({(request.photo, request.example) for request in requests}) == 1
    if not of_one or len(lenses) < len(requests) or not lenses <= {*LENSES}:
        raise OptionError(UNREADABLE)
    first, found = requests[0], context()
    photo, path = found.photo(first), found.photos.path(first)
    taken = "photo-" * (path.name in (*LENSES, "report.html"))
    files, parts = {taken + path.name: path.read_bytes()}, []
    for asked in requests:
        request = replace(asked, options={**asked.options, "width": WIDTH}, static=False)
        lens, own = LENSES[request.lens], context()
        part: Message = dict.fromkeys(("figures", "html", "others", "files", "replays"), "")
        part |= {"id": lens.id, "title": lens.title, "question": lens.question}
        try:
            *_, message = lens.answer(request, own)
            part |= _Still(message, request, own).parts()
            if "data-pack" in message["html"] and lens.files is not None:
                _, made = lens.files(request, context())
                files |= {f"{lens.id}/{name}": content for name, content in made.items()}
                part |= {"files": [*made], "replays": b'"replay"' in made.get(MANIFEST, b"")}
        except (NeedsConsent, MscnnError) as error:
            own.notices.append(f"This part could not be kept: {error}")
        parts.append(part | {"notices": own.notices})
    name, example = found.model(first), found.photos.examples.get(first.example)
    spec, method, model = registry.find(name), METHODS[first.method], model_title(name)
    # The maps of the other lenses are made in their own way, whatever is chosen.
    by = " and ".join(LENSES[one.lens].title for one in requests
                      if "method" in LENSES[one.lens].needs)  # fmt: skip
    settings = {
        "Photo": f"{photo.name}, {photo.image.width} x {photo.image.height} px",
        "Its source": example and example.credit, "Its sha256": photo.digest, "Network": model,
        "Its licence": spec and "; ".join(filter(None, (spec.licence, spec.licence_note))),
        "Beside it": ", ".join(map(model_title, first.models)), "Class": first.target,
        "Stage": first.layer,
        "Method": by and f"{method.title} ({method.paper}), in {by}",
        "Point": ", ".join(map(percent, first.point or ())),
        "Box": ", ".join(map(percent, first.box or ())),
    }  # fmt: skip
    now = datetime.now(timezone.utc).isoformat(" ", "minutes")
    report = render(
        "report.html", css=Markup(_css()), settings=settings, parts=parts, name=photo.name,
        picture=_url(webp(thumbnail_of(photo.image, 480))), now=now, version=mscnn.__version__,
    )  # fmt: skip
    return f"mscnn-{Path(photo.name).stem}-{model}", {**files, "report.html": report.encode()}


def _css() -> str:
    """The page's styles: its buttons are tiles here, and the system chooses the dark theme."""
    css = theme_css() + (TEMPLATES.parent / "static" / "style.css").read_text(encoding="utf-8")
    dark = r"@media (prefers-color-scheme: dark) { :root \1 }"
    return re.sub(r"\.dark ?({[^}]*})", dark, re.sub(r"\bbutton\b", ".tile", css))


def _url(content: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(content).decode("ascii")


class _Still:
    """An answer of which nothing is left that only the page can do."""

    def __init__(self, message: Mapping[str, Any], request: Request, context: Context) -> None:
        self.title = LENSES[request.lens].title
        self.html, view = message["html"], message.get("view", {})
        self.photo, self.look = context.photo(request), drawing(request)
        self.maps = {m["id"]: {"boxes": view.get("boxes", ()), **m} for m in view.get("maps", ())}
        if view.get("pick") == "point":  # the cross
            size = self.photo.image.size
            x, y = (f * px for f, px in zip(request.point or (0.5, 0.5), size, strict=True))
            arm = max(size) / 60
            for m in self.maps.values():
                arms = [x - arm, y, x + arm, y], [x, y - arm, x, y + arm]
                m["boxes"] = [*m["boxes"], *({"rect": rect, "tone": 1} for rect in arms)]
        self.columns = view.get("columns") or [{}]
        label = message.get("label")
        self.label = label if request.target else message.get("top") or label
        self.shown = self._at(request.layer) or next(iter(self.maps.values()), {})
        self.seen: set[str] = set()

    def _at(self, layer: str) -> Message | None:
        """The map of the class and a stage that the viewer would show."""
        for sent in self.maps.values():
            there = sent.get("last") if layer == "last" else sent.get("stage") == layer
            if sent.get("label", self.label) == self.label and ("stage" not in sent or there):
                return sent
        return None

    def _drawn(self, sent: Message, px: int = SMALL_PX) -> str:
        self.seen.add(sent["id"])
        return _url(drawn(sent, self.photo, self.look, px, whole=px > SMALL_PX))

    def parts(self) -> Message:
        """What the viewer shows, the answer, and the maps that are in neither."""
        figures, html = list(self._figures()), self._answer()
        others = [(m["title"], m.get("label"), m["alt"], self._drawn(m))
                  for name, m in self.maps.items() if name not in self.seen]  # fmt: skip
        return {"figures": figures, "html": Markup(html), "others": others,
                "caption": self.shown.get("caption", "")}  # fmt: skip

    def _figures(self) -> Iterator[tuple[str, str, str]]:
        """Title, picture, and the picture in words."""
        for column in self.columns:
            if "map" in column:  # none, as the note says
                bare = _url(webp(thumbnail_of(self.photo.image, LARGE_PX)))
                yield f"{column['title']}: {column['note']}", bare, "The photo, without a map."
                continue
            group = column.get("key"), self.shown.get("group")
            beside = (m for m in self.maps.values() if (m.get("column"), m.get("group")) == group)
            sent = next(beside, None) if "key" in column else self.shown
            if sent:
                yield column.get("title", ""), self._drawn(sent, LARGE_PX), sent["alt"]

    def _answer(self) -> str:
        """The answer's HTML, from our own templates: controls go, what showed a map is a tile."""
        html = self.html
        for pattern, instead in (
            (r"<(button|p|span|section|details)\b[^>]* data-(?:pack|live).*?</\1>", ""),
            (r"<label\b.*?</label>|<strong data-group.*?</strong>", ""),
            (r"<button[^>]*>[^<]*</button>", ""),
            (r"<button[^>]*>", '<div class="tile">'),
            (r"</button>", "</div>"),
            (r'<canvas data-(map|stage)="([^"]*)"[^>]*></canvas>', self._canvas),
            (r'(?<=<img src=")[^"]*file=([^"]*)', self._picture),
            (r'<section data-group="([^"]*)"[^>]* aria-label="([^"]*)"[^>]*>(.*?)</section>',
             self._section),
            (r"<(/?)h3", r"<\1h4"), (r"<(/?)h2", r"<\1h3"),
            ('role="region" aria-label="', rf"\g<0>{self.title}: "),
        ):  # fmt: skip
            html = re.sub(pattern, instead, html, flags=re.DOTALL)
        return str(html)

    def _canvas(self, found: re.Match[str]) -> str:
        kind, name = found[1], Markup(found[2]).unescape()
        sent = self.maps.get(name) if kind == "map" else self._at(name)
        return f'<img alt="" src="{self._drawn(sent)}">' if sent else ""

    def _picture(self, found: re.Match[str]) -> str:
        path = in_upload_folder(Markup(found[1]).unescape())
        return _url(webp(load_photo(path)))

    def _section(self, found: re.Match[str]) -> str:
        if Markup(found[1]).unescape() == self.shown.get("group"):
            return f"<div>{found[3]}</div>"
        return f"<details><summary>{found[2]}</summary>{found[3]}</details>"
