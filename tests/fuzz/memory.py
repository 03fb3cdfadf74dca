"""A server in memory, and its peers: what a fuzz target feeds its bytes to.

The server is an ordinary one, on the asyncio engine; only the loop and the transports below it are
made here. In the build of `make fuzz` every read lies in a block of memory of its own
(`exact_transport`), so that AddressSanitizer sees a step behind its end.
"""

import asyncio
import collections
import socket
from typing import Any

import sockwave
from fuzz.loop import MemoryLoop, running
from sockwave.core.session.connection import Connection
from sockwave.deflate import Agreement

try:
    from exact_transport import ExactTransport
except ImportError:  # an ordinary build
    ExactTransport = None

#: Longer than any deadline of a server that a target makes, in seconds.
LONG_S = 150.0


class MemoryServer:
    """A server that listens in memory."""

    def __init__(self, **options: Any) -> None:
        self.loop = MemoryLoop()
        self.errors: list[BaseException] = []
        self.server = sockwave.create_server(engine="asyncio", **options)
        self.server.on("error", self.failed)
        self.server.listen(0, "127.0.0.1")
        #: What stands for the socket of each connection, where something is asked of it.
        self.socket = socket.socket()
        self.loop.run(self.server.start())
        assert self.loop.factory is not None
        self.engine = self.loop.factory().engine

    def failed(self, error: BaseException) -> None:
        """Take note of what was raised on behalf of a peer."""
        self.errors.append(error)

    def connect(self) -> "Peer":
        """Give a peer whose connection has just been accepted."""
        return Peer(self)

    def open(self, version: str = "rfc6455", agreement: Agreement | None = None) -> "Peer":
        """Give a peer that is past the opening handshake, in the steps that `Opening` takes."""
        peer = Peer(self)
        with running(self.loop):
            self.server._host.admission.end_handshake(peer.transport)
            connection = Connection(self.server._host.hub, peer.transport, version, b"")
            connection._begin(None, b"")
            if agreement is not None:
                connection._compress(agreement)
            peer.connection = connection
            connection._open(b"", None)
        return peer

    def settle(self, *peers: "Peer") -> None:
        """Let everything happen that has not to wait for a peer, or for time."""
        with running(self.loop):
            busy = True
            while busy:
                busy = self.loop.run_ready()
                for peer in peers:
                    busy = peer.deliver() or busy

    def pass_time(self, seconds: float, *peers: "Peer") -> None:
        """Let time pass, and all that happens meanwhile, until nobody is connected any more."""
        end = self.loop.now + seconds
        # Behind its transport, a connection may hand over what came before the end.
        while (
            self.engine.transport_count or self.server.connections
        ) and self.loop.skip_to_next_timer(end):
            self.settle(*peers)

    def end(self, *peers: "Peer") -> None:
        """End the peers' side, and see that nothing is left of them here."""
        for peer in peers:
            peer.end()
        self.settle(*peers)
        self.pass_time(LONG_S, *peers)
        assert self.engine.transport_count == 0, "a transport outlives its peer"
        assert not self.server.connections, "a connection outlives its peer"
        self.check_errors()

    def check_errors(self) -> None:
        """Raise what has been raised where only a peer's bytes can have been the cause."""
        errors = [*self.errors, *self.loop.failures]
        self.errors.clear()
        self.loop.failures.clear()
        if errors:
            raise AssertionError(f"an exception got out: {errors!r}") from errors[0]


class Peer(asyncio.Transport):
    """One end of a connection in memory: the transport that the server's end is given.

    `appetite` is how many bytes it takes before it reads no more, None for no end of it.
    """

    connection: Connection

    def __init__(self, front: MemoryServer) -> None:
        super().__init__()
        self.loop = front.loop
        self.socket = front.socket
        self.output = bytearray()
        self.appetite: int | None = None
        self.is_finished = False  # the server has sent FIN
        self.is_aborted = False
        self._is_paused = False
        self._is_full = False
        self._is_delivering = False
        self._unread: collections.deque[bytes | None] = collections.deque()
        make = (
            front.loop.factory if ExactTransport is None else lambda: ExactTransport(front.engine)
        )
        assert make is not None
        with running(self.loop):
            self.transport = make()
            self.transport.connection_made(self)

    # ---- what the peer does

    def send(self, data: bytes) -> None:
        """Send bytes that will be read at once, in one piece; `settle` has them read."""
        if data:
            self._unread.append(data)

    def end(self) -> None:
        """Send FIN."""
        self._unread.append(None)

    def reset(self) -> None:
        """Be gone."""
        self._unread.clear()
        self.abort(ConnectionResetError())

    def take(self, appetite: int | None) -> None:
        """Read so many bytes more."""
        self.appetite = appetite
        if self._is_full and (appetite is None or appetite > 0):
            self._is_full = False
            if not self.is_aborted:
                self.loop.call_soon(self.transport.resume_writing)

    def deliver(self) -> bool:
        """Have the next piece read, if the server reads; tell whether it was."""
        if self._is_paused or self.is_aborted or not self._unread:
            return False
        data = self._unread.popleft()
        if data is None:
            self.transport.eof_received()
        elif ExactTransport is not None:
            taken = self.transport.take(data)
            if taken < len(data):
                self._unread.appendleft(data[taken:])
        else:
            place = self.transport.get_buffer(-1)
            size = min(len(place), len(data))
            place[:size] = data[:size]
            del place
            if size < len(data):
                self._unread.appendleft(data[size:])
            self.transport.buffer_updated(size)
        return True

    # ---- what the server's end calls

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else ("192.0.2.1", 1234)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_finished, "bytes behind FIN"
        if self.is_aborted:
            return
        self.output += data
        if self.appetite is not None:
            self.appetite -= len(data)
            if self.appetite <= 0 and not self._is_full:
                self._is_full = True
                self.transport.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_finished = True

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False

    def abort(self, error: OSError | None = None) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            self.loop.call_soon(self.transport.connection_lost, error)

    close = abort
