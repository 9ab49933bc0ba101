"""The shape of the code: who may import whom, what stays light, what is public."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import mscnn

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mscnn"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "torchvision", "timm", "gradio", "pytorch_grad_cam")


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def calls_in(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("mscnn", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("level", ["modules", "rooms"])
def test_no_import_circle(level, graph):
    """Also none of names that are imported late, inside functions."""
    reads: dict[str, set[str]] = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = [module, imported]
            if level == "rooms":
                pair = [".".join(name.split(".")[:2]) for name in pair]
            if pair[0] != pair[1]:
                reads.setdefault(pair[0], set()).add(pair[1])
    order = list(graphlib.TopologicalSorter(reads).static_order())  # raises CycleError
    assert order[-1].startswith(("mscnn.__main__", "mscnn.cli"))


def test_few_rooms():
    inside = [p for p in PACKAGE.iterdir() if p.name != "__pycache__" and p.suffix != ".pyi"]
    assert len(inside) <= 20, sorted(p.name for p in inside)


def test_a_long_module_gives_its_reason():
    long = [path for path in MODULES if path.read_text(encoding="utf-8").count("\n") > 600]
    reasons = {name_of(path): ast.get_docstring(tree_of(path)) or "" for path in long}
    assert all("600 lines" in reason for reason in reasons.values()), sorted(reasons)


LIGHT = [
    "mscnn", "mscnn.errors", "mscnn.geometry", "mscnn.results.explanation", "mscnn.models.registry",
    "mscnn.models.labels", "mscnn.photos.imaging", "mscnn.maps.agreement", "mscnn.draw.overlay",
    "mscnn.draw.figures", "mscnn.draw.charts", "mscnn.draw.evaluation", "mscnn.draw.sheets",
    "mscnn.results.scales", "mscnn.scales.receptive_field", "mscnn.scales.canvas",
    "mscnn.engine.lens_options", "mscnn.results.evaluation", "mscnn.results.features",
    "mscnn.results.folders",
    "mscnn.results.receptive_field", "mscnn.results.study", "mscnn.results.trust",
    "mscnn.results.writing", "mscnn.trust.plan",
]  # fmt: skip


@pytest.mark.parametrize(("codes", "also"), [
    # One process for all of these: what was loaded by any of them would still be there.
    ([*(f"import {module}" for module in LIGHT),
      "import mscnn\nassert len(mscnn.list_backbones()) > 17",
      "from mscnn.models import registry, sources\n"
      "[sources.locate(s.name) for s in registry.list_backbones() if s.hub_id]",
      "import mscnn.maps.methods as m\nassert m.METHODS"], ()),
    (["from mscnn.models.labels import imagenet_labels as names\n"
      "names().resolve('lion'), names().near('sedan')"], ("numpy",)),
    (["import mscnn.draw.overlay\nassert 'matplotlib.figure' not in sys.modules",
      "import mscnn.draw.evaluation, mscnn.draw.sheets, mscnn.draw.charts"],
     ("matplotlib.pyplot",)),
])  # fmt: skip
def test_light_use(codes, also):
    """What needs no network loads none when it is used."""
    heavy = {*HEAVY, *also}
    looked_at = (f"{code}\nassert not {heavy} & set(sys.modules), {code!r}" for code in codes)
    result = run_python("\n".join(["import sys", *looked_at]))
    assert result.returncode == 0, result.stderr


def test_public_names():
    """``__all__`` is sorted, resolves, and is all that ``dir`` shows."""
    assert mscnn.__all__ == sorted(mscnn.__all__)
    assert all(getattr(mscnn, name).__module__.startswith("mscnn.") for name in mscnn.__all__)
    assert [name for name in dir(mscnn) if not name.startswith("_")] == mscnn.__all__
    with pytest.raises(AttributeError, match="no attribute 'imshow'"):
        _ = mscnn.imshow


def test_public_names_are_annotated():
    """What a type checker sees equals what is resolved on first use."""
    tree = tree_of(PACKAGE / "__init__.py")
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(declared) == mscnn.__all__
    for name, home in declared.items():
        assert getattr(mscnn, name) is getattr(sys.modules[str(home)], name)


def opens_pictures(tree):
    """Whether the module calls ``PIL.Image.open`` under any name."""
    images, openers = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "PIL":
            images |= {a.asname or a.name for a in node.names if a.name == "Image"}
        elif isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
            openers |= {a.asname or a.name for a in node.names if a.name == "open"}
        elif isinstance(node, ast.Import):
            images |= {a.asname or a.name for a in node.names if a.name == "PIL.Image"}
    return any(
        (isinstance(call.func, ast.Name) and call.func.id in openers)
        or (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "open"
            and ast.unparse(call.func.value) in images
        )
        for call in calls_in(tree)
    )


@pytest.mark.parametrize(("source", "expected"), [
    ("from PIL import Image\nImage.open(p)", True), ("from PIL import Image as I\nI.open(p)", True),
    ("import PIL.Image\nPIL.Image.open(p)", True), ("from PIL.Image import open as o\no(p)", True),
    ("from PIL import Image\nImage.new('L', (1, 1))\nopen(p)", False),
    ("'''Image.open(p)'''", False),
])  # fmt: skip
def test_opens_pictures(source, expected):
    assert opens_pictures(ast.parse(source)) is expected


def test_pictures_are_opened_in_one_place():
    """Every picture passes the checks of ``mscnn.photos.imaging``."""
    assert [name_of(path) for path in MODULES if opens_pictures(tree_of(path))] == [
        "photos/imaging.py"
    ]
    assert not opens_pictures(tree_of(ROOT / "app.py"))


def test_nothing_prints():
    """Results are printed by the command line, everything else is logged."""
    printing = [
        name_of(path)
        for path in MODULES
        if PACKAGE / "cli" not in path.parents
        and any(
            isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls_in(tree_of(path))
        )
    ]
    assert printing == []


def test_no_relative_or_star_imports():
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom)
        and (node.level or any(alias.name == "*" for alias in node.names))
    ]
    assert found == []


def test_app_is_thin():
    """``app.py`` only builds and launches; it reaches into the package through the page."""
    imported = {
        node.module
        for node in ast.walk(tree_of(ROOT / "app.py"))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mscnn")
    }
    assert imported
    assert all(re.match(r"mscnn\.(page|cli)\b", str(module)) for module in imported), imported


def test_annotations_are_lazy():
    """Python 3.10 reads annotations that are newer than itself only as strings."""
    eager = []
    for path in MODULES:
        code = [node for node in tree_of(path).body if not isinstance(node, ast.Expr)]
        if code and not (isinstance(code[0], ast.ImportFrom) and code[0].module == "__future__"):
            eager.append(name_of(path))
    assert eager == []
