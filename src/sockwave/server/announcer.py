"""The events of a server, and the application's listeners of them."""

from collections.abc import Callable
from typing import Any, Literal, Self, TypeVar, overload

from sockwave.options import Options
from sockwave.runtime.host import Host
from sockwave.server.events import (
    CloseListener,
    ConnectionListener,
    ErrorListener,
    HandshakeListener,
    PlainListener,
    RequestListener,
    ServerEvent,
    StateListener,
    StreamListener,
    TopicListener,
)

# What a decorator gets, and returns: the very function, not only its type as a listener.
_Plain = TypeVar("_Plain", bound=PlainListener)
_Connection = TypeVar("_Connection", bound=ConnectionListener)
_Request = TypeVar("_Request", bound=RequestListener)
_Stream = TypeVar("_Stream", bound=StreamListener)
_Close = TypeVar("_Close", bound=CloseListener)
_Error = TypeVar("_Error", bound=ErrorListener)
_State = TypeVar("_State", bound=StateListener)
_Handshake = TypeVar("_Handshake", bound=HandshakeListener)
_Topic = TypeVar("_Topic", bound=TopicListener)

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
    def on(self, event: Literal["listening", "closing"]) -> Callable[[_Plain], _Plain]: ...
    @overload
    def on(self, event: Literal["connection"]) -> Callable[[_Connection], _Connection]: ...
    @overload
    def on(self, event: Literal["request"]) -> Callable[[_Request], _Request]: ...
    @overload
    def on(self, event: Literal["stream"]) -> Callable[[_Stream], _Stream]: ...
    @overload
    def on(self, event: Literal["close"]) -> Callable[[_Close], _Close]: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[_Error], _Error]: ...
    @overload
    def on(self, event: Literal["readyStateChange"]) -> Callable[[_State], _State]: ...
    @overload
    def on(self, event: Literal["handshake"]) -> Callable[[_Handshake], _Handshake]: ...
    @overload
    def on(self, event: Literal["subscribe", "publish"]) -> Callable[[_Topic], _Topic]: ...
    @overload
    def on(self, event: Literal["listening", "closing"], listener: PlainListener) -> Self: ...
    @overload
    def on(self, event: Literal["connection"], listener: ConnectionListener) -> Self: ...
    @overload
    def on(self, event: Literal["request"], listener: RequestListener) -> Self: ...
    @overload
    def on(self, event: Literal["stream"], listener: StreamListener) -> Self: ...
    @overload
    def on(self, event: Literal["close"], listener: CloseListener) -> Self: ...
    @overload
    def on(self, event: Literal["error"], listener: ErrorListener) -> Self: ...
    @overload
    def on(self, event: Literal["readyStateChange"], listener: StateListener) -> Self: ...
    @overload
    def on(self, event: Literal["handshake"], listener: HandshakeListener) -> Self: ...
    @overload
    def on(self, event: Literal["subscribe", "publish"], listener: TopicListener) -> Self: ...
    def on(self, event: ServerEvent, listener: Any = _MISSING) -> Any:
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
    def once(self, event: Literal["listening", "closing"]) -> Callable[[_Plain], _Plain]: ...
    @overload
    def once(self, event: Literal["connection"]) -> Callable[[_Connection], _Connection]: ...
    @overload
    def once(self, event: Literal["request"]) -> Callable[[_Request], _Request]: ...
    @overload
    def once(self, event: Literal["stream"]) -> Callable[[_Stream], _Stream]: ...
    @overload
    def once(self, event: Literal["close"]) -> Callable[[_Close], _Close]: ...
    @overload
    def once(self, event: Literal["error"]) -> Callable[[_Error], _Error]: ...
    @overload
    def once(self, event: Literal["readyStateChange"]) -> Callable[[_State], _State]: ...
    @overload
    def once(self, event: Literal["handshake"]) -> Callable[[_Handshake], _Handshake]: ...
    @overload
    def once(self, event: Literal["subscribe", "publish"]) -> Callable[[_Topic], _Topic]: ...
    @overload
    def once(self, event: Literal["listening", "closing"], listener: PlainListener) -> Self: ...
    @overload
    def once(self, event: Literal["connection"], listener: ConnectionListener) -> Self: ...
    @overload
    def once(self, event: Literal["request"], listener: RequestListener) -> Self: ...
    @overload
    def once(self, event: Literal["stream"], listener: StreamListener) -> Self: ...
    @overload
    def once(self, event: Literal["close"], listener: CloseListener) -> Self: ...
    @overload
    def once(self, event: Literal["error"], listener: ErrorListener) -> Self: ...
    @overload
    def once(self, event: Literal["readyStateChange"], listener: StateListener) -> Self: ...
    @overload
    def once(self, event: Literal["handshake"], listener: HandshakeListener) -> Self: ...
    @overload
    def once(self, event: Literal["subscribe", "publish"], listener: TopicListener) -> Self: ...
    def once(self, event: ServerEvent, listener: Any = _MISSING) -> Any:
        """Like `on`, for the next `event` only."""
        self._host.hub.thread.check_call("server.once")
        if listener is _MISSING:
            return self._host.decorator(event, True)
        self._host.add_listener(event, listener, True)
        return self

    def off(self, event: ServerEvent, listener: Callable[..., object]) -> Self:
        """Remove `listener`, the latest addition of it; do nothing if it was not added."""
        self._host.hub.thread.check_call("server.off")
        self._host.remove_listener(event, listener)
        return self

    add_listener = addListener = on  # noqa: N815 - as in Node.js
    remove_listener = removeListener = off  # noqa: N815

    def listeners(self, event: ServerEvent) -> list[Callable[..., object]]:
        """Return the listeners of `event`, in the order in which they are called."""
        return self._host.listeners(event)
