"""The Model Context Protocol: its server by streamable HTTP, with sessions, tools and progress."""

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server: Any = MCPServer("peers", version="1")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Count, and tell of the progress."""
    for number in range(to):
        await ctx.report_progress(number, to)
    return f"counted to {to}"


@server.tool()
async def fails() -> str:
    """Fail."""
    raise ValueError("on purpose")


@server.resource("greeting://{name}")
def greeting(name: str) -> str:
    """Greet."""
    return f"Hello, {name}!"


@server.prompt()
def review(code: str) -> str:
    """Ask for a review."""
    return f"Please review: {code}"


app = server.streamable_http_app()
