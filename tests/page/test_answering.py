"""From a request to messages: decoded once, overtaken, stopped, refused, never in the dark."""

import base64
import json
import re
import threading
import zipfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mscnn.page.photos as photos_module
from mscnn.engine.network import Network
from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.errors import Cancelled
from mscnn.http.feedback import UNEXPECTED
from mscnn.maps.agreement import density
from mscnn.models import reliability
from mscnn.models.labels import LabelSet
from mscnn.models.loading import load_model
from mscnn.models.owners import OwnersModels
from mscnn.page import lenses
from mscnn.page.answering import Answering
from mscnn.page.cache import Cache, weight_of
from mscnn.page.jobs import Jobs
from mscnn.page.lens import Lens, model_key
from mscnn.page.lenses import look
from mscnn.page.photos import PhotoStore
from mscnn.page.viewer import build_viewer, script
from mscnn.photos.imaging import load_photo
from mscnn.training.results import export_folder
from tests.page.serving import CLASSES, EXAMPLE, MODELS, by_id

RES2NET, RESNET = MODELS
LENS = "look"


@pytest.fixture
def upload(cache):
    """``upload(size)``: a photo in the upload folder."""

    def of(size=(120, 90), name="mine.png"):
        folder = cache / "up"
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(size[0]).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / name)
        return str(folder / name)

    return of


@pytest.fixture
def toy(monkeypatch):
    """``toy(answer)``: a lens "toy" with this answer."""

    def of(answer, **fields):
        lens = Lens(id="toy", title="Toy", question="?", answer=answer, **fields)
        monkeypatch.setitem(lenses.LENSES, "toy", lens)

    return of


def test_the_first_answer_has_five_maps_and_the_last_one_all_stages(ask, engine):
    messages = ask()
    first, last = messages[0], messages[-1]
    found = engine.session.network(RES2NET).explain(EXAMPLE.path, targets="top5")
    assert [m["label"] for m in first["view"]["maps"]] == [s.label for s in found.targets]
    assert first["more"]
    assert not last["more"]
    assert len(last["view"]["maps"]) == 20
    assert len({m["id"] for m in last["view"]["maps"]}) == 20
    assert first["adopt"] == {"model": RES2NET}
    assert first["label"] == first["top"] == found.targets[0].label
    assert {"serial", "lens", "photo", "html", "notice", "classes"} <= set(first)


def test_the_word_on_the_example_that_fails_is_for_the_starters_alone(ask, engine, monkeypatch):
    note = "a high probability is no proof"
    assert note in ask(example="lion")[-1]["html"]
    network = engine.session.network(RES2NET)
    for spec in (None, replace(network.spec, group="baseline")):
        monkeypatch.setattr(network, "spec", spec)
        assert note not in ask(example="lion")[-1]["html"]


def test_a_maps_numbers_are_the_engines(ask, engine):
    message = ask(target="espresso", layer="2")[-1]
    index = engine.session.network(RES2NET).labels.resolve("espresso")
    photo = EXAMPLE.path
    (sent,) = [m for m in message["view"]["maps"] if m["class"] == index and m["stage"] == "2"]
    cam = engine.session.network(RES2NET).explain(photo, layers="2", targets=[index]).maps[0]
    raw = np.frombuffer(base64.b64decode(sent["data"]), dtype="<f4").reshape(sent["shape"])
    np.testing.assert_allclose(raw, cam.raw, atol=1e-6)
    assert sent["rect"] == pytest.approx(cam.geometry.crop, abs=1e-2)
    assert sent["top"] == pytest.approx(max(1, density(cam, 224).max()), rel=1e-5)
    assert sent["divisor"] == pytest.approx(float(cam.on_view().mean()) or 1.0, rel=1e-5)
    assert message["label"] == "espresso"


def test_a_class_and_a_stage_that_the_model_does_not_have(ask):
    typed = ask(target="unheard-of", changed="target")
    assert [list(m) for m in typed] == [["serial", "error"]]
    carried = ask(target="unheard-of", changed="model")[-1]
    assert carried["adopt"]["target"] is None
    assert "no class “unheard-of”" in carried["notice"]
    assert "its last one is shown" in ask(layer="9")[-1]["notice"]


