from collections.abc import Callable, Iterable

from sockwave.core.http.settings import Taker

class RequestRoute(Taker):
    def __init__(self, handler: Callable[..., object]) -> None: ...

SERVER_EVENTS: dict[str, tuple[int, int]]

class MethodRefusal(Taker):
    def __init__(self, methods: Iterable[str]) -> None: ...
