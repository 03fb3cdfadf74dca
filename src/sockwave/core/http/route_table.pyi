from collections.abc import Callable
from typing import Any

from sockwave.core.http.request_head import RequestHead

class Node: ...

class Route:
    @property
    def taker(self) -> Any: ...
    @property
    def path(self) -> str: ...

class RouteTable:
    def __init__(self, refuse: Callable[[list[str]], object] | None = None) -> None: ...
    @property
    def count(self) -> int: ...
    def add(
        self,
        path: str,
        segments: tuple[str | None, ...],
        names: tuple[str, ...],
        key: str,
        taker: object,
    ) -> str | None: ...
    def find(self, head: RequestHead, key: str) -> Any: ...
