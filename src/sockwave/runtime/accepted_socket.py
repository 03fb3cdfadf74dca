"""The argument of the `stream` event: a connection before any byte of it has been read."""

from sockwave.address import Address, as_pair
from sockwave.core.io.transport import Transport


class AcceptedSocket:
    """A connection that has just been accepted."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def remote_address(self) -> tuple[str, int]:
        """The peer: (host, port); ("", 0) on a Unix socket."""
        return as_pair(self._transport.remote_address)

    @property
    def local_address(self) -> Address:
        """Our end: (host, port), or the path of a Unix socket."""
        return self._transport.local_address

    def close(self) -> None:
        """Drop the connection, without an answer."""
        self._transport.engine.thread.check_call("stream.close")
        self._transport.close()
