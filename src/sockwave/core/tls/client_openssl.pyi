from collections.abc import Callable

from sockwave.core.io.transport import Transport
from sockwave.core.tls.openssl import DirectTls

class DirectClientTls(DirectTls):
    def aim(self, name: str | None, when_established: Callable[[], object] | None) -> None: ...
    def start(self, transport: Transport) -> None: ...
