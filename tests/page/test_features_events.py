"""The Features tab's handlers as gradio calls them: what each event changes, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from mscnn.data.extraction import extract
from mscnn.data.feature_files import read_feature_file
from mscnn.data.loading import Loading
from mscnn.errors import ImageError, OptionError
from mscnn.page.examples import examples
from mscnn.page.features_events import RESULTS, FeaturesEvents, updates
from mscnn.page.features_sets import OwnersFile, open_files
from mscnn.photos.imaging import load_photo

MODEL, BASELINE = "starter_res2net", "starter_resnet"
NAMES = ("lion.jpg", "coffee.png", "rocket.jpg")
NOTHING = updates()


@pytest.fixture(scope="session")
def references() -> list[Path]:
    """Three of the example photographs, to keep the tests short."""
    return [e.path for e in examples() if e.path.name in NAMES]


@pytest.fixture
def events(engine, references) -> FeaturesEvents:
    return FeaturesEvents(engine, references)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photographs each run of a model saw."""
    from timm.models.resnet import ResNet

    real, seen = ResNet.forward_features, []

    def counted(self: Any, x: Any) -> Any:
        seen.append(len(x))
        return real(self, x)

    monkeypatch.setattr(ResNet, "forward_features", counted)
    return seen


@pytest.fixture
def owned(engine, tmp_path) -> OwnersFile:
    """A file of four photographs' features, of which one is gone since."""
    folder = tmp_path / "animals"
    folder.mkdir()
    for number in range(4):
        patches(number).save(folder / f"{number}.png")
    out, loading = tmp_path / "animals.npz", Loading(workers=0)
    network = engine.session.network(BASELINE)
    extract(network, folder, out, stage="layer3", loading=loading)
    (folder / "3.png").unlink()
    (found,) = open_files([(out, folder)])
    return found


def patches(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((90, 70), Image.Resampling.BICUBIC)


ASKED = {"model": MODEL, "also": [], "where": "pooled", "among": "examples"}


def run(events: FeaturesEvents, photo: Any, **changed: Any) -> dict[str, Any]:
    """The last update of a run, by name."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "also": [],
        "where": "pooled",
        "among": "examples",
        **changed,
    }
    steps = list(events.run(photo, **asked, progress=gr.Progress()))
    assert dict(zip(RESULTS, steps[0], strict=True))["run"] == gr.update(interactive=False)
    return dict(zip(RESULTS, steps[-1], strict=True))


def refresh(events: FeaturesEvents, shown: Any, photo: Any, **changed: Any) -> dict[str, Any]:
    """The last update of a refresh, by name."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "also": [],
        "where": "pooled",
        "among": "examples",
        **changed,
    }
    front = asked.pop("front", True)
    steps = list(events.refresh(front, shown, photo, **asked, progress=gr.Progress()))
    return dict(zip(RESULTS, steps[-1], strict=True))


def by_scipy(network: Any, photo: Any, paths: list[Path], **where: Any) -> list[tuple[str, float]]:
    """Names and similarities as SciPy has them, most similar first."""
    rows = np.concatenate([network.features(path, **where) for path in paths]).astype(np.float64)
    query = network.features(photo, **where).astype(np.float64)
    similar = 1 - cdist(query, rows, "cosine")[0]
    return [(paths[i].name, similar[i]) for i in np.argsort(-similar)]


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ("pooled", {}),
        ("stage2", {"stage": "layer2"}),
        ("layer3.1/2", {"stage": "layer3.1", "split": 2}),
    ],
)
def test_an_answer_is_scipys_own(events, engine, photo, references, where, options):
    found = run(events, photo, where=where)
    expected = by_scipy(engine.session.network(MODEL), photo, references, **options)
    assert [row[2] for row in found["table"]] == [name for name, _ in expected]
    similar = [s for _, s in expected]
    assert [row[3] for row in found["table"]] == pytest.approx(similar, abs=1e-4)
    assert [row[1] for row in found["table"]] == [1, 2, 3]
    assert found["cards"].count("<img") == 1 + len(references)
    assert found["where"]["value"] == where
    assert found["run"]["interactive"] is True


def test_an_example_is_not_its_own_neighbour(events, references):
    lion = load_photo(next(p for p in references if p.name == "lion.jpg"))
    found = run(events, lion)
    assert sorted(row[2] for row in found["table"]) == ["coffee.png", "rocket.jpg"]
    assert "it is your photo itself: lion.jpg" in found["cards"]


def test_the_examples_are_computed_once_for_each_model_and_place(events, photo, forwards):
    for name in (MODEL, BASELINE):  # loading runs a model too
        events.engine.session.network(name)
    forwards.clear()
    run(events, photo)
    assert sorted(forwards) == [1, 3]
    run(events, patches(8))
    assert sorted(forwards) == [1, 1, 3]
    run(events, photo, where="stage4")
    run(events, photo, also=[BASELINE])
    assert sorted(forwards) == [1] * 5 + [3] * 3


