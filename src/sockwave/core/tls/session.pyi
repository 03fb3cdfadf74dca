import ssl
from typing import Self

from sockwave.tls_info import TLSInfo

class Records: ...

class TlsSession:
    def __new__(cls, context: ssl.SSLContext, records: Records) -> Self: ...
    @property
    def tls_info(self) -> TLSInfo | None: ...
