"""Servers for the time of a test, and connections with both of their ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from sockwave.client.connecting import connect
from sockwave.close import CloseCode
from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.session.connection import Connection
from sockwave.runtime.handlers import Handler
from sockwave.server.server import Server
from sockwave.server.serving import create_server
from sockwave.testing.memory import Listeners
from sockwave.testing.network import Network
from sockwave.testing.relay import Relay
from sockwave.testing.watch import REAL_TIMEOUT_S, VIRTUAL_TIMEOUT_S, Watch

#: What is served: a server that has not been closed, or a handler of connections.
Target: TypeAlias = "Server | Handler"

# At the end of a test, connections have so many seconds for their closing handshake.
_DRAIN_S = 2.0


@asynccontextmanager
async def serve(
    target: Target,
    *,
    network: Network | None = None,
    timeout: float | None = None,
    **options: Any,
) -> AsyncIterator[str]:
    """Serve on a free port for the time of a block: `async with testing.serve(handler) as url`.

    `target` is a server that has not been closed, or a handler, for which a server is made with
    `options`. The URL begins with ws://, or wss:// where the server speaks TLS. `network` is what
    the clients connect by: see `Network`. At the end of the block the server is closed.

    A block that does not end within `timeout` seconds, 10 by default, fails with a `Hang`, which
    names the line that awaits and what both sides have sent. Under a virtual clock the seconds are
    virtual, 600 by default, and connections are in memory.

    Raises TypeError for another target, and for options beside a server.
    """
    used = network or Network()
    async with (
        Watch(choose_timeout(timeout), lambda: [used]),
        serving(target, used, options) as (url, _),
    ):
        yield url


@asynccontextmanager
async def pair(
    target: Target,
    *,
    path: str = "/",
    network: Network | None = None,
    timeout: float | None = None,
    **client_options: Any,
) -> AsyncIterator[tuple[Connection, ClientConnection]]:
    """Serve, and connect: `async with testing.pair(handler) as (server_conn, client_conn)`.

    `path` is what the client asks for, and `client_options` are those of `sockwave.connect`; the
    others are those of `serve`. At the end of the block both are closed.
    """
    used = network or Network()
    met: list[Connection] = []
    async with (
        Watch(choose_timeout(timeout), lambda: [used]),
        serving(target, used, {}) as (url, server),
    ):

        def meet(connection: Connection) -> None:
            met.append(connection)

        server.on("readyStateChange", meet)
        client = await connect(url + path, **{"proxy": False, **client_options})
        server.off("readyStateChange", meet)
        try:
            if not met:
                raise TypeError(
                    f"target: expected a server that takes {path!r} itself, given an application "
                    "of ASGI, whose connections it does not show"
                )
            yield met[0], client
        finally:
            for link in used.links:
                link._clear_faults()
            await client._leave(CloseCode.NORMAL_CLOSURE)


def choose_timeout(timeout: float | None) -> float:
    """Return the timeout for the running loop, unless one is given."""
    if timeout is not None:
        return timeout
    return REAL_TIMEOUT_S if find_listeners() is None else VIRTUAL_TIMEOUT_S


def find_listeners() -> Listeners | None:
    """Return what listens in memory, where the running loop has a virtual clock."""
    found = getattr(asyncio.get_running_loop(), "_listeners", None)
    return found if isinstance(found, Listeners) else None


@asynccontextmanager
async def serving(
    target: Target, network: Network, options: dict[str, Any]
) -> AsyncIterator[tuple[str, Server]]:
    """Serve until the block ends; gives the URL and the server."""
    server = _prepare(target, options)
    try:
        await server.start()
        async with AsyncExitStack() as stack:
            scheme = "wss" if server._listening.certificates else "ws"
            address = server.addresses[0]
            listeners = find_listeners()
            if listeners is None:
                port = (await stack.enter_async_context(Relay(network, address))).port
            elif isinstance(address, str):
                raise ValueError(f"target: expected one that listens on a port, given {address!r}")
            else:
                listeners.use_network(address, network)
                port = address[1]
            try:
                yield f"{scheme}://127.0.0.1:{port}", server
            finally:
                for link in network.links:
                    link._clear_faults()
                await server.close(drain=_DRAIN_S)
    finally:
        await server.close(drain=0)


def _prepare(target: Target, options: dict[str, Any]) -> Server:
    """Return a server that listens."""
    if isinstance(target, Server):
        if options:
            raise TypeError(f"options: expected with a handler, given {sorted(options)}")
        server = target
    else:
        if not callable(target):
            given = type(target).__name__
            raise TypeError(f"target: expected a sockwave.Server or a handler, given {given}")
        server = create_server(**options)
        server.handle_with(target)
    return server if server.addresses else server.listen(0, "127.0.0.1")


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on.

    It is for programs that are told their port. Another may take it meanwhile: what is served here
    takes one by itself.
    """
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
