"""Deltas of streams, on their way to the stream of JetStream that keeps them.

The newest delta of a topic says what its stream is: so whether another one may follow is known
before it is sent, and the server takes it only if nothing has come meanwhile. What is refused may
have been taken before, and is sent again: then the server is asked first whether it knows it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sockwave.brokers.interface import Appended, Bounds, Key
from sockwave.brokers.nats_answers import NO_MESSAGE, NO_STREAM, may_pass, read_answer
from sockwave.brokers.nats_deltas import DeltaStream, bounds_of_parts
from sockwave.brokers.nats_ends import NatsEnds
from sockwave.brokers.nats_logs import Log, Logs
from sockwave.brokers.nats_placing import Placing
from sockwave.brokers.nats_requests import Answer, NatsRequests
from sockwave.brokers.nats_stored import DeltaState, draw_epoch, read_told_delta
from sockwave.brokers.nats_stream import LogStream, Then
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.brokers.nats_wire import pack_message

# No message has this name: with it, none is stored but what is known already.
_NO_NAME = b"-"


class DeltaOutcomes(Protocol):
    """Who is told what became of deltas."""

    @property
    def append_size(self) -> int:
        """How many bytes of deltas a stream has at most."""

    def appended(self, key: Key, epoch: int, offset: int, *, is_producer: bool) -> None:
        """Note where a delta stands, and whether its worker is the one that began the stream."""

    def not_appended(self, key: Key, code: bytes) -> None:
        """Note that a delta cannot be appended, and why, in a word."""

    def delta_refused(self, key: Key, error: str) -> None:
        """Note that the broker has not taken a delta, and why."""


class NatsAppends(Placing[Appended]):
    """The deltas that are on their way."""

    _stream: DeltaStream

    def __init__(
        self,
        requests: NatsRequests,
        stream: DeltaStream,
        logs: Logs[Appended],
        histories: LogStream,
        outcomes: DeltaOutcomes,
        ends: NatsEnds,
        host: bytes,
        max_payload: int,
        uploads: NatsUploads,
        call_later: Callable[[float, Callable[[], object]], object],
    ) -> None:
        """Note who is asked and told. `host` is the name of this one."""
        super().__init__(requests, stream, logs, host, max_payload, uploads, call_later)
        self._histories = histories
        self._outcomes = outcomes
        self._ends = ends

    # ---- whether a delta may follow

    def _take_last(self, log: Log[Appended], message: dict[str, Any] | None) -> None:
        delta = None if message is None else read_told_delta(message)
        log.sequence = 0 if message is None else int(message["seq"])
        log.is_known = log.is_learned = True
        if delta is None:
            log.have_no_stream()
        else:
            log.epoch, log.top = delta.epoch, delta.offset
            log.state, log.ended_ms = delta.state, delta.time_ms
        self._propose(log)

    def _propose(self, log: Log[Appended]) -> None:
        """Send what waits, as far as it goes in one step, or refuse the first one."""
        while log.waiting and not log.waiting[0][2]:
            self._tell_producer(log, log.waiting.popleft())
        if not log.waiting:
            self._go_on(log)
            return
        if log.state.end and self._stream.is_past(log.ended_ms):
            log.have_no_stream()
        code = self._find_objection(log, log.waiting[0], log.state)
        if code and not log.is_learned:
            log.is_known = False
            self._go_on(log)
        elif code:
            log.is_learned = False
            self._object(log, code)
        elif not log.epoch and not log.is_free:
            taker = partial(self._learned_free, log)
            subject = self._histories.subject_of(log.name)
            self._histories.ask_leader(taker, last_by_subj=subject.decode())
        else:
            log.is_learned = False
            super()._propose(log)

    def _tell_producer(self, log: Log[Appended], message: Appended) -> None:
        """Answer for a delta that has its place: each delta of a stream says who produces that."""
        key, _, _, _, epoch, offset, *_ = message
        if epoch == log.epoch:
            is_ours = is_producer(log.state, message)
            self._outcomes.appended(key, epoch, offset, is_producer=is_ours)
        else:
            self._outcomes.not_appended(key, b"lost")

    def _find_objection(self, log: Log[Appended], message: Appended, state: DeltaState) -> bytes:
        """Return why a delta cannot follow what a stream is, in a word; b"": it can."""
        _, _, _, _, epoch, placed, joins, begins, kind, size, _ = message
        if not log.epoch:
            is_lost = not begins
        elif epoch == log.epoch:
            is_lost = log.top < placed
        else:
            is_lost = not joins
        if is_lost:
            return b"lost"
        if state.end:
            return b"ended"
        if kind and state.kind and kind != state.kind:
            return b"kind"
        return b"size" if size > self._outcomes.append_size - state.size else b""

    def _learned_free(self, log: Log[Appended], answer: Answer) -> None:
        """Begin a stream, unless the topic has a history."""
        _, error = read_answer(answer)
        if may_pass(answer, error):
            self._wait(log)
        elif answer.status or error in (NO_STREAM, NO_MESSAGE):
            log.is_free = True
            self._propose(log)
        else:
            self._outcomes.not_appended(log.waiting.popleft()[0], b"messages")
            self._go_on(log)

    def _object(self, log: Log[Appended], code: bytes) -> None:
        """Refuse the first delta that waits, unless it was taken before."""
        message = log.waiting.popleft()
        if code != b"lost":
            taker = partial(self._asked, log, message, code)
            reply = self._requests.expect(log.subject, taker)
            head = b"Nats-Msg-Id: %b\r\nNats-Expected-Last-Msg-Id: %b\r\n" % (
                self._name_message(message), _NO_NAME,
            )  # fmt: skip
            self._requests.write(pack_message(log.subject, b"", reply, head))
            return
        if not log.epoch:
            self._ends.tell_lost(log.name)
        elif log.epoch == message[4]:  # a part that we knew of is lost, and so is all of it
            self._ends.purge_lost(log.name, log.sequence)
        log.is_known = False
        self._outcomes.not_appended(message[0], code)
        self._go_on(log)

    def _asked(self, log: Log[Appended], message: Appended, code: bytes, answer: Answer) -> None:
        """Take whether the server knows a delta that cannot follow."""
        found, error = read_answer(answer)
        if may_pass(answer, error):
            log.waiting.appendleft(message)
            self._wait(log)
        elif found.get("duplicate"):
            self._stream.ask_leader(partial(self._found_earlier, log, message), seq=found["seq"])
        else:
            self._outcomes.not_appended(message[0], code)
            self._go_on(log)

    # ---- what is sent

    def _prepare(self, message: Appended, then: Then) -> None:
        self._stream.want(self._bounds_of(message), then)

    def _bounds_of(self, message: Appended) -> Bounds:
        return bounds_of_parts(self._outcomes.append_size)

    def _replace(self, message: Appended, parcel: bytes) -> Appended:
        return (*message[:2], parcel, *message[3:])

    def _follow(self, log: Log[Appended], message: Appended, unit: list[Appended]) -> bool:
        worker = message[0][0]
        if unit:
            state = log.proposed[-1]
            if not message[2] or self._find_objection(log, message, state):
                return False
        else:
            log.proposed.clear()
            if not log.epoch:
                log.epoch, log.top = message[4] or draw_epoch(), 0
                log.state = DeltaState(host=self._host, worker=worker)
                log.old_sequence = log.sequence
            state = log.state
        kind, size, end = message[8:]
        log.proposed.append(
            DeltaState(
                state.size + size,
                state.kind or kind,
                end,
                self._host if is_producer(state, message) else state.host,
                state.worker,
            )
        )
        return True

    def _introduce(self, log: Log[Appended], index: int) -> tuple[bytes, bytes]:
        return log.proposed[index - 1].pack(), b"1s"

    # ---- what became of it

    def _note_stored(self, log: Log[Appended], epoch: int, offset: int, sequence: int) -> None:
        state = log.proposed[-1]
        if sequence > log.sequence or not log.is_known:
            log.state, log.ended_ms = state, self._stream.now_ms()
        log.note(epoch, offset, sequence)
        if log.old_sequence and offset == len(log.proposed):
            self._ends.purge(log.name, log.old_sequence)  # of a stream that was there before
        log.old_sequence = 0
        if state.end:
            self._ends.ended(log.name, sequence)

    def _placed(
        self, log: Log[Appended], message: Appended, epoch: int, offset: int, index: int
    ) -> None:
        is_ours = is_producer(log.proposed[index - 1], message)
        self._outcomes.appended(message[0], epoch, offset, is_producer=is_ours)

    def _placed_earlier(
        self, log: Log[Appended], message: Appended, stored: dict[str, Any] | None
    ) -> None:
        delta = None if stored is None else read_told_delta(stored)
        epoch, offset, state = log.epoch, 0, log.state
        if delta is not None:
            epoch, offset, _, _, state = delta
        is_ours = is_producer(state, message)
        self._outcomes.appended(message[0], epoch, offset, is_producer=is_ours)

    def _refused(self, message: Appended, error: str) -> None:
        self._outcomes.delta_refused(message[0], error)

    def _refuse(self, log: Log[Appended], unit: list[Appended], error: str) -> None:
        log.is_known = False  # a stream that was to begin has not
        super()._refuse(log, unit, error)


def is_producer(state: DeltaState, message: Appended) -> bool:
    """Tell whether the worker that appends a delta is the one that produces the stream."""
    worker = message[0][0]
    return worker != 0 and worker == state.worker
