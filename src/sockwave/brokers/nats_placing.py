"""How messages get their places at JetStream, those of topics with a history, and deltas.

The messages of a topic stand on one subject of the stream, each behind a line with its epoch and
its offset. Whoever publishes proposes the offset that follows the last one, and the server takes
the message only if nothing has come behind that meanwhile (`Nats-Expected-Last-Subject-Sequence`):
so a message gets its place in one step, whoever else publishes. What waits meanwhile goes next; in
one batch, which the server takes whole or not at all, where it is so much that this is faster.
(Sequences of a stream that all topics share would need no proposal, but have gaps: nobody could
tell which of them are messages that are lost.)
"""

import hashlib
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic

from sockwave.brokers.interface import Bounds, Key
from sockwave.brokers.nats_answers import (
    CONFLICTS,
    NO_MESSAGE,
    NO_STREAM,
    PASSING_ERRORS,
    describe,
    find_refusal,
    forbidden,
    may_pass,
    read_answer,
)
from sockwave.brokers.nats_logs import Log, Logs, Message, learn
from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, Answer, NatsRequests
from sockwave.brokers.nats_stream import HeardStream, Then
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.brokers.nats_wire import pack_message
from sockwave.waits import FullJitter

# Of one batch: JetStream takes up to 1,000 messages, and keeps them in memory until the last.
_BATCH_COUNT = 500
_BATCH_SIZE = 512 << 10

# How long a message takes to be stored, and a batch, before any was: the server writes a batch to
# the disk twice, and waits for that.
_SINGLE_S = 0.0005
_BATCH_S = 0.02

# Batches that are on their way at a time; JetStream takes 50, of all hosts.
_MOST_BATCHES = 8

# Others were faster: so often it is tried again at once, then after a while, and then the message
# is refused.
_FAST_COUNT = 2
_MOST_CONFLICTS = 200
_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.1

# What the headers of a message may take.
_HEAD_SIZE = 512

# A message that is larger than this goes in parts, also where the server would take it: it ends
# subscribers for whom 64 MiB wait (`max_pending`), and one message may not be all of that.
_MOST_WHOLE_SIZE = 1 << 20

_BATCH_ERRORS = frozenset({10174, 10175, 10176, 10177, 10179, 10199, 10200, 10201, 10210})
_NO_BATCHES = frozenset({10174, 10177})


