"""Connections in memory: asyncio's transports and servers, without sockets.

What a socket does is done by a link of a `Network`: it holds bytes, brings them in order, and tells
each end of the other's FIN or reset.
"""

import asyncio
import contextvars
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, TypeAlias

from sockwave.testing.network import Lane, Link, Network

#: (host, port), or the path of a Unix socket.
Address: TypeAlias = "tuple[Any, ...] | str"

# Where clients seem to connect from, and the first of their ports: that of ephemeral ones (IANA).
_CLIENT_HOST = "127.0.0.1"
_FIRST_PORT = 49152


class MemorySocket:
    """What takes the place of a connected socket; it has no descriptor."""

    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, link: Link, peer: Address, own: Address, *, is_client: bool) -> None:
        self.link = link
        self.family = socket.AF_UNIX if isinstance(peer, str) else socket.AF_INET
        self.is_client = is_client
        #: Whether closing it resets the connection (SO_LINGER, with no time to linger).
        self.resets = False
        self._peer = peer
        self._own = own

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def getpeername(self) -> Address:
        """Return the address of the other end."""
        return self._peer

    def getsockname(self) -> Address:
        """Return the address of this end."""
        return self._own

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """Set SO_LINGER; OSError for the others, which a kernel has."""
        if (level, option) != (socket.SOL_SOCKET, socket.SO_LINGER):
            raise OSError(errno.ENOPROTOOPT, "no such option of a connection in memory")
        self.resets = True

    def getsockopt(self, *_: object) -> int:
        """Raise OSError: options are a kernel's."""
        raise OSError(errno.ENOPROTOOPT, "no options of a connection in memory")

    def close(self) -> None:
        """Do nothing: the transport closes the link."""


