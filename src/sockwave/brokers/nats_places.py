"""Messages of topics with a history, on their way to the stream of JetStream that keeps them."""

from collections.abc import Callable
from typing import Any, Protocol

from sockwave.brokers.interface import Bounds, Key, Submitted
from sockwave.brokers.nats_logs import Log, Logs
from sockwave.brokers.nats_placing import Placing
from sockwave.brokers.nats_requests import NatsRequests
from sockwave.brokers.nats_stored import read_stored
from sockwave.brokers.nats_stream import LogStream, Then
from sockwave.brokers.nats_uploads import NatsUploads


class Outcomes(Protocol):
    """Who is told what became of messages."""

    def placed(self, key: Key, epoch: int, offset: int) -> None:
        """Note where a message stands; offset 0: it is known, and not where it stood."""

    def refused(self, key: Key, error: str) -> None:
        """Note that a message was not taken, and why."""


class NatsPlaces(Placing[Submitted]):
    """The messages that are on their way."""

    _stream: LogStream

    def __init__(
        self,
        requests: NatsRequests,
        stream: LogStream,
        logs: Logs[Submitted],
        outcomes: Outcomes,
        host: bytes,
        max_payload: int,
        uploads: NatsUploads,
        call_later: Callable[[float, Callable[[], object]], object],
    ) -> None:
        """Note who is asked and told. `host` is a name of ours alone."""
        super().__init__(requests, stream, logs, host, max_payload, uploads, call_later)
        self._outcomes = outcomes

    def _prepare(self, message: Submitted, then: Then) -> None:
        self._stream.want(message[4], then)

    def _bounds_of(self, message: Submitted) -> Bounds:
        return message[4]

    def _replace(self, message: Submitted, parcel: bytes) -> Submitted:
        return (*message[:2], parcel, *message[3:])

    def _introduce(self, log: Log[Submitted], index: int) -> tuple[bytes, bytes]:
        return b"", b"1o"

    def _placed(
        self, log: Log[Submitted], message: Submitted, epoch: int, offset: int, index: int
    ) -> None:
        self._outcomes.placed(message[0], epoch, offset)

    def _placed_earlier(
        self, log: Log[Submitted], message: Submitted, stored: dict[str, Any] | None
    ) -> None:
        self._outcomes.placed(message[0], *(read_stored(stored) or (log.epoch, 0)))

    def _refused(self, message: Submitted, error: str) -> None:
        self._outcomes.refused(message[0], error)
