"""``config.json`` is input: each value is right or one sentence, within bounds."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import timm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timm.models import save_for_hf

import mscnn.starters  # noqa: F401 - registers the starters with timm
from mscnn.errors import UnsupportedModelError, WeightsError
from mscnn.models.architecture import check_supported, from_folder
from mscnn.models.config import read_config

ARCHITECTURE = "test_resnet"
CFG = {
    "input_size": [3, 64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "crop_pct": 0.9,
    "interpolation": "bilinear", "crop_mode": "center", "pool_size": [2, 2], "num_classes": 2,
    "first_conv": "conv1.0", "classifier": "fc", "fixed_input_size": False, "tag": "x",
    "license": "mit", "test_input_size": [3, 96, 96], "test_crop_pct": 1, "notes": ["a", "b"],
}  # fmt: skip
CONFIG = {"architecture": ARCHITECTURE, "num_classes": 2, "pretrained_cfg": CFG}


@pytest.fixture
def write(tmp_path):
    """``write(raw=None, cfg={}, **top)``: the folder of a config, whole or by what differs."""

    def make(raw=None, cfg=None, **top):
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        document = {**CONFIG, **top}
        if cfg is not None:
            document["pretrained_cfg"] = {**CFG, **cfg}
        raw = json.dumps(document).encode() if raw is None else raw
        (folder / "config.json").write_bytes(raw)
        return folder

    return make


def sentence(error, folder):
    text = str(error)
    assert text.endswith(".")
    assert len(text) < 300
    assert text.isprintable()
    assert str(folder.parent) not in text
    return text


def refused(folder, error=WeightsError):
    with pytest.raises(error) as caught:
        check_supported(from_folder(folder))
    return sentence(caught.value, folder)


def test_what_timm_writes_is_read(tmp_path):
    model = timm.create_model(ARCHITECTURE, num_classes=3, act_layer="gelu", in_chans=1)
    labels = {"label_names": ["a", "b", "c"], "label_descriptions": {"a": "an a"}}
    save_for_hf(model, str(tmp_path), model_config=labels, safe_serialization=True)
    found = read_config(tmp_path)
    assert found.labels == ("an a", "b", "c")
    assert found.pretrained_cfg["num_classes"] == 3
    assert found.pretrained_cfg["input_size"] == (1, 160, 160)
    built = from_folder(tmp_path).build()
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_windows_editors(encoding, write):
    names = ["Caf\u00e9", "\u732b"]
    text = json.dumps({**CONFIG, "label_names": names}, ensure_ascii=False)
    assert read_config(write(text.encode(encoding))).labels == tuple(names)


@pytest.mark.parametrize(("raw", "fault"), [
    (b"", "is not valid JSON"), (b"{", "is not valid JSON"), (b"\0" * 9, "is not UTF-8 text"),
    (b"[]", "is not in timm's format"), (b"null", "is not in timm's format"),
    (b"3" * 5000, "is not valid JSON"),
    (b"[" * 100_000 + b"]" * 100_000, "is nested too deeply"),
    ('{"architecture": "\u00e9"}'.encode("latin-1"), "is not UTF-8 text"),
    (b" " * (2**25 + 1), "is larger than 32 MiB"), (b"{}", "names the architecture None"),
    (b'{"architectures": ["ViTForImageClassification"], "model_type": "vit"}',
     "describes a transformers model, 'ViTForImageClassification', which is not read here; give"),
    (b'{"model_type": "resnet", "num_labels": 2}', "describes a transformers model, 'resnet'"),
])  # fmt: skip
def test_what_is_no_config(raw, fault, write):
    assert f"The config.json of m {fault}" in refused(write(raw))


NAN, INF = float("nan"), float("inf")
WRONG: dict[str, list[Any]] = {
    "input_size": [[3, 8000, 8000], [3, 64], [3, 64.0, 64], [3, 0, 64], [0, 64, 64], "x", 64, {}],
    "test_input_size": [[3, 64]],
    "mean": [[], "x", 0.5, [NAN] * 3, [123.7, 116.3, 103.5], [None] * 3, [[0.5]] * 3, [True] * 3],
    "std": [[0.0] * 3, [INF] * 3, [-1, 1, 1], [58.4, 57.1, 57.4], [1e-300] * 3],
    "interpolation": ["cubic", "", 3, ["bicubic"]],
    "crop_pct": [0, -1, 1e-9, NAN, INF, "0.9", True, 87.5],
    "crop_mode": ["centre", "", 3],
    "num_classes": [-1, 2.0, "2", True, 10**9, [2]],
    "first_conv": [3, [], [3], {}], "classifier": [3, {}], "pool_size": [7, [7], [0, 7], "x"],
    "fixed_input_size": ["yes", 1], "tag": [3], "license": [{}], "notes": [[3]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs], ids=repr
)
def test_a_setting_of_a_wrong_kind_or_range(key, value, write):
    fault = refused(write(cfg={key: value}, **({key: value} if key == "num_classes" else {})))
    assert f"The config.json of m gives {key} as " in fault
    assert "; accepted: " in fault


@pytest.mark.parametrize("key", [*CFG, "label_names", "label_descriptions", "model_args"])
def test_null_leaves_a_setting_to_timm(key, write):
    found = read_config(write(cfg={key: None}, **({key: None} if key not in CFG else {})))
    assert found.architecture == ARCHITECTURE


def test_a_grey_network_without_mean_and_deviation_takes_those_of_colours(write):
    grey = {"input_size": [1, 64, 64], "mean": None, "std": None}
    found = read_config(write(cfg=grey)).pretrained_cfg
    assert found["mean"] == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)
    assert found["std"] == (pytest.approx((0.229 + 0.224 + 0.225) / 3),)


@pytest.mark.parametrize(("changes", "fault"), [
    ({"cfg": {"mean": [0.5, 0.5]}}, "gives 2 numbers as mean for 3 channels"),
    ({"architecture": 3}, "names the architecture 3"), ({"pretrained_cfg": []}, "is no object"),
    ({"architecture": "\x1b[31m" + "x" * 900}, r"names the architecture '\x1b[31mx"),
    ({"model_args": [1]}, "is no object"), ({"model_args": {"a b\x1b": 1}}, "has the name 'a b"),
    ({"model_args": {"layers": [10**9] * 4}}, "has 1000000000 in model_args"),
    ({"model_args": {"drop_rate": NAN}}, "has nan in model_args"),
    ({"model_args": {"layers": [1] * 2000}}, "has more than 1,000 values"),
    ({"model_args": {"num_classes": "2"}}, "gives num_classes as '2'"),
    ({"model_args": {"in_chans": 0}}, "gives in_chans as 0"),
    ({"model_args": {"channels": [99_999] * 4}}, "can build: it has more numbers than"),
    ({"model_args": {"channels": [0] * 4}}, "can build: it has a layer without weights"),
    ({"model_args": {"block": "x"}}, "can build: 'str' object has no attribute"),
    ({"model_args": {"output_stride": 7}}, "can build: AssertionError"),
    ({"label_names": "ab"}, "label_names that are no list"), ({"label_names": 0}, "no list"),
    ({"label_names": [1, 2]}, "no list of names"), ({"label_names": [["a"], "b"]}, "no list"),
    ({"label_names": {"a": 0, "b": 1}}, "not numbered from 0"),
    ({"label_names": {"0": "a", "00": "b"}}, "not numbered from 0"),
    ({"label_names": {"9" * 5000: "a"}}, "not numbered from 0"),
    ({"label_names": ["a"]}, "has 1 label names for 2 classes"),
    ({"label_names": ["a", "b"], "label_descriptions": ["x"]}, "are no texts by name"),
    ({"label_names": ["a", "b"], "label_descriptions": {"a": 1}}, "are no texts by name"),
])  # fmt: skip
def test_what_does_not_describe_a_network(changes, fault, write):
    assert fault in refused(write(**changes))


@pytest.mark.parametrize(("changes", "fault"), [
    ({"cfg": {"input_size": [2, 64, 64]}}, "m takes 2 channels, and a photo has three or"),
    ({"model_args": {"in_chans": 4}}, "m takes 4 channels"),
    ({"model_args": {"global_pool": ""}}, "could not be examined"),
])  # fmt: skip
def test_networks_for_no_photo(changes, fault, write):
    assert fault in refused(write(**changes), UnsupportedModelError)


def test_a_folder_does_not_say_where_its_network_is_built(write):
    folder = write(model_args={"device": "cuda:7", "dtype": "float64", "pretrained": True})
    built = from_folder(folder).build(device="meta")
    assert {str(p.device) for p in built.parameters()} == {"meta"}


@pytest.mark.slow
def test_absurd_configs_cost_little(write):
    """In a process of their own: a sentence each, within 30 s and 1 GiB above an ordinary load."""
    folder = write()
    model = timm.create_model(ARCHITECTURE, num_classes=2)
    save_for_hf(model, str(folder), safe_serialization=True)
    absurd: tuple[dict[str, Any], ...] = (
        {"cfg": {"input_size": [3, 8000, 8000]}}, {"model_args": {"layers": [30_000] * 4}},
        {"model_args": {"channels": [4000] * 4}}, {"model_args": {"channels": [60_000] * 4}},
        {"num_classes": 1_000_000, "cfg": {"num_classes": 1_000_000}},
    )  # fmt: skip
    configs = [(write(**changes) / "config.json").read_text() for changes in absurd]
    limited = """
        import pathlib, resource, sys, time
        from PIL import Image
        import mscnn, mscnn.engine.pipeline, mscnn.models.loading as loading
        from mscnn.models.architecture import from_name
        from_name("test_resnet").build()
        held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**30, held + 2**30))
        _, folder, *configs = sys.argv
        for config in configs:
            pathlib.Path(folder, "config.json").write_text(config)
            started = time.perf_counter()
            try:
                mscnn.load(folder, device="cpu").predict(Image.new("RGB", (99, 99)))
            except mscnn.MscnnError as error:
                print(f"{time.perf_counter() - started:.1f} s: {error}")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(limited), str(folder), *configs],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(absurd)
    assert all("config.json of m" in line and float(line.split()[0]) < 30 for line in said), said


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from([-1, 0, 1, 3, 64, 8000, 10**9, 0.5, "conv1", "fc", "relu", "max"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
ARGUMENTS = st.sampled_from([
    "layers", "channels", "block_args", "cardinality", "base_width", "stem_width", "stem_type",
    "output_stride", "act_layer", "norm_layer", "drop_rate", "global_pool", "in_chans", "avg_down",
    "num_classes", "zero_init_last", "aa_layer", "down_kernel_size", "reduce_first",
])  # fmt: skip
FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def loads_or_says_why(folder):
    try:
        check_supported(from_folder(folder))
    except (WeightsError, UnsupportedModelError) as error:
        sentence(error, folder)


@pytest.mark.slow
@settings(FUZZ, max_examples=300)
@given(top=st.dictionaries(st.sampled_from(["architecture", "num_classes", "label_names",
    "label_descriptions", "pretrained_cfg", "model_args", "model_type"]), ANYTHING, max_size=2),
    cfg=st.dictionaries(st.sampled_from([*CFG]), ANYTHING, max_size=3),
    arguments=st.dictionaries(ARGUMENTS, ANYTHING, max_size=2))  # fmt: skip
def test_any_value_in_any_field_is_taken_or_refused_in_a_sentence(top, cfg, arguments, write):
    loads_or_says_why(write(cfg=cfg, **{"model_args": arguments, **top}))


@pytest.mark.slow
@FUZZ
@given(document=ANYTHING, cut=st.integers(0, 400), noise=st.binary(max_size=6))
def test_any_document_is_taken_or_refused_in_a_sentence(document, cut, noise, write):
    loads_or_says_why(write(json.dumps(document).encode()))
    whole = json.dumps(CONFIG).encode()
    loads_or_says_why(write(whole[:cut] + noise + whole[cut:]))
