"""Other hosts, as one server sees them: its broker, how that is, and whether to publish."""

import asyncio
import json
import time
from typing import Any

from sockwave.brokers.clients import HostClient, make_client
from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.local import LocalLink
from sockwave.errors import SockwaveError
from sockwave.topics.health import Health, Status
from sockwave.topics.settings import TopicSettings

# A broker that does not come meanwhile is waited for while the server serves.
_START_S = 5.0

_COUNTS = ("deaf_count", "lost_count", "bad_count", "dropped_count", "unknown_count")


class OtherHosts:
    """The way to other hosts by a broker."""

    def __init__(self, url: str, policy: str) -> None:
        """Take the options `broker` and `broker_down`."""
        self.url = url
        self.policy = policy
        self._client: HostClient | None = None
        self._state: dict[str, Any] = {}
        self._link: SequencerLink | None = None

    def describe(self) -> dict[str, Any]:
        """Return what a sequencer is to know of the broker."""
        return {"url": self.url, "keeps": self.policy != "local"}

    def check_settings(self, pattern: str, settings: TopicSettings) -> None:
        """Raise SockwaveError for settings that a topic cannot have over several hosts."""
        if settings.is_sequenced and self.policy == "local":
            raise SockwaveError(
                f"topic {pattern!r}: expected broker_down='queue' or 'raise' with a history or "
                "presence, whose messages have no place without the broker, given 'local'"
            )

    def check_stream(self, name: str) -> None:
        """Raise SockwaveError where a topic cannot be a stream over several hosts."""
        if self.policy == "local":
            raise SockwaveError(
                f"topic {name!r}: expected broker_down='queue' or 'raise' with a stream, whose "
                "deltas have no place without the broker, given 'local'"
            )

    # ---- the broker's client, where this process has it

    async def connect(self, link: SequencerLink, loop: asyncio.AbstractEventLoop) -> None:
        """Connect the sequencer of this process; wait for the broker, but not for long."""
        assert isinstance(link, LocalLink)
        self.watch(link)
        client = make_client(self.url, loop, came=link.pump, keeps=self.policy != "local")
        self._client = client
        link.sequencer.attach(client.bridge)
        client.start()
        end = time.monotonic() + _START_S
        while client.state == "connecting" and time.monotonic() < end:  # noqa: ASYNC110 - only at the start
            await asyncio.sleep(0.002)

    def watch(self, link: SequencerLink) -> None:
        """Note by which link the sequencer will tell how the broker is."""
        self._link = link

    def close(self) -> None:
        """Leave the broker."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def abandon(self) -> None:
        """In a forked child, let go of the parent's client."""
        client, self._client = self._client, None
        if client is not None:
            client.abandon()

    # ---- how it is

    def told(self, state: bytes) -> None:
        """Note what the sequencer tells of the broker."""
        self._state = json.loads(state)
        assert self._link is not None
        self._link.is_refusing = self._refusal is not None

    @property
    def _refusal(self) -> str | None:
        """Why publishing raises now; None: it does not."""
        if self.policy == "raise" and self._state.get("state") in ("down", "deaf"):
            return "the broker is away: expected to be published later (broker_down='raise')"
        if self.policy == "queue" and self._state.get("is_full"):
            return "the broker does not take what waits for it: expected to be published later"
        return None

    def check(self) -> None:
        """Raise SockwaveError where nothing is to be published now."""
        refusal = self._refusal
        if refusal is not None:
            raise SockwaveError(f"publish: {refusal}")

    def find_health(self) -> Health:
        """Return how the way is."""
        if self._link is None or not self._link.output.is_open or not self._state:
            return Health("degraded", None)
        state = self._state["state"]
        status: Status = "degraded"
        if state in ("up", "deaf"):
            status = "ok" if state == "up" else "deaf"
        return Health(status, state, *(self._state[name] for name in _COUNTS))
