"""Two hundred mixed requests from eight clients at once: each answer its own, no trace stays."""

import io
import json
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from mscnn.draw.files import DrawingOptions, comparison_files, explanation_files
from mscnn.photos.imaging import load_photo
from mscnn.results.schema import document
from tests.page.serving import MODELS, differences, files_below

CLIENTS, REQUESTS, COMPARISONS = 8, 200, 9
SIZES = ((120, 90), (64, 64), (40, 130), (200, 100), (97, 53), (150, 150))
LAYERS = ("last", "1", "2", "layer3", "layer4.0")
TARGETS = ("top1", "espresso", "sea lion", "17", "199")
METHODS = ("gradcam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam")


@dataclass(frozen=True)
class Request:
    """One question: the endpoint, which of the photos, and the other arguments."""

    endpoint: str
    photo: int
    arguments: tuple[Any, ...]


Answer = tuple[Any, dict[str, bytes]]
"""The JSON, and the files by name."""


def requests():
    """Two hundred requests of about seventy kinds, in an order that mixes everything."""
    choose = random.Random(3)
    kinds = []
    for photo in range(len(SIZES)):
        for model in MODELS:
            kinds.append(Request("predict", photo, (model, choose.choice((1, 5, 200)))))
            for _ in range(4):
                rest = (choose.choice(LAYERS), choose.choice(TARGETS), choose.choice(METHODS))
                kinds.append(Request("explain", photo, (model, *rest)))
    comparisons: list[Request] = []
    for photo in (0, 2, 3):
        names = list(MODELS)
        choose.shuffle(names)
        target, layer = choose.choice(TARGETS), choose.choice(("last", "2"))
        comparisons.append(Request("compare", photo, (", ".join(names), target, layer)))
    wanted = [choose.choice(kinds) for _ in range(REQUESTS - COMPARISONS - len(kinds))]
    wanted += kinds + comparisons * (COMPARISONS // len(comparisons))
    choose.shuffle(wanted)
    assert len(wanted) == REQUESTS
    return wanted


def files(make_photo):
    """The photos as different kinds of files: alpha, grey, palette, turned by EXIF."""
    found = []
    for seed, (size, mode) in enumerate(
        zip(SIZES, ("RGB", "RGBA", "L", "P", "RGB", "RGB"), strict=True)
    ):
        image, out = make_photo(seed, size), io.BytesIO()
        if mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(size))
        elif mode != "RGB":
            image = image.convert(mode)
        if seed == 4:
            exif = Image.Exif()
            exif[0x0112] = 6
            image.save(out, "JPEG", exif=exif, quality=95)
        else:
            image.save(out, "PNG")
        found.append(out.getvalue())
    return found


def serial(site, request, content):
    """The answer without HTTP and with nobody else around."""
    engine, photo = site.engine, load_photo(content)
    drawing = DrawingOptions()
    if request.endpoint == "predict":
        model, top_k = request.arguments
        found = engine.session.network(model).predict(photo, top_k=top_k, name="")
        return {"results": [document(found)]}, {}
    if request.endpoint == "explain":
        model, layer, target, method = request.arguments
        shown = engine.session.network(model).explain(
            photo, layers=layer, targets=target, method=method, name=""
        )
        made = explanation_files(shown, shown.maps[0], photo, drawing=drawing)
        kept = {name: made[name] for name in ("overlay.png", "cam.npy")}
        return document(shown), kept
    models, target, layer = request.arguments
    compared = engine.compare(photo, models.split(", "), target=target, layer=layer, name="")
    made = comparison_files(compared, photo, drawing=drawing)
    return document(compared), {"comparison.png": made["comparison.png"]}


def visitor(url, share):
    """One client: upload, ask, fetch the files, request by request."""
    answers = []
    with httpx.Client(base_url=url, timeout=300) as http:
        for request, content in share:
            sent = http.post("/gradio_api/upload", files={"files": ("photo.png", content)})
            image = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
            data = {"data": [image, *request.arguments]}
            event = http.post(f"/gradio_api/call/{request.endpoint}", json=data).json()["event_id"]
            stream = http.get(f"/gradio_api/call/{request.endpoint}/{event}").text
            assert "event: complete" in stream, f"{request}: {stream}"
            numbers, *made = json.loads(stream.rpartition("data: ")[2])
            got = {f["orig_name"]: http.get(f"/gradio_api/file={f['path']}").content for f in made}
            answers.append((numbers, got))
    return answers


def problems(got, wanted):
    found = differences(got[0], wanted[0])
    if set(got[1]) != set(wanted[1]):
        return [*found, f"files {sorted(got[1])}"]
    for name, content in wanted[1].items():
        if name.endswith(".npy"):
            pair = [np.load(io.BytesIO(c)) for c in (got[1][name], content)]
            same = pair[0].shape == pair[1].shape and np.allclose(pair[0], pair[1], atol=1e-5)
        else:
            pair = [pixels(c) for c in (got[1][name], content)]
            same = pair[0].shape == pair[1].shape and int(np.abs(pair[0] - pair[1]).max()) <= 2
        found += [] if same else [f"{name} differs"]
    return found


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def traces(model):
    """What a request may have left behind on a shared network."""
    found = [f"{n} trains" for n, m in model.named_modules() if m.training]
    for name, module in model.named_modules():
        hooks = [key for key in vars(module) if key.endswith("_hooks") and vars(module)[key]]
        found += [f"{key} on {name!r}" for key in hooks]
    for name, parameter in model.named_parameters():
        found += [f"requires_grad of {name}"] if parameter.requires_grad else []
        found += [f".grad of {name}"] if parameter.grad is not None else []
    everywhere = vars(torch.nn.modules.module)
    found += [
        k for k in everywhere if k.startswith("_global_") and k.endswith("_hooks") and everywhere[k]
    ]
    return found


@pytest.mark.slow
def test_two_hundred_mixed_requests_from_eight_clients(site, make_photo, tmp_path, monkeypatch):
    temporary, work = tmp_path / "system-tmp", tmp_path / "work"
    temporary.mkdir()
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(work)
    models = [site.engine.session.network(name).model for name in MODELS]
    before = {
        id(m): {n: (t.data_ptr(), t._version) for n, t in m.state_dict().items()} for m in models
    }
    contents = files(make_photo)
    asked = requests()
    expected = {request: serial(site, request, contents[request.photo]) for request in asked}
    assert len({json.dumps(answer[0]) for answer in expected.values()}) > 50

    shares = [
        [(request, contents[request.photo]) for request in asked[start::CLIENTS]]
        for start in range(CLIENTS)
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda share: visitor(site.url, share), shares))

    wrong = [
        f"{request}: {found}"
        for share, got in zip(shares, answers, strict=True)
        for (request, _), answer in zip(share, got, strict=True)
        if (found := problems(answer, expected[request]))
    ]
    assert wrong == []
    assert sum(map(len, answers)) == REQUESTS
    for model in models:
        assert traces(model) == []
        now = {n: (t.data_ptr(), t._version) for n, t in model.state_dict().items()}
        assert now == before[id(model)]
    assert files_below(temporary) == set()
    assert files_below(work) == set()
