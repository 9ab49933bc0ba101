"""What is printed: no letter of a name, a label or an error moves a terminal's cursor."""

import json
import logging
import os
import socket
import tempfile
from pathlib import Path
from urllib.request import proxy_bypass

import pytest

from mscnn.cli import console, main, options
from mscnn.cli.app import _Visible, guarded
from mscnn.errors import OptionError
from mscnn.page.app import _ask_no_proxy
from mscnn.training.networks import fresh
from mscnn.training.results import export_folder

HOSTILE = "\x1b[31m\x07\x9b\x7f\u202e\u2066\r\n\t\u2028"
SHOWN = r"\x1b[31m\x07\x9b\x7f\u202e\u2066\r\n\t\u2028"


@pytest.mark.parametrize(("text", "expected"), [
    ("plain: naïve, 日本, سلام, C:\\new", None),
    ("no\u00a0break, 👩\u200d👧, ک\u200cک", None),  # spaces and joiners of real names
    (HOSTILE, SHOWN),
    ("\0\x1f\x80\x9f\u200b\u200f\u2029\ufeff", r"\x00\x1f\x80\x9f\u200b\u200f\u2029\ufeff"),
    ("half \udcff", r"half \udcff"),  # of a file name that is no UTF-8
    ("\U000e0041", r"\U000e0041"),
])  # fmt: skip
def test_visible(text, expected):
    assert console.visible(text) == (text if expected is None else expected)
    assert console.visible(console.visible(text)) == console.visible(text)


def test_columns_are_as_wide_as_what_is_shown():
    lines = console.aligned([["name", "note"], ["a\x1b", "x"], ["bcdefg", "y"]])
    assert lines == ["name    note", "a\\x1b   x", "bcdefg  y"]


def test_long_words_and_sentences_are_shortened(capsys):
    console.complain(f"There is no {'x' * 5000}; choose another.")
    console.complain("a b " * 2000 + "end")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mscnn: There is no xxx")
    assert first.endswith("...x; choose another.")
    assert len(first) < 300
    assert len(second) < 1100
    assert second.endswith(" end")


def test_a_bar_needs_no_terminal_and_no_stderr(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)  # as where it was closed from the start
    with console.progress("photos", "photo") as report:
        report(1, 2)


