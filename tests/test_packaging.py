"""The promises of the files around the package: dependencies, README, CI, wheel."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import tomlkit
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import mscnn
from mscnn.models import registry
from scripts import readme

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

# Keys and values that the hub's documentation of Spaces lists; others are ignored or refused.
SPACE_KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file",
    "base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags",
    "thumbnail", "pinned", "license", "disable_embedding", "startup_duration_timeout",
    "custom_headers", "preload_from_hub", "suggested_hardware",
}  # fmt: skip
SPACE_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SPACE_HARDWARE = {"cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "a10g-small"}


def pyproject():
    return tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()


def requirements(name):
    """Read a requirements file; its ``-r`` lines and comments are left out."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith(("#", "-r"))]
    return {r.name: r for r in map(Requirement, wanted)}


def front_matter():
    _, header, _ = README.split("---\n", 2)
    return dict(yaml.safe_load(header))


def test_dependencies_agree():
    listed = {r.name: r for r in map(Requirement, pyproject()["project"]["dependencies"])}
    assert listed == requirements("requirements.txt")


def test_dependencies_are_ranges():
    """Each has a floor that is tested and a ceiling; an installed version lies between."""
    for name, requirement in requirements("requirements.txt").items():
        operators = {clause.operator for clause in requirement.specifier}
        assert operators == {">=", "<"}, name
        assert requirement.specifier.contains(version(name)), name


def test_tools_are_pinned():
    text = (ROOT / "requirements-test.txt").read_text(encoding="utf-8")
    assert "-r requirements.txt" in text.splitlines()
    for name, requirement in requirements("requirements-test.txt").items():
        assert [clause.operator for clause in requirement.specifier] == ["=="], name


