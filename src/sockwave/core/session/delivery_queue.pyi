from typing import Any, Self

from sockwave.deliveries import Delivery, Position

class Entry:
    delivery: Delivery | None
    def __new__(
        cls,
        subscription: Any,
        position: Position | None,
        delivery: Delivery | None,
        *,
        is_placed: bool,
    ) -> Self: ...

class TopicQueue:
    noun: str

class DeliveryQueue(TopicQueue):
    size: int
    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...
    def put(self, entry: Entry) -> None: ...
    def pass_on(self, entry: Entry) -> Delivery | None: ...
    def take(self) -> Delivery | None: ...
    def drop(self, subscription: Any = None) -> None: ...
