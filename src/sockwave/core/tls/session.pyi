import ssl
from typing import Self

from sockwave.tls_info import Security

class Records: ...

class Sealer:
    def __new__(
        cls, context: ssl.SSLContext, records: Records, is_client: bool = False
    ) -> Self: ...
    @property
    def security(self) -> Security | None: ...
