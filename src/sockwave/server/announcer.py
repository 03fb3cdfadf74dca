"""The events of a server, and the application's listeners of them."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

from sockwave.options import Options
from sockwave.runtime.host import Host

_L = TypeVar("_L", bound=Callable[..., object])

# The default of `listener`, which means a decorator; None would be an invalid listener.
_MISSING: Any = object()


class Announcer:
    """The part of `Server` that adds and removes listeners."""

    def __init__(self, options: Options) -> None:
        self._host = Host(options)

    @property
    def options(self) -> Options:
        """The options that the server was created with."""
        return self._host.options

    @overload
    def on(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def on(self, event: str, listener: Callable[..., object]) -> Self: ...
    def on(self, event: str, listener: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Call `listener` at each `event`; without a listener, return a decorator that does so.

        Listeners run in the order in which they were added, with as many of the event's arguments
        as they take. The coroutine of an `async def` listener, or any other awaitable that a
        listener returns, becomes a task of its own.

        Raises ValueError for an event that a server does not have, TypeError for a listener that
        cannot be called with the event's arguments, or is a generator function, which would not
        run.
        """
        self._host.hub.thread.check_call("server.on")
        if listener is _MISSING:
            return self._host.decorator(event)
        self._host.add_listener(event, listener)
        return self

    @overload
    def once(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def once(self, event: str, listener: Callable[..., object]) -> Self: ...
    def once(self, event: str, listener: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Like `on`, for the next `event` only."""
        self._host.hub.thread.check_call("server.once")
        if listener is _MISSING:
            return self._host.decorator(event, True)
        self._host.add_listener(event, listener, True)
        return self

    def off(self, event: str, listener: Callable[..., object]) -> Self:
        """Remove `listener`, the latest addition of it; do nothing if it was not added."""
        self._host.hub.thread.check_call("server.off")
        self._host.remove_listener(event, listener)
        return self

    add_listener = addListener = on  # noqa: N815 - as in Node.js
    remove_listener = removeListener = off  # noqa: N815

    def listeners(self, event: str) -> list[Callable[..., object]]:
        """Return the listeners of `event`, in the order in which they are called."""
        return self._host.listeners(event)
