import socket as _socket
from collections.abc import Callable
from typing import Self

from sockwave.core.io.epoll.poller import Poller
from sockwave.core.io.epoll.socket import EpollSocket

class Listener:
    def __new__(
        cls, socket_: _socket.socket, make: Callable[[], EpollSocket] | None = None
    ) -> Self: ...
    @property
    def socket(self) -> _socket.socket: ...

class EpollEngine(Poller):
    async def listen(
        self, socket_: _socket.socket, make: Callable[[], EpollSocket] | None = None
    ) -> None: ...
    def accept_again(self, listener: Listener) -> None: ...
    async def carry(self, socket_: _socket.socket, peer: EpollSocket) -> None: ...
    def stop_listening(self) -> None: ...
