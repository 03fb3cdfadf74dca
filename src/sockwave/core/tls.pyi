import ssl
from typing import Self

from sockwave.security import Security

PLAIN_HTTP: tuple[str, ...]

class Records: ...

class Tls:
    def __new__(cls, context: ssl.SSLContext, records: Records) -> Self: ...
    @property
    def security(self) -> Security | None: ...
