"""``mscnn models``: what can be loaded, from where, how big, which licence."""

from __future__ import annotations

import typer

from mscnn.cli import options
from mscnn.cli.console import print_json
from mscnn.errors import MscnnError
from mscnn.models import registry
from mscnn.models.registry import BackboneSpec
from mscnn.results import serialise
from mscnn.results.explanation import JsonDict

GROUPS = {
    "starter": "Starters: small, bundled, no network needed",
    "multi-scale": "Multi-scale",
    "baseline": "Baselines to compare with",
}
_HEADS = ("", "model", "parameters", "GMACs", "input", "classes", "top-1", "licence", "weights")


def models(json: options.Json = False) -> None:
    """List the models and where their weights are."""
    document = models_dict()
    if json:
        print_json(document)
        return
    typer.echo(_as_text(document))


def models_dict() -> JsonDict:
    """The document of ``models``: the default's name (or None) and one element per model."""
    from mscnn.models.sources import default_model

    try:
        default: str | None = default_model()
    except MscnnError:
        default = None
    rows = [_row(spec, default) for spec in registry.list_backbones()]
    return {"default": default, "models": rows}


def _row(spec: BackboneSpec, default: str | None) -> JsonDict:
    """A backbone with where its weights are; ``bytes`` is the size of the weights file."""
    from mscnn.models.manifest import load_manifest
    from mscnn.models.sources import locate

    row = {**serialise.backbone_dict(spec), "default": spec.name == default}
    try:
        where = locate(spec.name)
        bundled = load_manifest().get(spec.name)
    except MscnnError as error:
        missing = {"kind": "missing", "bytes": None, "download_bytes": None, "note": str(error)}
        return {**row, "weights": missing}
    if bundled is not None and bundled.accuracy is not None:
        row["top1"] = bundled.accuracy.get("top1")
        row["top1_source"] = f"measured on {bundled.accuracy.get('set', 'its validation images')}"
    size = bundled.bytes if bundled is not None else spec.download_bytes
    return {
        **row,
        "weights": {
            "kind": where.kind,
            "bytes": size,
            "download_bytes": where.download_bytes,
            "note": where.note,
        },
    }


def _as_text(document: JsonDict) -> str:
    rows = document["models"]
    cells = [_cells(row) for row in rows]
    widths = [max(len(row[i]) for row in [_HEADS, *cells]) for i in range(len(_HEADS))]
    lines = [_line(_HEADS, widths)]
    for group, title in GROUPS.items():
        lines += ["", title]
        lines += [
            _line(text, widths)
            for text, row in zip(cells, rows, strict=True)
            if row["group"] == group
        ]
    return "\n".join([*lines, "", *_footnotes(rows)])


def _cells(row: JsonDict) -> tuple[str, ...]:
    licence = f"{row['licence']}{' (1)' if row['licence'].startswith('CC-BY-NC') else ''}"
    weights = row["weights"]
    where = "not on this machine" if weights["kind"] == "missing" else weights["note"]
    if weights["kind"] in ("bundled", "hub-cache") and weights["bytes"]:
        where += f", {weights['bytes'] / 2**20:.0f} MiB"
    return (
        "*" if row["default"] else "",
        row["name"],
        f"{row['params'] / 1e6:.1f} M",
        f"{row['gmacs']:.2f}",
        f"{row['input_px']} px",
        str(row["classes"]),
        "-" if row["top1"] is None else f"{100 * row['top1']:.1f} %",
        licence,
        where,
    )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    # Numbers to the right, words to the left.
    aligned = (
        f"{text:>{width}}" if 2 <= i <= 6 else f"{text:<{width}}"
        for i, (text, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(aligned).rstrip()


def _footnotes(rows: list[JsonDict]) -> list[str]:
    notes = ["*    the model that is used where none is named"]
    licence = next((r["licence_note"] for r in rows if r["licence"].startswith("CC-BY-NC")), None)
    if licence:
        notes.append(f"(1)  {licence}")
    sources: dict[str, list[str]] = {}
    for row in rows:
        if row["top1"] is not None:
            sources.setdefault(row["top1_source"], []).append(row["group"])
    for source, groups in sources.items():
        notes.append(f"top-1 ({', '.join(dict.fromkeys(groups))}): {source}")
    return [*notes, "Any other timm CNN, or a folder that training wrote, also serves as --model."]