@pytest.fixture
def hostile(photo):
    """A photo, a folder of classes and a model of these, all with controls in their names."""
    names = ("lion", f"sea{HOSTILE}", "\x1b]0;title\x07")
    for name in names:
        Path("data", name).mkdir(parents=True)
        Path("data", name, f"a{HOSTILE}.png").write_bytes(Path(photo).read_bytes())
        Path("data", name, f"cut{HOSTILE}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path(photo).rename(f"photo{HOSTILE}.png")
    export_folder(fresh("starter_resnet", 3, 0).model, Path(f"model{HOSTILE}"), names)


@pytest.mark.parametrize("line", [
    "predict PHOTO --model MODEL",
    "predict PHOTO no/HOSTILE --model MODEL",
    "predict HOSTILE", "predict PHOTO --model HOSTILE", "predict PHOTO --weights HOSTILE",
    "predict PHOTO --device HOSTILE", "predict PHOTO --top-k HOSTILE", "HOSTILE",
    "predict PHOTO --HOSTILE", "--debug predict HOSTILE", "rf MODEL", "rf HOSTILE",
    "explain PHOTO --model MODEL --out HOSTILE", "explain PHOTO --out o --layer HOSTILE",
    "explain PHOTO --model MODEL --out o --target HOSTILE",
    "compare PHOTO --models MODEL,starter_resnet --out HOSTILE",
    "sweep PHOTO --models MODEL --sizes 1,0.5 --out HOSTILE",
    "scales PHOTO --model MODEL --out HOSTILE",
    "features data --model MODEL --workers 0 --out HOSTILE.npz",
    "evaluate data --model MODEL --workers 0 --out HOSTILE",
    "evaluate data --model starter_resnet --workers 0", "study HOSTILE --models MODEL --out o",
    "train HOSTILE --model starter_resnet --out o", "serve --features HOSTILE",
])  # fmt: skip
def test_nothing_that_a_terminal_obeys_is_printed(line, hostile, capsys):
    names = {"PHOTO": f"photo{HOSTILE}.png", "MODEL": f"./model{HOSTILE}", "HOSTILE": HOSTILE}
    argv = line.split()
    for short, long in names.items():
        argv = [text.replace(short, long) for text in argv]
    main(argv)
    out, err = capsys.readouterr()
    assert out + err
    assert [c for c in out + err if not c.isprintable() and c != "\n"] == []
    assert "title\x07" not in out + err


def test_json_keeps_every_letter_as_printable_ascii(hostile, capsys):
    name = f"photo{HOSTILE}.png"
    assert main(["predict", name, "--model", f"./model{HOSTILE}", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    assert json.loads(out)["results"][0]["image"]["path"] == name


def test_progress_and_log_are_shown_too():
    assert console.progress(f"downloading {HOSTILE}", "B").what == f"downloading {SHOWN}"
    record = logging.LogRecord("x", logging.INFO, "", 0, "left out %s", (f"a{HOSTILE}",), None)
    assert "\x1b" not in _Visible("%(message)s").format(record)


@pytest.mark.parametrize("line", [
    "explain photo.png --out=", "scales photo.png --out EMPTY", "rf starter_resnet --out EMPTY",
    "sweep photo.png --models starter_resnet --out EMPTY", "compare photo.png --models a,b --out=",
    "features data --out EMPTY", "evaluate data --out EMPTY", "study data --models a --out EMPTY",
    "train data --model starter_resnet --out EMPTY", "finetune data --model a --out EMPTY",
    "predict photo.png --weights EMPTY", "evaluate data --real-labels EMPTY",
    "explain EMPTY --out o", "evaluate EMPTY", "features EMPTY --out f.npz",
    "study EMPTY --models a --out o",
    "train EMPTY --model starter_resnet --out o", "finetune EMPTY --model a --out o",
])  # fmt: skip
def test_an_empty_path_is_not_this_folder(line, bundled, capsys):
    assert main([text.replace("EMPTY", "") for text in line.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    command, *words = line.replace("=", " EMPTY").split()
    option = words[words.index("EMPTY") - 1]
    argument = {"features": "FOLDER", "study": "FOLDER", "explain": "IMAGE"}.get(command, "DATA")
    name = option if words[0] != "EMPTY" else argument
    assert err.startswith(f"mscnn: {name} is empty; give a path")
    assert not any(Path().iterdir())


@pytest.mark.parametrize(("texts", "expected"), [
    (["a, b ,c"], ["a", "b", "c"]),
    (["a,b,"], ["a", "b"]),
    ([",a,,b"], ["a", "b"]),
    (["a,b", "c"], ["a", "b", "c"]),
    (["x,y"], ["x,y"]),  # a folder of this name
    (["a,x,y,b"], ["a", "x,y", "b"]),
    (["./x,y, p, q/r ,b"], ["./x,y", "p, q/r", "b"]),
    (["x,z"], ["x", "z"]),
    (["n" * 5000 + ",b"], ["n" * 5000, "b"]),
])  # fmt: skip
def test_names_of_models(texts, expected, bundled):
    Path("x,y").mkdir()
    Path("p, q/r").mkdir(parents=True)
    assert options.split_names(texts) == expected
    with pytest.raises(OptionError, match="no model"):
        options.split_names([" , ,"])


# Beside those of test_errors.
@pytest.mark.parametrize("line", [
    "download LONG", "features . --out LONG.npz", "study LONG --models starter_resnet --out o",
    "explain photo.png --out o --target LONG", "train LONG --model starter_resnet --out o",
    "train . --model starter_resnet --out LONG", "serve --features LONG", "predict --LONG",
])  # fmt: skip
def test_a_name_of_thousands_of_letters_is_one_short_line(line, photo, capsys):
    assert main(line.replace("LONG", "long-name" * 600).split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "unexpected" not in err
    assert len(err) < 600


def refused(error):
    def work():
        raise error

    return work


def test_what_the_system_refuses_is_named(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such/folder"])
    assert guarded(tempfile._get_default_tempdir) == 2  # type: ignore[attr-defined]
    assert guarded(refused(PermissionError(13, "Permission denied", "/secret/x"))) == 2
    assert guarded(refused(OSError(28, "No space left on device"))) == 2
    temporary, permission, full = capsys.readouterr().err.splitlines()
    assert "TMPDIR" in temporary
    assert "/no/such" not in temporary
    assert "permission denied" in permission
    assert "secret" not in permission
    assert "the disk is full" in full
    with pytest.raises(ZeroDivisionError):
        guarded(refused(ZeroDivisionError()))


def test_the_page_asks_itself_without_a_proxy(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "intranet")
    _ask_no_proxy("192.0.2.1")
    for host in ("127.0.0.1", "localhost", "192.0.2.1", "intranet"):
        assert proxy_bypass(host)
    assert not proxy_bypass("huggingface.co")


def test_serve_says_which_address_it_cannot_use(bundled, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"port {port} is in use" in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(Path("file")))
    Path("file").write_text("")
    assert main(["serve"]) == 2
    assert "GRADIO_TEMP_DIR" in capsys.readouterr().err

    def bind(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert main(["serve", "--port", "80"]) == 2
    assert "port 80 needs a permission" in capsys.readouterr().err
    bind = refused(OSError(99, "Cannot assign requested address"))
    monkeypatch.setattr(socket.socket, "bind", lambda *_: bind())
    assert main(["serve", "--host", "192.0.2.1"]) == 2
    assert "'192.0.2.1' is no address of this machine" in capsys.readouterr().err
