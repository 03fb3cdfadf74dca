"""Streams that end without their producer, and those that have ended: they go some time later.

When a host has gone, each other one looks which streams it produced, and aborts them: whoever is
first does, as a delta is taken only where no other one has come. Once an hour a host looks at all
streams: of those that have ended long ago, the host that was to delete them has died.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from sockwave.brokers.interface import ABORTED_MESSAGE
from sockwave.brokers.nats_answers import CONFLICTS, PASSING_ERRORS, read_answer
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_newest import NatsNewest
from sockwave.brokers.nats_requests import NOBODY, TIMED_OUT, Answer, NatsRequests
from sockwave.brokers.nats_stored import Delta, draw_epoch
from sockwave.brokers.nats_subjects import subject_of
from sockwave.brokers.nats_wire import pack_message

# So long after its end a stream is deleted: nobody is reading it any more.
_PURGE_S = 90.0

# About so often all streams are looked at.
_SWEEP_S = 3600.0


def _draw_sweep() -> float:
    return random.uniform(0.5, 1.0) * _SWEEP_S  # noqa: S311 - no secret


class NatsEnds:
    """What is to be ended, or deleted."""

    def __init__(
        self,
        requests: NatsRequests,
        stream: DeltaStream,
        newest: NatsNewest,
        topics: bytes,
        found_producer: Callable[[bytes], object],
    ) -> None:
        """Note who is asked.

        `topics` is what the subjects begin with on which hosts hear topics; `found_producer` is
        called with the host of each stream that has not ended.
        """
        self._requests, self._stream, self._newest = requests, stream, newest
        self._topics = topics
        self._found_producer = found_producer
        #: Hosts that have gone, and those of the look that is under way.
        self._gone: set[bytes] = set()
        self._looked_for: set[bytes] = set()
        self._is_looking = self._is_sweeping = False
        #: Streams that have ended: when they go, the topic, and the last sequence.
        self._ended: deque[tuple[float, bytes, int]] = deque()
        self._sweep_s = time.monotonic() + _draw_sweep()

    def abort(self, host: bytes) -> None:
        """Abort the streams of a host that has gone, unless another host has done it."""
        self._gone.add(host)
        self._look()

    def ended(self, name: bytes, sequence: int) -> None:
        """Note that a stream has ended with this sequence: it is deleted later."""
        self._ended.append((time.monotonic() + _PURGE_S, name, sequence))

    def tick(self) -> None:
        """Do what is due, and try again what was not possible a moment ago, once a tick."""
        now = time.monotonic()
        while self._ended and self._ended[0][0] <= now:
            self.purge(*self._ended.popleft()[1:])
        if self._stream.is_used and now >= self._sweep_s:
            self._sweep_s = now + _draw_sweep()
            self._is_sweeping = True
        self._look()

    # ---- deleting

    def purge(self, name: bytes, sequence: int) -> None:
        """Delete what there is of a stream, up to a sequence; what follows is another one."""
        self._stream.purge(self._stream.subject_of(name), sequence, lambda _: None)

    def purge_lost(self, name: bytes, sequence: int) -> None:
        """Delete a stream that is not whole any more, and tell its readers."""
        subject = self._stream.subject_of(name)
        self._stream.purge(subject, sequence, lambda _: self.tell_lost(name))

    def tell_lost(self, name: bytes) -> None:
        """Have all hosts look at a stream that is lost: they hear of an epoch that there is not."""
        line = b"1s %016x 2\n" % draw_epoch()
        self._requests.write(pack_message(self._topics + subject_of(name), line))

    # ---- aborting

    def _look(self) -> None:
        """Look at all streams, where there is a reason to."""
        if not self._is_looking and (self._gone or self._is_sweeping):
            self._is_looking = True
            self._looked_for, self._gone = self._gone, set()
            self._stream.find(self._found_stream)

    def _found_stream(self, error: str | None) -> None:
        if error is not None:
            self._is_looking = self._is_sweeping = False  # there are no streams, or none for us
        else:
            self._stream.ask_subjects(0, partial(self._take_subjects, 0))

    def _break_off(self) -> None:
        """Look again with the next tick."""
        self._is_looking = False
        self._gone |= self._looked_for

    def _take_subjects(self, place: int, answer: Answer) -> None:
        found, error = read_answer(answer)
        if answer.status or error:
            self._break_off()
            return
        subjects = [one.encode() for one in (found["state"].get("subjects") or {})]
        after = place + len(subjects)
        is_last = not subjects or after >= found.get("total", 0)
        self._newest.ask_subjects(subjects, partial(self._take_newest, 0 if is_last else after))

    def _take_newest(self, place: int, found: dict[bytes, Delta] | None) -> None:
        """Look at streams by their newest deltas, and then at those that follow them."""
        if found is None:
            self._break_off()
            return
        for name, delta in found.items():
            if self._stream.is_over(delta):
                self.purge(name, delta.sequence)
            elif not delta.state.end and delta.state.host in self._looked_for:
                self._abort(name, delta)
            elif not delta.state.end:
                self._found_producer(delta.state.host)
        if place:
            self._stream.ask_subjects(place, partial(self._take_subjects, place))
        else:
            self._is_looking = self._is_sweeping = False
            self._look()

    def _abort(self, name: bytes, delta: Delta) -> None:
        """Append the end of a stream, unless anything else has come meanwhile."""
        subject = self._stream.subject_of(name)
        reply = self._requests.expect(subject, partial(self._aborted, name, delta.state.host))
        state = delta.state._replace(end=b"a")
        head = state.pack() + b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % delta.sequence
        message = b"1s %016x %d\n%b" % (delta.epoch, delta.offset + 1, ABORTED_MESSAGE)
        self._requests.write(pack_message(subject, message, reply, head))

    def _aborted(self, name: bytes, host: bytes, answer: Answer) -> None:
        found, error = read_answer(answer)
        if answer.status in (NOBODY, TIMED_OUT) or error in CONFLICTS or error in PASSING_ERRORS:
            self._gone.add(host)  # somebody else was faster, or it is not possible now
        elif not answer.status and not error:
            self.ended(name, int(found["seq"]))
