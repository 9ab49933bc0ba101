"""``python app.py``: endpoints, MCP tools, links into the page and the ids of its elements."""

import json
from typing import Any

import httpx
import pytest

from tests.golden.conftest import copy_photo
from tests.golden.trees import mask, skeleton
from tests.page.serving import chromium, launch_chromium

LIMIT_S = 60.0
RES2NET, RESNET = "starter_res2net", "starter_resnet"


@pytest.fixture(scope="module")
def http(app_url):
    with httpx.Client(base_url=app_url, timeout=LIMIT_S) as client:
        yield client


def test_endpoints(http, golden):
    info = http.get("/gradio_api/info").json()
    assert info["unnamed_endpoints"] == {}
    assert all(e["description"].endswith(".") for e in info["named_endpoints"].values())
    kept = ("parameter_name", "parameter_has_default", "parameter_default", "component")
    golden("http/endpoints", {
        name: {
            "parameters": [
                {key: p[key] for key in kept} | {"type": p["python_type"]["type"]}
                for p in endpoint["parameters"]
            ],
            "returns": [
                {"label": r["label"], "component": r["component"]} for r in endpoint["returns"]
            ],
        }
        for name, endpoint in info["named_endpoints"].items()
    })  # fmt: skip


def test_tools(http, golden):
    tools = http.get("/gradio_api/mcp/schema").json()
    golden("http/tools", {tool["name"]: tool["inputSchema"] for tool in tools})
    described = [p for tool in tools for p in tool["inputSchema"]["properties"].values()]
    assert all(parameter["description"].endswith(".") for parameter in described)


PHOTO = object()
"""Stands for an uploaded photograph."""
REQUESTS: dict[str, list[Any]] = {
    "predict": [PHOTO, RES2NET, 3],
    "explain": [PHOTO, RES2NET, "last", "top1", "gradcam"],
    "compare": [PHOTO, f"{RES2NET},{RESNET}", "top1", "last"],
    "scales": [PHOTO, "starter_resnest", "top1"],
    "receptive_field": [RES2NET, ""],
    "sweep": [PHOTO, f"{RES2NET},{RESNET}", "top1", "", "mean"],
    "trust": [PHOTO, RES2NET, "top1", "gradcam", "last", ""],
}
REFUSED: dict[str, list[Any]] = {
    "predict": [PHOTO, "no_such_net", 5],
    "explain": [PHOTO, RES2NET, "layer9", "top1", "gradcam"],
    "compare": [PHOTO, RESNET, "top1", "last"],
    "scales": [None, RES2NET, "top1"],
    "receptive_field": ["/etc", ""],
    "sweep": [PHOTO, RESNET, "unicorn", "", "mean"],
    "trust": [PHOTO, RES2NET, "top1", "gradcm", "last", ""],
}


@pytest.fixture
def ask(http, tmp_path):
    """``ask(endpoint, data)``: the last event of the answer, and what it carries."""

    def call(endpoint, data):
        photo = copy_photo("cat.png", tmp_path / "cat.png").read_bytes()
        uploaded = http.post("/gradio_api/upload", files={"files": ("cat.png", photo)}).json()[0]
        file = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
        body = {"data": [file if part is PHOTO else part for part in data]}
        started = http.post(f"/gradio_api/call/{endpoint}", json=body).json()
        answer = http.get(f"/gradio_api/call/{endpoint}/{started['event_id']}").text
        event, _, rest = answer.rpartition("event: ")[2].partition("\n")
        return event, json.loads(rest.strip().removeprefix("data: "))

    return call


def without_addresses(answer):
    """A file by its name instead of where it lies for this visitor."""
    if isinstance(answer, dict) and "orig_name" in answer:
        return f"<file {answer['orig_name']}>"
    return answer


