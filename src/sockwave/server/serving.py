"""The functions that create a server, with listeners or a handler, and reach one that runs."""

import os
import socket
from collections.abc import Awaitable, Hashable
from typing import TYPE_CHECKING, Unpack

from sockwave.core.session.connection import Connection
from sockwave.deliveries import Published
from sockwave.listening.binding import order_port
from sockwave.messages import Message, SlowPolicy
from sockwave.option_types import ServerOptions
from sockwave.runtime.handlers import Handler
from sockwave.runtime.thread_calls import ThreadFuture
from sockwave.server.closing import find_running
from sockwave.server.server import Server

if TYPE_CHECKING:
    from ssl import SSLContext


def create_server(**options: Unpack[ServerOptions]) -> Server:
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
    **options: Unpack[ServerOptions],
) -> Server:
    """Create a server that listens and runs `handler` as a task for each connection.

    Use it as `async with serve(…) as server`. A connection is closed when its handler returns, with
    1011 when it raises; when the connection ends first, the handler is cancelled, unless
    `cancel_on_close` is False: see `Server.handle_with`. `host` to `reuse_port` are those of
    `Server.listen`; as there, the port may come first.
    """
    port, host = order_port(port, host)
    server = Server(**options)
    server.handle_with(handler, cancel_on_close=cancel_on_close)
    return server.listen(
        port, host, path=path, mode=mode, sock=sock, ssl=ssl, reuse_port=reuse_port
    )


def publish(
    topic: str,
    message: Message,
    *,
    exclude: Connection | None = None,
    id: str | None = None,
    compress: bool | None = None,
    slow: SlowPolicy | None = None,
    key: Hashable = None,
) -> "Awaitable[Published] | ThreadFuture[Published]":
    """Publish on a topic of the one server that runs in this process; see `Server.publish`.

    Under `sockwave serve main:app` this is how any code of the application reaches the clients of
    all workers. Raises SockwaveError where no server runs, or several.
    """
    return find_running().publish(
        topic, message, exclude=exclude, id=id, compress=compress, slow=slow, key=key
    )
