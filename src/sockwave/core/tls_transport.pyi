import asyncio
from typing import Self

from sockwave.core.engine import Engine
from sockwave.core.tls import Tls
from sockwave.core.transport import TransportCarrier

class TlsTransport(TransportCarrier):
    def __new__(cls, engine: Engine, guard: Tls) -> Self: ...

class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    __slots__ = ()
