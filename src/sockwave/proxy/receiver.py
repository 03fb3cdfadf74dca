"""The receiver of a connection from a proxy, until the proxy has said whose connection it is."""

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

    The receiver behind it exists already, and its deadline counts from accept.
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
        """Take the next bytes, of a transport without TLS."""
        rest = self.take(data)
        if rest and not self._transport.is_closing:
            self._next.data_received(rest)

    def take(self, data: bytes) -> bytes | None:
        """Take bytes, and give those behind the header; None while it is not whole.

        "The receiver must be configured to only receive the protocol described in this
        specification and must not try to guess": what is no header ends the connection.
        """
        transport = self._transport
        self._input += data
        try:
            header = parse_proxy_header(self._input)
        except ValueError as error:
            peers.warning("no PROXY header from %s: %s", transport, error)
            transport.abort()
            return None
        if header is None:
            return None
        rest = bytes(self._input[header.size :])
        transport.awaits_proxy_header = False
        transport.receiver = self._next
        if header.source is not None:
            transport.claim_address(*header.source)
        # Of its own TLS alone: what goes through the proxy under TLS is none of that.
        if header.facts.is_secure:
            transport.is_secure = True
        self._when_read(header.facts)
        return rest

    def eof_received(self) -> None:
        """End with the peer."""
        self._transport.abort()

    def connection_lost(self, error: OSError | None) -> None:
        """Tell the receiver behind."""
        self._next.connection_lost(error)

    def deadline_passed(self) -> None:
        """Let the receiver behind, which has set the deadline, end the connection."""
        self._next.deadline_passed()
