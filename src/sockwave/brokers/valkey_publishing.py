"""Publishing on channels of Valkey, by one connection whose caller waits."""

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from sockwave.brokers.interface import Outcome
from sockwave.brokers.sockets import receive_now, set_deadline
from sockwave.brokers.valkey_declarations import Declared, ask_declared
from sockwave.brokers.valkey_logs import STALE, ValkeyLogs, read_position
from sockwave.core.topics.resp import RespError, RespReader
from sockwave.deliveries import Position
from sockwave.errors import SockwaveError

_READ_SIZE = 64 << 10

# A cluster, which would have the keys of a history on several servers; and a user who may not.
_NO_SCRIPTS = ("CROSSSLOT", "MOVED", "NOPERM")


def pack_publish(channel: bytes, message: bytes) -> bytes:
    """Return the command that publishes a message."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
        len(channel),
        channel,
        len(message),
        message,
    )


def take_socket(connection: Any) -> socket.socket:
    """Return the socket of a connection that has been made, with nothing left to read."""
    sock: socket.socket | None = connection._sock
    if sock is None:
        raise SockwaveError("broker: expected valkey to have connected")
    return sock


class ValkeyPublishing:
    """One connection to one server."""

    def __init__(self, connection: Any, prefix: str) -> None:
        self._connection = connection  # it closes the socket when it goes
        self._socket = take_socket(connection)
        self._topics = prefix.encode() + b":t:"
        self._logs = ValkeyLogs(prefix.encode())
        self._has_scripts = self._is_plain = False
        self._prefix = prefix.encode()
        #: What hosts have declared of topics, as we know it.
        self._declared = Declared()
        self._replies = RespReader()

    def is_alive(self) -> bool:
        """Tell whether the server has not closed the connection: it owes no answer."""
        return receive_now(self._socket) == b""

    def publish(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], until: float
    ) -> list[Outcome]:
        """Publish messages in one write: each gets its place, where the topic has a history.

        Where the server runs no scripts for us, all topics are plain ones. It tells us where hosts
        have declared something that we do not know, before it publishes anything.
        """
        if not self._has_scripts and not self._is_plain:
            for reply in self._ask(self._logs.load(), 2, until):
                if is_error(reply, *_NO_SCRIPTS):
                    self._is_plain = True
                elif isinstance(reply, RespError):
                    return [_refusal(reply)] * len(messages)
            self._has_scripts = not self._is_plain
            self._learn(until)
        if self._is_plain:
            return self.publish_parts([(name, parcel) for name, parcel, _ in messages], until)
        declared = self._declared
        commands = [
            self._logs.publish_from_outside(*message, declared.find(message[0]), declared.version)
            for message in messages
        ]
        replies = self._ask(b"".join(commands), len(messages), until)
        if replies and all(is_error(reply, "NOSCRIPT", *_NO_SCRIPTS) for reply in replies):
            # The server has published nothing: it has forgotten the scripts, or runs none of them.
            self._is_plain = is_error(replies[0], *_NO_SCRIPTS)
            self._has_scripts = False
            return self.publish(messages, until)
        if STALE in replies:
            return self._publish_known(messages, replies, until)
        return [_read_place(reply) for reply in replies]

    def _publish_known(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], replies: list[Any], until: float
    ) -> list[Outcome]:
        """Publish what was not, as hosts have declared something else; in its order."""
        first = replies.index(STALE)
        outcomes = [_read_place(reply) for reply in replies[:first]]
        if not self._learn(until):
            self._declared.version = b""  # any will do: we cannot know what it says
        return [*outcomes, *self.publish(messages[first:], until)]

    def _learn(self, until: float) -> bool:
        """Ask what hosts have declared; False: the server does not tell us."""
        (reply,) = self._ask(ask_declared(self._prefix), 1, until)
        if not isinstance(reply, list):
            return False
        self._declared.learn(reply)
        return True

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish parts of a large message, on a plain topic."""
        commands = [pack_publish(self._topics + name, part) for name, part in messages]
        return [
            _refusal(reply) if isinstance(reply, RespError) else None
            for reply in self._ask(b"".join(commands), len(messages), until)
        ]

    def has_history(self, name: bytes, until: float) -> bool | SockwaveError:
        """Ask whether a topic has a history; where the server does not tell us, it has none."""
        if not self._is_plain and self._learn(until) and self._declared.find(name) is not None:
            return True
        (reply,) = self._ask(self._logs.ask_whether_kept(name), 1, until)
        if isinstance(reply, RespError) and not is_error(reply, *_NO_SCRIPTS):
            return _refusal(reply)
        return reply is not None and not isinstance(reply, RespError)

    def _ask(self, commands: bytes, count: int, until: float) -> list[Any]:
        set_deadline(self._socket, until)
        self._socket.sendall(commands)
        replies: list[Any] = []
        while len(replies) < count:
            set_deadline(self._socket, until)
            data = self._socket.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError("it has closed the connection")
            replies += self._replies.take(data)
        return replies

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._socket.close()

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._connection.disconnect()


def is_error(reply: Any, *codes: str) -> bool:
    """Tell whether an answer is an error, and one of these."""
    return isinstance(reply, RespError) and str(reply).startswith(codes)


def _read_place(reply: Any) -> Outcome:
    if isinstance(reply, RespError):
        return _refusal(reply)
    try:
        return Position(*read_position(reply)) if reply else None
    except (TypeError, ValueError) as error:
        raise ConnectionError(f"it has answered {reply!r}") from error


def _refusal(reply: RespError) -> SockwaveError:
    return SockwaveError(f"the broker refuses it: {reply}")
