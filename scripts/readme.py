"""Write what README.md and docs take from the code: ``python -m scripts.readme --write``.

Each generated part stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``. ``--check``
changes nothing and exits with 1 where a part is stale.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from mscnn.cli.app import app
from mscnn.models import registry
from mscnn.models.manifest import BundledWeights, load_manifest
from mscnn.models.registry import BackboneSpec
from mscnn.page.messages import TEMPLATES
from mscnn.results.study import CUT_WORDS

ROOT = Path(__file__).parents[1]


def models() -> str:
    """Return the table of backbones, the sources of its numbers below."""
    specs = registry.list_backbones()
    timms = next(spec.top1_source for spec in specs if spec.top1 is not None)
    sources = list(dict.fromkeys(s.paper_source for s in specs if s.paper_source))
    lines = [
        "| Model | Parameters (M) | GMACs | Input (px) | timm top-1 (%) | Paper top-1 (%) "
        "| Licence of the weights | Fair pair |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
        *(_backbone_row(spec, sources) for spec in specs),
        "",
        "GMACs: multiply-accumulates of convolutions and linear layers, one forward at the "
        f"input size. timm top-1: {timms}, at this input size. Starters have none; "
        "theirs on Tiny-ImageNet-200 is in the table below. `*` non-commercial upstream; "
        "timm lists the licence as unknown. `†` the nearest, not a fair pair: trained by another "
        "recipe, so part of any gap is training.",
        "",
        "Sources of the paper column: "
        + "; ".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _backbone_row(spec: BackboneSpec, sources: Sequence[str]) -> str:
    paper = "-"
    if spec.paper_top1 is not None:
        paper = f"{100 * spec.paper_top1:.2f} [{sources.index(spec.paper_source) + 1}]"
    cells = (
        f"`{spec.name}`",
        f"{spec.params / 1e6:.2f}",
        f"{spec.gmacs:.2f}",
        str(spec.input_px),
        "-" if spec.top1 is None else f"{100 * spec.top1:.2f}",
        paper,
        spec.licence + (" `*`" if spec.licence.startswith("CC-BY-NC") else ""),
        _pair(spec),
    )
    return f"| {' | '.join(cells)} |"


def _pair(spec: BackboneSpec) -> str:
    """The plain network beside a backbone, marked where its training recipe is another one."""
    if spec.baseline is None:
        return "-"
    return f"`{spec.baseline}`" + ("" if registry.is_fair(spec) else " `†`")


def starters() -> str:
    """Return the table of the bundled weights, from their manifest."""
    entries = load_manifest().values()
    if not entries:
        return "No weights are bundled in this checkout.\n"
    lines = [
        "| Model | Parameters (M) | GMACs | top-1 (%) | top-5 (%) | Fixed set | Seed | Epochs "
        "| Training (PFLOP) | Hours | File (MiB) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(_starter_row, entries),
        "",
        f"top-1 and top-5: {', '.join(dict.fromkeys(map(_measured_on, entries)))}. "
        "Fixed set: of 64 pictures cut from four photographs, how many have their class as the "
        "top-1 prediction / among the top five; `python -m scripts.accuracy` and the tests measure "
        "it again. "
        "Training (PFLOP): 3 forwards per image, 2 operations per multiply-accumulate, at the "
        "sizes of the recipe. Hours: wall time on one or two CPU threads of machines that did "
        "other work meanwhile, so rows do not compare.",
    ]
    return "\n".join(lines) + "\n"


def trained() -> str:
    """Return the commands that trained the bundled weights."""
    found = dict.fromkeys(str(e.training.get("command", "")) for e in load_manifest().values())
    shown = [command.replace(" && ", " &&\n") for command in found if command]
    return "```bash\n{}\n```\n".format("\n".join(shown)) if shown else "Not known.\n"


def _starter_row(entry: BundledWeights) -> str:
    spec, accuracy, training = registry.get(entry.model), entry.accuracy or {}, entry.training
    parts = [*training.get("before", ()), training]
    shares = [accuracy.get(name) for name in ("top1", "top5")]
    fixed = accuracy.get("fixed_set")
    cells = (
        f"`{entry.model}`",
        f"{spec.params / 1e6:.2f}",
        f"{spec.gmacs:.3f}",
        *("-" if share is None else f"{100 * share:.1f}" for share in shares),
        f"{fixed['top1']} / {fixed['top5']}" if fixed else "-",
        " + ".join(dict.fromkeys(str(part["seed"]) for part in parts)),
        " + ".join(str(part["epochs"]) for part in parts),
        f"{sum(_training_flop(spec, part) for part in parts) / 1e15:.2f}",
        f"{sum(part['seconds'] for part in parts) / 3600:.1f}",
        f"{entry.bytes / 2**20:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _measured_on(entry: BundledWeights) -> str:
    accuracy = entry.accuracy or {}
    return f"{accuracy['set']}, {accuracy['weights']}" if accuracy else "not measured"


def _training_flop(spec: BackboneSpec, training: Mapping[str, Any]) -> float:
    """A forward and a backward of twice its cost per image, by the area of each phase."""
    areas = sum(epochs * (px / spec.input_px) ** 2 for px, epochs in training["recipe"]["sizes"])
    return float(6e9 * spec.gmacs * training["train_images"] * areas)


def commands() -> str:
    """Return one row per command, for the README."""
    rows = (
        f"| [`{name}`](docs/cli.md#{name}) | {command.get_short_help_str(200)} |"
        for name, command in _commands()
    )
    return "\n".join(["| Command | What it does |", "| --- | --- |", *rows]) + "\n"


def study() -> str:
    """Return the answers of the study whose files lie in docs/study, as its command wrote them."""
    manifest = json.loads((ROOT / "docs" / "study" / "manifest.json").read_text(encoding="utf-8"))
    answers = (f"- {answer}" for answer in manifest["answers"] if ", cut: " not in answer)
    return "\n".join(answers) + "\n"


def cuts() -> str:
    """Return what cuts showed, a column per model, from docs/study/cuts.csv."""
    path = ROOT / "docs" / "study" / "cuts.csv"
    if not path.is_file():
        return "Not measured yet.\n"
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        cell, bounds = "-", [row[key] for key in ("mean", "low", "high")]
        if all(bounds):
            mean, low, high = map(float, bounds)
            cell = f"{mean:+.3g} ({low:+.3g} to {high:+.3g}), {row['photos']} of {row['of']}"
            cell = f"**{cell}**" if low > 0 or high < 0 else cell
        found.setdefault(row["model"], {})[row["quantity"]] = cell
    lines = [
        f"| | {' | '.join(f'`{model}`' for model in found)} |",
        "| --- |" + " ---: |" * len(found),
    ]
    for quantity, (words, _) in CUT_WORDS.items():
        shown = (cells.get(quantity, "no splits") for cells in found.values())
        lines.append(f"| {words} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return arguments, options and examples of every command, for docs/cli.md."""
    return "\n".join(_section(name, command) for name, command in _commands())


