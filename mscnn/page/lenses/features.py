"""Features: the photographs that a network describes most like the visitor's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from mscnn.data.feature_files import read_feature_file
from mscnn.data.neighbours import nearest
from mscnn.data.part_files import differing
from mscnn.draw.files import features_files
from mscnn.engine.network import Network
from mscnn.errors import (
    DatasetError,
    MscnnError,
    OptionError,
    UnknownLayerError,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)
from mscnn.models import registry
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.messages import Message, bare, model_title, render, stage_name
from mscnn.page.photos import is_same
from mscnn.page.request import Request
from mscnn.results.features import FeatureFile, FeatureHead
from mscnn.results.schema import plain

SHOWN = 12
"""Neighbours with a picture."""
LISTED = 200
"""Neighbours in the table and in the file."""
_SAME_AT_MOST = 20
_ALIKE = 0.999
"""The photo itself is looked for among those at least as similar."""


@dataclass(frozen=True, slots=True)
class OwnersFile(FeatureFile):
    """A feature file that the owner named; its paths come from anywhere.

    Attributes:
        name: the file's, without its folder.
        folder: where the photographs are; no visitor's business.
    """

    name: str
    folder: Path = field(repr=False)

    def photo(self, row: int) -> Path | None:
        """Return where a photograph is; None where its path leads out of the folder.

        By its words alone: links that the owner has put into the folder are followed, as they
        were when the features were computed.
        """
        name = self.paths[row]
        kinds = (PurePosixPath(name), PureWindowsPath(name))
        if any(path.anchor or ".." in path.parts for path in kinds):
            return None
        return self.folder / name


def open_files(pairs: Sequence[tuple[Path, Path]]) -> tuple[OwnersFile, ...]:
    """Read the owner's feature files, when the page starts.

    Args:
        pairs: a feature file, and the folder that ``mscnn features`` was given.

    Raises:
        DatasetError: a file is no feature file or holds nothing, or the folder is missing
            or has none of the photographs.
        OptionError: its name ends in no known kind.
    """
    opened = []
    for path, folder in pairs:
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {str(folder)!r}; after {path.name}= give the folder whose "
                "photographs the file describes."
            )
        content = read_feature_file(path)
        if not content.paths:
            raise DatasetError(f"{path.name!r} holds no photographs; make it again.")
        file = OwnersFile(content.head, content.paths, content.features, path.name, folder)
        step = len(file.paths) // 1000 + 1  # a look at each of a million takes long
        places = map(file.photo, range(0, len(file.paths), step))
        if not any(place is not None and place.is_file() for place in places):
            raise DatasetError(
                f"No photograph of {path.name!r} lies in {str(folder)!r}, such as "
                f"{file.paths[0]!r}; give the folder that 'mscnn features' was given, where it "
                "is now."
            )
        opened.append(file)
    return tuple(opened)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One photograph of the set.

    Attributes:
        name: file name, or path below the owner's folder.
        similarity: cosine, -1..1.
        small: path of a small picture in gradio's cache; None where there is none, or where
            it is one of those that are only listed.
    """

    name: str
    similarity: float
    small: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What one network finds like the photo.

    Attributes:
        title: the network's, as the visitor named it: two folders may be called the same.
        head: what was searched; None where ``note`` says why nothing was.
        listed: most similar first; the first ``SHOWN`` with pictures.
        left_out: names of those that are the photo itself.
        note: why there is no answer, or "".
        folder: for its files, where those of two networks are packed.
    """

    title: str
    head: FeatureHead | None = None
    listed: tuple[Neighbour, ...] = field(default=(), repr=False)
    left_out: tuple[str, ...] = ()
    note: str = ""
    folder: str = ""


def answer(request: Request, context: Context) -> Iterator[Message]:
    """The page's network, then the one beside it; of a file, the network that made it."""
    found: list[Found] = []
    for searched, more, need in _searches(request, context):
        found.append(searched)
        yield _message(found, request, context, more=more, need=need)


def _searches(
    request: Request, context: Context
) -> Iterator[tuple[Found, bool, NeedsConsent | None]]:
    """Yield answers, whether another one comes, and what must be agreed to before that."""
    file = _file(request, context)
    if file is not None:
        yield _search(_network_of(file, request, context), file, request, context), False, None
        return
    if not context.photos.examples:
        raise OptionError(
            "There are no example photographs on this machine; start the page with 'mscnn serve "
            "--features FILE=FOLDER' to search photographs of yours."
        )
    network = context.network(request)
    context.layer(request, network)
    request = replace(request, layer=context.adopt.get("layer", request.layer))
    also, need = str(request.options.get("also", "")), None
    own = registry.full_name(context.adopt["model"])
    second = also != "" and registry.full_name(also) != own
    if second:
        try:
            context.consent_to_download(request, [also])
        except NeedsConsent as question:
            second, need = False, question
        except MscnnError:
            pass  # said below
    yield _search(network, None, request, context, own), second, need
    if second:
        try:
            found = _search(context.network(request, also), None, request, context, also)
        except MscnnError as error:
            found = Found(model_title(also), note=str(error))
        yield found, False, None


def _file(request: Request, context: Context) -> OwnersFile | None:
    """The owner's file that is to be searched; None for the examples."""
    among = str(request.options.get("among", ""))
    if not among:
        return None
    known: dict[str, OwnersFile] = {str(number): file for number, file in enumerate(context.files)}
    if among not in known:
        raise OptionError("There is no such set of photographs; choose one from the list.")
    return known[among]


