import ssl
from collections.abc import Iterable
from typing import Self

from sockwave.errors import SockwaveError

IP_BIND_ADDRESS_NO_PORT: int

class LoadError(SockwaveError): ...

class Target:
    def __new__(
        cls,
        host: str,
        port: int,
        context: ssl.SSLContext | None = None,
        offer: str | None = None,
        upgrades: bool = True,
        *,
        path: str = "/",
        authority: str | None = None,
        fields: Iterable[tuple[str, str]] = (),
        server_name: str | None = None,
    ) -> Self: ...
    @property
    def request(self) -> bytes: ...

class Client: ...
