"""The commands that need no photo: ``models``, ``download``, ``rf``, ``serve``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mscnn.cli import options
from mscnn.cli.console import aligned, open_engine, progress, share, tell
from mscnn.errors import MscnnError, OptionError
from mscnn.models import registry
from mscnn.models.citing import bibtex
from mscnn.models.registry import BackboneSpec
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.schema import JsonDict, document, plain
from mscnn.results.writing import Files
from mscnn.scales import receptive_field as fields

GROUPS = {
    "starter": "Starters: small, bundled, no network needed",
    "multi-scale": "Multi-scale",
    "baseline": "Baselines to compare with",
}
SHOWN = (
    *("name", "title", "group", "family", "summary", "params", "gmacs", "input_px", "classes"),
    *("top1", "top1_source", "paper_top1", "paper_source", "licence", "licence_note", "baseline"),
)
"""Fields of a backbone in JSON, before where its weights are."""


def models(json: options.Json = False) -> None:
    """List the models and where their weights are."""
    shown = models_dict()
    tell(json, shown, _listed(shown["models"]))


def models_dict() -> JsonDict:
    """The document of ``models``: the default's name (or None) and one element per model."""
    from mscnn.models.sources import default_or

    default = default_or(None)
    rows = [_model_row(spec, default) for spec in registry.list_backbones()]
    return {"default": default, "models": rows}


def _model_row(spec: BackboneSpec, default: str | None) -> JsonDict:
    """A backbone with where its weights are; ``bytes`` is the size of the weights file."""
    from mscnn.models.manifest import load_manifest
    from mscnn.models.sources import locate

    row = plain({key: getattr(spec, key) for key in SHOWN}) | {"default": spec.name == default}
    weights = {"kind": "missing", "bytes": None, "download_bytes": None, "note": ""}
    try:
        where = locate(spec.name)
        bundled = load_manifest().get(spec.name)
    except MscnnError as error:
        return {**row, "weights": {**weights, "note": str(error)}}
    if bundled is not None and bundled.accuracy is not None:
        row["top1"] = bundled.accuracy.get("top1")
        row["top1_source"] = f"measured on {bundled.accuracy.get('set', 'its validation images')}"
    size = bundled.bytes if bundled is not None else spec.download_bytes
    found = {key: getattr(where, key) for key in ("kind", "download_bytes", "note")}
    return {**row, "weights": {**weights, **found, "bytes": size}}


def _listed(rows: list[JsonDict]) -> list[str]:
    head = ["", "model", "parameters", "GMACs", "input", "classes", "top-1", "licence", "weights"]
    first, *table = aligned([head, *map(_model_cells, rows)])
    lines = [first]
    for group, title in GROUPS.items():
        inside = [line for line, row in zip(table, rows, strict=True) if row["group"] == group]
        lines += ["", title, *inside]
    lines += ["", "*    the model that is used where none is named"]
    if all(row["weights"]["kind"] == "missing" for row in rows):  # the manifest is broken
        lines.append(rows[0]["weights"]["note"])
    note = next((r["licence_note"] for r in rows if r["licence"].startswith("CC-BY-NC")), None)
    lines += [f"(1)  {note}"] if note else []
    sources: dict[str, list[str]] = {}
    for row in rows:
        if row["top1"] is not None:
            sources.setdefault(row["top1_source"], []).append(row["group"])
    for source, groups in sources.items():
        lines.append(f"top-1 ({', '.join(dict.fromkeys(groups))}): {source}")
    return [*lines, "Any other timm CNN, or a folder that training wrote, also serves as --model."]


def _model_cells(row: JsonDict) -> list[str]:
    weights = row["weights"]
    where = "not on this machine" if weights["kind"] == "missing" else weights["note"]
    if weights["kind"] in ("bundled", "hub-cache") and weights["bytes"]:
        where += f", {weights['bytes'] / 2**20:.0f} MiB"
    return [
        "*" if row["default"] else "",
        row["name"],
        f"{row['params'] / 1e6:.1f} M",
        f"{row['gmacs']:.2f}",
        f"{row['input_px']} px",
        str(row["classes"]),
        "-" if row["top1"] is None else share(row["top1"]),
        f"{row['licence']}{' (1)' if row['licence'].startswith('CC-BY-NC') else ''}",
        where,
    ]


