"""From a request to messages: one event, a job per visitor, errors as sentences."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gradio as gr

from mscnn.engine.pipeline import Engine
from mscnn.errors import Cancelled, MscnnError, OptionError
from mscnn.http.feedback import UNEXPECTED
from mscnn.http.uploads import cache_file
from mscnn.models import registry
from mscnn.models.citing import bibtex
from mscnn.page.cache import Cache
from mscnn.page.jobs import Job, Jobs
from mscnn.page.lens import Context, NeedsConsent
from mscnn.page.lenses import LENSES
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import Message, bare, drawn, render, zipped
from mscnn.page.photos import PhotoStore
from mscnn.page.report import kept
from mscnn.page.request import MAX_SERIAL, UNREADABLE, Request
from mscnn.photos.imaging import notices_of

log = logging.getLogger(__name__)
_KEPT_BYTES = 64 * 2**20
_REST = {"sentence": "", "button": "Do the rest"}
"""The question that Stop leaves; it agrees to no cost."""


class Answering:
    """The handlers of the viewer's events.

    Args:
        engine: shared by all visitors.
        photos: likewise.
        first_model: for requests that name none.
        offer: returns new lists of choices, where the owner's folders hold other models by now.
        files: the owner's feature files.
    """

    def __init__(
        self,
        engine: Engine,
        photos: PhotoStore,
        first_model: Callable[[], str],
        *,
        offer: Callable[[], Message | None] = lambda: None,
        files: tuple[Any, ...] = (),
    ) -> None:
        self.engine, self.photos, self.first_model, self.files = engine, photos, first_model, files
        self.offer = offer
        self.jobs, self.results = Jobs(), Cache(_KEPT_BYTES)

    def ask(self, event: gr.EventData, http: gr.Request) -> Iterator[Any]:
        """Answer a request: progress, and one or several answers, each better than the last."""
        data = getattr(event, "_data", None)
        serial = data.get("serial") if isinstance(data, dict) else None
        serial = serial if isinstance(serial, int) and 0 <= serial < MAX_SERIAL else None
        model = data.get("model") if isinstance(data, dict) else None
        with self.jobs.running(str(http.session_hash), serial or 0, model) as job:
            for message in self._messages(data, job):
                yield {"serial": serial, **message}
                if job.overtaken:
                    break

    def stop(self, http: gr.Request) -> None:
        """End what runs for this visitor."""
        self.jobs.stop(str(http.session_hash))

    def pack(self, data: Any) -> Mapping[str, Any]:
        """Make the file that a lens offers for a request: ``{"path"}`` or ``{"error"}``.

        Of a list of requests, one for each lens: all there is to keep; see ``report.kept``.
        """
        context = partial(self._context, Job())
        try:
            if isinstance(data, list):
                name, files = kept([Request.parse(one) for one in data[: len(LENSES) + 1]], context)
            else:
                request = Request.parse(data)
                lens = LENSES.get(request.lens)
                if lens is None or lens.files is None:
                    raise OptionError(UNREADABLE)
                name, files = lens.files(request, context())
            name = f"{bare(name)}.zip"
            return {"path": cache_file(name, zipped(files)), "name": name}
        except (NeedsConsent, MscnnError) as error:
            return {"error": str(error)}
        except Exception:
            log.exception("unexpected error in a download")
            return {"error": UNEXPECTED}

    def _context(self, job: Job) -> Context:
        return Context(self.engine, self.photos, self.results, job, self.first_model, self.files)

    def _messages(self, data: Any, job: Job) -> Iterator[Message]:
        """Run the lens in a thread of its own, so that its progress can be told meanwhile."""
        told: queue.Queue[Message | None] = queue.Queue()
        job.tell = told.put
        # gradio and ZeroGPU know the visitor by context variables.
        work = contextvars.copy_context().run
        thread = threading.Thread(target=work, args=(self._work, data, job), daemon=True)
        thread.start()
        while (message := told.get()) is not None:
            while "progress" in message and not told.empty():  # the newest will do
                following = told.get()
                if following is None:
                    return
                message = following
            yield message

    def _work(self, data: Any, job: Job) -> None:
        try:
            for message in self._answers(data, job):
                job.tell(message)
        except NeedsConsent as question:
            job.tell({"need": question.message})
        except Cancelled as error:
            job.tell({"stopped": str(error) or "Stopped."})
        except MscnnError as error:
            job.tell({"error": str(error)})
        except Exception:
            log.exception("unexpected error in an answer")
            job.tell({"error": UNEXPECTED})
        finally:
            job.tell(None)

    def _answers(self, data: Any, job: Job) -> Iterator[Message]:
        request = Request.parse(data)
        lens = LENSES.get(request.lens)
        if lens is None:
            raise OptionError(UNREADABLE)
        context = self._context(job)
        photo = context.photo(request)
        said = notices_of(photo.image)
        more = False
        for answer in lens.answer(request, context):
            if job.overtaken:
                raise Cancelled("Stopped.")
            stopped = job.is_cancelled()
            unfinished = bool(answer.get("more"))
            more = unfinished and not stopped
            need = answer.get("need") or (_REST if unfinished and stopped else None)
            view = dict(answer.get("view", {}))
            if request.static and not more:  # the browser has no canvas
                look, maps = drawing(request), view.get("maps", ())
                view["pictures"] = {
                    m["id"]: cache_file("map.webp", drawn(m, photo, look)) for m in maps
                }
            yield {
                "lens": lens.id,
                "photo": photo.message(),
                "choices": self.offer(),
                "notice": " ".join(
                    dict.fromkeys([*said, *context.notices, *(["Stopped."] if stopped else [])])
                ),
                "of_photo": " ".join(said),
                "adopt": dict(context.adopt),
                "classes": context.classes,
                "html": "",
                "cite": render(
                    "cite.html",
                    networks=[*filter(None, map(registry.find, context.used))],
                    bibtex=bibtex(*context.used, *context.methods, lens.id, "timm", "mscnn"),
                ),
                **answer,
                "view": view,
                "more": more,
                "need": need,
                "cut_short": stopped and need is not None,
            }
            if stopped:
                return
        if more:
            raise Cancelled("Stopped.")
