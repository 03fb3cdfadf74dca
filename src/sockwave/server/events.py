"""The events of a server as type checkers see them: the listener that each of them takes.

A listener takes as many of its event's arguments as it likes, and may be `async def`.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

from sockwave.core.session.connection import Connection
from sockwave.handshake import Handshake
from sockwave.http import Request, Response
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.states import ReadyState

ServerEvent: TypeAlias = Literal[
    "listening",
    "closing",
    "connection",
    "request",
    "stream",
    "close",
    "error",
    "readyStateChange",
    "handshake",
    "subscribe",
    "publish",
]

PlainListener: TypeAlias = Callable[[], object]
ConnectionListener: TypeAlias = Callable[[Connection], object] | PlainListener
RequestListener: TypeAlias = (
    Callable[[Request, Response], object] | Callable[[Request], object] | PlainListener
)
StreamListener: TypeAlias = Callable[[AcceptedSocket], object] | PlainListener
CloseListener: TypeAlias = Callable[[int | None], object] | PlainListener
ErrorListener: TypeAlias = (
    Callable[[BaseException, Connection | None], object]
    | Callable[[BaseException], object]
    | PlainListener
)
StateListener: TypeAlias = (
    Callable[[Connection, ReadyState], object] | Callable[[Connection], object] | PlainListener
)
HandshakeListener: TypeAlias = Callable[[Handshake], object] | PlainListener
#: Of `subscribe` and `publish`: a client asks for a topic.
TopicListener: TypeAlias = (
    Callable[[Connection, str], object] | Callable[[Connection], object] | PlainListener
)
