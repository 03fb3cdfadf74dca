"""A network between real sockets: what stands between the clients of a test and its server."""

import asyncio
import contextlib
import contextvars
import socket
import struct
from functools import partial
from types import TracebackType
from typing import Any, Self

from sockwave.testing.network import Lane, Link, Network

# To end with a reset: SO_LINGER, on, for no time.
_NO_LINGER = struct.pack("ii", 1, 0)


class _RelayEnd(asyncio.Protocol):
    """One socket of a relay; what it reads goes to one lane, and another lane's bytes to it."""

    def __init__(self, relay: "Relay", link: Link, *, is_client: bool) -> None:
        self.context = contextvars.copy_context()
        self._relay = relay
        self._out: Lane = link.to_server if is_client else link.to_client
        self._in: Lane = link.to_client if is_client else link.to_server
        self._transport: Any = None
        self._is_paused = False
        self._has_read_end = False
        self._has_sent_end = False
        #: Done when its socket is closed.
        self.lost = asyncio.get_running_loop().create_future()

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._relay.ends.add(self)
        self._out._join(source=self)
        self._in._join(sink=self)

    def data_received(self, data: bytes) -> None:
        if not self._out._push(data):
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._has_read_end = True
        self._out._push_end()
        self._close_if_done()
        return True

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._in._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.ends.discard(self)
        self.lost.set_result(None)
        if error is not None:
            self._out._push_reset()
        elif not self._has_read_end:
            self._out._push_end()
        self._has_sent_end = True
        self._in._go_on()

    # ---- called by lanes

    @property
    def can_take(self) -> bool:
        return not self._is_paused or self._transport.is_closing()

    def take(self, data: bytes) -> int:
        if not self._transport.is_closing():
            self._transport.write(data)
        return len(data)

    def take_end(self) -> None:
        if not self._has_sent_end and not self._transport.is_closing():
            self._has_sent_end = True
            with contextlib.suppress(OSError):
                self._transport.write_eof()
            self._close_if_done()

    def take_reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def go_on_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _close_if_done(self) -> None:
        if self._has_read_end and self._has_sent_end:
            self._transport.close()

    def abort(self) -> None:
        """Close at once: the relay ends."""
        self._transport.abort()


class Relay:
    """Accepts the clients of a test, and connects each of them with the server.

    `port` is its own, on 127.0.0.1.
    """

    def __init__(self, network: Network, address: Any) -> None:
        self.port = 0
        self.ends: set[_RelayEnd] = set()
        self._network = network
        self._address = address
        self._dialing: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._server = await loop.create_server(self._accept, sock=listener)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._dialing:
            task.cancel()
        await asyncio.gather(*self._dialing, return_exceptions=True)
        for end in tuple(self.ends):
            end.abort()
        await asyncio.gather(*(end.lost for end in tuple(self.ends)))

    def _accept(self) -> _RelayEnd:
        link = self._network._open_link()
        task = asyncio.ensure_future(self._dial(link))
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)
        return _RelayEnd(self, link, is_client=True)

    async def _dial(self, link: Link) -> None:
        """Connect one client with the server."""
        loop = asyncio.get_running_loop()
        make = partial(_RelayEnd, self, link, is_client=False)
        try:
            if isinstance(self._address, str):
                await loop.create_unix_connection(make, self._address)
            else:
                host, port, *_ = self._address
                # All interfaces: on some systems that is no address to connect to.
                own = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not to listen on
                await loop.create_connection(make, own.get(host, host), port)
        except OSError:
            link.to_client._push_reset()
