import asyncio
from typing import Self

from sockwave.core.tls import Tls
from sockwave.core.transport import AsyncioEngine, TransportCarrier

class TlsTransport(TransportCarrier):
    def __new__(cls, engine: AsyncioEngine, guard: Tls) -> Self: ...

class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    __slots__ = ()
