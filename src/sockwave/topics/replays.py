"""Connections that are brought up to date: so many at a time, the others behind them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sockwave.core.topics.catching_up import Replay
from sockwave.core.topics.table import TopicTable
from sockwave.deliveries import Position, Subscribed
from sockwave.topics.interface import Host
from sockwave.topics.reach import Reach

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection
    from sockwave.core.topics.subscribers import Subscribers

# Connections that are brought up to date at a time: after a restart, thousands come back at once,
# and what they have missed is not to hold up what is new.
_REPLAY_COUNT = 64


class Replays:
    """The connections of a worker that are sent what they have missed."""

    def __init__(self, host: Host, table: TopicTable, reach: Reach) -> None:
        self._host = host
        self._table = table
        self._reach = reach
        self._count = 0
        self._waiting: deque[Replay] = deque()

    def begin(
        self,
        connection: "Connection",
        topic: "Subscribers",
        since: Position | None,
        after: Callable[[Subscribed], object] | None,
    ) -> "asyncio.Future[Subscribed]":
        """Send a connection what it has missed first; return what is done once it has all."""
        future: asyncio.Future[Subscribed] = self._host.loop.create_future()
        replay = Replay(
            self._reach.link.output, self._table, self, connection, topic, since, future, after
        )
        topic.replay_count += 1
        self._table.suspend(connection, topic)
        mine = self._table.subscriptions_of(connection)
        mine.replays = {**(mine.replays or {}), topic.name: replay}
        if self._count < _REPLAY_COUNT:
            self._count += 1
            replay.start()
        else:
            self._waiting.append(replay)
        return future

    def end(self, connection: "Connection", name: str) -> None:
        """Stop to bring a connection up to date."""
        mine = self._table.subscriptions_of(connection)
        if mine.replays and name in mine.replays:
            replay: Replay = mine.replays[name]
            replay.cancel()
            self._table.look_if_empty(replay.topic)

    def replay_over(self, was_started: bool) -> None:
        """Start the next connection that waits to be brought up to date."""
        if was_started:
            self._count -= 1
        while self._waiting and self._count < _REPLAY_COUNT:
            replay = self._waiting.popleft()
            if not replay.is_over:
                self._count += 1
                replay.start()

    def call_later(self, call: Callable[[], object]) -> None:
        """Call something in one of the next turns of the loop."""
        self._host.loop.call_later(0.01, call)
