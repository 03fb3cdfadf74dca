"""Where a server listens: its sockets, their addresses, names and TLS contexts."""

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sockwave.address import address_of
from sockwave.forking import watch_forks
from sockwave.listening import binding
from sockwave.listening.certificates import Certificates

if TYPE_CHECKING:
    from ssl import SSLContext

#: A listening socket, and the TLS context that it speaks with, if it does.
Door: TypeAlias = "tuple[socket.socket, SSLContext | None]"


class Listening:
    """The listening sockets of one server. An engine that accepts on one closes it, too.

    A child that is forked before that may accept on them as well: then they are not this process's
    alone, and it closes its own descriptors of them, but does not end what they do.
    """

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.certificates = Certificates()
        self._waiting: list[Door] = []  # bound, but not yet accepted on
        self._names: list[socket.socket] = []  # Unix sockets, whose names are ours to remove
        self._own: list[socket.socket] = []  # made here, and nobody else is to accept on them
        self._is_taken = False

    def bind(
        self,
        port: int,
        host: str | None,
        path: str | os.PathLike[str] | None,
        mode: int | None,
        ssl: "SSLContext | None",
        reuse_port: bool,
    ) -> None:
        """Listen on an address; `take` gives the new sockets.

        Raises OSError, with the address in its message, when it cannot be had.
        """
        self._check_context(ssl)
        if path is not None:
            if reuse_port:
                raise ValueError("reuse_port: expected with a port, not with path")
            made = [binding.bind_path(path, mode)]
            self._names += made
        elif mode is not None:
            raise ValueError("mode: expected with path alone")
        else:
            made = binding.bind_port(port, host, reuse_port=reuse_port)
        self._own += made
        self._add(made, ssl)

    def adopt(self, sockets: Sequence[socket.socket], ssl: "SSLContext | None") -> None:
        """Listen on sockets that were made elsewhere."""
        self._check_context(ssl)
        self._add([binding.adopt(sock) for sock in sockets], ssl)

    def _check_context(self, ssl: "SSLContext | None") -> None:
        if ssl is not None:
            self.certificates.add(ssl)

    def _add(self, made: list[socket.socket], ssl: "SSLContext | None") -> None:
        watch_forks(self)
        self.addresses += [address_of(one) for one in made]
        self._waiting += [(one, ssl) for one in made]

    def take(self) -> list[Door]:
        """Give the sockets that are not yet accepted on, to somebody who does so from now on."""
        self._is_taken = True
        taken = []
        with contextlib.suppress(IndexError):
            while True:  # one by one, each by one of us: another thread may be closing the server
                taken.append(self._waiting.pop(0))
        return taken

    def forked(self, *, is_child: bool) -> None:
        """Share with a forked child what nobody accepts on yet; the rest stays with the parent."""
        if not self._is_taken:
            self._own = []
        if is_child:
            self._names = []
            if self._is_taken:
                self._own = []
                self.addresses = []

    def end(self) -> None:
        """Be reached no more: the names go, and the sockets that nobody has taken."""
        self.addresses = []
        for one in self._names:
            binding.remove_path(one)
        for one in self._own:
            binding.refuse_all(one)
        for one, _ in self.take():
            one.close()
