"""The receiver of a connection from a trusted proxy, until the PROXY header has been read."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.log import peers
from sockwave.proxy.header import parse_proxy_header
from sockwave.proxy.tlv import Facts

if TYPE_CHECKING:
    from sockwave.core.opening.newcomer import PendingConnection


class ProxyReceiver(PyReceiver):
    """Reads the header of the PROXY protocol, which comes before everything else, TLS included.

    `receiver` takes over behind the header; it exists already, and its deadline counts from accept.
    `when_read` is called with the facts of the header.
    """

    __slots__ = ("_input", "_next", "_transport", "_when_read")

    def __init__(
        self,
        transport: Transport,
        receiver: "PendingConnection",
        when_read: Callable[[Facts], None],
    ) -> None:
        self._transport = transport
        self._next = receiver
        self._when_read = when_read
        self._input = bytearray()
        transport.awaits_proxy_header = True

    def data_received(self, data: bytes) -> None:
        """Read bytes of a transport without TLS; pass those behind the header on."""
        rest = self.take(data)
        if rest and not self._transport.is_closing:
            self._next.data_received(rest)

    def take(self, data: bytes) -> bytes | None:
        """Read bytes, and return those behind the header; None while it is incomplete.

        "The receiver must be configured to only receive the protocol described in this
        specification and must not try to guess": anything but a header ends the connection.
        """
        transport = self._transport
        self._input += data
        try:
            header = parse_proxy_header(self._input)
        except ValueError as error:
            peers.warning("no PROXY header from %s: %s", transport, error)
            transport.close()
            return None
        if header is None:
            return None
        rest = bytes(self._input[header.size :])
        transport.awaits_proxy_header = False
        transport.receiver = self._next
        if header.source is not None:
            transport.claim_address(*header.source)
        # This says that the client's TLS ends at the proxy; TLS that the proxy passes through to us
        # is handled by the transport.
        if header.facts.is_secure:
            transport.is_secure = True
        self._when_read(header.facts)
        return rest

    def eof_received(self) -> None:
        """End the connection: the proxy has closed its side before the header was complete."""
        self._transport.close()

    def connection_lost(self, error: OSError | None) -> None:
        """Pass it on to the next receiver."""
        self._next.connection_lost(error)

    def deadline_passed(self) -> None:
        """Let the next receiver, which has set the deadline, end the connection."""
        self._next.deadline_passed()