class Placing(ABC, Generic[Message]):
    """The messages that are on their way to a stream."""

    _stream: HeardStream
    _logs: Logs[Message]

    def __init__(
        self,
        requests: NatsRequests,
        stream: HeardStream,
        logs: Logs[Message],
        host: bytes,
        max_payload: int,
        uploads: NatsUploads,
        call_later: Callable[[float, Callable[[], object]], object],
    ) -> None:
        """Note who is asked and told. `host` is a name of ours alone."""
        self._call_later = call_later
        self._requests, self._stream, self._logs = requests, stream, logs
        self._host = host
        self._max_size = min(max_payload, _MOST_WHOLE_SIZE) - _HEAD_SIZE
        self._uploads = uploads
        self._later: list[Log[Message]] = []
        self._batch_count = 0
        #: How long a message takes on its way, and a batch.
        self._single_s, self._batch_s = _SINGLE_S, _BATCH_S

    def submit(self, messages: Iterable[Message]) -> None:
        """Publish messages."""
        logs: dict[bytes, Log[Message]] = {}
        for message in messages:
            name = message[1]
            log = logs[name] = logs.get(name) or self._logs.provide(name)
            log.waiting.append(message)
        for log in logs.values():
            self._go(log)

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        self._uploads.tick()
        later, self._later = self._later, []
        for log in later:
            log.is_busy = False
            self._go(log)

    def _go(self, log: Log[Message]) -> None:
        if log.waiting and not log.is_busy:
            log.is_busy = True
            self._prepare(log.waiting[0], partial(self._prepared, log))

    def _go_on(self, log: Log[Message]) -> None:
        log.is_busy = False
        self._go(log)

    def _prepared(self, log: Log[Message], error: str | None) -> None:
        if error is not None:
            self._refuse_all(log, error)
        elif log.is_known:
            self._propose(log)
        else:
            taker = partial(self._learned, log)
            self._stream.ask_leader(taker, last_by_subj=log.subject.decode())

    def _refuse_all(self, log: Log[Message], error: str) -> None:
        waiting, log.waiting = log.waiting, deque()
        for message in waiting:
            self._refused(message, error)
        self._go_on(log)

    def _wait(self, log: Log[Message]) -> None:
        """Try again later, from the beginning."""
        log.is_known = False
        self._later.append(log)

    def _learned(self, log: Log[Message], answer: Answer) -> None:
        """Take the last message of a log."""
        refusal = find_refusal(answer)
        if refusal is not None:
            self._refuse_all(log, refusal)
            return
        found, error = read_answer(answer)
        if answer.status or error in PASSING_ERRORS:
            self._wait(log)
        elif error == NO_STREAM:
            self._stream.forget()
            self._go_on(log)
        elif error not in (0, NO_MESSAGE):
            self._refuse_all(log, describe(found))
        else:
            self._take_last(log, found.get("message"))

    def _take_last(self, log: Log[Message], message: dict[str, Any] | None) -> None:
        """Go on behind the last message of a log; None: there is none."""
        learn(log, message)
        self._propose(log)

    def is_large(self, message: Message) -> bool:
        """Tell whether a message goes in parts."""
        return len(message[2]) > self._max_size

    def _upload(self, log: Log[Message]) -> None:
        """Have the parts of a large message stored: then it goes, as what stands for it."""
        message = log.waiting.popleft()
        name, parcel = message[1:3]
        self._uploads.begin(
            name,
            parcel,
            self._name_message(message),
            self._bounds_of(message),
            partial(self._uploaded, log, message),
        )

    def _uploaded(
        self, log: Log[Message], message: Message, reference: bytes, error: str | None
    ) -> None:
        if error is not None:
            self._refuse(log, [message], error)
        else:
            log.waiting.appendleft(self._replace(message, reference))
            self._go_on(log)

    def _propose(self, log: Log[Message]) -> None:
        """Send what waits, as far as it goes in one step."""
        if not log.waiting:
            self._go_on(log)
            return
        if self.is_large(log.waiting[0]):
            self._upload(log)
            return
        unit = self._take_unit(log)
        is_batch = len(unit) > 1
        before = (log.epoch, log.top, log.sequence)
        taker = partial(self._answered, log, unit, before, time.monotonic())
        reply = self._requests.expect(log.subject, taker)
        batch = secrets.token_hex(8).encode() if is_batch else b""
        self._batch_count += is_batch
        parts = []
        for index, message in enumerate(unit, 1):
            head, begin = self._introduce(log, index)
            head += b"Nats-Msg-Id: %b\r\n" % self._name_message(message)
            if index == 1:
                head += b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % log.sequence
            if is_batch:
                head += b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch, index)
            is_last = index == len(unit)
            if is_batch and is_last:
                head += b"Nats-Batch-Commit: 1\r\n"
            line = b"%b %016x %d\n" % (begin, log.epoch, log.top + index)
            parts.append(
                pack_message(log.subject, line + message[2], reply if is_last else b"", head)
            )
        self._requests.write(b"".join(parts))

    def _name_message(self, message: Message) -> bytes:
        """Return by what JetStream knows a message when it is sent again."""
        key: Key = message[0]
        name, id = message[1], message[3]
        if id:
            return b"i" + hashlib.blake2b(name + b"\n" + id, digest_size=20).hexdigest().encode()
        incarnation, number = key
        return b"%b.%d" % (b"%016x" % incarnation if incarnation else self._host, number)

    def _take_unit(self, log: Log[Message]) -> list[Message]:
        """Take from those that wait what is sent next: one message, or a batch."""
        unit: list[Message] = []
        size = 0
        has_batches = (
            self._stream.has_batches
            and not log.single_count
            and self._batch_count < _MOST_BATCHES
            and len(log.waiting) * self._single_s > self._batch_s
        )  # fmt: skip
        while log.waiting and (not unit or (has_batches and len(unit) < _BATCH_COUNT)):
            size += len(log.waiting[0][2])
            if unit and (size > _BATCH_SIZE or self.is_large(log.waiting[0])):
                break
            if not self._follow(log, log.waiting[0], unit):
                break
            unit.append(log.waiting.popleft())
        return unit

    def _answered(
        self,
        log: Log[Message],
        unit: list[Message],
        before: tuple[int, int, int],
        began_s: float,
        answer: Answer,
    ) -> None:
        """Take what became of a message, or of a batch."""
        is_batch = len(unit) > 1
        self._batch_count -= is_batch
        log.single_count = max(log.single_count - (not is_batch), 0)
        if answer.status == FORBIDDEN:
            self._refuse(log, unit, forbidden(answer.message))
            return
        found, error_number = read_answer(answer)
        if answer.status or error_number:
            self._failed(log, unit, before, answer, found, error_number)
            return
        log.conflict_count, log.waits = 0, None
        self._measure(time.monotonic() - began_s, is_batch=is_batch)
        sequence = int(found["seq"])
        if found.get("duplicate"):
            self._stream.ask_leader(partial(self._found_earlier, log, unit[0]), seq=sequence)
            return
        epoch, top, _ = before
        self._note_stored(log, epoch, top + len(unit), sequence)
        for index, message in enumerate(unit, 1):
            self._placed(log, message, epoch, top + index, index)
        self._go_on(log)

    def _measure(self, taken_s: float, *, is_batch: bool) -> None:
        """Note how long the server has taken: which way is faster is seen by that."""
        if is_batch:
            self._batch_s += (taken_s - self._batch_s) / 8
        else:
            self._single_s += (taken_s - self._single_s) / 8

    def _failed(
        self,
        log: Log[Message],
        unit: list[Message],
        before: tuple[int, int, int],
        answer: Answer,
        found: dict[str, Any],
        error: int,
    ) -> None:
        """Try again what was not taken, or refuse it."""
        passes = answer.status != 0 or error in PASSING_ERRORS
        if passes or error in CONFLICTS or (error in _BATCH_ERRORS and len(unit) > 1):
            log.waiting.extendleft(reversed(unit))
        if answer.status == NOBODY:
            self._stream.forget()  # it is made again, or JetStream is not there
        if passes:
            self._wait(log)
        elif error in CONFLICTS:
            log.conflict_count += 1
            log.is_known = log.is_known and log.sequence != before[2]
            if log.conflict_count > _MOST_CONFLICTS:
                log.conflict_count = 0
                log.waiting.popleft()
                self._refuse(log, unit[:1], "other hosts were faster, again and again")
                return
            if log.conflict_count <= _FAST_COUNT:
                self._go_on(log)
            else:  # a cluster refuses all while it stores the message of somebody else
                log.waits = log.waits or FullJitter(_FIRST_WAIT_S, _LONGEST_WAIT_S)
                self._call_later(log.waits.take(), partial(self._go_on, log))
        elif error in _BATCH_ERRORS and len(unit) > 1:
            log.single_count = len(unit)
            if error in _NO_BATCHES:
                self._stream.has_batches = False
            self._go_on(log)
        else:
            self._refuse(log, unit, describe(found))

    def _refuse(self, log: Log[Message], unit: list[Message], error: str) -> None:
        for message in unit:
            self._refused(message, error)
        self._go_on(log)

    def _found_earlier(self, log: Log[Message], message: Message, answer: Answer) -> None:
        """Tell where a message stands that was stored before; it may be gone."""
        found, error = read_answer(answer)
        if may_pass(answer, error):
            log.waiting.appendleft(message)
            self._wait(log)
            return
        self._placed_earlier(log, message, None if error else found.get("message"))
        self._go_on(log)

    # ---- what each kind of messages is

    @abstractmethod
    def _prepare(self, message: Message, then: Then) -> None:
        """Have the stream there for a message, and call `then`."""

    @abstractmethod
    def _bounds_of(self, message: Message) -> Bounds:
        """Return what is to be kept of the parts of a message."""

    @abstractmethod
    def _replace(self, message: Message, parcel: bytes) -> Message:
        """Return what is stored in place of a message."""

    def _follow(self, log: Log[Message], message: Message, unit: list[Message]) -> bool:
        """Tell whether a message may be sent behind those of a unit; the first one always is."""
        return True

    @abstractmethod
    def _introduce(self, log: Log[Message], index: int) -> tuple[bytes, bytes]:
        """Return headers of the message at this place of a unit, and what its line begins with."""

    def _note_stored(self, log: Log[Message], epoch: int, offset: int, sequence: int) -> None:
        """Note the place of the last message of a unit."""
        log.note(epoch, offset, sequence)

    @abstractmethod
    def _placed(
        self, log: Log[Message], message: Message, epoch: int, offset: int, index: int
    ) -> None:
        """Tell where the message at a place of its unit stands."""

    @abstractmethod
    def _placed_earlier(
        self, log: Log[Message], message: Message, stored: dict[str, Any] | None
    ) -> None:
        """Tell where a message stands that was stored before, as JetStream tells it.

        None: it has gone; it had its place, which is not known.
        """

    @abstractmethod
    def _refused(self, message: Message, error: str) -> None:
        """Tell that a message was not taken, and why."""
