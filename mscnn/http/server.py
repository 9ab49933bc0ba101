"""The page as a server: gradio's blocks and MCP tools, where theirs say too little or too much."""

from __future__ import annotations

import json
import logging
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.mcp import GradioMCPServer
from gradio_client.utils import is_http_url_like
from mcp import types

from mscnn.http import memory
from mscnn.http.endpoints import answer_schema
from mscnn.http.feedback import MALFORMED, NOT_UPLOADED

log = logging.getLogger(__name__)


class Page(gr.Blocks):
    """Blocks that refuse a malformed request with a sentence, and whose tools answer with JSON.

    gradio itself turns away files that were not uploaded, values of a wrong type and missing
    values, before any code of ours runs; without ``show_error`` its answer then says nothing, and
    with it too much: the server's own paths.
    """

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> Any:
        """Turn every failure into gradio's error answer with one sentence."""
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise gr.Error(NOT_UPLOADED, print_exception=False) from error
        except Exception as error:
            log.info("refused a request: %s", error)
            raise gr.Error(MALFORMED, print_exception=False) from error

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Answer, and have the memory that it took given back."""
        try:
            return await super().process_api(*args, **kwargs)
        finally:
            memory.answered()

    @property  # type: ignore[override]
    def mcp_server_obj(self) -> GradioMCPServer | None:
        """What answers MCP clients; where gradio sets its own, ours stands in."""
        return self._tools

    @mcp_server_obj.setter
    def mcp_server_obj(self, made: GradioMCPServer | None) -> None:
        self._tools = None if made is None else Tools(self)


class Tools(GradioMCPServer):
    """The endpoints as MCP tools: each answer is a JSON document that fits a published schema.

    gradio sends a document as Python writes it, and reads the base64 of a data URL without a look
    at what it skips.
    """

    def convert_strings_to_filedata(self, value: Any, filedata_positions: Any) -> Any:
        """Leave every picture but a link as it is, for ``PhotoInput`` to read or refuse."""
        pictures = {
            name: {"url": given, "meta": {"_type": "gradio.FileData"}}
            for name, given in value.items()
            if [name] in filedata_positions and not is_http_url_like(str(given))
        }
        return super().convert_strings_to_filedata({**value, **pictures}, filedata_positions)

    def create_mcp_server(self) -> Any:
        """Publish the schemas, and send each document as JSON text and structured content."""
        server: Any = super().create_mcp_server()
        lists, calls = types.ListToolsRequest, types.CallToolRequest
        listed, called = server.request_handlers[lists], server.request_handlers[calls]

        async def list_tools(request: Any) -> Any:
            answer = await listed(request)
            for tool in answer.root.tools:
                tool.outputSchema = answer_schema(self.tool_to_endpoint[tool.name].lstrip("/"))
            return answer

        async def call_tool(request: Any) -> Any:
            answer = await called(request)
            if not answer.root.isError:
                answer.root.structuredContent = json.loads(answer.root.content[0].text)
            return answer

        server.request_handlers.update({lists: list_tools, calls: call_tool})
        return server

    def postprocess_output_data(self, data: Any, root_url: str) -> Any:
        """Write the document, which comes first, as JSON; then the files."""
        # Several outputs come as one, unless the client asked to be told of the progress.
        document, *files = data[0] if isinstance(data[0], list | tuple) else data
        text = types.TextContent(type="text", text=json.dumps(document, ensure_ascii=False))
        return [text, *super().postprocess_output_data(files, root_url)]
