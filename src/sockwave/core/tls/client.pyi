from collections.abc import Callable

from sockwave.core.io.transport import Transport
from sockwave.core.tls.tls import Tls

class ClientTls(Tls):
    def aim(self, name: str | None, when_established: Callable[[], object] | None) -> None: ...
    def start(self, transport: Transport) -> None: ...
