from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.sync.shared_loop import SharedLoop

class ThreadSession(ClientConnection):
    shared: SharedLoop
    def _share(self, shared: SharedLoop) -> None: ...