def test_every_import_is_declared():
    """What the package imports is a dependency of its own, not only of a dependency."""
    distributions = {"PIL": "pillow", "pytorch_grad_cam": "grad-cam", "skimage": "scikit-image"}
    distributions |= {"markdown_it": "markdown-it-py", "pillow_heif": "pillow-heif"}
    # Parts of these packages' own interfaces, which they pin themselves.
    carried = {"gradio_client": "gradio", "mcp": "gradio", "tqdm": "huggingface_hub"}
    # A Space with ZeroGPU has "spaces"; the others open or write formats that few have, and a
    # sentence says what to install.
    optional = {"spaces", "datasets", "pyarrow"}
    assert {"datasets", "pyarrow"} == set(
        pyproject()["project"]["optional-dependencies"]["formats"]
    )
    roots = set()
    for path in [*(ROOT / "mscnn").rglob("*.py"), ROOT / "app.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots.add(node.module.partition(".")[0])
    foreign = roots - set(sys.stdlib_module_names) - {"mscnn"} - optional
    needed = {carried.get(name) or distributions.get(name, name) for name in foreign}
    assert needed <= set(requirements("requirements.txt"))


def test_space_header():
    header = front_matter()
    assert set(header) <= SPACE_KEYS
    assert {"title", "emoji", "sdk", "sdk_version", "app_file", "license"} <= set(header)
    assert header["sdk"] == "gradio"
    assert {header["colorFrom"], header["colorTo"]} <= SPACE_COLOURS
    assert header["suggested_hardware"] in SPACE_HARDWARE
    assert (ROOT / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60
    assert isinstance(header["python_version"], str), "unquoted, YAML reads 3.10 as 3.1"
    assert header["python_version"] == "3.12"


def test_space_runs_the_gradio_that_is_tested():
    """A Space installs sdk_version whatever requirements.txt says."""
    wanted = Version(front_matter()["sdk_version"])
    (floor,) = (
        Version(clause.version)
        for clause in requirements("requirements.txt")["gradio"].specifier
        if clause.operator == ">="
    )
    assert wanted == floor


def test_space_models_are_known():
    hub_ids = {spec.hub_id for spec in registry.list_backbones()}
    assert set(front_matter()["models"]) <= hub_ids


def commands():
    """Return the README's commands that make the environment."""
    return re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)


def test_the_two_commands():
    """One line each; both make and use .venv, so they work where pip refuses global installs."""
    start, test = commands()
    make, install, run = start.split(" && ")
    assert make == "python3 -m venv .venv"
    assert install == ".venv/bin/pip install -r requirements.txt"
    assert run == ".venv/bin/python app.py"
    assert test.split(" && ") == [
        make, ".venv/bin/pip install -r requirements-test.txt", ".venv/bin/python -m pytest",
    ]  # fmt: skip


def test_ci_runs_the_command_as_printed(tmp_path):
    """The line of .ci/run that picks the command out of the README finds the second one only."""
    (pick,) = re.findall(r"^test_command=\$\((.*)\)$", CI, flags=re.MULTILINE)
    picked = subprocess.run(
        ["bash", "-c", pick], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert picked == commands()[1] + "\n"
    assert re.search(r'^timeout \d+ bash -c "\$test_command"$', CI, flags=re.MULTILINE)


def test_ci_is_strict():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert CI.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in CI
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0


@pytest.mark.parametrize("file", sorted(readme.PARTS))
def test_generated_parts_are_fresh(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert readme.fill(text, readme.PARTS[file]) == text, "run: python -m scripts.readme --write"


def test_a_stale_part_is_noticed_and_rewritten(tmp_path):
    for file in readme.PARTS:
        text = (ROOT / file).read_text(encoding="utf-8")
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    edited = README.replace("`starter_res2net` |", "`starter_res3net` |", 1)
    (tmp_path / "README.md").write_text(edited, encoding="utf-8")
    assert readme.stale(tmp_path) == ["README.md"]
    assert readme.stale(tmp_path, write=True) == ["README.md"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
    assert readme.stale(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["no marks", "<!-- a:end -->\n<!-- a:begin -->", "<!-- a:begin -->" * 2]
)
def test_broken_marks_are_an_error(text):
    with pytest.raises(ValueError, match="must stand once each"):
        readme.fill(text, {"a": lambda: ""})


def headings(path):
    """What a link to a heading of a document says behind its ``#``, as GitHub makes it."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        there = path.parent / file if file else path
        if "://" in target or (there.exists() and (not heading or heading in headings(there))):
            continue
        missing.append(target)
    assert missing == []


def test_readme_python_runs_on_real_names():
    """The README's Python compiles, and asks the package for names that it has."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "README.md", "exec")
    used = set(re.findall(r"\bmscnn\.(\w+)\(", README))
    assert used <= set(mscnn.__all__)
    for attribute in set(re.findall(r"\bnet\.(\w+)\(", README)):
        assert callable(getattr(mscnn.Network, attribute))
    for attribute in set(re.findall(r"^cam\.(\w+)", blocks[0], flags=re.MULTILINE)):
        assert attribute in {*dir(mscnn.CamMap), *mscnn.CamMap.__dataclass_fields__}


def test_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    assert versions[0] == mscnn.__version__


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_script_and_version_resolve():
    """The console script's target exists, and hatch finds the version where it looks."""
    config = pyproject()
    module, _, name = config["project"]["scripts"]["mscnn"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    source = (ROOT / config["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    assert f'__version__ = "{mscnn.__version__}"' in source
    assert (ROOT / "mscnn" / "py.typed").is_file()
    for folder in config["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]:
        assert (ROOT / folder).is_dir()


@pytest.mark.network
def test_wheel(tmp_path):
    """The wheel has the code, the page's style, the type marker and the starters."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("mscnn-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assets = (path for path in (ROOT / "assets").rglob("*") if path.is_file())
    assert {f"mscnn/_assets/{p.relative_to(ROOT / 'assets').as_posix()}" for p in assets} <= names
    page = {f"mscnn/page/{name}" for name in ("static/style.css", "templates/page.html")}
    page.add("mscnn/draw/templates/report.html")
    assert {"mscnn/py.typed", "mscnn/cli/app.py", *page} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "scripts")) or name.endswith(".pyi") for name in names)
