"""Maps of whole folders: those of single photos, resumable, shared, and summed up rightly."""

import csv
import json
import multiprocessing
import os
import shutil
import socket
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import mscnn.data.folders as folders_module
from mscnn.data.folders import compare_folder, explain_folder, trust_folder
from mscnn.data.loading import Loading, batches
from mscnn.data.part_files import part_folder
from mscnn.data.processes import sharing
from mscnn.data.tables import write_tables
from mscnn.errors import DatasetError, OptionError, OutputError, UnknownLayerError
from mscnn.maps.agreement import agreement
from mscnn.trust.plan import BRIEF
from tests.data.conftest import draw

HERE: dict[str, Any] = {"loading": Loading(batch_size=3, workers=0), "sheet": 0}
forked = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="starts processes by fork"
)


@pytest.fixture(autouse=True)
def _nothing_is_drawn(monkeypatch):
    """What is drawn is looked at in tests/draw, and written in tests/cli."""
    monkeypatch.setattr("mscnn.draw.files.png", lambda *_: b"")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven photographs in three class folders, and a file that is none."""
    root = tmp_path_factory.mktemp("folder") / "data"
    for seed, name in enumerate(("thing 0/a", "thing 0/b", "thing 3/a", "thing 3/b", "thing 3/c",
                                 "thing 5/a", "thing 5/b")):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        draw(seed + 1).save(root / f"{name}.png")
    (root / "thing 3" / "bad.png").write_bytes(b"no picture")
    return root


def photos(data):
    return [path for path in sorted(data.rglob("*.png")) if path.name != "bad.png"]


def rows(out):
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(out, name):
    return np.array([float(row[name] or "nan") for row in rows(out)])


@pytest.mark.parametrize(("layer", "method"), [("last", "gradcam"), ("layer3", "gradcam"),
                                               ("last", "layercam")])  # fmt: skip
def test_rows_and_maps_are_those_of_single_photos(network, data, tmp_path, layer, method):
    net = network("res2net", fresh=True)
    found = explain_folder(net, data, tmp_path / "o", layer=layer, method=method, **HERE)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == sorted(found.files or ())
    assert not part_folder(tmp_path / "o").exists()
    assert [name for name, _ in found.unreadable] == ["thing 3/bad.png"]
    maps, table = np.load(tmp_path / "o" / "maps.npy"), rows(tmp_path / "o")
    assert (maps.dtype, len(maps), found.images) == (np.float32, 7, 7)
    for path, raw, row in zip(photos(data), maps, table, strict=True):
        alone = net.explain(path, layers=layer, method=method)
        expected, (best, *_) = alone.maps[0].raw, alone.prediction.top
        np.testing.assert_allclose(raw, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert row["path"] == path.relative_to(data).as_posix()
        assert (row["class"], row["top1_index"]) == (best.label, str(best.index))
        assert float(row["probability"]) == pytest.approx(best.probability, abs=1e-5)
        assert float(row["map_sum"]) == pytest.approx(expected.sum(dtype=float), rel=1e-3)
    chances = numbers(tmp_path / "o", "probability")
    mean, (low, high) = chances.mean(), stats.t.interval(
        0.95, 6, loc=chances.mean(), scale=stats.sem(chances)
    )  # fmt: skip
    said = json.loads((tmp_path / "o" / "summary.json").read_text())["maps"][0]["means"]
    assert said["probability"] == pytest.approx(
        {"mean": mean, "low": low, "high": high, "photos": 7}
    )


def test_a_folder_may_lie_in_one_that_may_not_be_written(network, data, tmp_path, monkeypatch):
    """As a volume that is mounted into a container."""
    above = tmp_path.resolve() / "above"
    out = above / "o"
    out.mkdir(parents=True)
    real, seen = os.access, set[str]()  # root may write everywhere
    monkeypatch.setattr("os.access", lambda path, *how: path != above and real(path, *how))
    explain_folder(
        network("res2net", fresh=True), data, out, **HERE,
        on_progress=lambda *_: seen.update(path.name for path in above.iterdir()),
    )  # fmt: skip
    assert seen == {"o"}
    assert (out / "maps.npy").is_file()
    assert not part_folder(out).exists()


def test_what_is_said_of_a_map():
    maps = np.array([[[4, 0], [0, -2]], [[1, 1], [1, 1]], [[-1, 0], [0, 0]]], np.float32)
    found = folders_module._statistics(maps)
    nan = np.nan
    expected = [  # lowest, highest, sum, peak, half of the evidence, centre: x, y
        [-2, 4, 2, 4, 0.25, 0.25, 0.25], [1, 1, 4, 1, 0.5, 0.5, 0.5], [-1, 0, -1, *[nan] * 4],
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected)


def test_both_tables_say_the_same(network, data, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs mscnn[formats]")
    compare_folder(nets(network), data, tmp_path / "o", **HERE)
    table = parquet.read_table(tmp_path / "o" / "table.parquet").to_pylist()
    text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table]
    assert text == rows(tmp_path / "o")


def test_a_name_that_is_no_text_stands_in_both_tables(tmp_path):
    kinds = {"file": str, "n": int}
    row: dict[str, Any] = {"file": "caf\udce9/1.jpg", "n": 1}
    found = write_tables(tmp_path, "table", kinds, [row])
    assert found[0].read_text("utf-8") == "file,n\ncaf\\udce9/1.jpg,1\n"
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs mscnn[formats]")
    assert parquet.read_table(found[1]).to_pylist() == [{"file": "caf\\udce9/1.jpg", "n": 1}]


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_the_class_of_the_folder_and_its_mean_map(network, data, tmp_path, layer):
    net = network("resnet", fresh=True)
    found = explain_folder(net, data, tmp_path / "o", target="label", layer=layer, **HERE)
    index = [0, 0, 3, 3, 3, 5, 5]
    assert numbers(tmp_path / "o", "class_index").tolist() == index
    maps = np.load(tmp_path / "o" / "maps.npy")
    for path, i, raw in zip(photos(data), index, maps, strict=True):
        alone = net.explain(path, targets=i, layers=layer).maps[0].raw
        np.testing.assert_allclose(raw, alone, atol=1e-4)
    means = np.load(tmp_path / "o" / "mean-maps.npz")[f"tiny_resnet.gradcam.{layer}"]
    assert [(one.index, one.photos) for one in found.maps[0].classes] == [(0, 2), (3, 3), (5, 2)]
    expected = [maps[np.array(index) == i].mean(0) for i in (0, 3, 5)]
    np.testing.assert_allclose(means, expected, atol=1e-6)


def nets(network, **second):
    return [network("resnet", fresh=True), network("res2net", fresh=True, **second)]


def test_a_comparison_is_that_of_each_photo(network, data, tmp_path):
    first, second = nets(network)
    found = compare_folder([first, second], data, tmp_path / "o", **{**HERE, "sheet": 2})
    pairs = [
        (one := first.explain(path), second.explain(path, targets=one.targets[0].index))
        for path in photos(data)
    ]
    both = [agreement("", "", one.maps[0], other.maps[0]) for one, other in pairs]
    expected = [pair.spearman or np.nan for pair in both]
    alike = numbers(tmp_path / "o", "spearman_tiny_resnet")
    assert np.isnan(alike[::2]).all()  # of the first model
    np.testing.assert_allclose(alike[1::2], expected, atol=1e-3)
    same = [o.prediction.top[0].index == p.prediction.top[0].index for o, p in pairs]
    assert numbers(tmp_path / "o", "same_top1_tiny_resnet")[1::2].tolist() == same
    least = [photos(data)[i].relative_to(data).as_posix() for i in np.argsort(expected)[:2]]
    assert list(found.sheet) == least
    assert np.load(tmp_path / "o" / found.maps[1].file).shape == (7, 3, 3)


def test_a_class_that_one_model_lacks(network, data, tmp_path):
    names = ("thing 7", *(f"other {i}" for i in range(11)))
    found = compare_folder(nets(network, names=names), data, tmp_path / "o", target=3, **HERE)
    assert np.isnan(numbers(tmp_path / "o", "probability")[1::2]).all()
    assert not np.load(tmp_path / "o" / found.maps[1].file).any()
    assert numbers(tmp_path / "o", "same_top1_tiny_resnet")[1::2].tolist() == [0] * 7
    often = found.maps[1].means["same_top1_tiny_resnet"]
    # By hand: of none among n, Wilson's upper end is z^2 / (n + z^2).
    assert (often.mean, often.count) == (0, 7)
    assert often.low == pytest.approx(0, abs=1e-12)
    assert often.high == pytest.approx(1.959964**2 / (7 + 1.959964**2), abs=1e-6)


def test_nobody_knows_whether_an_answer_is_the_same_where_classes_are_numbered(
    network, data, tmp_path, monkeypatch
):
    first, second = nets(network)
    monkeypatch.setattr(second, "labels", replace(second.labels, numbered_in="b" * 64))
    found = compare_folder([first, second], data, tmp_path / "o", **HERE)
    assert "same_top1_tiny_resnet" not in found.maps[1].means
    assert any("not known to have the class" in notice for notice in found.notices)


@pytest.mark.slow
def test_trust_is_that_of_each_photo(network, data, tmp_path):
    net = network("resnet", fresh=True)
    plan = replace(BRIEF, methods=("gradcam", "hirescam"), steps=2, draws=2)
    told: list[float] = []
    data = data / "thing 5"  # two photographs
    found = trust_folder(net, data, tmp_path / "o", plan=plan, on_estimate=told.append, **HERE)
    assert len(told) == 1
    # Each photo has controls of its own: the seed is its place in the folder, bad.png counted.
    places = {path: n for n, path in enumerate(sorted(data.rglob("*.png")))}
    own = [replace(plan, seed=places[path]) for path in photos(data)]
    level, made = [], [net.trust(p, plan=o).maps for p, o in zip(photos(data), own, strict=True)]
    for one, row in zip((m for maps in made for m in maps), rows(tmp_path / "o"), strict=True):
        assert (row["method"], float(row["level"])) == (one.method, one.verdict.level)
        for metric, beside in one.beside().items():
            for kind, value in beside.items():
                name = metric if kind == "map" else f"{metric}_{kind}"
                assert float(row[name]) == pytest.approx(value, abs=1e-4)
        level.append(one.verdict.level)
    said = found.maps[1].means
    own, blob = (numbers(tmp_path / "o", f"infidelity{k}")[1::2] for k in ("", "_blob"))
    assert said["infidelity_less_blob"].mean == pytest.approx((own - blob).mean())
    assert said["better_than_all"].mean == np.mean([one == 3 for one in level[1::2]])
    assert [one.file for one in found.maps] == ["maps-1-gradcam-layer4.npy",
                                                "maps-2-hirescam-layer4.npy"]  # fmt: skip


def test_a_photo_of_the_class_it_is_set_in_contrast_to_has_no_scores(network, data, tmp_path):
    net = network("resnet", fresh=True)
    first, second = photos(data / "thing 5")
    best, other = (net.predict(path).top[0].index for path in (first, second))
    plan = replace(BRIEF, methods=("difference",), against=(best,), steps=2, draws=1)
    expected = [True, best == other]
    trust_folder(net, data / "thing 5", tmp_path / "o", plan=plan, **HERE)
    assert np.isnan(numbers(tmp_path / "o", "class_index")).tolist() == expected
    said = json.loads((tmp_path / "o" / "summary.json").read_bytes())["notices"]
    assert any(f"{sum(expected)} photographs have no map" in line for line in said)
    with pytest.raises(OptionError, match="named twice"):
        trust_folder(net, data, tmp_path / "p", plan=plan, target=best, **HERE)
    assert not part_folder(tmp_path / "p").exists()  # it would be in a better command's way


def test_a_run_that_was_stopped_goes_on(network, data, tmp_path):
    net = network("resnet", fresh=True)
    explain_folder(net, data, tmp_path / "whole", **HERE)

    def stop(done, total):
        if done >= 6:
            raise KeyboardInterrupt

    out = tmp_path / "o"
    with pytest.raises(KeyboardInterrupt):
        explain_folder(net, data, out, on_progress=stop, **HERE)
    assert not out.exists()
    with pytest.raises(OutputError, match=r"'o\.part'.*\(maps, batch size\).*--restart"):
        explain_folder(net, data, out, layer="layer3", **HERE)
    assert explain_folder(net, data, out, **HERE).computed == 2  # of a batch of three and one
    for name in ("maps.npy", "table.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_results_of_other_settings_are_replaced_when_asked_for(network, data, tmp_path):
    (net, other), out = nets(network), tmp_path / "o"
    with pytest.raises(OptionError, match="Two models have the same name; rename the folder"):
        compare_folder([net, net], data, out, **HERE)
    compare_folder([net, other], data, out, **HERE)
    (out / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"'o' holds the results.*command.*--restart"):
        explain_folder(net, data, out, **HERE)
    found = explain_folder(net, data, out, restart=True, **HERE)
    assert sorted(path.name for path in out.iterdir()) == sorted([*(found.files or ()), "mine.txt"])
    explain_folder(net, data, out, **HERE)  # the same settings
    with pytest.raises(OutputError, match=r"'o' holds the results.*\(photographs\).*--restart"):
        explain_folder(net, data / "thing 5", out, **HERE)


def test_a_run_with_restart_that_was_stopped_goes_on_without(network, data, tmp_path):
    net, out = network("resnet", fresh=True), tmp_path / "o"
    explain_folder(net, data, out, layer="layer3", **HERE)

    def stop(done, total):
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_folder(net, data, out, restart=True, on_progress=stop, **HERE)
    assert explain_folder(net, data, out, **HERE).computed == 2
    assert not part_folder(out).exists()
    with pytest.raises(OutputError, match=r"'o' holds the results.*\(maps.*--restart"):
        explain_folder(net, data, out, layer="layer3", **HERE)


def test_a_comparison_of_fewer_models_is_another_one(network, data, tmp_path):
    several, out = [*nets(network), network("resnext", fresh=True)], tmp_path / "o"

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_folder(several, data, out, on_progress=stop, **HERE)
    with pytest.raises(OutputError, match=r"'o\.part'.*\(models\).*--restart"):
        compare_folder(several[:2], data, out, **HERE)
    compare_folder(several, data, out, **HERE)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OutputError, match=r"'o' holds the results.*\(models\).*--restart"):
        compare_folder(several[:2], data, out, **HERE)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("change", ["photo", "class"])
def test_with_labels_a_stopped_run_knows_other_photos_and_other_classes(
    network, data, tmp_path, change
):
    root, out = shutil.copytree(data, tmp_path / "data"), tmp_path / "o"
    net = network("resnet", fresh=True)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_folder(net, root, out, target="label", on_progress=stop, **HERE)
    if change == "photo":
        draw(99).save(photos(root)[0])
    else:
        (root / "thing 5").rename(root / "thing 7")
    with pytest.raises(OutputError, match=r"'o\.part'.*\(photographs\).*--restart"):
        explain_folder(net, root, out, target="label", **HERE)


def test_a_photo_of_which_the_network_does_not_see_the_box_has_no_scores(network, data, tmp_path):
    net = network("resnet", fresh=True)
    plan = replace(BRIEF, parts=("localisation",), box=(0.0, 0.0, 0.1, 1.0), factors=(0.6,))
    trust_folder(net, data, tmp_path / "o", plan=plan, **HERE)
    hidden = []
    for path in photos(data):
        with Image.open(path) as photo:
            hidden.append(0.1 * photo.width <= (photo.width - photo.height) / 2)
    assert np.isnan(numbers(tmp_path / "o", "class_index")).tolist() == hidden
    assert 0 < sum(hidden) < len(hidden)


@forked
def test_two_processes_give_what_one_gives(network, data, tmp_path):
    both = nets(network)
    compare_folder(both, data, tmp_path / "one", **HERE)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])

    def work(rank):
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({**shared, "RANK": rank, "LOCAL_RANK": rank})
        with sharing(torch.device("cpu")) as processes:
            compare_folder(both, data, tmp_path / "two", processes=processes, **HERE)
        os._exit(0)

    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=work, args=(rank,), daemon=True) for rank in ("0", "1")]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0, 0]
    for path in (tmp_path / "one").iterdir():
        if path.suffix in (".csv", ".npy", ".npz"):
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_memory_does_not_grow_with_the_folder(network, data, tmp_path, monkeypatch):
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(*arguments, **options):
        nonlocal most
        for batch in batches(*arguments, **options):
            alive.append(weakref.ref(batch.views))
            most = max(most, sum(ref() is not None for ref in alive))
            yield batch

    monkeypatch.setattr(folders_module, "batches", watched)
    small = {**HERE, "loading": Loading(batch_size=1, workers=0)}
    explain_folder(network("resnet", fresh=True), data, tmp_path / "o", **small)
    assert (len(alive), most <= 3) == (8, True)


def test_nothing_to_look_at(network, tmp_path):
    net, out = network("resnet", fresh=True), tmp_path / "o"
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match="no photograph"):
        explain_folder(net, tmp_path / "data", out, **HERE)
    (tmp_path / "data" / "a.png").touch()
    with pytest.raises(DatasetError, match="None of the 1"):
        explain_folder(net, tmp_path / "data", out, **HERE)
    with pytest.raises(UnknownLayerError, match="layer9"):
        explain_folder(net, tmp_path / "data", out, layer="layer9", **HERE)
    with pytest.raises(OptionError, match="201 photos"):
        explain_folder(net, tmp_path / "data", out, **{**HERE, "sheet": 201})
    with pytest.raises(DatasetError, match="folder per class"):
        explain_folder(net, tmp_path / "data", out, target="label", **HERE)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["data"]


@forked
def test_a_second_run_at_the_same_time_is_refused(network, data, tmp_path):
    net, out, refused = network("res2net", fresh=True), tmp_path / "o", []

    def again(done, total):
        with pytest.raises(
            OutputError, match="Another run is writing 'o'; wait until it has ended"
        ):
            explain_folder(net, data, out, **HERE)
        refused.append(done)

    found = explain_folder(net, data, out, on_progress=again, **HERE)
    assert refused
    assert found.images == len(rows(out)) == 7
    assert explain_folder(net, data, out, **HERE).images == 7
