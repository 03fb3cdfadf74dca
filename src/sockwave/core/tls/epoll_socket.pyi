from typing import Self

from sockwave.core.io.epoll.socket import EpollSocket
from sockwave.core.tls.tls import Tls

class TlsSocket(EpollSocket):
    def __new__(cls, tls: Tls) -> Self: ...
