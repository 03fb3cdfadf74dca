import asyncio
from typing import Self

from sockwave.core.io.asyncio.transport import AsyncioTransport
from sockwave.core.io.engine import Engine
from sockwave.core.tls.tls import Tls

class TlsTransport(AsyncioTransport):
    def __new__(cls, engine: Engine, tls: Tls) -> Self: ...

class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    __slots__ = ()
