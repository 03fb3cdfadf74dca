"""The routes of a server: which function takes which path, of requests and of WebSockets."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from sockwave.core.events.emitter import Emitter
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.route import MethodRefusal, RequestRoute
from sockwave.core.http.route_table import RouteTable
from sockwave.functions import is_async
from sockwave.http.path_pattern import PathPattern, parse_pattern
from sockwave.runtime.handlers import Handler, connect_handler
from sockwave.runtime.handlers import Host as HandlersHost

# The key under which the routes of WebSockets stand: they have no method.
_SOCKET = ""


class Host(HandlersHost, Protocol):
    """The host of the server, as its routes use it; see `runtime.host`."""

    def listener_failed(self, error: BaseException) -> None:
        """Handle an error that a listener raised."""

    def listener_started(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run what an asynchronous listener returned as a task."""


class SocketRoute(Emitter):
    """What takes the WebSockets of one path: it has the event `connection` alone."""

    def __init__(self, host: Host) -> None:
        self.listener_failed = host.listener_failed
        self.listener_started = host.listener_started


class Routes:
    """The routes of one server."""

    def __init__(self, host: Host) -> None:
        self._host = host
        #: Of requests: their takers, by method and path.
        self.requests = RouteTable(MethodRefusal)
        #: Of WebSockets: a `SocketRoute` for each path.
        self.sockets = RouteTable()

    def add_request(self, method: str, path: object, handler: Callable[..., object]) -> None:
        """Let a function answer the requests of a method and a path; TypeError, ValueError."""
        pattern = parse_pattern(path)
        self._add(self.requests, pattern, method, RequestRoute(handler))

    def add_socket(
        self, path: object, function: Callable[..., object], *, cancel_on_close: bool
    ) -> None:
        """Let a handler or a listener take the WebSockets of a path; TypeError, ValueError."""
        pattern = parse_pattern(path)
        route = SocketRoute(self._host)
        if is_async(function):
            handler = cast("Handler", function)
            function = connect_handler(self._host, handler, cancel_on_close)
        elif not cancel_on_close:
            raise ValueError(
                "cancel_on_close: expected an async function with it, given a plain one"
            )
        route.add_listener("connection", function)
        if route.takers("connection")[0][1] == 0:
            # Where other frameworks say `route`, they mean requests.
            raise TypeError(
                f"route {pattern.path}: expected a function of a connection, given one that takes "
                f"none: {function!r}; for requests there are `server.get` and its like"
            )
        self._add(self.sockets, pattern, _SOCKET, route)

    def _add(self, table: RouteTable, pattern: PathPattern, key: str, taker: object) -> None:
        known = table.add(pattern.path, pattern.segments, pattern.names, key, taker)
        if known is not None:
            named = f"{key} {pattern.path}".strip()
            same = "" if known == pattern.path else f", which takes the same paths as {known!r}"
            raise ValueError(f"path: expected one that is free, given {named!r} again{same}")

    # ---- which one takes what

    def find_for_socket(self, head: RequestHead) -> SocketRoute | None:
        """Return the route that takes a WebSocket; None if none does."""
        found: SocketRoute | None = self.sockets.find(head, _SOCKET)
        return found
