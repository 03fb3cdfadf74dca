import ssl
from typing import Self

from sockwave.security import Security

PLAIN_HTTP: tuple[str, ...]

class Records: ...

class Tls:
    def __new__(
        cls, context: ssl.SSLContext, records: Records, is_client: bool = False
    ) -> Self: ...
    @property
    def security(self) -> Security | None: ...
