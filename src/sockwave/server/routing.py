"""The paths of a server: which function takes the requests, or the WebSockets, of which path."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar, overload

from sockwave.http import Request, Response
from sockwave.http.path_pattern import parse_pattern
from sockwave.json_codec import encode_json
from sockwave.options import Options
from sockwave.server.audience import Audience

_L = TypeVar("_L", bound=Callable[..., object])

# The default of a function, which means a decorator; None would be an invalid one.
_MISSING: Any = object()


class Routing(Audience):
    """The part of `Server` that is about paths.

    A path is made of exact names and of `{name}` segments, as in "/users/{id}/photo". Of several
    routes that fit, the one with an exact name where they first differ counts. Routes come before
    what is mounted, and that before the listeners of `request` and `connection`.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        options.register = partial(self._add_request, "OPTIONS")
        if options.health_path is not None:
            self._serve_health(options.health_path)

    def _serve_health(self, path: str) -> None:
        """Say at a path how the server is, for load balancers: 503 takes this host out of use."""
        self.get(path, self._answer_health)

    def _answer_health(self, _: Request, response: Response) -> None:
        health = self.health()
        is_red = health.is_deaf or (
            health.status == "degraded" and self._host.options.red_when_broker_down
        )
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        response.write_head(503 if is_red else 200, headers).end(encode_json(health._asdict()))

    @overload
    def route(self, path: str, *, cancel_on_close: bool = True) -> Callable[[_L], _L]: ...
    @overload
    def route(
        self, path: str, handler: Callable[..., object], *, cancel_on_close: bool = True
    ) -> Self: ...
    def route(
        self, path: str, handler: Any = _MISSING, *, cancel_on_close: bool = True
    ) -> Callable[[_L], _L] | Self:
        """Let a function take the WebSockets of a path; without one, return a decorator.

        What its `{name}` segments hold is in `conn.path_params`. An async function is a handler as
        that of `serve`: it reads the connection, which is closed when it returns; see `handle_with`
        for `cancel_on_close`. A plain function is a listener of `connection`, which adds listeners.

        Raises TypeError or ValueError for a path that is malformed, or that has a function already,
        and for a function that cannot be called with a connection.
        """
        self._host.hub.thread.check_call("server.route")
        add = partial(self._host.routes.add_socket, path, cancel_on_close=cancel_on_close)
        return self._add(add, path, handler)

    @overload
    def get(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def get(self, path: str, handler: Callable[..., object]) -> Self: ...
    def get(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer GET requests of a path, and HEAD; without one, return a decorator.

        It is called with the request and the response, or with as many of them as it takes, and may
        be async. What its `{name}` segments hold is in `request.path_params`. It uses the response,
        or returns what to answer: a str, bytes, a dict or list as JSON, or (status, body). Errors
        and answers that do not come are handled as those of listeners of `request`.

        A path that has routes answers other methods with 405. Raises TypeError or ValueError for a
        path that is malformed or has a function for this method already, TypeError for a function
        that cannot be called so.
        """
        return self._add_request("GET", path, handler)

    @overload
    def post(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def post(self, path: str, handler: Callable[..., object]) -> Self: ...
    def post(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer POST requests of a path: see `get`."""
        return self._add_request("POST", path, handler)

    @overload
    def put(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def put(self, path: str, handler: Callable[..., object]) -> Self: ...
    def put(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer PUT requests of a path: see `get`."""
        return self._add_request("PUT", path, handler)

    @overload
    def patch(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def patch(self, path: str, handler: Callable[..., object]) -> Self: ...
    def patch(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer PATCH requests of a path: see `get`."""
        return self._add_request("PATCH", path, handler)

    @overload
    def delete(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def delete(self, path: str, handler: Callable[..., object]) -> Self: ...
    def delete(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer DELETE requests of a path: see `get`."""
        return self._add_request("DELETE", path, handler)

    @overload
    def head(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def head(self, path: str, handler: Callable[..., object]) -> Self: ...
    def head(self, path: str, handler: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Let a function answer HEAD requests of a path, which that of `get` does else: see `get`.

        No content of its answer is sent.
        """
        return self._add_request("HEAD", path, handler)

    def _add_request(
        self, method: str, path: str, handler: Any = _MISSING
    ) -> Callable[[_L], _L] | Self:
        self._host.hub.thread.check_call(f"server.{method.lower()}")
        return self._add(partial(self._host.routes.add_request, method, path), path, handler)

    def _add(
        self, add: Callable[[Any], object], path: str, handler: Any
    ) -> Callable[[_L], _L] | Self:
        """Add a function to the routes, or return the decorator that will."""
        if handler is not _MISSING:
            add(handler)
            return self
        parse_pattern(path)  # `@server.get` without a path raises here

        def decorate(function: _L) -> _L:
            add(function)
            return function

        return decorate