class MemoryTransport(asyncio.Transport):
    """A transport of asyncio's on one end of a link."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sock: MemorySocket
    ) -> None:
        super().__init__(
            {
                "socket": sock,
                "peername": sock.getpeername(),
                "sockname": sock.getsockname(),
            }
        )
        self.context = contextvars.copy_context()
        self._loop = loop
        self._sock = sock
        self._protocol: Any = protocol
        link = sock.link
        self._out: Lane = link.to_server if sock.is_client else link.to_client
        self._in: Lane = link.to_client if sock.is_client else link.to_server
        self._is_reading = True
        self._is_closing = False
        self._has_ended = False  # our own FIN is sent
        self._is_lost = False

    def begin(self) -> None:
        """Tell the protocol that it is connected, and deliver what comes from now on."""
        if self._is_closing:
            return
        self._protocol.connection_made(self)
        self._out._join(source=self)
        self._in._join(sink=self)

    # ---- what lanes call

    @property
    def can_take(self) -> bool:
        """Whether it takes bytes now: a closed one does, and drops them, as a kernel would."""
        return self._is_reading or self._is_closing

    def take(self, data: bytes) -> int:
        """Hand bytes to the protocol."""
        if self._is_closing:
            # RFC 9293, 3.5.3: what comes for a socket that is closed is answered by a reset.
            self._out._push_reset()
            return len(data)
        if not isinstance(self._protocol, asyncio.BufferedProtocol):
            self._protocol.data_received(data)
            return len(data)
        place = memoryview(self._protocol.get_buffer(-1))
        count = min(len(place), len(data))
        place[:count] = data[:count]
        self._protocol.buffer_updated(count)
        return count

    def take_end(self) -> None:
        """Hand the other end's FIN to the protocol."""
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def take_reset(self) -> None:
        """Close: the other end has reset the connection."""
        error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        self._has_ended = True
        self._out._drop()
        self._end(error)

    def go_on_writing(self) -> None:
        """Let the protocol write again."""
        if not self._is_closing:
            self._protocol.resume_writing()

    # ---- what protocols call

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Take another protocol."""
        self._protocol = protocol

    def write(self, data: Any) -> None:
        """Send bytes."""
        if self._is_closing or self._has_ended:
            return
        if not self._out._push(bytes(data)):
            self._protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(pieces))

    def can_write_eof(self) -> bool:
        """Tell that FIN can be sent by itself."""
        return True

    def write_eof(self) -> None:
        """Send FIN."""
        if not self._has_ended:
            self._has_ended = True
            self._out._push_end()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait that the link does not hold."""
        return self._out._excess_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high water mark."""
        return (0, 0)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: a writer has to wait as soon as the link holds no more."""

    def pause_reading(self) -> None:
        """Have bytes wait on the link."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Take them again."""
        self._is_reading = True
        self._in._go_on()

    def is_reading(self) -> bool:
        """Tell whether bytes are taken."""
        return self._is_reading and not self._is_closing

    def is_closing(self) -> bool:
        """Tell whether it is closed."""
        return self._is_closing

    def close(self) -> None:
        """Send what was written, and FIN."""
        self.write_eof()
        self._end(None)

    def abort(self) -> None:
        """Close at once; what was written is on its way, unless the socket is set to reset."""
        if self._sock.resets and not self._is_closing:
            self._has_ended = True
            self._out._push_reset()
        self.close()

    def _end(self, error: OSError | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose, error, context=self.context)
            self._in._go_on()

    def _lose(self, error: OSError | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._protocol.connection_lost(error)


class MemoryListener:
    """What takes the place of a listening socket, which programs ask for the port that it has."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def getsockname(self) -> Address:
        """Return the address that it listens on."""
        return self._address

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def close(self) -> None:
        """Do nothing: the server closes itself."""


class MemoryServer(asyncio.AbstractServer):
    """What accepts connections in memory, in place of a listening socket."""

    def __init__(
        self,
        listeners: "Listeners",
        make: Callable[[], asyncio.BaseProtocol],
        address: Address,
        sock: socket.socket | None,
    ) -> None:
        self._listeners = listeners
        self._make = make
        self._context = contextvars.copy_context()
        self._is_closed = False
        self.address = address
        self.sockets = (MemoryListener(address) if sock is None else sock,)

    def accept(self, sock: MemorySocket) -> None:
        """Take a connection, from the next turn of the loop on."""
        self._listeners.loop.call_soon(self._begin, sock, context=self._context)

    def _begin(self, sock: MemorySocket) -> None:
        protocol = self._make()
        MemoryTransport(self._listeners.loop, protocol, sock).begin()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return its loop."""
        return self._listeners.loop

    def is_serving(self) -> bool:
        """Tell whether it accepts connections."""
        return not self._is_closed

    async def start_serving(self) -> None:
        """Do nothing: it has begun."""

    def close(self) -> None:
        """Accept no more."""
        if not self._is_closed:
            self._is_closed = True
            self._listeners.remove(self)
            for sock in self.sockets:
                sock.close()

    async def serve_forever(self) -> None:
        """Wait until it is cancelled, and close."""
        try:
            await self._listeners.loop.create_future()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Do nothing: nothing is left to wait for."""


class Listeners:
    """The servers of one loop, by their ports and paths, and the networks to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._servers: dict[int | str, MemoryServer] = {}
        self._next_port = _FIRST_PORT
        #: The network to servers that have no other.
        self.network = Network()
        self._networks: dict[int | str, Network] = {}

    def listen(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        address: Address,
        sock: socket.socket | None = None,
    ) -> MemoryServer:
        """Accept connections at an address; every host is this one. Raises OSError."""
        if not isinstance(address, str) and not address[1]:
            address = (address[0], self._take_port())
        server = MemoryServer(self, make, address, sock)
        # Where a host has several addresses, all with one port, the first is as good as another.
        self._servers.setdefault(_place(address), server)
        return server

    def remove(self, server: MemoryServer) -> None:
        """Forget a server."""
        place = _place(server.address)
        if self._servers.get(place) is server:
            del self._servers[place]

    def use_network(self, address: Address, network: Network) -> None:
        """Let connections to an address go by a network."""
        self._networks[_place(address)] = network

    def list_networks(self) -> list[Network]:
        """List the networks that have links."""
        return [one for one in (self.network, *self._networks.values()) if one.links]

    async def dial(self, address: Address) -> MemorySocket:
        """Connect to an address. Raises ConnectionRefusedError where nothing listens."""
        server = self._servers.get(_place(address))
        if server is None:
            place = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"cannot connect to {place}: {os.strerror(errno.ECONNREFUSED)}"
            )
        network = self._networks.get(_place(address), self.network)
        if network.latency:
            await asyncio.sleep(2 * network.latency)  # RFC 9293, 3.5: SYN, and its ACK
        link = network._open_link()
        own: Address = "" if isinstance(address, str) else (_CLIENT_HOST, self._take_port())
        server.accept(MemorySocket(link, own, server.address, is_client=False))
        return MemorySocket(link, server.address, own, is_client=True)

    def _take_port(self) -> int:
        self._next_port += 1
        return self._next_port - 1


def _place(address: Address) -> int | str:
    """Return what tells listeners apart: every host is this one."""
    return address if isinstance(address, str) else int(address[1])
