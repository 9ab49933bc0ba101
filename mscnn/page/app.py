"""The page: one photo, many lenses."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import getproxies

# Before gradio is imported: it would ask its own servers for a newer version.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from mscnn.draw.figures import theme_css
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.engine.zerogpu import ZeroGpuSession
from mscnn.errors import OptionError, OutputError
from mscnn.http import memory
from mscnn.http.endpoints import build_api
from mscnn.http.server import Page
from mscnn.http.uploads import FileSet
from mscnn.models.owners import OwnersModels
from mscnn.models.sources import default_or
from mscnn.page.answering import Answering
from mscnn.page.lenses.features import OwnersFile, open_files
from mscnn.page.photos import PhotoStore
from mscnn.page.viewer import STATIC, STYLES, build_viewer, choices
from mscnn.results.writing import reason

MAX_UPLOAD_MB = 64
DELETE_AFTER_S = 3600
AT_ONCE = 4
"""Requests answered at a time; each network has a lock of its own."""
UNANSWERED = "() => { document.dispatchEvent(new Event('mscnn-unanswered')); }"
"""Tells the page's scripts (``panels.js``) that a request will have no answer."""
TITLE = "mscnn: see what a multi-scale CNN sees"
DESCRIPTION = (
    "Drop a photo: a network that looks at several scales at once says what it is, and the page "
    "shows where in the photo each answer came from, and at which scale."
)
HEAD = """
<meta name="description" content="{description}">
<meta property="og:title" content="See what a multi-scale CNN sees">
<meta property="og:description" content="{description}">
<meta property="og:image" content="{site}gradio_api/file={card}">
<meta property="og:type" content="website">
<meta name="twitter:card" content="summary_large_image">
"""


def build_app(engine: Engine, *, files: Sequence[OwnersFile] = ()) -> gr.Blocks:
    """Build the page.

    Args:
        engine: shared by all visitors; the owner's models of its session are offered first.
        files: feature files of the owner, offered by the Features lens.
    """
    photos = PhotoStore()

    def first_model() -> str:
        """The owner's first, else the best one on disk; without any, the page still opens."""
        owned = next(iter(engine.session.offered()), None)
        return default_or("starter_res2net") if owned is None else owned

    built, first = engine.session.offered(), first_model()

    def offer() -> dict[str, Any] | None:
        now = engine.session.offered()
        return None if now == built else choices(now)

    answering = Answering(engine, photos, first_model, offer=offer, files=tuple(files))
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with Page(
        title=TITLE, analytics_enabled=False, delete_cache=(900, DELETE_AFTER_S), fill_width=True
    ) as demo:
        demo.upload_file_set = demo.temp_file_sets[0] = FileSet()
        viewer = build_viewer(
            photos, model=first, offered=built, max_bytes=MAX_UPLOAD_MB * 2**20, pack=answering.pack
        )
        viewer.keep_in_cache.add(_card())
        asked = viewer.ask(
            answering.ask, None, [viewer], trigger_mode="multiple", concurrency_limit=AT_ONCE,
            concurrency_id="ask", **private,
        )  # fmt: skip
        # Of a request that did not get through (a full queue) gradio tells the visitor alone.
        asked.failure(None, js=UNANSWERED, **private)
        viewer.stop(answering.stop, None, None, queue=False, **private)
        # One model runs at a time here: hooks are not re-entrant, and two would share the cores.
        queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
        references = [example.path for example in photos.examples.values()]
        build_api(engine, first, queue, references=references)
    made: gr.Blocks = demo
    return made


def _card() -> str:
    """Path, in gradio's cache, of the picture that other sites show beside a link to the page."""
    path: str = save_file_to_cache(STATIC / "card.jpg", get_upload_folder())
    return path


def launch_options() -> dict[str, Any]:
    """What ``Blocks.launch`` gets, wherever the page runs."""
    host = os.environ.get("SPACE_HOST")
    site = f"https://{host}/" if host else ""
    return {
        # gradio's own fonts lack letters in their heavier weights; the system's are complete.
        "theme": gr.themes.Base(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "css": theme_css(),
        "css_paths": STYLES,
        "head": HEAD.format(description=DESCRIPTION, site=site, card=_card()),
        "max_file_size": f"{MAX_UPLOAD_MB}mb",
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": ["api", "settings"],
        "strict_cors": True,
        "mcp_server": True,
        "state_session_capacity": memory.SESSIONS,
        "max_threads": memory.THREADS,
        "quiet": False,
    }


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    device: str = "auto",
    models: Sequence[str] = (),
    shelf: Path | None = None,
    features: Sequence[tuple[Path, Path]] = (),
    gpu: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> None:
    """Start the page and block until it is stopped.

    Args:
        host: address to listen on; the local machine only where None.
        port: a free one from 7860 where None.
        device: see ``mscnn.engine.device.choose_device``.
        models: model folders to offer, or folders of such folders.
        shelf: one more folder of model folders, which need not be there yet.
        features: feature files to offer, each with the folder of its photographs.
        gpu: ZeroGPU's decorator, where the page has a GPU only inside decorated calls.

    Raises ``OptionError``: the page cannot listen there; ``OutputError``: temporary files cannot be
    written; and what ``open_files`` and ``OwnersModels`` raise.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME")
    _check_address(host, port)
    _check_uploads()
    _ask_no_proxy(host)
    if host and ":" in host:  # gradio makes an address of it, where IPv6 has brackets
        host = f"[{host.strip('[]')}]"
    files, owners = open_files(features), OwnersModels(models, shelf=shelf)
    session = Session(device, owners=owners) if gpu is None else ZeroGpuSession(gpu, owners=owners)
    demo = build_app(Engine(session), files=files)
    demo.queue(max_size=64, default_concurrency_limit=1)
    memory.bound()
    try:
        demo.launch(server_name=host, server_port=port, **launch_options())
    except OSError as error:
        if "empty port" not in str(error):
            raise
        raise OptionError("Every port that was tried is in use; give a free --port.") from error


def _check_address(host: str | None, port: int | None) -> None:
    """Raise ``OptionError`` where gradio would try, and only say that it found no port."""
    host = (host or "127.0.0.1").strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port or 0), family=family).close()
    except (OSError, UnicodeError) as error:
        number: int = getattr(error, "errno", None) or 0
        why = {
            errno.EADDRINUSE: f"port {port} is in use by another program; give another --port",
            errno.EACCES: f"port {port} needs a permission of the system; give --port 1024 or more",
        }.get(number, f"{host!r} is no address of this machine; give another --host")
        raise OptionError(f"The page cannot be served: {why}.") from error


def _ask_no_proxy(host: str | None) -> None:
    """Have this process ask itself without a proxy, which gradio does at the start and for MCP."""
    found = getproxies()
    # A list with "*" in it would no longer mean all hosts to urllib and requests.
    if (found.get("http") or found.get("all")) and found.get("no") != "*":
        for kind, address in found.items():  # a system's own count only where none are named here
            os.environ.setdefault(f"{kind}_proxy", address)
        own = [found.get("no", ""), "localhost", "127.0.0.1", "::1", (host or "").strip("[]")]
        os.environ["no_proxy"] = ",".join(filter(None, own))


def _check_uploads() -> None:
    """Raise ``OutputError`` where uploads and answers could not be kept for their hour."""
    folder = Path(get_upload_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(
            f"The folder for temporary files may not be written: {reason(error)}; name another in "
            "the environment variable GRADIO_TEMP_DIR."
        ) from error
