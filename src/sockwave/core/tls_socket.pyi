from typing import Self

from sockwave.core.epoll_socket import EpollSocket
from sockwave.core.tls import Tls

class TlsSocket(EpollSocket):
    def __new__(cls, guard: Tls) -> Self: ...
