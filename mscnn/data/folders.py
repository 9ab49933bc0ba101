"""The maps of all photographs of a folder: ``explain``, ``trust`` and ``compare``.

Rows are computed by ``mscnn.data.part_files``, so memory does not grow with the folder, a run that
was killed goes on with the same call, and several processes share the work. Into the folder ``out``
go the files of ``mscnn.draw.files.folder_files``, and

- ``table.csv`` and, where pyarrow is installed, ``table.parquet``: a row per photograph, model,
  method and layer;
- ``maps.npy``, ``(photos, h, w)`` float32, signed, at the layer's resolution, in the table's order;
  where there are several models, methods or layers ``maps-1-<name>.npy`` and so on.

What all three functions take as ``how``:

- ``target``: a class, ``"top1"``, or ``"label"``, that of the photograph's own folder; see
  ``mscnn.data.layouts``;
- ``loading``, ``processes``, ``drawing``;
- ``restart``: forget what an earlier run kept, and replace results of other settings;
- ``sheet``: how many photographs the contact sheet shows, evenly spread over the folder, or, of a
  comparison, those where the maps agree least; 0 for none;
- ``on_progress(photographs done by all processes, in total)``, of all models;
- ``on_estimate(seconds)``: called once, before what takes long.

They raise ``DatasetError`` where no photograph can be read; ``OutputError`` where ``out`` cannot be
written, or holds something of other settings; and what the network's own method does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import astuple, dataclass, field, replace
from filecmp import cmp
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mscnn.data import part_files
from mscnn.data.classes import map_classes
from mscnn.data.layouts import Part, find_labelled
from mscnn.data.listing import Account, PhotoList, list_photos
from mscnn.data.loading import Batch, Loading, Normalise, batches, channels_last
from mscnn.data.part_files import Done, Flags, PartFiles
from mscnn.data.part_files import Plan as Rows
from mscnn.data.processes import Processes
from mscnn.data.tables import write_tables
from mscnn.draw.files import DrawingOptions, folder_files
from mscnn.draw.sheets import FolderSample
from mscnn.engine.network import Network, Progress
from mscnn.engine.pipeline import MAX_COMPARED, MIN_COMPARED, check_models, same_class
from mscnn.engine.trust import pairs_of
from mscnn.errors import BoxError, ImageError, OptionError, OutputError, UnknownClassError
from mscnn.geometry import Doubles, FloatMap, ViewGeometry
from mscnn.maps.agreement import agreement
from mscnn.maps.methods import get_method
from mscnn.maps.single_pass import batch_grad_cam
from mscnn.models.probabilities import probabilities
from mscnn.models.sources import check_names
from mscnn.photos.imaging import load_photo, thumbnail_of
from mscnn.photos.preprocess import NetworkInput
from mscnn.results.explanation import CamMap
from mscnn.results.folders import ClassMean, FolderMaps, MapsSummary
from mscnn.results.schema import Cell, plain
from mscnn.results.study import interval, share
from mscnn.results.trust import CONTROLS, METRICS, MapTrust
from mscnn.results.writing import bare_name, check_folder, safe_name, write
from mscnn.trust.plan import BRIEF, Plan

LABEL = "label"
SHEET_MAPS = 200
"""Maps on a contact sheet, at most."""
SHEET_PHOTO_PX = 800
"""Longer side of the photographs that are kept for it."""
_EXPLAINED = (
    "class_index", "probability", "top1_index", "top1_probability", "map_min", "map_max",
    "map_sum", "map_peak", "map_half", "map_x", "map_y",
)  # fmt: skip
_SCORES = tuple(product(METRICS, ("map", *CONTROLS)))
_TRUSTED = (
    "class_index", "probability", "level", "beats_random", "beats_blob", "beats_blurred", "of",
    *(metric if kind == "map" else f"{metric}_{kind}" for metric, kind in _SCORES),
    "random_weights", "stability", "pointing_game", "energy_ratio",
)  # fmt: skip
_AGREE = "spearman", "iou_top20", "same_top1"
_FLAGS = "same_top1", "increase_bl"  # 1 or 0; increase_random is a mean over several maps
Wanted = int | str | None  # a class, "top1", or None where the network does not know the class
Compute = Callable[["_Part", Sequence[int]], Generator[Done, None, None]]


def explain_folder(
    network: Network, folder: Path, out: Path, *, layer: str = "last", method: str = "gradcam",
    **how: Any,
) -> FolderMaps:  # fmt: skip
    """Map the evidence for a class in all photographs below a folder; see ``Network.explain``.

    Grad-CAM at the last stage takes batches, anything else a photograph at a time. Columns of the
    table beside class and probability: ``map_min``, ``map_max`` and ``map_sum`` of the raw map;
    of its positive evidence ``map_peak`` (1 is an even spread), ``map_half`` (the smallest fraction
    of the area that holds half of it), and its centre ``map_x``, ``map_y`` (fractions of what the
    network saw).
    """
    here = _Folder("explain", network, folder, out, **how)
    here.explain(network, layer, get_method(method).name)
    return here.finish()


def compare_folder(
    networks: Sequence[Network], folder: Path, out: Path, *, layer: str = "last", **how: Any
) -> FolderMaps:
    """Explain one class of each photograph, which the first of two to six networks settles.

    As ``explain_folder``, with Grad-CAM. A later network's rows also have its agreement with each
    earlier one (``spearman_<model>`` and ``iou_top20_<model>``, those of ``Agreement``) and
    ``same_top1_<model>``, 1 or 0, or empty where the classes of one are only numbered. Where it
    does not know the class, its cells are empty, its map 0.
    """
    check_names(names := [network.name for network in networks])
    check_models(names, MIN_COMPARED, MAX_COMPARED)
    here = _Folder("compare", networks[0], folder, out, **how)
    for network in networks:
        here.explain(network, layer, "gradcam", models=names)
    return here.finish()


def trust_folder(
    network: Network, folder: Path, out: Path, *, plan: Plan = BRIEF, **how: Any
) -> FolderMaps:
    """Find out how far the maps of a folder's photographs can be believed; see ``Network.trust``.

    Columns of the table beside class and probability: the verdict's ``level``, on how many scores
    the map beats each control, ``of`` how many; each score and the mean of each of its controls;
    of checks ``random_weights`` (rank correlation with the map once all weights are random),
    ``stability`` (the least rank correlation), ``pointing_game`` and ``energy_ratio``.
    """
    here = _Folder("trust", network, folder, out, **how)
    compute = functools.partial(here.trusted, plan=plan)
    here.add(network, pairs_of(network, plan), _TRUSTED, compute, 1, plan=plain(plan))
    return here.finish()


@dataclass(slots=True, eq=False)
class _Part:
    """One network's numbers, ``(photos, maps, columns)`` float64 (NaN: not known), and maps."""

    network: Network
    pairs: list[tuple[str, str]]  # method and layer of each map
    columns: tuple[str, ...]
    rows: Rows
    compute: Compute
    files: PartFiles = field(init=False)

    @property
    def numbers(self) -> Doubles:
        return self.files.arrays["numbers"]

    def blank(self, size: int) -> dict[str, npt.NDArray[Any]]:
        """Rows of ``size`` photographs of which nothing is known."""
        rows = {
            name: np.zeros((size, *shape), kind) for name, (kind, shape) in self.rows.arrays.items()
        }
        rows["numbers"][:] = np.nan
        return rows

    def cam(self, number: int, m: int, geometry: ViewGeometry) -> CamMap:
        method, layer = self.pairs[m]
        return CamMap(layer, 0, method, np.array(self.files.arrays[f"maps{m}"][number]), geometry)