@pytest.mark.parametrize("endpoint", [
    pytest.param(name, marks=pytest.mark.slow) if name == "trust" else name for name in REQUESTS
])  # fmt: skip
def test_answers(endpoint, ask, golden):
    event, answer = ask(endpoint, REQUESTS[endpoint])
    assert event == "complete", answer
    golden(f"http/{endpoint}", [skeleton(mask(without_addresses(part))) for part in answer])


def test_refusals(ask, golden):
    found = {}
    for endpoint, data in REFUSED.items():
        event, answer = ask(endpoint, data)
        found[endpoint] = {"event": event, "error": answer["error"]}
    golden("http/refusals", found)


ALWAYS = ("photo", "model", "run", "notice")
TABS = {
    "Look": ("top5", "overlay", "stages", "method", "opacity", "download"),
    "Scales": ("split-strip", "scale-plot"),
    "Receptive field": ("rf-plot",),
    "Zoom": ("sweep-plot",),
    "Trust": ("trust-plot", "trust-grid"),
    "Features": (),
    "Compare": ("models", "compare-grid"),
}
"""Names of the tabs, and the ids that are there once one was opened."""
NONSENSE = "tab=nowhere&model=no_such_net&layer=conv1&example=unicorn"
LINKS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "tab=look&example=CoFFee&layer=layer2": ("Look", {"#top5": ["espresso"], "body": ["stage 2"]}),
    "model=starter_resnet": ("Look", {"#model": [RESNET], "body": ["starter resnet"]}),
    "tab=scales": ("Scales", {}),
    "tab=rf": ("Receptive field", {}),
    "tab=zoom": ("Zoom", {}),
    "tab=trust": ("Trust", {}),
    "tab=features": ("Features", {}),
    "tab=compare&models=starter_resnest": ("Compare", {"#models": ["starter_resnest"]}),
    f"models={RES2NET},{RESNET}": ("Compare", {"#models": [RES2NET, RESNET]}),
    NONSENSE: ("Look", {"#top5": ["tabby"]}),
}
"""Queries, the tab that each opens and what some elements then say."""
SHOWS = """([selector, words]) => {
  const root = document.querySelector(selector);
  if (!root) return false;
  const spoken = [...root.querySelectorAll("*")].flatMap(
    e => [e.value, e.alt, e.getAttribute("aria-label")].filter(t => typeof t === "string"));
  const text = [root.textContent, ...spoken].join(" ").toLowerCase();
  return words.every(word => text.includes(word));
}"""
"""Whether an element says all of some words: as text, as a value or to a screen reader."""


@pytest.fixture(scope="module")
def page():
    """One page for all visits, so that a browser fetches gradio's files once."""
    reason = "playwright comes with requirements-test.txt"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    chromium()
    with api.sync_playwright() as playwright:
        started = launch_chromium(playwright)
        opened = started.new_page()
        opened.set_default_timeout(1000 * LIMIT_S)
        yield opened
        started.close()


def in_front(page, name):
    page.get_by_role("tab", name=name, exact=True, selected=True).wait_for(state="attached")


@pytest.mark.browser
@pytest.mark.flaky(reruns=2)
def test_element_ids(page, app_url):
    page.goto(app_url, wait_until="domcontentloaded")
    # The page opens the tab that its link names when it has loaded; a click before that is lost.
    page.wait_for_function(SHOWS, arg=["#top5", ["tabby"]])
    for tab, ids in TABS.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        in_front(page, tab)
        for name in (*ALWAYS, *ids):
            page.locator(f"[id='{name}']").wait_for(state="attached")
            assert page.locator(f"[id='{name}']").count() == 1, name


@pytest.mark.browser
@pytest.mark.flaky(reruns=2)
@pytest.mark.parametrize("query", LINKS)
def test_links(query, page, app_url):
    tab, wanted = LINKS[query]
    page.goto(f"{app_url}/?{query}", wait_until="domcontentloaded")
    in_front(page, tab)
    for selector, words in wanted.items():
        page.wait_for_function(SHOWS, arg=[selector, words])
