"""A handler written for this server, as an ASGI application for the servers of others."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from sockwave.asgi.application import ASGIApplication, Receive, Scope, Send
from sockwave.asgi.client import ClientConnection
from sockwave.close import CloseCode
from sockwave.core.session.connection import Connection
from sockwave.errors import without_disconnects
from sockwave.fields import is_token
from sockwave.functions import generates
from sockwave.names import collect_names

#: What runs for each connection: on this server a `Connection`, on others what looks like one.
Handler: TypeAlias = Callable[[Any], Coroutine[Any, Any, object]]


def endpoint(handler: Handler, *, subprotocol: str | list[str] | None = None) -> ASGIApplication:
    """Return an ASGI application that runs `handler(conn)` for each WebSocket, as `serve` does.

    It runs on any server of ASGI on asyncio, such as uvicorn or hypercorn, and below any router. On
    sockwave itself, `conn` is the `Connection`. Elsewhere it has the same names, as far as ASGI can
    give what they stand for: `send`, `write`, `receive`, `async for`, `send_json`, `json`,
    `receive_json`, `close`, `wait_closed`, `is_open`, `ready_state`, `id`, `request`,
    `path_params`, `subprotocol`, `remote_address`, `local_address`, `is_secure`, `carrier`,
    `backlog_size`, `close_code`, `close_reason`, `data`. Any other name of a connection raises
    AttributeError with a sentence that says so.

    `subprotocol` is one name, or several in order of preference: the first that the client offers
    is chosen. A request that is no WebSocket is answered with 426.

    Raises TypeError unless `handler` is an async function of one argument, TypeError or ValueError
    for a wrong subprotocol.
    """
    _check_handler(handler)
    names = () if subprotocol is None else collect_names("subprotocol", subprotocol)
    for name in names:
        if not is_token(name):
            raise ValueError(f"subprotocol: expected tokens (RFC 6455, 4.1), given {name!r}")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _refuse(send)
        else:
            offered = scope.get("subprotocols", ())
            chosen = next((name for name in names if name in offered), None)
            await _serve(handler, scope, receive, send, chosen)

    return application


def _check_handler(handler: object) -> None:
    """Raise TypeError unless `handler` can be called with a connection."""
    if not callable(handler) or generates(handler):
        raise TypeError(f"handler: expected an async function of one connection, given {handler!r}")
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        raise TypeError(
            f"handler: expected an async function of one connection, given {handler!r}"
        ) from None
    except ValueError:
        pass  # a built-in without a signature


async def _live(receive: Receive, send: Send) -> None:
    """Go through a lifespan in which there is nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _refuse(send: Send) -> None:
    """Answer a request that does not upgrade."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    body = b"this is a WebSocket: expected a request to upgrade\n"
    await send({"type": "http.response.body", "body": body})


async def _serve(
    handler: Handler, scope: Scope, receive: Receive, send: Send, subprotocol: str | None
) -> None:
    """Accept a WebSocket, and run the handler until it returns."""
    await receive()  # websocket.connect
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    own = scope.get("extensions", {}).get("sockwave", {}).get("connection")
    if isinstance(own, Connection):
        # What the router in front has found, as on the servers of others.
        own.request.path_params.update(scope.get("path_params") or {})
        await _run(handler, own)
        return
    connection = ClientConnection(scope, receive, send, subprotocol)
    handling = asyncio.create_task(_run(handler, connection))
    connection.begin(handling)
    try:
        await asyncio.wait([handling])
    except asyncio.CancelledError:
        handling.cancel()
        await asyncio.wait([handling])
        raise
    finally:
        await connection.finish()
    if not handling.cancelled():
        handling.result()


async def _run(handler: Handler, connection: Any) -> None:
    """Run the handler, and close the connection when it returns or raises."""
    try:
        await handler(connection)
    except (Exception, BaseExceptionGroup) as error:
        connection.close(CloseCode.INTERNAL_ERROR)
        rest = without_disconnects(error)
        if rest is not None:
            raise rest from None
    except asyncio.CancelledError:
        connection.close(CloseCode.INTERNAL_ERROR)
        raise
    else:
        connection.close()
