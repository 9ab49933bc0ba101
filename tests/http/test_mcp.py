"""The endpoints as MCP tools: listed, described, callable with an upload, closed to links."""

import base64
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from gradio_client import handle_file

from mscnn.http.endpoints import ENDPOINTS
from tests.page.serving import MODELS, differences

MODEL = "starter_res2net"


@pytest.fixture
def mcp(http):
    """``mcp("tools/list")``: the result of a request of an MCP client."""

    def request(method, **parameters):
        answer = http.post(
            "/gradio_api/mcp/", headers={"Accept": "application/json, text/event-stream"},
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters},
        )  # fmt: skip
        line = next(row for row in answer.text.splitlines() if row.startswith(("data:", "{")))
        return json.loads(line.removeprefix("data:"))["result"]

    return request


@pytest.fixture
def tool(mcp):
    """``tool("predict", image=..., ...)``: (is it an error, the text of the answer)."""

    def call(name, **arguments):
        result = mcp("tools/call", name=name, arguments=arguments)
        text = " ".join(part.get("text", "") for part in result["content"])
        return result["isError"], text

    return call


def data_url(photo):
    return "data:image/png;base64," + base64.b64encode(photo).decode()


@pytest.mark.parametrize("way", ["data", "link of an upload"])
def test_a_tool_takes_a_picture(tool, site, upload, photo_bytes, photo_file, way):
    link = f"{site.url}/gradio_api/file={upload(photo_bytes)['path']}"
    image = data_url(photo_bytes) if way == "data" else link
    failed, text = tool("predict", image=image, model=MODEL, top_k=5)
    assert not failed, text
    assert site.engine.session.network(MODEL).predict(str(photo_file)).top[0].label in text


def test_a_tool_reads_data_urls_as_the_page_does(tool, photo_bytes):
    """gradio's own reader drops the letters of the other alphabet, and wants the padding."""
    odd = base64.urlsafe_b64encode(photo_bytes + b"\0" * (1 + -len(photo_bytes) % 3)).decode()
    assert {"-", "_"} & set(odd)
    failed, text = tool("predict", image=f"DATA:;base64,{odd.rstrip('=')}", model=MODEL)
    assert (failed, text) == tool("predict", image=data_url(photo_bytes), model=MODEL)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_tools_answer_is_json_that_fits_its_published_schema(
    mcp, ask, photo_bytes, photo_file, few_steps, name
):
    (schema,) = (t["outputSchema"] for t in mcp("tools/list")["tools"] if t["name"] == name)
    arguments: dict[str, Any] = {"model": MODEL}
    if name in ("compare", "sweep", "ablate"):
        arguments = {"models": ", ".join(MODELS)}
    if name == "ablate":
        arguments["draws"] = 2
    picture = {} if name == "receptive_field" else {"image": data_url(photo_bytes)}
    result = mcp("tools/call", name=name, arguments={**picture, **arguments})
    assert not result["isError"], result
    shown = result["structuredContent"]
    assert json.loads(result["content"][0]["text"]) == shown
    jsonschema.validate(shown, schema, jsonschema.Draft202012Validator)
    assert set(schema["properties"]) == set(shown)
    pictures = [part for part in result["content"] if part["type"] == "image"]
    assert len(pictures) == len([label for label in ENDPOINTS[name] if label != "raw map"])
    # The same document as over HTTP.
    photo = {"image": handle_file(str(photo_file))} if picture else {}
    expected = ask(f"/{name}", **photo, **arguments)
    assert differences(shown, expected[0] if ENDPOINTS[name] else expected) == []


@pytest.mark.parametrize("link", [
    "http://127.0.0.1:1/photo.png", "https://example.org/photo.png",
    "http://127.0.0.1:1/gradio_api/file=/etc/passwd", "/etc/passwd", "file:///etc/passwd",
])  # fmt: skip
def test_a_tool_opens_no_other_link_and_no_path(tool, link):
    failed, text = tool("predict", image=link, model=MODEL, top_k=5)
    assert failed
    assert "root:" not in text
    assert "Traceback" not in text


def test_a_wrong_argument_is_a_sentence(tool, photo_bytes):
    failed, text = tool("predict", image=data_url(photo_bytes), model="no_such_net", top_k=5)
    assert failed
    assert "no_such_net" in text
