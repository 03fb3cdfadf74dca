"""The listening sockets of a server, with their addresses, files and TLS contexts."""

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sockwave.address import listening_address
from sockwave.forking import watch_forks
from sockwave.listening import binding
from sockwave.listening.certificates import Certificates

if TYPE_CHECKING:
    from ssl import SSLContext

#: A listening socket, and its TLS context; None for one without TLS.
ListeningSocket: TypeAlias = "tuple[socket.socket, SSLContext | None]"


class Listening:
    """The listening sockets of one server. The engine that accepts on a socket also closes it.

    A child that is forked before the server runs may accept on them as well: then this process
    closes its own descriptors of them, but does not stop the sockets from listening.
    """

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.certificates = Certificates()
        self._waiting: list[ListeningSocket] = []  # not yet given to an engine
        self._names: list[socket.socket] = []  # Unix sockets whose files this process removes
        self._own: list[socket.socket] = []  # made here, and shared with no other process
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
        """Listen on an address; `take` then returns the new sockets.

        Raises OSError, with the address in its message, if the address cannot be bound.
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
        self.addresses += [listening_address(one) for one in made]
        self._waiting += [(one, ssl) for one in made]

    def adopt_listening(self, sockets: Sequence[socket.socket], ssl: "SSLContext | None") -> None:
        """Listen on sockets that another process has made listen, and shares with this one."""
        self._check_context(ssl)
        self._add([binding.adopt(sock, listens=True) for sock in sockets], ssl)

    @property
    def waiting(self) -> list[socket.socket]:
        """The sockets that no engine has yet."""
        return [sock for sock, _ in self._waiting]

    @property
    def own(self) -> list[socket.socket]:
        """Those that this process has bound, and shares with no other."""
        return list(self._own)

    def replace_waiting(self, sockets: Sequence[socket.socket]) -> None:
        """In a worker, put its own sockets in place of those that no engine has yet."""
        contexts = [context for _, context in self._waiting]
        self._waiting = list(zip(sockets, contexts, strict=True))

    def take(self) -> list[ListeningSocket]:
        """Return the sockets that no engine has yet; the caller accepts on them or closes them."""
        self._is_taken = True
        taken = []
        with contextlib.suppress(IndexError):
            while True:  # one at a time: another thread may close the server and take some, too
                taken.append(self._waiting.pop(0))
        return taken

    def forked(self, *, is_child: bool) -> None:
        """Share the sockets with a forked child; if the server runs, the parent keeps them."""
        if not self._is_taken:
            self._own = []
        if is_child:
            self._names = []
            if self._is_taken:
                self._own = []
                self.addresses = []

    def close(self) -> None:
        """Stop listening: remove the files of Unix sockets, and close those that no engine has."""
        self.addresses = []
        for one in self._names:
            binding.remove_path(one)
        for one in self._own:
            binding.stop_listening(one)
        for one, _ in self.take():
            one.close()
