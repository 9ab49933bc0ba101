"""What a lens is, and what it answers requests with; ``docs/lenses.md`` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mscnn.engine.network import Network
from mscnn.engine.pipeline import Engine
from mscnn.errors import Cancelled, UnknownClassError, UnknownModelError, WeightsError
from mscnn.models import registry
from mscnn.models.architecture import typed_bytes
from mscnn.models.sources import locate
from mscnn.page.cache import Cache
from mscnn.page.jobs import Job
from mscnn.page.messages import model_title
from mscnn.page.photos import Photo, PhotoStore
from mscnn.page.request import Request
from mscnn.results.replay import recorded
from mscnn.results.writing import Files

T = TypeVar("T")


class NeedsConsent(Exception):
    """An answer costs a download or minutes: the page asks first.

    Args:
        sentence: what it costs.
        button: what the button says that starts it.
    """

    def __init__(self, sentence: str, button: str) -> None:
        super().__init__(sentence)
        self.message = {"sentence": sentence, "button": button}


@dataclass
class Context:
    """What a lens answers a request with.

    Attributes:
        engine: shared by all visitors.
        photos: likewise.
        results: likewise; see ``cached``.
        job: the visitor's running job.
        first_model: for requests that name none.
        files: the owner's feature files.
        notices: sentences for the visitor, beside the answer.
        adopt: what of the visitor's state the answer settles, such as the model's name.
        classes: names of the classes of the network that answers, where a class was looked up.
        used: names of the networks that the answer is from, each once.
        methods: names of the methods, and contrasts, that its maps are made by.
        has_downloaded: that is what the visitor agreed to, and to nothing else that it costs.
    """

    engine: Engine
    photos: PhotoStore
    results: Cache
    job: Job
    first_model: Callable[[], str]
    files: tuple[Any, ...] = ()
    notices: list[str] = field(default_factory=list)
    adopt: dict[str, Any] = field(default_factory=dict)
    classes: list[str] | None = None
    used: dict[str, None] = field(default_factory=dict)
    methods: dict[str, None] = field(default_factory=dict)
    has_downloaded: bool = False

    @property
    def is_cancelled(self) -> Callable[[], bool]:
        """Polled by long work: the visitor pressed Stop, or asked for something newer."""
        return self.job.is_cancelled

    def progress(self, done: int, total: int | None, what: str = "") -> None:
        """Show how far the work is."""
        self.job.progress(done, total, what)

    def photo(self, request: Request) -> Photo:
        """Return the request's photo; see ``PhotoStore.get``."""
        return self.photos.get(request)

    def model(self, request: Request) -> str:
        """Return the name of the request's model; a link's unknown one gives way to the first."""
        name = request.model or self.first_model()
        if request.changed == "open":
            try:
                locate(self.engine.session.place(name))
            except UnknownModelError as error:
                self.notices.append(str(error))
                name = self.first_model()
        self.adopt["model"] = name
        self.used[name] = None
        return name

    def several(self, request: Request) -> list[str]:
        """Return the name of the request's network, and of those chosen beside it, each once."""
        name = self.model(request)
        _, *others = dict.fromkeys(map(registry.full_name, (name, *request.models)))
        return [name, *others]

    def network(self, request: Request, name: str | None = None) -> Network:
        """Return the request's network, or another one by name.

        A download that has begun goes on for the visitor's newer requests about the same model.

        Raises:
            NeedsConsent: its weights must be downloaded, and the visitor was not asked yet.
            MscnnError: it cannot be had.
        """
        name = self.model(request) if name is None else name
        self.used[name] = None
        self.consent_to_download(request, [name])
        has_begun = False

        def loading(done: int, total: int | None) -> None:
            nonlocal has_begun
            has_begun, mb = True, 10**6
            total_mb = None if total is None else total // mb
            for job in {self.job, self.job.newest}:
                job.progress(done // mb, total_mb, f"Downloading {model_title(name)} (MB)")

        def is_over() -> bool:
            return (self.job.newest if has_begun else self.job).is_cancelled()

        network = self.engine.session.network(name, on_progress=loading, is_cancelled=is_over)
        if self.job.overtaken:
            raise Cancelled("Stopped.")
        return network

    def is_agreed(self, request: Request) -> bool:
        """Whether the visitor agreed to what this answer costs beside a download that it began."""
        return request.agreed and not self.has_downloaded

    def is_here(self, name: str) -> bool:
        """Whether a model's weights need no download."""
        with suppress(WeightsError):  # it has none
            return locate(self.engine.session.place(name)).kind != "download"
        return False

    def consent_to_download(self, request: Request, names: Sequence[str]) -> None:
        """Ask the visitor first where weights must be downloaded; raises ``NeedsConsent``.

        To all of ``names`` at once, and only once.
        """
        session = self.engine.session
        missing = []
        for name in dict.fromkeys(names):
            if name in self.job.agreed:
                continue
            with suppress(UnknownModelError, WeightsError):  # said where it is loaded
                found = locate(session.place(name))
                if found.kind == "download":
                    size = found.download_bytes
                    missing.append((name, typed_bytes(name) if size is None else size))
        if missing and not self.is_agreed(request):
            mb = f"{sum(size for _, size in missing) / 1e6:.0f} MB"
            titles = ", ".join(model_title(name) for name, _ in missing)
            verb = "is" if len(missing) == 1 else "are"
            raise NeedsConsent(
                f"{titles} {verb} not on this machine yet: {mb} to download first.",
                f"Download {mb} and show it",
            )
        self.has_downloaded |= bool(missing)
        self.job.agreed |= {name for name, _ in missing}

    def target(self, request: Request, network: Network) -> int | None:
        """Return the index of the class asked for; None for the top-1 prediction.

        A class that was chosen for another model, or came with a link, may be unknown to this
        one; then the top-1 prediction is shown, and a notice says so.

        Raises:
            UnknownClassError: the visitor has just typed it.
        """
        self.classes = list(map(network.labels.display, range(len(network.labels))))
        if not request.target:
            return None
        try:
            index = network.labels.resolve(request.target)
            self.adopt["target"] = network.labels.display(index)
            return index
        except UnknownClassError as error:
            if request.changed == "target":
                raise
            self.adopt["target"] = None
            found = f"{model_title(network.name)} has no class “{request.target}”"
            sentence = str(error) if request.changed == "open" else f"{found}."
            self.notices.append(f"{sentence} Its top-1 prediction is shown instead.")
            return None

    def layer(self, request: Request, network: Network) -> str:
        """Return the module of the stage asked for; the last one where the model has fewer."""
        if request.layer == "last":
            return network.last_stage
        if int(request.layer) > len(network.stages):
            self.adopt["layer"] = "last"
            title, count = model_title(network.name), len(network.stages)
            self.notices.append(f"{title} has {count} stages; its last one is shown.")
            return network.last_stage
        return network.layer(request.layer)

    def cached(
        self, key: Hashable, make: Callable[[], T], is_whole: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Return a result that all visitors share.

        Args:
            key: what it depends on, photo and model among it; see ``model_key``.
            make: computes it; a value with arrays, which must not be changed.
            is_whole: whether it was not cut short by Stop, which is the own visitor's.
        """
        return self.results.get(key, make, is_whole, self._wait)

    def _wait(self) -> None:
        """Another visitor's request makes the same: it need not be waited for."""
        if self.is_cancelled():
            raise Cancelled("Stopped.")

    def recorded(
        self, files: Files, request: Request, networks: Iterable[Network], command: str, **how: Any
    ) -> Files:
        """Return files whose manifest says which command, with which options, makes them again."""
        # The name of its file, by which "replay" finds it: an example is shown by another one.
        name, digest = self.photos.path(request).name, self.photo(request).digest
        weights = {n.name: n.weights.sha256 for n in networks}
        return recorded(files, command, how, (name, digest), weights)


def model_key(network: Network) -> Hashable:
    """A network's part of a cache key: a folder may be trained or described anew under its name."""
    how = repr(sorted(network.loaded.data_config.items()))
    return network.name, network.weights.sha256, network.labels.names, how


@dataclass(frozen=True, slots=True)
class Lens:
    """One tab of the page; see ``docs/lenses.md`` for the protocol.

    Attributes:
        id: in links and element ids.
        title: on the tab.
        question: one sentence below it: what the lens answers.
        answer: yields the answers to a request.
        needs: fields of the state that an answer depends on.
        covers: of "target" and "layer": those that a map in the answer satisfies.
        files: makes the download: its name, and what the ZIP archive holds by name.
    """

    id: str
    title: str
    question: str
    answer: Callable[[Request, Context], Iterator[Mapping[str, Any]]]
    needs: tuple[str, ...] = ("photo", "model")
    covers: tuple[str, ...] = ()
    files: Callable[[Request, Context], tuple[str, Mapping[str, bytes]]] | None = None
