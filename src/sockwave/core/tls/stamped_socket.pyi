from typing import Self

from sockwave.core.io.arrival import Arrival
from sockwave.core.tls.epoll_socket import TlsSocket
from sockwave.core.tls.tls import Tls

class StampedTlsSocket(TlsSocket):
    arrival: Arrival
    def __new__(cls, tls: Tls) -> Self: ...