def test_it_says_how_often_answers_as_sure_as_this_were_right(ask, monkeypatch):
    assert "Nobody has measured" in ask()[-1]["html"]
    bins = (reliability.Bin(0, 0.5, 40, 10), reliability.Bin(0.5, 1, 40, 36))
    known = reliability.Reliability("validation", 80, bins)
    monkeypatch.setattr(look, "reliability_of", lambda *_: known)
    html = ask()[-1]["html"]
    probability = ask()[-1]["html"].partition('class="value">')[2].partition(" %")[0]
    unsure = float(probability) < 50
    assert ("Not sure." in html) == unsure
    assert f"{25 if unsure else 90} % were right" in html


def test_what_an_owner_measured_of_a_model_of_theirs_is_said(tmp_path):
    own, bins = tmp_path / "my-animals", [{"from": 0, "to": 1, "images": 40, "right": 36}]
    model = load_model(RES2NET).model
    export_folder(model, own, CLASSES)
    (own / reliability.FILE).write_text(json.dumps({"set": "mine", "images": 40, "bins": bins}))
    engine = Engine(Session("cpu", offline=True, owners=OwnersModels([own])))
    event: Any = SimpleNamespace(_data={"serial": 1, "lens": LENS, "example": "lion"})
    asked = Answering(engine, PhotoStore(), lambda: own.name).ask(event, visitor_called("a"))
    assert "90 % were right" in list(asked)[-1]["html"]


@pytest.fixture
def alike(tmp_path):
    """``alike(lens, **request)``: the last answer, and the files, of two folders of one name."""
    for shelf, name in (("a", RES2NET), ("b", RESNET)):
        export_folder(load_model(name).model, tmp_path / shelf / "best", CLASSES)
    owners = OwnersModels([tmp_path / "a", tmp_path / "b"])
    answering = Answering(
        Engine(Session("cpu", offline=True, owners=owners)), PhotoStore(), lambda: "best"
    )

    def of(lens, **request):
        data = {"serial": 1, "lens": lens, "example": "lion", **request}
        event: Any = SimpleNamespace(_data=data)
        with zipfile.ZipFile(answering.pack(data)["path"]) as archive:
            files = archive.namelist()
        return list(answering.ask(event, visitor_called("a")))[-1], files

    return of


@pytest.mark.slow
def test_two_folders_of_one_name_are_two_networks(alike):
    both = ["best (2)", "best"]
    message, _ = alike("zoom", model=both[0], models=both[1:])
    assert [c["key"] for c in message["view"]["columns"]] == both
    assert len(by_id(message)) == 24
    message, _ = alike("scales", model=both[0], models=both[1:], options={"cut": True})
    marks = {
        mark.partition("/")[0] for mark in re.findall(r'data-mark="(best[^"]*)', message["html"])
    }
    assert marks == {*both}
    assert "best (2)/0" in message["marks"]
    message, files = alike("features", model=both[0], options={"also": both[1]})
    assert message["html"].count('class="near"') == 2
    assert {name.partition("/")[0] for name in files} == {"best", "best-2"}
    _, files = alike("compare", model=both[0], models=both)
    assert {"cam-1-best__2_.npy", "cam-2-best.npy"} <= {*files}


def test_a_name_that_is_typed_becomes_the_classs_own(ask):
    assert ask(target="king of beasts")[-1]["adopt"]["target"] == "lion"


def test_a_slow_method_asks_first(ask):
    (question,) = ask(method="scorecam")
    assert set(question["need"]) == {"sentence", "button"}
    assert "about" in question["need"]["sentence"]


