import asyncio
import socket
from collections.abc import Callable

from sockwave.core.io.asyncio.transport import AsyncioTransport
from sockwave.core.io.engine import Engine

class AsyncioEngine(Engine):
    def attach(self) -> None: ...
    async def listen(
        self,
        socket_: socket.socket,
        make: Callable[[], asyncio.BaseProtocol] | None = None,
    ) -> None: ...
    def accept_again(self, socket_: socket.socket) -> None: ...
    async def carry(self, socket_: socket.socket, transport: AsyncioTransport) -> None: ...
    def stop_listening(self) -> None: ...
