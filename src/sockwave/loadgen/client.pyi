import ssl
from typing import Self

from sockwave.core.tls.openssl import DirectTls
from sockwave.errors import SockwaveError

IP_BIND_ADDRESS_NO_PORT: int

class LoadError(SockwaveError): ...
class ClientTls(DirectTls): ...

class Target:
    def __new__(
        cls,
        host: str,
        port: int,
        context: ssl.SSLContext | None = None,
        offer: str | None = None,
        upgrades: bool = True,
    ) -> Self: ...
    @property
    def request(self) -> bytes: ...

class Client: ...