@pytest.mark.slow
def test_of_a_slow_method_the_last_stage_is_its_own_and_the_others_say_whose_they_are(ask, engine):
    last, *before = ask(method="ablationcam", agreed=True)[-1]["view"]["maps"]
    (cam,) = engine.session.network(RES2NET).explain(EXAMPLE.path, method="ablationcam").maps
    raw = np.frombuffer(base64.b64decode(last["data"]), dtype="<f4").reshape(last["shape"])
    np.testing.assert_allclose(raw, cam.raw, atol=1e-5)
    assert last["last"]
    assert "Grad-CAM" not in last["title"] + last["caption"]
    assert [one["stage"] for one in before] == ["1", "2", "3"]
    for one in before:
        assert one["title"] == f"Stage {one['stage']}, Grad-CAM"
        assert "This is Grad-CAM: AblationCAM at every stage would take too" in one["caption"]


@pytest.mark.slow
def test_a_slow_method_measures_the_class_that_is_asked_for_once(ask, monkeypatch):
    measured, explain = [], Network.explain

    def counted(self, *given, **how):
        measured.append((how["method"], how["targets"]))
        return explain(self, *given, **how)

    monkeypatch.setattr(Network, "explain", counted)
    wanted = {"target": "espresso", "method": "ablationcam"}
    assert "measures every channel" in ask(**wanted)[0]["need"]["sentence"]
    assert ask(agreed=True, **wanted)[-1]["label"] == "espresso"
    assert [target for method, target in measured if method == "ablationcam"] == [2]
    assert ask(**wanted)[-1]["label"] == "espresso", "it is there, so nothing is asked"


def test_who_agrees_to_a_download_agrees_to_nothing_else(ask, monkeypatch):
    absent = SimpleNamespace(kind="download", download_bytes=10**6)
    monkeypatch.setattr("mscnn.page.lens.locate", lambda _: absent)
    (first,) = ask(method="scorecam")
    assert "to download first" in first["need"]["sentence"]
    (second,) = ask(method="scorecam", agreed=True)
    assert "measures every channel" in second["need"]["sentence"]


def test_a_download_asks_first_and_a_folder_is_no_model(ask):
    (question,) = ask(model="res2net50_26w_4s.in1k")
    assert "MB to download" in question["need"]["sentence"]
    (refusal,) = ask(model="/etc")
    assert "no model's name" in refusal["error"]
    opened = ask(model="/etc", changed="open")[-1]
    assert opened["adopt"]["model"] == RES2NET
    assert "no model's name" in opened["notice"]


def test_labels_are_escaped_in_the_html(ask):
    message = ask(target='pot <b class="x">bold</b> & lid')[-1]
    assert message["label"].startswith("pot <b")
    assert "<b class" not in message["html"]


def test_without_a_canvas_drawn_pictures_come(ask):
    message = ask(static=True)[-1]
    assert set(message["view"]["pictures"]) == {m["id"] for m in message["view"]["maps"]}


def test_the_file_of_what_is_shown(answering):
    made = answering.pack({"serial": 0, "lens": "look", "example": "lion", "layer": "3"})
    with zipfile.ZipFile(made["path"]) as archive:
        assert {"manifest.json", "cam.npy", "overlay.png"} <= set(archive.namelist())
    assert made["name"].endswith(".zip")
    for broken in (None, {}, {"serial": 0, "lens": "nothing", "example": "lion"}):
        assert set(answering.pack(broken)) == {"error"}


@pytest.mark.parametrize("lens", ["look", "scales", "trust", "compare"])
def test_files_hold_the_photos_own_name_whoever_asked_about_it_before(
    answering, upload, few_steps, lens
):
    for name, other in (("hers.png", "his.png"), ("his.png", "hers.png")):
        request = {"serial": 0, "lens": lens, "photo": upload(name=name), "layer": "3"}
        with zipfile.ZipFile(answering.pack(request)["path"]) as archive:
            manifest = archive.read("manifest.json").decode()
        assert name in manifest
        assert other not in manifest


