"""What an application listens to: the events of a server."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

from sockwave.options import Options
from sockwave.runtime.host import Host

_L = TypeVar("_L", bound=Callable[..., object])

# That there is no listener, which makes a decorator; None would be a wrong one.
_MISSING: Any = object()


class Announcer:
    """A server as far as it is about its events."""

    def __init__(self, options: Options) -> None:
        self._host = Host(options)

    @property
    def options(self) -> Options:
        """The options that it was made with."""
        return self._host.options

    @overload
    def on(self, event: str) -> Callable[[_L], _L]: ...
    @overload
    def on(self, event: str, listener: Callable[..., object]) -> Self: ...
    def on(self, event: str, listener: Any = _MISSING) -> Callable[[_L], _L] | Self:
        """Call `listener` at each `event`; without a listener, give a decorator that does so.

        Listeners run in the order in which they were added, with as many of the event's arguments
        as they take. What an `async def` listener starts becomes a task of its own, and so does
        whatever else it returns that can be awaited.

        Raises ValueError for an event that does not exist here, TypeError for a listener that
        cannot be called with the event's arguments, or would not run: a generator.
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
        """Remove `listener`, the latest addition of it; nothing happens when it is not there."""
        self._host.hub.thread.check_call("server.off")
        self._host.remove_listener(event, listener)
        return self

    add_listener = addListener = on  # noqa: N815 - as in Node.js
    remove_listener = removeListener = off  # noqa: N815

    def listeners(self, event: str) -> list[Callable[..., object]]:
        """List the listeners of `event`, in their order."""
        return self._host.listeners(event)
