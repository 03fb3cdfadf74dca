"""What a host knows of the logs, and of the streams of deltas, that JetStream keeps."""

from collections import deque
from typing import Any, Generic, TypeVar

from sockwave.brokers.interface import Appended, Submitted
from sockwave.brokers.nats_stored import Delta, DeltaState, draw_epoch, read_stored
from sockwave.brokers.nats_subjects import subject_of
from sockwave.waits import FullJitter

#: What gets its place: a message of a topic with a history, or a delta.
Message = TypeVar("Message", Submitted, Appended)

# Topics whose last place is remembered; that of another is asked for.
_LOG_COUNT = 10_000


class Log(Generic[Message]):
    """What is known of one log."""

    def __init__(self, name: bytes, subject: bytes) -> None:
        self.name, self.subject = name, subject
        self.epoch = self.top = 0
        #: The sequence of its last message.
        self.sequence = 0
        #: Whether this may be the last place.
        self.is_known = False
        self.is_busy = False
        self.waiting: deque[Message] = deque()
        #: So many of those that wait go one by one: a batch with them was refused.
        self.single_count = 0
        self.conflict_count = 0
        self.waits: FullJitter | None = None
        # Of a stream of deltas: an `epoch` of 0 says that there is none.
        #: What it is with its last delta, and with each of those that are on their way.
        self.state = DeltaState()
        self.proposed: list[DeltaState] = []
        #: When it ended, in milliseconds by the server's clock.
        self.ended_ms = 0.0
        #: Whether that is as the server has just told it.
        self.is_learned = False
        #: Whether the topic has no messages, so that a stream may begin.
        self.is_free = False
        #: The last sequence of the stream that was there before the one that begins.
        self.old_sequence = 0

    def note(self, epoch: int, offset: int, sequence: int) -> None:
        """Note a place, unless a later one is known."""
        if sequence > self.sequence or not self.is_known:
            self.epoch, self.top, self.sequence = epoch, offset, sequence
            self.is_known = True

    def note_delta(self, delta: Delta) -> None:
        """Note a delta, unless a later one is known."""
        if delta.sequence > self.sequence or not self.is_known:
            self.state, self.ended_ms = delta.state, delta.time_ms
        self.note(delta.epoch, delta.offset, delta.sequence)

    def have_no_stream(self) -> None:
        """Have it be no stream, until another one begins."""
        self.epoch = self.top = 0
        self.state = DeltaState()
        self.is_free = False

    def begin_anew(self, sequence: int) -> None:
        """Have the next message begin another log, behind a sequence."""
        self.epoch, self.top, self.sequence = draw_epoch(), 0, sequence
        self.is_known = True


class Logs(Generic[Message]):
    """What is known of the logs of all topics."""

    def __init__(self, begin: bytes) -> None:
        """Note what the subjects of the logs begin with."""
        self._begin = begin
        self._logs: dict[bytes, Log[Message]] = {}

    def provide(self, name: bytes) -> Log[Message]:
        """Return what is known of a topic's log, from now on something."""
        log = self._logs.get(name)
        if log is None:
            if len(self._logs) >= _LOG_COUNT:
                idle = (one for one in self._logs.values() if not one.is_busy and not one.waiting)
                oldest = next(idle, None)
                if oldest is not None:
                    del self._logs[oldest.name]
            log = self._logs[name] = Log(name, self._begin + subject_of(name))
        return log

    def find(self, name: bytes) -> Log[Message] | None:
        """Return what is known of a topic's log; None: nothing is."""
        return self._logs.get(name)

    def heard(self, name: bytes, epoch: int, offset: int, sequence: int) -> bool:
        """Note a message that was stored; return whether it is of another log than we knew."""
        log = self._logs.get(name)
        if log is None:
            return True
        is_other = log.epoch != epoch
        log.note(epoch, offset, sequence)
        return is_other


def learn(log: Log[Any], message: dict[str, Any] | None) -> None:
    """Note the last message of a log, None: there is none.

    A log that is not there, or ends before what we knew, or with what is no message of ours, is
    another one from here on.
    """
    place = read_stored(message)
    sequence = 0 if message is None else int(message["seq"])
    if place is None or (place[0] == log.epoch and place[1] < log.top):
        log.begin_anew(sequence)
    else:
        log.epoch, log.top, log.sequence = place[0], place[1], sequence
        log.is_known = True
