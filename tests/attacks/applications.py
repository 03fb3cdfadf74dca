"""What the servers under attack do: each function makes a server of the options given."""

from typing import Any

import sockwave


def echo(**options: Any) -> sockwave.Server:
    """Send every message back, and answer every request with the length of its body."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        body = await request.body()
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end(f"{len(body)}\n")

    return server
