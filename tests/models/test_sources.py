import json
import shutil

import pytest
import timm
import torch
from safetensors import safe_open
from timm.models import save_for_hf

import mscnn
from mscnn.errors import OutputError, WeightsError
from mscnn.models import manifest, registry
from mscnn.models.loading import load_model
from mscnn.models.sources import default_model, fetch, is_path, locate
from scripts import bundle

NAME = "starter_res2net"
LABELS = [f"thing {i}" for i in range(200)]
TRAINING = {"command": "mscnn train", "data": "none", "seed": 1, "epochs": 2}
ACCURACY = {"top1": 0.5, "top5": 0.75, "images": 100, "set": "held out"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with ``run``, as training writes it, and ``assets`` with its bundled weights."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(3)
    model = timm.create_model(NAME)
    config = {"label_names": LABELS}
    save_for_hf(model, str(folder / "run"), model_config=config, safe_serialization=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSCNN_ASSETS", str(folder / "assets"))
        bundle.bundle(
            folder / "run", label_set="things", training=TRAINING, accuracy=ACCURACY, licence="MIT"
        )
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


@pytest.fixture
def bundled(trained, tmp_path):
    """A bundled folder with one entry; returns its weights file."""
    shutil.copytree(trained / "assets", tmp_path / "assets")
    return manifest.weights_folder() / f"{NAME}.safetensors"


def test_bundle_round_trip(run, bundled):
    entry = manifest.load_manifest()[NAME]
    assert entry.labels == tuple(LABELS)
    assert (entry.training, entry.accuracy, entry.licence) == (TRAINING, ACCURACY, "MIT")
    assert entry.bytes == bundled.stat().st_size
    with safe_open(bundled, framework="pt") as file:
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16, torch.int64}

    loaded = load_model(NAME)
    assert loaded.weights.kind == "bundled"
    assert loaded.weights.source == f"assets/weights/{NAME}.safetensors"
    assert loaded.weights.sha256 == entry.sha256
    assert loaded.labels.names == tuple(LABELS)
    for key, value in load_model(str(run)).model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value.half().to(value.dtype)), key
    assert not list(bundled.parent.glob("*.part"))


def test_bundling_again_replaces_and_others_stay(run, bundled):
    other = {"label_set": "things", "training": TRAINING, "accuracy": None, "licence": "MIT"}
    bundle.bundle(run, model="starter_resnet", **other)  # type: ignore[arg-type]
    bundle.bundle(run, **other)  # type: ignore[arg-type]
    entries = manifest.load_manifest()
    assert list(entries) == ["starter_res2net", "starter_resnet"]
    assert entries[NAME].accuracy is None


def test_a_folder_of_a_starters_former_name_is_bundled_under_its_present_one(run, bundled):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"architecture": f"{NAME}35"}))
    words = {"label_set": "things", "training": TRAINING, "accuracy": None, "licence": "MIT"}
    assert bundle.bundle(run, **words).model == NAME  # type: ignore[arg-type]
    assert list(manifest.load_manifest()) == [NAME]


def test_what_bundled_weights_went_on_from_is_kept(run, bundled):
    entry, recipe = manifest.load_manifest()[NAME], {"seed": 1, "epochs": 5}
    facts: dict[str, object] = dict.fromkeys(
        ("train_images", "seconds", "device", "torch", "timm"), 1
    )
    facts |= {"top1": 0.5, "top5": 0.75, "val_images": 100, "recipe": recipe}
    words = {"command": "mscnn finetune", "data": "things", "measured_on": "held out"}
    went_on = [{key: TRAINING[key] for key in ("data", "seed", "epochs")}]
    went_on[0]["sha256"] = entry.sha256
    for sha256, before in ((entry.sha256, went_on), ("0" * 64, None)):
        origin = {"weights": "w", "sha256": sha256}
        (run / "training.json").write_text(json.dumps(facts | {"from": origin}))
        training, _ = bundle.facts_of(run, **words)
        assert training.get("before") == before
        assert (training["epochs"], training["command"]) == (5, "mscnn finetune")


def test_label_set_with_other_names(bundled):
    with pytest.raises(WeightsError, match="label set things already has other names"):
        bundle.add_to_manifest({"model": "x", "labels": "things"}, ["a"])


def test_a_bundle_that_is_refused_leaves_the_old_weights(run, bundled):
    before = bundled.read_bytes()
    config = json.loads((run / "config.json").read_text())
    config["label_names"] = [f"other {name}" for name in LABELS]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="already has other names"):
        bundle.bundle(run, label_set="things", training=TRAINING, accuracy=None, licence="MIT")
    assert bundled.read_bytes() == before
    assert load_model(NAME).labels.names == tuple(LABELS)


def test_bundle_that_cannot_be_written(run, tmp_path):
    (tmp_path / "assets").write_text("in the way")
    with pytest.raises(OutputError, match=r"starter_res2net.safetensors could not be written"):
        bundle.bundle(run, label_set="t", training={}, accuracy=None, licence="MIT")