class _Folder:
    """The photographs of a folder, what was found of them so far, and where it goes."""

    def __init__(
        self, command: str, first: Network, root: Path, out: Path, *, target: str | int = "top1",
        loading: Loading | None = None, processes: Processes | None = None, restart: bool = False,
        sheet: int = 24, drawing: DrawingOptions | None = None,
        on_progress: Progress = lambda *_: None, on_estimate: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self.command, self.out, self.loading = command, out.resolve(), loading or Loading()
        self.processes = processes or Processes(first.device)
        self.restart, self.sheet, self.drawing = restart, sheet, drawing
        self.on_progress, self.on_estimate = on_progress, on_estimate
        self.started, self.parts, self.account = time.perf_counter(), list[_Part](), Account(root)
        if not 0 <= sheet <= SHEET_MAPS:
            raise OptionError(f"The contact sheet has {sheet} photos; give 0 to {SHEET_MAPS}.")
        check_folder(out)
        self.data: Part | None = None
        self.target: Any = target
        self.photos: PhotoList
        if target == LABEL:
            self.data = find_labelled(root)
            self.photos, self.account = self.data.samples, self.data.account
            known = "\0".join([self.photos.digest(), *self.data.names])
            self.digest = hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()
        else:
            (self.target,) = first._one_target(target).indices
            self.photos = list_photos(root, self.account)
            self.digest = self.photos.digest()
        if self.out.is_dir() and self.out.is_relative_to(top := root.resolve()):
            names = map(self.photos.name, range(len(self.photos)))
            if any((top / name).is_relative_to(self.out) for name in names):
                raise OutputError(
                    f"{self.out.name!r} holds photos of the folder, and what is written there "
                    "would be taken for more; give a folder of its own as --out."
                )

    # --- what is computed --------------------------------------------------------------------

    def explain(self, network: Network, layer: str, method: str, **more: Any) -> None:
        """Add a network's maps by one method."""
        settled = network.layer(layer)
        agree = (f"{what}_{part.network.name}" for part in self.parts for what in _AGREE)
        at_once = method == "gradcam" and settled == network.last_stage
        self.add(
            network, [(method, settled)], (*_EXPLAINED, *agree),
            functools.partial(self._explained, at_once=at_once),
            self.loading.batch_size if at_once else 1, **more,
        )  # fmt: skip

    def add(
        self, network: Network, pairs: list[tuple[str, str]], columns: tuple[str, ...],
        compute: Compute, batch_size: int, **more: Any,
    ) -> None:  # fmt: skip
        """Add a network, to be asked once all are there."""
        if self.data is not None:
            map_classes(self.data.names, network.labels)  # says at once which class it lacks
        # Says at once where a layer has no map, and how large they are.
        empty, layers = Image.new("RGB", network.preprocess.view_size), [name for _, name in pairs]
        probed = {cam.layer: cam.raw.shape for cam in network.explain(empty, layers=layers).maps}
        settings = {
            "command": self.command, "model": network.name, "target": self.target,
            "weights_sha256": network.weights.sha256, "device": network.device.type,
            "preparation": plain(network.loaded.data_config),
            "maps": [list(pair) for pair in pairs], "photographs": self.digest, **more,
        }  # fmt: skip
        arrays = {
            "numbers": ("<f8", (len(pairs), len(columns))), "geometry": ("<i4", (8,)),
            **{f"maps{m}": ("<f4", probed[layer]) for m, (_, layer) in enumerate(pairs)},
        }  # fmt: skip
        rows = Rows(
            settings=settings, images=len(self.photos), batch_size=batch_size,
            photographs=self.digest, arrays=arrays,
        )  # fmt: skip
        self.parts.append(_Part(network, pairs, columns, rows, compute))

    def _aim(self, part: _Part) -> Callable[[int], Wanted]:
        """Which class a network is asked for, by the photograph."""
        if self.data is not None:
            mapped = map_classes(self.data.names, part.network.labels)
            of_label = mapped[self.data.samples.targets]
            return lambda number: int(of_label[number])
        first = self.parts[0]
        if part is first:
            return lambda _: self.target
        settled, same = first.numbers[:, 0, 0], functools.cache(_same)
        return lambda number: same(first.network, part.network, settled[number])

    def _explained(
        self, part: _Part, todo: Sequence[int], *, at_once: bool
    ) -> Generator[Done, None, None]:
        network, aim, ((method, layer),) = part.network, self._aim(part), part.pairs
        normalise, tensor_of = Normalise(network), network.preprocess.tensor_of

        def maps_of(views: torch.Tensor, wanted: list[Wanted]) -> tuple[FloatMap, FloatMap]:
            def choose(logits: torch.Tensor) -> list[int]:
                return _chosen(wanted, logits.argmax(1).tolist())

            return batch_grad_cam(network.model, normalise(views), choose, layer, network.linear)

        loading = replace(self.loading, batch_size=part.rows.batch_size)
        pinned = at_once and network.device.type == "cuda"
        nothing = np.zeros((1, len(network.labels)), np.float32)
        with channels_last(network) if at_once else nullcontext():
            for batch in batches(self.photos, network.preprocess, loading, todo, pinned=pinned):
                wanted = [aim(batch.first + row) for row in range(len(batch.views))]
                logits, maps = nothing, part.blank(1)["maps0"]
                if at_once:
                    work = functools.partial(maps_of, batch.views, wanted)
                    (logits, maps), _ = network.guarded(work)
                elif batch.geometries:
                    view = batch.views[0].numpy()
                    shown = NetworkInput(tensor_of(view), view, batch.geometries[batch.first])
                    target = "top1" if wanted[0] is None else wanted[0]
                    found = network.explain(shown, layers=layer, targets=target, method=method)
                    logits, maps = found.prediction.logits[None], found.maps[0].raw[None]
                yield self._done(part, batch, wanted, logits, maps)

    def _done(
        self, part: _Part, batch: Batch, wanted: Sequence[Wanted], logits: FloatMap, maps: FloatMap
    ) -> Done:
        """Describe the maps of a batch."""
        rows, at, readable = part.blank(len(maps)), np.arange(len(maps)), batch.readable().numpy()
        known = readable & np.array([one is not None for one in wanted])
        chances, best = probabilities(logits), logits.argmax(1)
        index = _chosen(wanted, best.tolist())
        rows["maps0"][known] = np.nan_to_num(maps[known])
        numbers = rows["numbers"][:, 0]
        numbers[:, :4] = np.stack([index, chances[at, index], best, chances[at, best]], axis=1)
        numbers[~known, :2] = np.nan
        numbers[known, 4 : len(_EXPLAINED)] = _statistics(rows["maps0"][known])
        for number, geometry in batch.geometries.items():
            row = number - batch.first
            rows["geometry"][row] = np.ravel(astuple(geometry))
            own = CamMap(part.pairs[0][1], 0, "gradcam", rows["maps0"][row], geometry)
            for k, other in enumerate(self.parts[: self.parts.index(part)]):
                numbers[row, len(_EXPLAINED) + k * len(_AGREE) :][: len(_AGREE)] = _agreed(
                    other, part.network, number, own, best[row]
                )
        return batch.first // part.rows.batch_size, rows, readable

    def trusted(
        self, part: _Part, todo: Sequence[int], *, plan: Plan
    ) -> Generator[Done, None, None]:
        """Find out about a photograph at a time."""
        network, aim, tell = part.network, self._aim(part), self.on_estimate
        for number in todo:
            rows, photo = part.blank(1), self._photo(number)
            if photo is not None:
                seed = (plan.seed + number) % 2**32  # so that no two photographs share a control
                asked: Any = {"target": aim(number), "plan": replace(plan, seed=seed)}
                # Of the class to be set in contrast to, or with the box where nothing is seen.
                many = plan.against and self.target in ("top1", LABEL)
                with suppress(*[OptionError] * bool(many), *[BoxError] * (plan.box is not None)):
                    if tell is not None:
                        tell(network.trust_seconds(photo, **asked) * len(todo))
                        tell = None
                    found = network.trust(photo, **asked)
                    for m, made in enumerate(found.maps):
                        answer = found.target.index, found.target.probability
                        rows["numbers"][0, m] = [*answer, *_judged(made)]
                        if made.cam is not None:
                            rows[f"maps{m}"][0] = made.cam.raw
            yield number, rows, np.array([photo is not None])

    def _photo(self, number: int) -> Image.Image | None:
        with suppress(ImageError):
            return load_photo(self.photos.source(number), whole=True)
        return None

    # --- what is written ---------------------------------------------------------------------

    def finish(self) -> FolderMaps:
        """Compute what is not done yet, and write the results."""
        with part_files.alone(self.out, self.processes):
            return self._finish()

    def _finish(self) -> FolderMaps:
        first, kept = self.processes.is_first, 0
        if first:
            self._check_out()
        for k, part in enumerate(self.parts):
            part.files, done = part_files.fill(
                self.out, part.rows, functools.partial(part.compute, part), within=str(k),
                processes=self.processes, on_progress=functools.partial(self._report, k),
            )  # fmt: skip
            kept += done
        readable = np.logical_and.reduce([part.files.readable for part in self.parts])
        unreadable = part_files.left_out(self.photos, readable)
        numbers = self._on_sheet(readable.nonzero()[0])
        maps = tuple(self._summary(part, m, readable) for part, m in self._each())
        # No process may move the rows while another one still reads them.
        self.processes.wait()
        part_files.check_any(self.parts[0].files, unreadable)
        notices = [notice for part in self.parts for notice in part.network.notices]
        for part in self.parts:
            if without := int(np.isnan(part.numbers[readable, 0, 0]).sum()):
                unfit = "it is the one set against, or the network sees nothing of the box"
                why = unfit if self.command == "trust" else "it is not known to have the class"
                notices.append(f"{without} photographs have no map of {part.network.name}: {why}.")
        notices += [*self.account.notices, *self.account.lines()]
        found = FolderMaps(
            command=self.command, target=self.target, images=int(readable.sum()), maps=maps,
            unreadable=unreadable, device=str(self.parts[0].network.device),
            sheet=tuple(map(self.photos.name, numbers)), seconds=time.perf_counter() - self.started,
            computed=len(self.photos) * len(self.parts) - kept,
            notices=tuple(dict.fromkeys(notices)), not_used=self.account.unused or None,
        )  # fmt: skip
        return self._write(found, readable, numbers) if first else found

    def _check_out(self) -> None:
        """Refuse a folder with results of other settings."""
        known, wanted = _manifest(self.out), [part.rows.settings for part in self.parts]
        old, given_up = self.out / "manifest.json", part_files.part_folder(self.out) / "old.json"
        if self.restart:
            part_files.forget(self.out)
        # What a run with --restart that was stopped was to replace.
        elif known and not (given_up.is_file() and cmp(given_up, old, shallow=False)):
            pairs: Any = zip_longest(known.get("settings", ()), wanted, fillvalue={})
            if names := dict.fromkeys(
                name for pair in pairs for name in part_files.differing(*pair)
            ):
                raise OutputError(
                    f"{self.out.name!r} holds the results of a run that was different "
                    f"({', '.join(names)}); give another --out, or --restart to replace them."
                )
        with part_files.writing(self.out):
            for k, part in enumerate(self.parts):
                part_files.settle(self.out, part.rows, str(k))
            if self.restart and known:
                shutil.copyfile(old, given_up)

    def _report(self, k: int, done: int, total: int) -> None:
        self.on_progress(k * total + done, len(self.parts) * total)

    def _each(self) -> list[tuple[_Part, int]]:
        return [(part, m) for part in self.parts for m in range(len(part.pairs))]

    def _name(self, part: _Part, m: int) -> str:
        return part.network.name if len(self.parts) > 1 else ", ".join(part.pairs[m])

    def _on_sheet(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        count = min(self.sheet, max(SHEET_MAPS // len(self._each()), 1), len(numbers))
        order = np.linspace(0, len(numbers) - 1, count).round().astype(int)
        if self.command == "compare":
            alike = [
                part.numbers[numbers, 0, j]
                for part in self.parts
                for j, name in enumerate(part.columns)
                if name.startswith(_AGREE[0])
            ]
            order = np.argsort(np.sum(alike, axis=0), kind="stable")[:count]  # NaN comes last
        return [int(number) for number in numbers[order]]

    def _summary(self, part: _Part, m: int, readable: Flags) -> MapsSummary:
        columns = {
            name: values
            for j, name in enumerate(part.columns)
            if not np.isnan(values := part.numbers[:, m, j][readable]).all()
        }
        means = {
            name: (share if name == "increase" or name.startswith(_FLAGS) else interval)(values)
            for name, values in columns.items()
            if not name.endswith("_index")
        }
        for metric, kind in _SCORES:
            if (control := f"{metric}_{kind}") in columns:
                means[f"{metric}_less_{kind}"] = interval(columns[metric] - columns[control])
        for name, least in (("random", 1), ("all", len(CONTROLS))):
            if (level := columns.get("level")) is not None:
                better = np.where(np.isnan(level), np.nan, level >= least)
                means[f"better_than_{name}"] = share(better)
        maps, sums = part.files.arrays[f"maps{m}"], dict[int, tuple[int, Any]]()
        for number in readable.nonzero()[0]:
            if not np.isnan(index := part.numbers[number, m, 0]):
                count, total = sums.get(int(index), (0, np.zeros(maps.shape[1:])))
                sums[int(index)] = count + 1, total + maps[number]
        label, several = part.network.labels.display, len(self._each()) > 1
        place = 1 + self._each().index((part, m))
        name = safe_name(self._name(part, m).replace(", ", "-"))
        return MapsSummary(
            model=part.network.name, weights=part.network.weights, method=part.pairs[m][0],
            layer=part.pairs[m][1], shape=maps.shape[1:], means=means,
            file=f"maps-{place}-{name}.npy" if several else "maps.npy",
            classes=tuple(
                ClassMean(index, label(index), count, (total / count).astype(np.float32))
                for index, (count, total) in sorted(sums.items())
            ),
        )  # fmt: skip

    def _table(self, readable: Flags) -> Iterator[dict[str, Cell]]:
        for number, path in zip(
            readable.nonzero()[0], part_files.Names(self.photos, readable), strict=True
        ):
            for part, m in self._each():
                row: dict[str, Cell] = {"path": path, "model": part.network.name}
                row["method"], row["layer"] = part.pairs[m]
                label = part.network.labels.display
                for name, value in zip(part.columns, part.numbers[number, m].tolist(), strict=True):
                    if name.endswith("_index") and not np.isnan(value):
                        row |= {name: int(value), name.removesuffix("_index"): label(int(value))}
                    elif not np.isnan(value):
                        row[name] = value
                yield row

    def _kinds(self, maps: Sequence[MapsSummary]) -> dict[str, type]:
        """The columns of the table in order: those that have a number somewhere."""
        kinds: dict[str, type] = dict.fromkeys(("path", "model", "method", "layer"), str)
        for name in dict.fromkeys(name for part in self.parts for name in part.columns):
            if name.endswith("_index"):
                kinds |= {name: int, name.removesuffix("_index"): str}
            elif any(name in one.means for one in maps):
                kinds[name] = float
        return kinds

    def _samples(self, numbers: Sequence[int]) -> Iterator[FolderSample]:
        for number in numbers:
            if (photo := self._photo(number)) is None:  # it is gone since
                continue
            maps = []
            for part, m in self._each():
                index, chance = part.numbers[number, m, :2]
                said = "no such class"
                if not np.isnan(index):
                    said = f"{part.network.labels.display(int(index))} {chance:.1%}"
                geometry = part.network.preprocess(photo).geometry
                maps.append((self._name(part, m), part.cam(number, m, geometry), said))
            # All of the sheet are in memory at once; each is drawn at 650 px at most.
            yield self.photos.name(number), thumbnail_of(photo, SHEET_PHOTO_PX), maps

    def _write(self, found: FolderMaps, readable: Flags, numbers: Sequence[int]) -> FolderMaps:
        out, before = self.out, _manifest(self.out).get("files", ())
        with part_files.writing(out):
            kinds, rows = self._kinds(found.maps), self._table(readable)
            tables = write_tables(self.parts[0].files.folder, "table", kinds, rows)
            moved = {path.name: path for path in tables}
            for (part, m), one in zip(self._each(), found.maps, strict=True):
                moved[one.file] = Path(part.files.readable_rows(f"maps{m}", readable).filename)
        settings, samples = [dict(p.rows.settings) for p in self.parts], self._samples(numbers)
        made = folder_files(found, samples, settings, [*moved], drawing=self.drawing)
        write(out, made)
        for part in self.parts:
            part.files.close()
        with part_files.writing(out):
            for name, path in moved.items():
                shutil.move(path, out / name)
            for name in {*map(bare_name, before)} - {*made, *moved}:
                (out / name).unlink(missing_ok=True)
        part_files.forget(out)
        return replace(found, files=(*made, *moved))


def _manifest(out: Path) -> dict[str, Any]:
    found: Any = None
    with suppress(OSError, ValueError):
        found = json.loads((out / "manifest.json").read_bytes())
    return found if isinstance(found, dict) else {}


def _chosen(wanted: Sequence[Wanted], best: Sequence[int]) -> list[int]:
    return [w if isinstance(w, int) else b for w, b in zip(wanted, best, strict=True)]


def _same(known: Network, other: Network, index: float) -> int | None:
    """One network's class in another, None where it has none such."""
    with suppress(UnknownClassError, ValueError):  # the latter: NaN
        return same_class(known.labels, int(index), other.labels)
    return None


def _agreed(other: _Part, network: Network, number: int, own: CamMap, best: int) -> Doubles:
    """``_AGREE`` with an earlier network; NaN where that could not read the photograph."""
    if not other.files.readable[number]:
        return np.full(len(_AGREE), np.nan)
    ends = map(tuple, other.files.arrays["geometry"][number].reshape(4, 2).tolist())
    pair = agreement("", "", other.cam(number, 0, ViewGeometry(*ends)), own)
    same: bool | None = None
    with suppress(UnknownClassError):
        other.network.labels.check_comparable(network.labels)
        same = _same(other.network, network, other.numbers[number, 0, 2]) == best
    return np.array([pair.spearman, pair.iou_top20, same], dtype=np.float64)


def _statistics(maps: FloatMap) -> Doubles:
    """``(n, 7)`` of signed ``(n, h, w)`` maps; see ``explain_folder``."""
    count, height, width = maps.shape
    flat = maps.reshape(count, height * width).astype(np.float64)
    positive = np.maximum(flat, 0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a map has no evidence for the class
        shares = positive / positive.sum(1, keepdims=True)
    cells, held = flat.shape[1], np.cumsum(-np.sort(-shares), axis=1) < 0.5
    half = np.where(np.isnan(shares[:, 0]), np.nan, (1 + held.sum(1)) / cells)
    y, x = (np.indices((height, width)).reshape(2, -1) + 0.5) / [[height], [width]]
    found = (
        flat.min(1),
        flat.max(1),
        flat.sum(1),
        shares.max(1) * cells,
        half,
        shares @ x,
        shares @ y,
    )
    return np.stack(found, axis=1)


def _judged(made: MapTrust) -> list[float]:
    """The columns of ``_TRUSTED`` after class and probability."""
    verdict, beside, steps = made.verdict, made.beside(), made.randomisation
    moved = [step.correlation for step in made.stability if step.correlation is not None]
    located = made.localisation.mean[0] if made.localisation else None
    found = [
        verdict.level, verdict.beats_random, verdict.beats_blob, verdict.beats_blurred, verdict.of,
        *(beside.get(metric, {}).get(kind) for metric, kind in _SCORES),
        steps.steps[-1].similarity if steps and steps.emprt is not None else None,
        min(moved, default=None),
        located.pointing_game if located else None, located.energy_ratio if located else None,
    ]  # fmt: skip
    return [
        np.nan if one is None or (n < 5 and verdict.level is None) else float(one)
        for n, one in enumerate(found)
    ]
