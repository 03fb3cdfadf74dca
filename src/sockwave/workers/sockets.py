"""The listening sockets of a service, which the supervisor holds for its whole life.

Of a TCP port, each worker has a socket of its own where the system allows it (Linux): four workers
that share one socket were seen to get 346, 52, 2 and 0 of 400 connections that came at once, and
with sockets of their own 111, 98, 97 and 94. Unix sockets, sockets made elsewhere and those of
other systems are shared.
"""

import socket
from collections.abc import Collection, Iterable

from sockwave.listening.binding import ACCEPT_QUEUE_COUNT, open_sibling
from sockwave.workers.steering import steer


class PortGroup:
    """The sockets of one TCP address: one for each worker, all bound to the same port.

    Where the system cannot have several, or cannot be told which of them get connections, the
    workers share the first.
    """

    def __init__(self, first: socket.socket, backlog: int) -> None:
        self._backlog = backlog
        self._sockets = [first]
        self._can_grow = True

    def resize(self, count: int) -> None:
        """Open or close sockets, so that there are `count`; at least one is left."""
        while self._can_grow and len(self._sockets) < count:
            try:
                # The first has been bound without SO_REUSEPORT: so an address in use is an error.
                sibling = open_sibling(self._sockets[0], self._backlog)
            except OSError:
                self._can_grow = False
                break
            self._sockets.append(sibling)
            self._can_grow = steer(sibling, range(len(self._sockets)))
        keep_count = max(count, 1) if self._can_grow else 1
        while len(self._sockets) > keep_count:
            self._sockets.pop().close()

    def get(self, number: int) -> socket.socket:
        """Return the socket of a worker; they are numbered from 1."""
        return self._sockets[min(number, len(self._sockets)) - 1]

    def steer(self, numbers: Collection[int]) -> None:
        """Have new connections come to these workers alone; if there are none, to all."""
        places = [number - 1 for number in sorted(numbers) if number <= len(self._sockets)]
        if len(self._sockets) > 1:
            steer(self._sockets[0], places or range(len(self._sockets)))

    def close(self, *, besides: int | None = None) -> None:
        """Close all sockets, but that of one worker."""
        kept = None if besides is None else self.get(besides)
        for sock in self._sockets:
            if sock is not kept:
                sock.close()


class SharedSocket:
    """A listening socket that all workers share."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def resize(self, count: int) -> None:
        """Do nothing: there is one socket for any number of workers."""

    def get(self, number: int) -> socket.socket:
        """Return the socket."""
        return self._socket

    def steer(self, numbers: Collection[int]) -> None:
        """Do nothing: a worker that does not run accepts nothing."""

    def close(self, *, besides: int | None = None) -> None:
        """Close the socket, unless a worker needs it."""
        if besides is None:
            self._socket.close()


def can_be_first(sock: socket.socket) -> bool:
    """Tell whether a socket can be the first of a group that is ours alone."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "SO_REUSEPORT"):
        return False
    # With the option, it may be in a group with sockets of other services, which are not to be
    # steered.
    return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


class ServiceSockets:
    """All listening sockets of a service."""

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        *,
        own: Collection[socket.socket] = (),
        backlog: int = ACCEPT_QUEUE_COUNT,
    ) -> None:
        """Take over sockets that listen; `own` are those that this process has bound itself."""
        self._addresses: list[PortGroup | SharedSocket] = []
        for sock in sockets:
            is_own = sock in own and can_be_first(sock)
            self._addresses.append(PortGroup(sock, backlog) if is_own else SharedSocket(sock))
        self.is_closed = False

    def resize(self, count: int) -> None:
        """Have sockets for `count` workers; clients that wait in those too many are reset."""
        for address in self._addresses:
            address.resize(count)

    def get(self, number: int) -> list[socket.socket]:
        """Return the sockets of a worker, one for each address; they are numbered from 1."""
        return [address.get(number) for address in self._addresses]

    def steer(self, numbers: Collection[int]) -> None:
        """Have new connections come to these workers alone; if there are none, to all."""
        if not self.is_closed:
            for address in self._addresses:
                address.steer(numbers)

    def close(self) -> None:
        """Close this process's descriptors of all sockets; those of workers are their own."""
        self.is_closed = True
        for address in self._addresses:
            address.close()

    def abandon(self, number: int | None) -> None:
        """In a forked child, which is this worker, or none, close the descriptors of all others."""
        self.is_closed = True
        for address in self._addresses:
            address.close(besides=number)
