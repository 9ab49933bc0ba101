"""``mscnn models``: what can be loaded, from where, how big, which licence."""

from __future__ import annotations

from mscnn.cli import options
from mscnn.cli.console import aligned, share, tell
from mscnn.errors import MscnnError
from mscnn.models import registry
from mscnn.models.registry import BackboneSpec
from mscnn.results.schema import JsonDict, plain

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
    tell(json, lambda: shown, lambda: _lines(shown["models"]))


def models_dict() -> JsonDict:
    """The document of ``models``: the default's name (or None) and one element per model."""
    from mscnn.models.sources import default_model

    try:
        default: str | None = default_model()
    except MscnnError:
        default = None
    return {
        "default": default,
        "models": [_row(spec, default) for spec in registry.list_backbones()],
    }


def _row(spec: BackboneSpec, default: str | None) -> JsonDict:
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


def _lines(rows: list[JsonDict]) -> list[str]:
    head = ["", "model", "parameters", "GMACs", "input", "classes", "top-1", "licence", "weights"]
    first, *table = aligned([head, *map(_cells, rows)])
    lines = [first]
    for group, title in GROUPS.items():
        inside = [line for line, row in zip(table, rows, strict=True) if row["group"] == group]
        lines += ["", title, *inside]
    lines += ["", "*    the model that is used where none is named"]
    note = next((r["licence_note"] for r in rows if r["licence"].startswith("CC-BY-NC")), None)
    lines += [f"(1)  {note}"] if note else []
    sources: dict[str, list[str]] = {}
    for row in rows:
        if row["top1"] is not None:
            sources.setdefault(row["top1_source"], []).append(row["group"])
    for source, groups in sources.items():
        lines.append(f"top-1 ({', '.join(dict.fromkeys(groups))}): {source}")
    return [*lines, "Any other timm CNN, or a folder that training wrote, also serves as --model."]


def _cells(row: JsonDict) -> list[str]:
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
