"""docs/receptive-field.md: its commands parse, and it runs as printed, in order, in a clone."""

import csv
import re
import shlex

import pytest
import typer

from mscnn.cli import main
from mscnn.cli.app import app
from tests.test_packaging import ROOT

TEXT = (ROOT / "docs" / "receptive-field.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
LINES = [shlex.split(line) for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()]


def test_every_command_is_one_of_ours_and_its_options_exist():
    assert TEXT.count("```") == 2 * len(BLOCKS)
    assert {kind for kind, _ in BLOCKS} == {"bash", "python"}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined, unused-ignore]
    for python, flag, program, name, *arguments in LINES:
        assert (python, flag, program) == ("python", "-m", "mscnn")
        commands[name].make_context(name, arguments)
    assert {line[3] for line in LINES} == {"rf", "scales", "sweep", "features"}


@pytest.mark.slow
def test_it_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSCNN_ASSETS", raising=False)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    for line in LINES:
        assert main(line[3:]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert re.search(r"the top-1 class (from \d+ px on|not even without a cap)", said)
    assert "evidence-weighted receptive field" in said
    assert "  without layer" in said
    # The eight-split variant sees further in every stage, as the page says.
    four, eight = (
        re.findall(r"^layer\d +\d+ px +\d+ px +([\d,]+) px", part, re.MULTILINE)
        for part in said.split("res2net50_")[1:3]
    )
    assert len(four) == len(eight) == 4
    pairs = zip(four, eight, strict=True)
    assert all(int(a.replace(",", "")) < int(b.replace(",", "")) for a, b in pairs)
    with (tmp_path / "dam-scales" / "cap.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) > 5
    assert (tmp_path / "dam-scales" / "cap.png").is_file()
    (code,) = [code for kind, code in BLOCKS if kind == "python"]
    exec(compile(code, "docs/receptive-field.md", "exec"), {"__name__": "recipe"})
    lines = capsys.readouterr().out.splitlines()
    photos = sorted(path.name for path in (ROOT / "assets" / "examples").glob("*.jpg"))
    assert [line.split()[0] for line in lines[: len(photos)]] == photos
