"""Handlers: an async function for each connection, which is closed when it returns."""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from sockwave.close import CloseCode
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.errors import without_disconnects
from sockwave.functions import generates

#: What `serve` runs for each connection.
Handler: TypeAlias = Callable[[Connection], Coroutine[Any, Any, object]]


class Host(Protocol):
    """The host of the server, as handlers use it; see `runtime.host`."""

    hub: Hub

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Report an error, and close the connection that it happened on."""


def connect_handler(
    host: Host, handler: Handler, cancel_on_close: bool = True
) -> Callable[[Connection], None]:
    """Return a listener of `connection` that runs `handler(conn)` as a task; TypeError."""
    if not _takes_connection(handler):
        raise TypeError(f"handler: expected an async function of one connection, given {handler!r}")

    def connected(connection: Connection) -> None:
        connection._expect_handler()
        handling = _handle(host, handler, connection)
        host.hub.start_task(handling, connection, is_free=not cancel_on_close)

    return connected


async def _handle(host: Host, handler: Handler, connection: Connection) -> None:
    """Run the handler of a connection, and close the connection when it returns or raises."""
    try:
        await handler(connection)
    except (Exception, BaseExceptionGroup) as error:
        # ConnectionClosed is no error: most handlers end because their client has gone.
        rest = without_disconnects(error)
        if rest is not None:
            host.listener_failed_for(rest, connection)
    except BaseException:
        # Cancelled: without its handler, the connection is of no use.
        connection.close(CloseCode.INTERNAL_ERROR)
        raise
    connection.close()


def _takes_connection(handler: object) -> bool:
    """Tell whether `handler` can be called with a connection."""
    if not callable(handler):
        return False
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        return False
    except ValueError:
        pass  # a built-in without a signature
    # A plain function may return a coroutine of another function; a generator function cannot.
    return not generates(handler)
