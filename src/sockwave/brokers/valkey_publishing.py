"""Publishing on channels of Valkey, by one connection whose caller waits."""

import contextlib
import socket
from collections.abc import Collection, Sequence
from typing import Any

from sockwave.brokers.interface import Outcome
from sockwave.brokers.sockets import receive_now, set_deadline
from sockwave.brokers.valkey_declarations import Declared, ask_declared
from sockwave.brokers.valkey_logs import STALE, ValkeyLogs, read_position
from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.core.topics.resp import RespError, RespReader
from sockwave.deliveries import Position
from sockwave.errors import SockwaveError

_READ_SIZE = 64 << 10


def take_socket(connection: Any) -> socket.socket:
    """Return the socket of a connection that has been made, with nothing left to read."""
    sock: socket.socket | None = connection._sock
    if sock is None:
        raise SockwaveError("broker: expected valkey to have connected")
    return sock


class ElsewhereError(SockwaveError):
    """The server of a cluster has not what was asked for, or not yet: another one may have it."""


class ValkeyPublishing:
    """One connection to one server."""

    def __init__(self, connection: Any, names: ValkeyNames) -> None:
        self._connection = connection  # it closes the socket when it goes
        self._socket = take_socket(connection)
        self._names = names
        self._logs = ValkeyLogs(names)
        self._has_scripts = self._is_plain = False
        #: What hosts have declared of topics, as we know it, for each beginning of their names.
        self._declared: dict[bytes, Declared] = {}
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
                if is_error(reply, *self._names.no_scripts):
                    self._is_plain = True
                elif isinstance(reply, RespError):
                    return [self._refuse(reply)] * len(messages)
            self._has_scripts = not self._is_plain
            self._declared.clear()
        if self._is_plain:
            return self.publish_parts([(name, parcel) for name, parcel, _ in messages], until)
        begins = [self._names.of(message[0]) for message in messages]
        self._learn({begin for begin in begins if begin not in self._declared}, until)
        commands = []
        for message, begin in zip(messages, begins, strict=True):
            declared = self._declared[begin]
            kept = declared.find(message[0])
            commands.append(self._logs.publish_from_outside(*message, kept, declared.version))
        replies = self._ask(b"".join(commands), len(messages), until)
        no_scripts = self._names.no_scripts
        if replies and all(is_error(reply, "NOSCRIPT", *no_scripts) for reply in replies):
            # The server has published nothing: it has forgotten the scripts, or runs none of them.
            self._is_plain = is_error(replies[0], *no_scripts)
            self._has_scripts = False
            return self.publish(messages, until)
        if STALE in replies:
            return self._publish_known(messages, replies, until)
        return [self._read_place(reply) for reply in replies]

    def _publish_known(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], replies: list[Any], until: float
    ) -> list[Outcome]:
        """Publish what was not, as hosts have declared something else; in its order."""
        places = [place for place, reply in enumerate(replies) if reply == STALE]
        begins = {self._names.of(messages[place][0]) for place in places}
        for begin in begins - self._learn(begins, until):
            self._declared[begin].version = b""  # any will do: we cannot know what it says
        again = iter(self.publish([messages[place] for place in places], until))
        return [next(again) if reply == STALE else self._read_place(reply) for reply in replies]

    def _learn(self, begins: Collection[bytes], until: float) -> set[bytes]:
        """Ask what hosts have declared; return of which beginnings of names the server tells us."""
        told = set()
        replies = self._ask(b"".join(map(ask_declared, begins)), len(begins), until)
        for begin, reply in zip(begins, replies, strict=True):
            declared = self._declared.setdefault(begin, Declared())
            if isinstance(reply, list):
                declared.learn(reply)
                told.add(begin)
        return told

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish parts of a large message, on a plain topic."""
        commands = [self._names.publish(name, part) for name, part in messages]
        count = self._names.publish_count
        replies = self._ask(b"".join(commands), count * len(messages), until)
        return [
            self._refuse(reply) if isinstance(reply, RespError) else None
            for reply in replies[::count]
        ]

    def has_history(self, name: bytes, until: float) -> bool | SockwaveError:
        """Ask whether a topic has a history; where the server does not tell us, it has none."""
        begin = self._names.of(name)
        is_told = not self._is_plain and self._learn({begin}, until)
        if is_told and self._declared[begin].find(name) is not None:
            return True
        (reply,) = self._ask(self._logs.ask_whether_kept(name), 1, until)
        if isinstance(reply, RespError) and not is_error(reply, *self._names.no_scripts):
            return self._refuse(reply)
        return isinstance(reply, list) and any(one is not None for one in reply)

    def _ask(self, commands: bytes, count: int, until: float) -> list[Any]:
        if not count:
            return []
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

    def _read_place(self, reply: Any) -> Outcome:
        if isinstance(reply, RespError):
            return self._refuse(reply)
        try:
            return Position(*read_position(reply)) if reply else None
        except (TypeError, ValueError) as error:
            raise ConnectionError(f"it has answered {reply!r}") from error

    def _refuse(self, reply: RespError) -> SockwaveError:
        if is_error(reply, *self._names.elsewhere_errors):
            return ElsewhereError(f"{reply}")
        return SockwaveError(f"the broker refuses it: {reply}")

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