def glossary() -> str:
    """Return the definitions of the page."""
    return (TEMPLATES / "glossary.md").read_text(encoding="utf-8")


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"models": models, "starters": starters, "commands": commands},
    "docs/cli.md": {"reference": reference},
    "docs/study/README.md": {"study": study, "cuts": cuts},
    "docs/glossary.md": {"glossary": glossary},
    "docs/training/README.md": {"trained": trained},
}


def _commands() -> list[tuple[str, Any]]:
    # Read from the commands, not from the text of --help, whose layout changes with typer.
    return list(typer.main.get_command(app).commands.items())  # type: ignore[attr-defined, unused-ignore]


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and not p.hidden]
    usage = " ".join([f"mscnn {name}", *map(_placeholder, arguments), "[OPTIONS]"])
    parts = [f"## {name}", "", "```", usage, "```", "", _plain(command.help)]
    parts += ["", *_table("Argument", arguments)] if arguments else []
    parts += ["", *_table("Option", options)] if options else []
    if command.epilog:
        parts += ["", "```bash", *_example_lines(command.epilog), "```"]
    return "\n".join(parts) + "\n"


def _table(head: str, params: Iterable[Any]) -> list[str]:
    return [f"| {head} | Default | Meaning |", "| --- | --- | --- |", *map(_row, params)]


def _row(param: Any) -> str:
    is_option = param.opts[0].startswith("-")
    name = ", ".join([*param.opts, *param.secondary_opts]) if is_option else _placeholder(param)
    if is_option and param.metavar:
        name += f" {param.metavar}"
    text, _, named = (param.help or "").partition("[default:")
    default = named.strip(" ]") or _default(param)
    cells = (f"`{name}`", default, _plain(text))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if param.default is None or param.default == "" or getattr(param, "is_flag", False):
        return ""
    return f"`{param.default}`"


def _placeholder(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _plain(text: str) -> str:
    """Undo the wrapping of a docstring; paragraphs stay."""
    paragraphs = text.replace("\b", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _example_lines(epilog: str) -> list[str]:
    return [line.strip() for line in epilog.splitlines() if line.strip().startswith("mscnn ")]


def fill(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return ``text`` with each part between its marks made anew.

    Raises:
        ValueError: a mark is missing or stands twice.
    """
    for name, make in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"{begin} and {end} must stand once each, in this order")
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        text = f"{before}{begin}\n\n{make().strip()}\n\n{end}{after}"
    return text


def stale(root: Path = ROOT, *, write: bool = False) -> list[str]:
    """Return the files whose generated parts differ from the code; rewrite them if asked."""
    found = []
    for file, parts in PARTS.items():
        path = root / file
        text = path.read_text(encoding="utf-8")
        fresh = fill(text, parts)
        if fresh != text:
            found.append(file)
            if write:
                path.write_text(fresh, encoding="utf-8")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="fail where a part is stale")
    mode.add_argument("--write", action="store_true", help="rewrite what is stale")
    write = parser.parse_args().write
    found = stale(write=write)
    for file in found:
        print(f"{file}: {'rewritten' if write else 'stale; run python -m scripts.readme --write'}")
    return 1 if found and not write else 0


if __name__ == "__main__":
    sys.exit(main())
