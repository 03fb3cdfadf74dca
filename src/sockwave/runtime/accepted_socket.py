"""A raw connection, as the `stream` event shows it: before any byte of it has been read."""

from sockwave.address import Address
from sockwave.core.io.transport import Carrier


class Stream:
    """A connection that has just been accepted."""

    __slots__ = ("_carrier",)

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    @property
    def remote_address(self) -> Address:
        """The peer: (host, port), or the path of a Unix socket."""
        return self._carrier.remote_address

    @property
    def local_address(self) -> Address:
        """Our end: (host, port), or the path of a Unix socket."""
        return self._carrier.local_address

    def close(self) -> None:
        """Drop the connection; nothing has been read from it, and nothing is answered."""
        self._carrier.engine.thread.check_call("stream.close")
        self._carrier.abort()
