"""The two functions that create a server: with listeners, or with a handler per connection."""

import os
import socket
from typing import TYPE_CHECKING, Any

from sockwave.runtime.host import Handler
from sockwave.server.server import Server

if TYPE_CHECKING:
    from ssl import SSLContext


def create_server(**options: Any) -> Server:
    """Create a server; call `listen`, then one of `run`, `serve_forever` and `async with`.

    The options are those of `sockwave.options.Options`. Raises TypeError for an unknown one, with
    the nearest known name, and TypeError or ValueError for a wrong value.
    """
    return Server(**options)


def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    path: str | os.PathLike[str] | None = None,
    mode: int | None = None,
    sock: socket.socket | None = None,
    ssl: "SSLContext | None" = None,
    reuse_port: bool = False,
    cancel_on_close: bool = True,
    **options: Any,
) -> Server:
    """Create a server that listens and runs `handler` as a task for each connection.

    Use it as `async with serve(…) as server`. A connection is closed when its handler returns, with
    1011 when it raises; when the connection ends first, the handler is cancelled, unless
    `cancel_on_close` is False: see `Server.handle_with`. `host` to `reuse_port` are those of
    `Server.listen`.
    """
    server = Server(**options)
    server.handle_with(handler, cancel_on_close=cancel_on_close)
    return server.listen(
        port, host, path=path, mode=mode, sock=sock, ssl=ssl, reuse_port=reuse_port
    )
