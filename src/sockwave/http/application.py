"""The interface by which an HTTP connection calls its server."""

import asyncio
from typing import Protocol

from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.http.request import Request
from sockwave.http.response import Response
from sockwave.limits import Limits, OverLimit
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class HandshakeCounter(Protocol):
    """Counts the connections whose first request has not been read; see `Admission`."""

    def end_handshake(self, transport: Transport) -> None:
        """Stop counting a transport among those whose handshake is under way."""

    def reject(self, transport: Transport, refused: OverLimit, *, to_head: bool = False) -> None:
        """Send an HTTP error to a connection whose request has not come whole, and close it."""


class Application(Protocol):
    """The server that answers the requests of a connection."""

    @property
    def admission(self) -> HandshakeCounter:
        """The admission that has accepted the connection."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    limit_counters: LimitCounters

    def client_of(self, head: RequestHead, transport: Transport) -> Client:
        """Return the client of a request; raises Refused if a proxy's headers are malformed."""

    def handle_request(self, request: Request, response: Response) -> None:
        """Answer a request, now or later."""

    def report_unanswered(self, request: Request, reason: str) -> None:
        """Report a request that the application has not answered, or not to the end."""

    def handle_upgrade(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Take over a transport for a WebSocket; sets another receiver before it returns.

        `rest` is the bytes received behind the head.
        """
