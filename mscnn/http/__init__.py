"""The HTTP endpoints and MCP tools, and the border that uploads pass.

No layout of the page.
"""