def test_an_upload_is_decoded_once(ask, upload, monkeypatch):
    decoded: list[Any] = []

    def counted(source):
        decoded.append(source)
        return load_photo(source)

    monkeypatch.setattr(photos_module, "load_photo", counted)
    path = upload((121, 90), "once.png")
    for request in ({}, {"target": "espresso"}, {"model": RESNET}, {"method": "eigencam"}):
        assert "error" not in ask(photo=path, example="", **request)[-1]
    assert len(decoded) == 1


def test_the_served_copy_is_upright_bounded_and_without_metadata(ask, cache):
    photo = Image.new("RGB", (2400, 1200), "red")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    path = cache / "big.jpg"
    photo.save(path, exif=exif)
    message = ask(photo=str(path), example="")[-1]["photo"]
    assert (message["width"], message["height"]) == (1200, 2400)
    with Image.open(message["path"]) as served:
        assert served.size == (800, 1600)
        assert not served.getexif()


def test_a_photo_without_its_end_is_shown_with_a_notice(ask, cache):
    path = cache / "cut.jpg"
    Image.linear_gradient("L").save(path)
    path.write_bytes(path.read_bytes()[:-2])
    for lens in ("look", "scales"):
        message = ask(photo=str(path), example="", lens=lens)[-1]
        assert "The end of this JPEG file is missing; no pixel is lost." in message["notice"]


@pytest.mark.parametrize(("request_", "sentence"), [
    ({"example": ""}, "no photo yet"), ({"example": "unicorn"}, "no such example"),
    ({"example": "", "photo": "/etc/passwd"}, "not uploaded here"),
    ({"lens": "nothing"}, "cannot be read"), ({"example": "", "photo": "gone"}, "no longer here"),
])  # fmt: skip
def test_refusals_are_one_sentence(ask, cache, request_, sentence):
    gone = {"photo": str(cache / "up" / "gone.png")} if request_.get("photo") == "gone" else {}
    (message,) = ask(**{**request_, **gone})
    assert sentence in message["error"]
    assert "/" not in message["error"]


def test_a_broken_upload_is_named_by_its_file_name(ask, cache):
    path = cache / "notes.png"
    path.write_text("no picture")
    (message,) = ask(photo=str(path), example="")
    assert message["error"].startswith("'notes.png'")
    assert str(cache) not in message["error"]


def visitor_called(name):
    return SimpleNamespace(session_hash=name)


def test_progress_comes_before_the_answer(answering, toy):
    seen = threading.Event()

    def answer(request, context):
        context.progress(1, 2, "Half")
        seen.wait(30)  # else the answer may overtake it
        yield {"html": "done"}

    toy(answer)
    event: Any = SimpleNamespace(_data={"serial": 1, "lens": "toy", "example": "lion"})
    asked = answering.ask(event, visitor_called("a"))
    assert next(asked) == {"serial": 1, "progress": {"done": 1, "total": 2, "what": "Half"}}
    seen.set()
    (last,) = asked
    assert (last["lens"], last["html"]) == ("toy", "done")


def test_an_unexpected_error_is_logged_and_hidden(ask, toy, caplog):
    def answer(request, context):
        raise KeyError("/srv/secret")
        yield

    toy(answer)
    assert ask(lens="toy") == [{"serial": 1, "error": UNEXPECTED}]
    assert "secret" in caplog.text


def test_a_newer_request_overtakes_and_stop_stops_only_the_own(answering, toy):
    started, seen = threading.Semaphore(0), []

    def answer(request, context):
        started.release()
        for _ in range(6000):
            if context.is_cancelled():
                raise Cancelled("Stopped.")
            threading.Event().wait(0.01)
            if request.options.get("quick"):
                break
        yield {"html": str(request.serial)}

    toy(answer)

    def run(serial, visitor, **options):
        event = {"serial": serial, "lens": "toy", "example": "lion", "options": options}
        asked: Any = SimpleNamespace(_data=event), SimpleNamespace(session_hash=visitor)
        seen.extend(answering.ask(*asked))

    slow = threading.Thread(target=run, args=(1, "a"))
    other = threading.Thread(target=run, args=(3, "b"))
    for thread in (slow, other):
        thread.start()
        started.acquire(timeout=30)
    run(2, "a", quick=True)
    slow.join(30)
    assert [m["html"] for m in seen if "html" in m] == ["2"]
    assert [m["stopped"] for m in seen if m["serial"] == 1] == ["Stopped."]
    answering.stop(visitor_called("a"))
    assert other.is_alive()
    answering.stop(visitor_called("b"))
    other.join(30)
    assert seen[-1] == {"serial": 3, "stopped": "Stopped."}