def cite(
    names: Annotated[
        list[str] | None,
        Argument(metavar="[NAME]...", help="Models or methods; all, if none is given."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Print BibTeX of models, methods and this program."""
    if unknown := [name for name in names or () if not bibtex(name)]:
        raise OptionError(f"There is nothing to cite for {unknown[0]!r}; give a model or a method.")
    tell(json, {"bibtex": bibtex(*names or ())}, bibtex(*names or ()).split("\n"))


def download(
    models: Annotated[list[str], Argument(metavar="M...", help="Models; see 'mscnn models'.")],
    json: options.Json = False,
) -> None:
    """Download weights, so that models work offline later.

    They go into the Hugging Face cache, which HF_HUB_CACHE or HF_HOME can move. With
    HF_HUB_OFFLINE=1 nothing is downloaded.
    """
    from mscnn.models.sources import fetch, locate

    # A name that is wrong is found before the first of many megabytes arrives.
    before = {name: locate(name).kind for name in models}
    rows: list[JsonDict] = []
    for name, kind in before.items():
        with progress(f"downloading {name}", "B") as report:
            path = fetch(name, on_progress=report)
        # A damaged file in the cache is fetched again, though it was there before.
        new = kind == "download" or report.bar is not None
        status = "downloaded" if new else f"already here ({kind})"
        rows.append({"model": name, "status": status, "bytes": path.stat().st_size})
    lines = [f"{r['model']}: {r['status']}, {r['bytes'] / 2**20:.1f} MiB" for r in rows]
    tell(json, {"results": rows}, lines)


def rf(
    model: options.NamedModel,
    spectrum: Annotated[
        bool, Option("--spectrum", help="Also list how many paths of each stage have which size.")
    ] = False,
    out: Annotated[
        Path | None,
        options.optional_out("Folder for charts and tables; without it none are written."),
    ] = None,
    json: options.Json = False,
) -> None:
    """List how much of its input each part of a network can see.

    Receptive fields in px of the input, exact over every path, for all stages, blocks and splits
    (numbered from 0 in timm's order), beside the plain network that makes a fair pair with it.
    What a network can see is not what it uses. Global context (split attention,
    squeeze-and-excitation) is left out. With --out it writes rf.json, rf.csv, spectrum.png,
    growth.png and manifest.json.
    """
    from mscnn.engine.lens_options import fair_baseline

    found = fields.known(model) or open_engine("cpu", []).receptive_field(model)
    beside = fair_baseline(found.model)

    def files() -> Files:
        # Late: drawing loads matplotlib, which the table does not need.
        from mscnn.draw.files import receptive_field_files

        return receptive_field_files(found, beside)

    shown = document(found, details=spectrum)
    tell(json, shown, _fields(found, beside, spectrum), out, files)


def _fields(field: ReceptiveField, baseline: ReceptiveField | None, spectrum: bool) -> list[str]:
    beside = "" if baseline is None else f"; beside {baseline.model}"
    table = [["stage", "stride", "smallest", "largest", "sizes", "paths"]]
    for stage in field.stages:
        sizes = [f"{px:,} px" for px in (stage.stride_px, stage.rf_min_px, stage.rf_max_px)]
        counts = [f"{stage.spectrum.distinct:,}", f"{stage.spectrum.paths:,}"]
        table.append([stage.stage, *sizes, *counts])
    if baseline is not None:
        column = [f"largest of {baseline.model}"]
        column += [*(f"{stage.rf_max_px} px" for stage in baseline.stages), *[""] * len(table)]
        table = [[*row, cell] for row, cell in zip(table, column, strict=False)]
    lines = [f"{field.model}, input {field.input_px} px{beside}", "", *aligned(table)]
    if field.blocks:
        table = [["block", "stride", "kind", "largest of each split"]]
        for block in field.blocks:
            splits = "  ".join(f"{split.index}: {split.rf_max_px} px" for split in block.splits)
            table.append([block.block, f"{block.stride_px} px", block.kind, splits])
        lines += ["", *aligned(table, left=(3,))]
    for stage in field.stages if spectrum else ():
        rows = [[f"{px} px", f"{paths:,}"] for px, paths in sorted(stage.spectrum.sizes.items())]
        lines += ["", f"Paths to {stage.stage}", *aligned([["size", "paths"], *rows])]
    return lines


def serve(
    host: Annotated[
        str | None, Option(help="Address to listen on.  [default: 127.0.0.1, this machine only]")
    ] = None,
    port: Annotated[
        int | None, Option(help="Port to listen on.  [default: 7860 or the next free one]")
    ] = None,
    device: options.Device = "auto",
    models: Annotated[
        list[str] | None,
        Option(
            metavar="A,B,C",
            help="Model folders of your own to offer too, or folders that hold such folders. What "
            "is added to the latter appears without a restart.",
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        Option(
            metavar="FILE=FOLDER",
            help="File that 'mscnn features' wrote and the folder it is of, to search for similar "
            "photos; may be given several times.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start the page for the browser, and print its address; Ctrl-C ends it."""
    if port is not None and not 1 <= port <= 65535:
        raise OptionError(f"--port is {port}; it must lie between 1 and 65535.")
    chosen = options.split_names(models) if models else []
    files = [_file_and_folder(text) for text in features or ()]
    from mscnn.page.app import serve as serve_page

    serve_page(host=host, port=port, device=device, models=chosen, features=files)


def _file_and_folder(text: str) -> tuple[Path, Path]:
    """Read ``FILE=FOLDER``; both names may hold further equals signs."""
    found = re.fullmatch(r"(.+?\.(?:npz|parquet|safetensors))=(.+)", text, re.IGNORECASE)
    if found is None:
        raise OptionError(
            f"--features is {text!r}; give a file of 'mscnn features' and the folder it was made "
            "from, such as animals.npz=animals."
        )
    return options.at_home(Path(found[1])), options.at_home(Path(found[2]))
