"""One connection to a broker: a socket that never blocks, and that no silence ends.

And how long to wait before the next attempt to reach one.
"""

import socket
import ssl
import time
from collections.abc import Callable

from sockwave.brokers.interface import Loop
from sockwave.waits import FullJitter

_READ_SIZE = 256 << 10

# The longest wait is so short that each host is back within a second of the broker's return.
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 0.8

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def make_waits() -> FullJitter:
    """Return how long to wait before the next attempts to reach a broker."""
    return FullJitter(_FIRST_WAIT_S, _LONGEST_WAIT_S)


class BrokerSocket:
    """Reads and writes one connection, in the turns of a loop."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        *,
        took: Callable[[bytes], object],
        lost: Callable[[Exception], object],
        drained: Callable[[], object] = lambda: None,
    ) -> None:
        """Take over a connected socket.

        `took` is called with what has come, `lost` once with why the connection has ended, and
        `drained` when all has been sent of what had to wait.
        """
        sock.setblocking(False)
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._took, self._lost, self._drained = took, lost, drained
        self._rest = memoryview(b"")
        self._more: list[bytes] = []
        #: How many bytes wait to be sent.
        self.waiting_size = 0
        loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        sock = self._socket
        while sock is not None and sock is self._socket:
            try:
                data = sock.recv(_READ_SIZE)
                if not data:
                    raise ConnectionResetError("it has closed the connection")
            except _WOULD_BLOCK:
                break
            except OSError as error:
                self._fail(error)
                return
            try:
                self._took(data)
            except Exception as error:  # what no broker sends
                self._fail(error)
                return
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                break
        if self._rest and isinstance(sock, ssl.SSLSocket):
            self._send()  # it may have waited for what has come

    def write(self, data: bytes) -> None:
        """Send bytes, at once as far as the system takes them."""
        if self._socket is None or not data:
            return
        self.waiting_size += len(data)
        if self._rest:
            self._more.append(data)
            return
        self._rest = memoryview(data)
        self._send()
        if self._rest and self._socket is not None:
            self._loop.add_writer(self._socket.fileno(), self._go_on)

    def _go_on(self) -> None:
        """Send more: there is room."""
        self._send()
        if not self._rest and self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._drained()

    def _send(self) -> None:
        while self._rest and self._socket is not None:
            try:
                sent = self._socket.send(self._rest)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                # Its end is told from the loop: the caller may be in the middle of something.
                self._rest = memoryview(b"")
                self._loop.call_soon(self._fail, error)
                return
            self.waiting_size -= sent
            self._rest = self._rest[sent:]
            if not self._rest and self._more:
                self._rest, self._more = memoryview(b"".join(self._more)), []

    def _fail(self, error: Exception) -> None:
        if self._socket is not None:
            self.close()
            self._lost(error)

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Close it; nothing is told."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        sock.close()
        self._rest, self._more, self.waiting_size = memoryview(b""), [], 0


def receive_now(sock: socket.socket) -> bytes | None:
    """Return what has come by now, b"" if that is nothing; None: the connection has ended."""
    sock.setblocking(False)
    try:
        return sock.recv(_READ_SIZE) or None
    except _WOULD_BLOCK:
        return b""
    except OSError:
        return None


def set_deadline(sock: socket.socket, until: float) -> None:
    """Let a socket block until a time of `time.monotonic`, and raise TimeoutError then."""
    sock.settimeout(max(until - time.monotonic(), 0.001))