@pytest.mark.parametrize(("change", "stops", "ended"), [
    ({"layer": "2"}, False, "whole"), ({"layer": "2"}, True, "cancelled"),
    ({"model": RESNET}, False, "cancelled"),
])  # fmt: skip
def test_a_download_goes_on_for_a_newer_request_of_the_same_model(
    toy, monkeypatch, change, stops, ended
):
    absent, loads, seen = SimpleNamespace(kind="download", download_bytes=10**6), [], []
    monkeypatch.setattr("mscnn.page.lens.locate", lambda _: absent)
    begun, shown, go, over = (threading.Event() for _ in range(4))

    def load(place, weights, *, on_progress, is_cancelled, offline):
        while not go.wait(0.01):
            on_progress(10**6, 2 * 10**6)
            begun.set()
            if is_cancelled():
                loads.append("cancelled")
                over.set()
                raise Cancelled("The download was cancelled.")
        loads.append("whole")
        over.set()
        return load_model(place)

    monkeypatch.setattr("mscnn.engine.session.load_model", load)
    toy(lambda request, context: iter([{"html": context.network(request).name}]))
    engine = Engine(Session("cpu", offline=True, owners=OwnersModels()))
    answering = Answering(engine, PhotoStore(), lambda: RES2NET)

    def run(serial, **fields):
        data = {"serial": serial, "lens": "toy", "example": "lion", "model": RES2NET, **fields}
        event: Any = SimpleNamespace(_data=data)
        for message in answering.ask(event, visitor_called("a")):
            seen.append(message)
            if serial == 2:
                shown.set()

    first = threading.Thread(target=run, args=(1,), kwargs={"agreed": True})
    second = threading.Thread(target=run, args=(2,), kwargs=change)
    first.start()
    assert begun.wait(30)
    second.start()
    assert shown.wait(30), "how far it is, or the question about the other model"
    first.join(30)
    assert not first.is_alive(), "it keeps no other request waiting"
    if stops:
        answering.stop(visitor_called("a"))
    elif ended == "whole":
        go.set()
    second.join(30)
    assert over.wait(30)
    assert loads in ([ended], ["cancelled"] * 2), "the second one may have begun when Stop came"
    assert [m["html"] for m in seen if "html" in m] == [RES2NET] * (ended == "whole")


def test_a_job_leaves_nothing_behind():
    jobs = Jobs()
    with jobs.running("a") as job:
        assert not job.is_cancelled()
        assert jobs.stop("a")
        assert job.is_cancelled()
        assert not job.overtaken
    with jobs.running("a") as closed:
        pass
    assert closed.is_cancelled(), "a page that was closed"
    assert not jobs.stop("a")


def test_a_request_that_arrives_late_does_not_end_the_one_after_it():
    jobs = Jobs()
    with jobs.running("a", 2) as newer:
        with jobs.running("a", 1) as older:
            assert (older.overtaken, newer.is_cancelled()) == (True, False)
        with jobs.running("b", 1) as others:
            assert not others.is_cancelled()
        assert jobs.stop("a"), "it is still the visitor's"
    assert not newer.overtaken


def leave():
    raise Cancelled("Stopped.")


