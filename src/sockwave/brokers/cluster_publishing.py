"""Publishing by a cluster of Valkey: one connection to each shard, whose caller waits."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from sockwave.brokers.interface import Outcome
from sockwave.brokers.sentinels import Place
from sockwave.brokers.sockets import make_waits
from sockwave.brokers.valkey_names import bucket_of
from sockwave.brokers.valkey_publishing import ElsewhereError, ValkeyPublishing
from sockwave.errors import SockwaveError
from sockwave.waits import FullJitter

# What a shard answers.
Found = TypeVar("Found")


class ClusterPublishing:
    """Connections to the shards, each made when something is to be published there."""

    def __init__(
        self,
        read_owners: Callable[[float], list[Place]],
        connect: Callable[[Place, float], ValkeyPublishing],
    ) -> None:
        """Both block for about so many seconds, and raise an Exception where they fail."""
        self._read_owners = read_owners
        self._connect = connect
        self._owners: list[Place] = []
        self._links: dict[Place, ValkeyPublishing] = {}

    def find_owners(self, within_s: float) -> None:
        """Find out which server has what. Raises an Exception where none tells."""
        self._owners = self._read_owners(within_s)

    def is_alive(self) -> bool:
        """Tell whether no shard has closed its connection."""
        return all(link.is_alive() for link in self._links.values())

    def publish(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], until: float
    ) -> list[Outcome]:
        """Publish messages, those of each shard in one write."""

        def send(link: ValkeyPublishing, numbers: list[int]) -> list[Outcome]:
            return link.publish([messages[number] for number in numbers], until)

        return self._exchange([message[0] for message in messages], send, until)

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish parts of a large message, on a plain topic."""

        def send(link: ValkeyPublishing, numbers: list[int]) -> list[Outcome]:
            return link.publish_parts([messages[number] for number in numbers], until)

        return self._exchange([message[0] for message in messages], send, until)

    def has_history(self, name: bytes, until: float) -> bool | SockwaveError:
        """Ask whether a topic has a history."""

        def send(link: ValkeyPublishing, _: list[int]) -> list[bool | SockwaveError]:
            return [link.has_history(name, until)]

        return self._exchange([name], send, until)[0]

    def _exchange(
        self,
        names: Sequence[bytes],
        send: Callable[[ValkeyPublishing, list[int]], list[Found | SockwaveError]],
        until: float,
    ) -> list[Found | SockwaveError]:
        """Ask the shards something of topics, each for the numbers of its own.

        What a shard does not have is asked again, where it is by then: nothing was done there.
        """
        outcomes: dict[int, Found | SockwaveError] = {}
        waits = make_waits()
        while True:
            failure: Exception | None = None
            for place, numbers in self._sort(names, outcomes).items():
                try:
                    link = self._reach(place, until)
                except Exception as error:  # of whatever kind valkey raises; nothing was sent
                    failure = error
                    continue
                for number, outcome in zip(numbers, send(link, numbers), strict=True):
                    if isinstance(outcome, ElsewhereError):
                        failure = outcome
                    else:
                        outcomes[number] = outcome
            if failure is None:
                return [outcomes[number] for number in range(len(names))]
            if not self._find_again(waits, until):
                refusal = SockwaveError(
                    f"expected the shard to be there in time; nothing was published: {failure}"
                )
                return [outcomes.get(number, refusal) for number in range(len(names))]

    def _sort(self, names: Sequence[bytes], done: Collection[int]) -> dict[Place, list[int]]:
        """Return the numbers of those topics that are not done yet, by the server that has them."""
        found: dict[Place, list[int]] = {}
        for number, name in enumerate(names):
            if number not in done:
                found.setdefault(self._owners[bucket_of(name)], []).append(number)
        return found

    def _reach(self, place: Place, until: float) -> ValkeyPublishing:
        link = self._links.get(place)
        if link is None:
            within_s = max(until - time.monotonic(), 0.05)
            link = self._links[place] = self._connect(place, within_s)
        return link

    def _find_again(self, waits: FullJitter, until: float) -> bool:
        """Wait a little, and find out anew which server has what; False: there is no time left."""
        wait_s = waits.take()
        if time.monotonic() + wait_s >= until:
            return False
        time.sleep(wait_s)
        try:
            self.find_owners(until - time.monotonic())
        except Exception:  # of whatever kind valkey raises: the next time, perhaps
            return True
        return True

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        for link in self._links.values():
            link.abandon()

    def close(self) -> None:
        """End the connections."""
        for link in self._links.values():
            link.close()