def _network_of(file: OwnersFile, request: Request, context: Context) -> Network:
    """Return the network that a file was made with: the owner's of that name, or a listed one.

    Raises:
        OptionError: it is not offered here, or has other weights or prepares photos in another way
            by now.
    """
    session, own = context.engine.session, model_title(file.head.model)
    names = [n for n in session.offered() if Path(session.place(n)).name == own]
    try:
        if context.is_here(file.head.model) or not names:
            names.append(file.head.model)
    except (UnknownModelError, WeightsError) as error:
        if not names:
            raise OptionError(
                f"{file.name} holds features of {own}, which is not offered here; start the page "
                "with --models and that model's folder."
            ) from error
    networks = [context.network(request, name) for name in names]
    sha256 = file.head.weights_sha256
    why = (
        f"was made with weights {sha256[:12]} of {own}, but here it has "
        f"{networks[0].weights.sha256[:12]}, and features of different weights cannot be compared"
    )
    for network in networks:
        if network.weights.sha256 != sha256:
            continue
        made, now = file.head.preparation, plain(network.loaded.data_config)
        if not (changed := differing(made, now) if made else []):
            if own != model_title(context.model(request)):
                context.notices.append(
                    f"{file.name} holds features of {own}, so your photo is shown to {own} here, "
                    f"not to {model_title(context.model(request))}."
                )
            return network
        why = (
            f"is of photos that {own} did not prepare as it does here ({', '.join(changed)}), and "
            "such features cannot be compared"
        )
    raise OptionError(f"{file.name} {why}; make the file again with 'mscnn features'.")


def _search(
    network: Network, file: OwnersFile | None, request: Request, context: Context, named: str = ""
) -> Found:
    """What is most like the photo; ``named``: the visitor's name of the network."""
    named = registry.full_name(named or network.name)
    own, stage, split, rows = context.photo(request), None, None, None
    examples = tuple(context.photos.examples.values())
    names, paths = tuple(e.label for e in examples), [e.path for e in examples]
    if file is not None:
        stage, split = file.head.stage or None, int(file.head.split) if file.head.split else None
        names, rows = file.paths, file.features
    try:
        if file is None and request.layer != "last":
            stage = network.layer(request.layer)
        key = ("features", model_key(network), stage, split)
        query = context.cached(
            (*key, own.digest), lambda: network.features(own.image, stage=stage, split=split)
        )
    except (UnknownLayerError, UnsupportedModelError) as error:
        return Found(model_title(named), note=str(error))
    if rows is None:
        rows = context.cached((*key, "examples"), lambda: network.features(paths, stage=stage))
    listed: list[Neighbour] = []
    left_out: list[str] = []
    for near in nearest(query, rows, LISTED + _SAME_AT_MOST):
        path = paths[near.row] if file is None else file.photo(near.row)
        name = "".join(c if c.isprintable() else "?" for c in names[near.row])
        if path is not None and near.similarity > _ALIKE and is_same(path, own):
            left_out.append(name)
            continue
        small = None if path is None or len(listed) >= SHOWN else context.photos.small(path)
        listed.append(Neighbour(name, near.similarity, small))
    head = FeatureHead(
        rows=len(rows), width=rows.shape[1], model=network.name, stage=stage or "",
        weights_sha256=network.weights.sha256, split="" if split is None else str(split),
    )  # fmt: skip
    return Found(
        model_title(named), head, tuple(listed[:LISTED]), tuple(left_out), folder=bare(named)
    )


def where_text(head: FeatureHead) -> str:
    """Where in a network features were read, in words."""
    if not head.stage:
        return "just before the answer"
    place = stage_name(head.stage)
    return f"{place}, split {head.split}" if head.split else place


def _set_text(file: OwnersFile) -> str:
    photos = f"{file.head.rows:,} photograph" + ("" if file.head.rows == 1 else "s")
    return f"{file.name} ({photos}; {model_title(file.head.model)}, {where_text(file.head)})"


def _message(
    found: list[Found], request: Request, context: Context, *, more: bool, need: NeedsConsent | None
) -> Message:
    sets = [("", f"The {len(context.photos.examples)} example photographs of this page")]
    sets += [(str(number), _set_text(file)) for number, file in enumerate(context.files)]
    html = render(
        "features.html", found=found, where=where_text, shown=SHOWN, sets=sets,
        of_file=bool(request.options.get("among")), photo=context.photo(request).name,
        rows=[(one.title, rank, near.name, f"{near.similarity:.4f}")
              for one in found for rank, near in enumerate(one.listed, 1)],
    )  # fmt: skip
    return {"html": html, "more": more, "need": need and need.message}


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """The neighbours as tables; of two networks, each in a folder of its own."""
    searches = _searches(replace(request, agreed=False), context)
    found = [(one, one.head) for one, *_ in searches if one.head is not None]
    packed: dict[str, bytes] = {}
    for one, head in found:
        near = [(n.name, n.similarity) for n in one.listed]
        made = features_files(head, context.photo(request).name, near)
        folder = f"{one.folder}/" if len(found) > 1 else ""
        packed |= {f"{folder}{name}": content for name, content in made.items()}
    if not found:
        raise OptionError("There is nothing to save; choose another stage.")
    return f"mscnn-features-{found[0][1].model}", packed


LENS = Lens(
    "features", "Features", "Which other pictures does it find most like yours?", answer,
    needs=("photo", "model", "layer", "options"), files=files,
)  # fmt: skip
