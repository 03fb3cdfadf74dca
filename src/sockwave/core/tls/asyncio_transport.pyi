import asyncio
from typing import Self

from sockwave.core.io.asyncio.transport import TransportCarrier
from sockwave.core.io.engine import Engine
from sockwave.core.tls.tls import Tls

class TlsTransport(TransportCarrier):
    def __new__(cls, engine: Engine, guard: Tls) -> Self: ...

class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    __slots__ = ()
