"""The command that makes a result again and says whether it is the same."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from mscnn.cli import options
from mscnn.cli.console import NOT_KEPT, open_engine, tell, weights_of
from mscnn.errors import Cancelled, ImageError, OptionError, WeightsError
from mscnn.results.replay import (
    MANIFEST,
    TOLERANCE,
    MadeBy,
    arrays_in,
    differences,
    leaves,
    read_manifest,
    recorded,
)
from mscnn.results.writing import bare_name, write

REPLAYED = ("explain", "compare", "scales", "sweep", "trust")
UNIT = {"model", "point", "units", "many"}
"""Options of what only the page does: to measure what units use."""


def replay(
    context: typer.Context,
    manifest: Annotated[Path, Argument(metavar="MANIFEST", help="manifest.json, or its folder.")],
    photo: Annotated[
        Path | None, Option(metavar="PATH", help="The photo, if it is not found otherwise.")
    ] = None,
    out: Annotated[Path | None, options.optional_out("Folder for the new files.")] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Make a result again, and say whether it is the same.

    Takes a manifest that explain, compare, scales, sweep or trust wrote, or that the page packed.
    The photo is looked for beside the manifest, one folder up, in this folder, and among the page's
    examples; it must be the same file, and the weights the same. An array is the same where no
    number differs by more than 0.00001 of the array's largest magnitude; for a sweep, which has no
    arrays, the numbers of sweep.json are compared. Exit code 1: something differs.
    """
    path = manifest / MANIFEST if manifest.is_dir() else manifest
    before, made = read_manifest(path)
    if out is not None and out.resolve() == path.parent.resolve():
        raise OptionError("--out is the folder of the manifest, which is needed; give another.")
    command, arrays = _command(context, made), arrays_in(path.parent, made.compare)
    image = _photo(made, photo, path.parent)
    _check_weights(made)
    with contextlib.nullcontext(out) if out else tempfile.TemporaryDirectory() as folder:
        if command is None:
            _measure(made, image, Path(folder), device)
        else:
            how = [f"--out={folder}", f"--device={device}", "--json", *_flags(made), "--", image]
            with (
                contextlib.redirect_stdout(io.StringIO()),
                command.make_context(made.command, how, parent=context.parent) as inner,
            ):
                try:
                    command.invoke(inner)
                except typer.Exit as stopped:  # so sweep and trust end where they were stopped
                    raise Cancelled("Stopped.") from stopped
        again = arrays_in(Path(folder), made.compare)
        after, _ = read_manifest(Path(folder) / MANIFEST)
    weights = _check_weights(made, named=True)  # which were perhaps downloaded only now
    if before.get("partial"):  # stopped early: what it does not hold cannot differ
        again = {name: again[name][: len(old)] for name, old in arrays.items() if name in again}
    differ = differences(arrays, again)
    then, now = ({**x["versions"], **dict(leaves({**x, "image": 0}))} for x in (before, after))
    changed = {k: (v, now.get(k)) for k, v in then.items() if type(v) is str and v != now.get(k)}
    count = len({**arrays, **again})
    lines = [
        f"{made.command} of {Path(image).name}: {count - len(differ)} of {count} arrays are the "
        f"same, to {TOLERANCE:.0e} of the largest magnitude in each",
        *(f"  {name} {how}" for name, how in differ.items()),
        f"  same photo, sha256 {made.photo['sha256'][:12]}; same weights, {weights}",
        *(f"  {name} was {was}, now it is {is_}" for name, (was, is_) in changed.items()),
        *([] if changed else ["  same settings, same versions of packages"]),
    ]
    same = {name: differ.get(name) for name in {**arrays, **again}}
    tell(json, {**asdict(made), "same": not differ, "arrays": same, "changed": changed}, lines)
    if differ:
        raise typer.Exit(1)


def _photo(made: MadeBy, given: Path | None, beside: Path) -> str:
    """The path of the photo, which has the sha256 that the manifest says."""
    from mscnn.models.examples import examples
    from mscnn.photos.imaging import load_photo, shown_name

    if given is not None:
        load_photo(given)  # says what is wrong with that file
    name = str(given or bare_name(made.photo.get("name")))
    folders = (Path(),) if given else (beside, beside.parent, Path())
    places = [place for folder in folders if (place := folder / name).is_file()]
    for place in (*places, *(() if given else (example.path for example in examples()))):
        if _is_photo(made, place):
            return str(place)
    if places:
        said = f"{shown_name(name)} is another photo than that of the manifest (by its sha256)"
        raise ImageError(f"{said}; give the original file as --photo.")
    raise ImageError(f"The photo {shown_name(name)} was not found; give it as --photo.")


def _is_photo(made: MadeBy, place: Path) -> bool:
    return hashlib.sha256(place.read_bytes()).hexdigest() == made.photo.get("sha256")


def _check_weights(made: MadeBy, *, named: bool = False) -> str:
    here = weights_of(made.options)
    for model, now in here.items():
        was = made.weights.get(model, "unknown" if named else now)
        if now != was:
            raise WeightsError(
                f"The manifest is of other weights of {model}: sha256 {was[:12]}, not {now[:12]} "
                "as here; only those give the same result."
            )
    return ", ".join(f"{model} {sha256[:12]}" for model, sha256 in here.items())


def _command(context: typer.Context, made: MadeBy) -> Any:
    """The command of a manifest, which may come from anywhere; None for "unit"."""
    group: Any = context.parent and context.parent.command
    command = group.commands[made.command] if made.command in REPLAYED else None
    known = {one.name for one in command.params} - NOT_KEPT if command else UNIT
    if (command is None and made.command != "unit") or not known >= set(made.options):
        raise OptionError(f"The manifest asks for what {made.command!r} cannot do; is it newer?")
    return command


def _flags(made: MadeBy) -> Iterator[str]:
    for name, value in made.options.items():
        for one in value if isinstance(value, list) else [value]:
            yield f"--{name.replace('_', '-')}" + ("" if one is True else f"={one}")


def _measure(made: MadeBy, image: str, folder: Path, device: str) -> None:
    """Measure again what units use of the photo, as the page does."""
    from mscnn.draw.files import unit_files
    from mscnn.models.examples import examples

    given: Any = made.options
    others = [e.path for e in examples() if given.get("many") and not _is_photo(made, e.path)]
    try:
        name, (x, y) = str(given["model"]), (min(float(side), 1 - 1e-6) for side in given["point"])
        asked = [str(unit).partition("/") for unit in given["units"]]
    except (KeyError, TypeError, ValueError):
        raise OptionError("The manifest does not say which units were measured.") from None
    network = open_engine(device, [name]).session.network(name)
    measure = partial(network.effective_receptive_field, [image, *others], point=(x, y))
    fields = []
    for layer, _, rest in asked:
        split = rest.removesuffix("random").strip("/")
        number = int(split[:9]) if split.isdecimal() else None
        fields.append(measure(layer=layer, split=number, trained="random" not in rest))
    photo = made.photo.get("name", ""), made.photo["sha256"]
    files = recorded(unit_files(fields, name=photo[0]), "unit", given, photo, made.weights)
    write(folder, files)
