import asyncio
from collections.abc import Callable
from typing import Any, Self

from sockwave.core.session.connection import Connection
from sockwave.core.topics.output import LinkOutput
from sockwave.core.topics.subscribers import Subscribers
from sockwave.core.topics.table import TopicTable
from sockwave.deliveries import Position, Subscribed

class Replay:
    connection: Connection
    topic: Subscribers
    future: asyncio.Future[Subscribed]
    after: Callable[[Subscribed], object] | None
    is_over: bool
    def __new__(
        cls,
        output: LinkOutput,
        table: TopicTable,
        host: Any,
        connection: Connection,
        topic: Subscribers,
        since: Position | None,
        future: asyncio.Future[Subscribed],
        after: Callable[[Subscribed], object] | None,
    ) -> Self: ...
    def start(self) -> None: ...
    def cancel(self) -> None: ...
    def _go_on(self, _: object = None) -> None: ...
