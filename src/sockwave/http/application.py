"""What an HTTP connection asks of the server that it belongs to."""

import asyncio
from typing import Protocol

from sockwave.core.io.transport import Transport
from sockwave.core.limits.counters import LimitCounters
from sockwave.http.request import Request
from sockwave.http.response import Response
from sockwave.limits import Limits, OverLimit
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class Counter(Protocol):
    """Who counts connections until it is known what they want."""

    def end_handshake(self, transport: Transport) -> None:
        """Count a transport no more among those whose handshake is under way."""

    def turn_away(self, transport: Transport, refused: OverLimit) -> None:
        """Answer a connection of which nothing has been read, and end it."""


class Application(Protocol):
    """Who answers the requests of a connection."""

    @property
    def admission(self) -> Counter:
        """Who let the connection in."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    limit_counters: LimitCounters

    def client_of(self, head: RequestHead, transport: Transport) -> Client:
        """Tell whose request it is; raises Refused where a proxy's word makes no sense."""

    def handle_request(self, request: Request, response: Response) -> None:
        """Answer a request, now or later."""

    def unanswered(self, request: Request, reason: str) -> None:
        """Tell of a request that nobody has answered, or not to the end."""

    def handle_upgrade(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Take over a transport, which is given another receiver before this returns.

        `rest` is what has arrived behind the head.
        """