def test_models_stand_side_by_side_and_one_may_lack_the_place(events, photo):
    found = run(events, photo, also=[BASELINE, MODEL])
    assert [row[0] for row in found["table"]] == ["Starter Res2Net"] * 3 + ["Starter ResNet"] * 3
    assert found["cards"].count("<section") == 2
    found = run(events, photo, also=[BASELINE], where="layer3.1/2")
    assert [row[0] for row in found["table"]] == ["Starter Res2Net"] * 3
    assert "layer3.1 has no split 2" in found["cards"]


def test_a_place_that_the_new_model_lacks_becomes_the_pooled_features(events, photo):
    found = run(events, photo, model=BASELINE, where="layer3.1/2")
    assert found["where"]["value"] == "pooled"
    assert "layer3.1/2" not in [value for _, value in found["where"]["choices"]]


def test_the_tab_computes_only_in_front_and_for_what_is_new(events, photo, forwards):
    for asked in ({"front": False, "photo": photo}, {"photo": None}, {"photo": ImageError("Bad.")}):
        assert tuple(refresh(events, None, **asked).values()) == NOTHING
    assert forwards == []
    shown = refresh(events, None, photo)["state"]
    ran = len(forwards)
    again = refresh(events, shown, photo)
    assert again["cards"] == NOTHING[0]
    assert again["hint"] == ""
    assert len(forwards) == ran
    for changed in ({"photo": patches(4)}, {"where": "stage1"}, {"model": BASELINE}):
        assert refresh(events, shown, **{"photo": photo, **changed})["state"] != shown
    assert len(forwards) > ran


def test_a_download_is_announced_and_left_to_the_button(events, photo, forwards):
    name = "res2net50_26w_4s.in1k"
    said = refresh(events, None, photo, also=[name])
    assert "103 MB" in said["hint"]
    assert said["run"]["value"] == "Download and find similar"
    assert "no_such_net" in refresh(events, None, photo, model="no_such_net")["hint"]
    assert "at most 3" in refresh(events, None, photo, also=["a", "b", "c"])["hint"]
    assert forwards == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"photo": None}, "no photo yet"),
        ({"among": "7"}, "no such set"),
        ({"among": "/etc/passwd"}, "no such set"),
    ],
)
def test_an_error_is_a_sentence(events, photo, changed, says):
    with pytest.raises((ImageError, OptionError), match=says):
        run(events, **{"photo": photo, **changed})


def test_without_examples_the_tab_says_what_helps(engine, photo):
    assert "--features" in refresh(FeaturesEvents(engine), None, photo)["hint"]


def test_a_file_is_searched_by_its_own_model_at_its_own_place(engine, references, owned):
    events, photo = FeaturesEvents(engine, references, [owned]), patches(1)
    found = run(events, photo, also=[MODEL], where="layer3.1/2", among="0")
    assert "shown to Starter ResNet here, not to Starter Res2Net" in found["hint"]
    assert (found["where"]["value"], found["where"]["interactive"]) == ("layer3", False)
    assert found["also"] == gr.update(interactive=False)
    # 1.png has the photo's pixels, 3.png is gone; rows are those of the file.
    network = engine.session.network(BASELINE)
    rows = read_feature_file(owned._folder.parent / "animals.npz").features.astype(np.float64)
    query = network.features(photo, stage="layer3").astype(np.float64)
    similar = 1 - cdist(query, rows, "cosine")[0]
    order = [i for i in np.argsort(-similar) if i != 1]
    assert [row[2] for row in found["table"]] == [f"{i}.png" for i in order]
    assert [row[3] for row in found["table"]] == pytest.approx(similar[order], abs=1e-4)
    assert found["cards"].count("near-missing") == 1
    assert "left out" in found["cards"].lower()
    assert str(owned._folder.parent) not in found["cards"]
    assert run(events, photo, model=BASELINE, among="0")["hint"] == ""


def test_a_file_of_other_weights_or_an_unknown_model_is_a_sentence(engine, tmp_path, owned, photo):
    import dataclasses

    for changed, says in (
        ({"weights_sha256": "0" * 64}, "made with weights 000000000000"),
        ({"model": "pets"}, "of pets, which is not offered here"),
        ({"model": "/etc"}, "not offered here"),
    ):
        content = dataclasses.replace(
            owned._content, head=dataclasses.replace(owned.head, **changed)
        )
        events = FeaturesEvents(engine, (), [OwnersFile("a.npz", content, tmp_path)])
        with pytest.raises(OptionError, match=says):
            run(events, photo, among="0")