def test_the_cache_keeps_to_its_bytes_and_computes_once():
    cache, made = Cache(1000), []

    def make(n):
        made.append(n)
        return np.zeros(100, dtype=np.float32)

    for n in (1, 1, 2, 1, 3, 1, 2):  # two fit: 3 drives out 2
        cache.get(n, partial(make, n))
    assert made == [1, 2, 3, 2]
    all_there = threading.Barrier(4)

    def together():
        all_there.wait(30)
        cache.get("x", lambda: (threading.Event().wait(0.2), make(9)))

    threads = [threading.Thread(target=together) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.count(9) == 1
    # What was cut short is its own asker's; who waits for it makes another, or leaves.
    begun, go = threading.Event(), threading.Event()

    def half():
        begun.set()
        go.wait(30)
        return "half"

    stopped = threading.Thread(target=cache.get, args=("y", half, lambda _: False))
    stopped.start()
    begun.wait(30)
    with pytest.raises(Cancelled):
        cache.get("y", str, waiting=leave)
    go.set()
    assert cache.get("y", lambda: "whole") == "whole"
    stopped.join(30)
    assert "y" in cache
    assert weight_of(("x" * 500, b"y" * 70)) == 570
    assert weight_of((np.zeros(4, np.uint8), {"a": Image.new("RGB", (2, 3))})) == 4 + 2 * 3 * 4
    with pytest.raises(ZeroDivisionError):
        cache.get("bad", lambda: 1 // 0)
    assert cache.get("bad", lambda: 5) == 5


def test_one_request_at_a_time_makes_a_value_after_the_first_was_cut_short():
    cache, at_work, most = Cache(1000), list[str](), list[int]()
    begun, go, queued = ({name: threading.Event() for name in "abc"} for _ in range(3))

    def make(name):
        at_work.append(name)
        most.append(len(at_work))
        begun[name].set()
        go[name].wait(30)
        at_work.remove(name)

    threads = []
    for name, before in (("a", None), ("b", queued["b"]), ("c", queued["c"])):
        how = partial(make, name), lambda _: False, queued[name].set
        threads.append(threading.Thread(target=cache.get, args=("z", *how)))
        threads[-1].start()
        assert (before or begun["a"]).wait(10), "it waits for the one before"
        if name == "b":
            go["a"].set()
            begun["b"].wait(30)
    go["b"].set()
    go["c"].set()
    for thread in threads:
        thread.join(30)
    assert most == [1, 1, 1]


def test_the_pages_template_holds_nothing_that_gradio_would_interpret(engine):
    viewer = build_viewer(PhotoStore(), model=RES2NET, offered=["mine"], max_bytes=1, pack=dict)
    assert "starter_res2net" not in viewer.html_template
    assert not [text for text in ("{{", "${", "`", "\\") if text in viewer.html_template]
    assert viewer.api_info() == {"type": "object"}
    config = viewer.postprocess(viewer.value)["config"]
    assert config["choices"]["models"][0]["items"] == [["mine", "mine"]]
    assert len(base64.b64decode(config["colours"]["inferno"])) == 768
    assert len(base64.b64decode(config["colours"]["signed"])) == 765
    assert "trigger('ask'" in script()


@pytest.mark.parametrize(("lens", "step"), [("rf", "Units measured"), ("scales", "capping what")])
def test_what_stop_cut_short_offers_to_do_the_rest(ask, pressing_stop, lens, step):
    asked = {"lens": lens, "example": "coffee", "options": {"cut": True}}
    with pressing_stop(step):
        stopped = ask(**asked)[-1]
    whole = ask(**asked)[-1]
    assert (stopped["notice"], stopped["more"]) == ("Stopped.", False)
    assert stopped["need"] == {"sentence": "", "button": "Do the rest"}
    assert whole["need"] is None
    assert (stopped["cut_short"], whole["cut_short"]) == (True, False)


def test_a_folder_that_is_described_anew_under_its_name_is_another_network(engine, monkeypatch):
    network = engine.session.network(RES2NET)
    keys = {model_key(network)}
    config = {**network.loaded.data_config, "crop_pct": 0.5}
    monkeypatch.setattr(network, "loaded", replace(network.loaded, data_config=config))
    keys.add(model_key(network))
    monkeypatch.setattr(network, "labels", LabelSet(network.labels.names[::-1]))
    keys.add(model_key(network))
    assert len(keys) == 3
