from sockwave.loadgen.exchange import Exchange

class HttpExchange(Exchange):
    def __init__(
        self, request: bytes, body: bytes, depth: int = 1, ends_connections: bool = False
    ) -> None: ...