def test_bundle_command(run, capsys):
    facts = {
        "recipe": {"seed": 4, "epochs": 9},
        **{"top1": 0.51, "top5": 0.77, "val_images": 10000, "train_images": 100000},
        **{"seconds": 1.5, "device": "cpu", "torch": "2", "timm": "1"},
    }
    options = ["--labels", "things", "--command", "c", "--data", "d", "--measured-on", "m"]
    arguments = [str(run), *options, "--licence", "MIT"]
    assert bundle.main(arguments) == 2
    assert "has no usable training.json" in capsys.readouterr().err
    (run / "training.json").write_text(json.dumps(facts))
    assert bundle.main(arguments) == 0
    entry = manifest.load_manifest()[NAME]
    assert (entry.training["seed"], entry.training["epochs"]) == (4, 9)
    assert entry.accuracy == {
        "top1": 0.51, "top5": 0.77, "images": 10000, "set": "m",
        "weights": "as they were trained, computed in float32",
    }  # fmt: skip


def _flip_last_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "text"), [
    (_flip_last_bit, r"starter_res2net.safetensors is damaged: its sha256"),
    (lambda p: p.write_bytes(p.read_bytes()[:-1]), r"has \d+ bytes instead of \d+"),
    (lambda p: p.unlink(), "is missing"),
])  # fmt: skip
def test_damaged_bundled_file(bundled, damage, text, tmp_path):
    damage(bundled)
    with pytest.raises(WeightsError, match=f"{text}.*git checkout -- assets/weights") as raised:
        load_model(NAME)
    assert str(tmp_path) not in str(raised.value)


def _change(path, **fields):
    document = json.loads(path.read_text())
    document["weights"][0] |= fields
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(("damage", "text"), [
    (lambda p: p.write_text("{"), "is not valid JSON"),
    (lambda p: p.write_text('{"schema": 2}'), "is not of schema 1"),
    (lambda p: p.write_text('{"schema": 1, "labels": {}}'), "lacks 'labels' or 'weights'"),
    (lambda p: _change(p, bytes="many"), "no usable 'bytes' for starter_res2net"),
    (lambda p: _change(p, file="../../x.safetensors"), "names a file outside its folder"),
    (lambda p: _change(p, classes=10), "has 200 names for the 10 classes"),
    (lambda p: _change(p, labels="others"), "has no names for the 200 classes"),
])  # fmt: skip
def test_broken_manifest(bundled, damage, text):
    damage(bundled.parent / "MANIFEST.json")
    with pytest.raises(WeightsError, match=text):
        locate(NAME)


def test_order_of_sources(run, bundled, cache_put, tmp_path):
    assert locate(NAME).kind == "bundled"
    assert locate(NAME, bundled).kind == "file"
    assert locate(NAME, run).kind == "folder"
    assert locate(str(run)).kind == "folder"
    assert locate(NAME).download_bytes == 0
    # A registry model in the cache may also be bundled; then the bundled one is taken.
    cached = "resnest14d.gluon_in1k"
    assert locate(cached).kind == "download"
    cache_put(f"timm/{cached}", b"x")
    assert locate(cached).kind == "hub-cache"
    _change(bundled.parent / "MANIFEST.json", model=cached)
    assert locate(cached).kind == "bundled"
    assert fetch(cached) == bundled


def test_a_folder_of_results_called_like_its_network_is_no_path(tmp_path, monkeypatch):
    """``explain --model efficientnet_b0 --out efficientnet_b0``, again, and then ``replay``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "efficientnet_b0").mkdir()
    assert locate("efficientnet_b0").hub_file is not None
    assert not is_path("efficientnet_b0")
    assert is_path("./efficientnet_b0")
    (tmp_path / "efficientnet_b0" / "config.json").write_text("{}")
    (tmp_path / "w.pth").touch()
    assert is_path("efficientnet_b0")
    assert is_path("w.pth")


def test_availability_of_a_download():
    known = locate("res2net50d")
    assert known.download_bytes == registry.get("res2net50d.in1k").download_bytes
    assert known.note == "to download, 98 MiB"
    assert locate("resnet34") == locate("resnet34.a1_in1k")
    assert locate("resnet34").note == "to download, size unknown"


def test_default_model(bundled, cache_put):
    assert default_model() == NAME
    cache_put("timm/resnest14d.gluon_in1k", b"x")
    assert default_model() == "resnest14d.gluon_in1k"
    cache_put("timm/res2net50d.in1k", b"x")
    assert default_model() == "res2net50d.in1k"
    # More accurate, but far too slow for a first answer.
    cache_put("timm/resnest269e.in1k", b"x")
    assert default_model() == "res2net50d.in1k"
    tops = {s.name: s.top1 for s in registry.list_backbones()}
    assert (tops["resnest14d.gluon_in1k"] or 0) < (tops["res2net50d.in1k"] or 0)


def test_default_model_with_another_starter_only(bundled):
    _change(bundled.parent / "MANIFEST.json", model="starter_resnet")
    assert default_model() == "starter_resnet"


def test_nothing_on_this_machine():
    with pytest.raises(WeightsError, match="No weights are on this machine"):
        default_model()


def test_assets_beside_the_package(monkeypatch, tmp_path):
    monkeypatch.delenv("MSCNN_ASSETS")
    package = tmp_path / "site" / "mscnn"
    package.mkdir(parents=True)
    monkeypatch.setattr(mscnn, "__path__", [str(package)])
    (tmp_path / "site" / "assets").mkdir()
    assert manifest.assets_folder() == tmp_path / "site" / "assets"
    # Of an installed wheel; what is called assets beside it is another package's.
    (package / "_assets").mkdir()
    assert manifest.assets_folder() == package / "_assets"
