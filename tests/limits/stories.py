"""What each limit is tested by: a story of a peer that stays at it, and then goes one past it.

A story is an asynchronous generator. It yields once when the peer is at the limit, where nothing
may have been counted, and once when it is past it: the close code or the status that it was told,
None where it only has to wait. What is counted then is that limit, once, and no other.
"""

import dataclasses
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from conftest import StartServer

import sockwave
from sockwave.limits import Limits

Telling: TypeAlias = AsyncGenerator[int | None, None]

COSTS: dict[str, tuple[int, ...]] = {
    limit.name: limit.metadata["costs"] for limit in dataclasses.fields(Limits)
}


@dataclass(frozen=True)
class Story:
    """A story about one limit."""

    limit: str
    tell: Callable[[sockwave.Server], Telling]
    options: dict[str, Any]
    besides: frozenset[str]

    def __str__(self) -> str:
        return f"{self.limit}: {self.tell.__name__}"

    async def play(self, start_server: StartServer) -> None:
        """Tell the story to a server, and check what it counts."""
        server = await start_server(**self.options)
        telling = self.tell(server)
        assert await anext(telling) is None
        assert count_hits(server).keys() <= self.besides
        cost = await anext(telling)
        hits = count_hits(server)
        assert hits[self.limit] == 1
        assert hits.keys() <= {self.limit, *self.besides}
        assert cost in (COSTS[self.limit] or (None,))
        async for _ in telling:
            raise AssertionError("a story has two parts")


class Stories(list[Story]):
    """The stories of one file."""

    def about(
        self, limit: str, *, besides: tuple[str, ...] = (), **options: Any
    ) -> Callable[[Callable[[sockwave.Server], Telling]], Callable[[sockwave.Server], Telling]]:
        """Add a story about `limit`, told to a server with these options.

        Those `besides` are gone past on the way, as it cannot be reached without them.
        """

        def add(
            tell: Callable[[sockwave.Server], Telling],
        ) -> Callable[[sockwave.Server], Telling]:
            self.append(Story(limit, tell, options, frozenset(besides)))
            return tell

        return add


def count_hits(server: sockwave.Server) -> dict[str, int]:
    """Give what has been counted."""
    return {name: count for name, count in server.limit_hits.items() if count}
