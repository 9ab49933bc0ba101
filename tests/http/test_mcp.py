"""The endpoints as MCP tools: listed, described, callable with an upload, closed to links."""

import base64
import json

import pytest

MODEL = "starter_res2net"


@pytest.fixture
def tool(http):
    """``tool("predict", image=..., ...)``: (is it an error, the text of the answer)."""

    def call(name, **arguments):
        answer = http.post(
            "/gradio_api/mcp/", headers={"Accept": "application/json, text/event-stream"},
            json={
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": name, "arguments": arguments},
            },
        )  # fmt: skip
        line = next(row for row in answer.text.splitlines() if row.startswith(("data:", "{")))
        result = json.loads(line.removeprefix("data:"))["result"]
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
    assert site.engine.predict(str(photo_file), MODEL).top[0].label in text


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
