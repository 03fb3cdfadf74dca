"""How a host reads what JetStream has of a stream of deltas."""

from collections.abc import Callable
from typing import Any

from sockwave.brokers.interface import Appended, Page
from sockwave.brokers.nats_answers import NO_STREAM, Forbidden, NoLogs, read_answer
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_downloads import NatsDownloads
from sockwave.brokers.nats_ends import NatsEnds
from sockwave.brokers.nats_logs import Log, Logs
from sockwave.brokers.nats_pages import NatsPages, Read
from sockwave.brokers.nats_requests import Answer, NatsRequests
from sockwave.brokers.nats_stored import read_told_delta
from sockwave.brokers.nats_stream import Then


class NatsDeltaPages(NatsPages):
    """The pages of streams that are asked for."""

    kind = b"1s"

    _stream: DeltaStream

    def __init__(
        self,
        requests: NatsRequests,
        stream: DeltaStream,
        logs: Logs[Appended],
        downloads: NatsDownloads,
        took: Callable[[bytes, int, Page], object],
        failed: Callable[[bytes, int, str], object],
        gone: Callable[[bytes, int], object],
        ends: NatsEnds,
        found_producer: Callable[[bytes], object],
    ) -> None:
        """Note who is asked and told.

        `gone` is called with the name of a topic that is no stream, and the number of the read;
        `found_producer` with the host of one that has not ended.
        """
        super().__init__(requests, stream, logs, downloads, took, failed)
        self._gone, self._ends_of_streams, self._found_producer = gone, ends, found_producer

    def _prepare(self, one: Read, then: Then) -> None:
        self._stream.find(then)

    def _prepared(self, one: Read, error: str | None) -> None:
        if isinstance(error, NoLogs) and not isinstance(error, Forbidden):
            self._finish_gone(one)
        else:
            super()._prepared(one, error)

    def _finish_gone(self, one: Read) -> None:
        self._read_count -= 1
        self._gone(one.name, one.number)
        self._begin_next()

    def _learned(self, one: Read, log: Log[Any], answer: Answer) -> None:
        """Take the newest delta, by which the stream is there, or is not."""
        if not answer.status and read_answer(answer)[1] == NO_STREAM:
            self._stream.forget()
        found, error = self._check(one, answer)
        if found is None:
            return
        delta = None if error else read_told_delta(found["message"])
        if delta is not None:
            log.note_delta(delta)
        if delta is None:
            self._finish_gone(one)
        elif self._stream.is_over(delta):
            self._ends_of_streams.purge(one.name, delta.sequence)
            self._finish_gone(one)
        elif delta.epoch == one.epoch and delta.offset < one.offset:
            self._ends_of_streams.purge_lost(one.name, delta.sequence)
            self._finish_gone(one)
        else:
            if not delta.state.end:
                self._found_producer(delta.state.host)
            self._go_behind(one, log, (delta.epoch, delta.offset, delta.sequence))
