"""A worker's link to the sequencer of its host: a socket that comes back when it is lost."""

import asyncio
import json
import logging
import os
import socket
from typing import Any, Protocol

from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.table import TopicTable
from sockwave.errors import SockwaveError
from sockwave.topics.settings import Declarations
from sockwave.topics.sockets import connect, make_waits

logger = logging.getLogger("sockwave")

# What is read at a time: some thousand records.
_READ_SIZE = 256 << 10


class Owner(Protocol):
    """Whose link it is: the topics of a server."""

    table: TopicTable
    declarations: Declarations


def describe_process(broker: dict[str, Any] | None = None) -> bytes:
    """Return what a sequencer is told of a worker, and of its broker."""
    said: dict[str, Any] = {"pid": os.getpid(), "kind": "worker"}
    if broker is not None:
        said["broker"] = broker
    return json.dumps(said).encode()


class SequencerConnection:
    """The socket of a worker's link; it reconnects until it is closed."""

    def __init__(self, topics: Owner, path: str, broker: dict[str, Any] | None = None) -> None:
        self._topics = topics
        self._path = path
        self._about = describe_process(broker)
        self._loop = asyncio.get_running_loop()
        self.link = SequencerLink(topics.table, topics, self._schedule)
        self.link.is_remote = True
        self._socket: socket.socket | None = None
        self._rest = b""
        self._waits = make_waits()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._was_lost = False

    # ---- coming and going

    def connect(self) -> None:
        """Connect, or try again later."""
        self._timer = None
        try:
            sock = connect(self._path)
        except OSError as error:
            self._try_again(error)
            return
        sock.setblocking(False)
        self._socket = sock
        self._rest = b""
        self._waits = make_waits()
        self._loop.add_reader(sock.fileno(), self._read)
        self.link.greet(self._about, self._topics.declarations.encode())
        if self._was_lost:
            self._was_lost = False
            logger.info("the sequencer is back")

    def _try_again(self, error: OSError) -> None:
        if self._is_closed:
            return
        if self._waits.is_longest and not self._was_lost:
            self._was_lost = True
            logger.warning("the sequencer cannot be reached: %s: %s", self._path, error)
        self._timer = self._loop.call_later(self._waits.take(), self.connect)

    def _lose(self, error: OSError) -> None:
        """Note that the sequencer has gone, or has been left."""
        self._let_go()
        self.link.lost()
        self._try_again(error)

    def _let_go(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            sock.close()

    def close(self) -> None:
        """Leave the sequencer for good."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._let_go()

    def abandon(self) -> None:
        """In a forked child, let go of the parent's socket."""
        self._is_closed = True
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    # ---- bytes

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self._lose(ConnectionResetError("it has closed the link"))
            return
        try:
            self.link.take(data)
        except SockwaveError as error:
            logger.error("%s: the link is closed", error)
            self._lose(ConnectionAbortedError(str(error)))

    def _schedule(self) -> None:
        """Send at the end of this turn what is written until then."""
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        sock = self._socket
        if sock is None or self._rest:
            return
        self._send(self.link.output.read())

    def _send(self, data: bytes) -> None:
        """Send as much as the socket takes; keep the rest until it takes more."""
        sock = self._socket
        if sock is None or not data:
            return
        was_waiting = bool(self._rest)
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # reading tells the end, behind what has come
        self._rest = data[sent:]
        if self._rest and not was_waiting:
            self._loop.add_writer(sock.fileno(), self._write_rest)
        elif was_waiting and not self._rest:
            self._loop.remove_writer(sock.fileno())
            self._flush()

    def _write_rest(self) -> None:
        self._send(self._rest)
