"""How a host reads what the stream has of a topic's log."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

from sockwave.brokers.interface import Bounds, Page
from sockwave.brokers.nats_answers import (
    NO_MESSAGE,
    NO_STREAM,
    PASSING_ERRORS,
    data_of,
    describe,
    find_refusal,
    read_answer,
    read_stamp,
    read_time,
)
from sockwave.brokers.nats_downloads import NatsDownloads
from sockwave.brokers.nats_logs import Log, Logs, learn
from sockwave.brokers.nats_parts import LARGE, Reference, read_reference
from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, Answer, NatsRequests
from sockwave.brokers.nats_stored import read_place
from sockwave.brokers.nats_stream import HeardStream, Then
from sockwave.brokers.nats_wire import pack_message

# Of one page, about; of one answer of the server.
_PAGE_SIZE = 1 << 20
_PAGE_COUNT = 1000

# So many reads go on at a time: each holds a page.
_READ_COUNT = 32

# So often in a row another log cannot begin, as something else is stored.
_MOST_CONFLICTS = 5


class _Large(NamedTuple):
    """A large message of a page: its parts are read next, and nothing else of it before."""

    sequence: int
    offset: int
    time_ms: float
    #: None: it has none that can be.
    reference: Reference | None


class Read:
    """One page that is being read, behind a position."""

    def __init__(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        self.name, self.number = name, number
        self.epoch, self.offset = epoch, offset
        self.bounds = bounds
        #: The log, as far as its last message says.
        self.log: Log[Any] | None = None
        self.top = self.last_sequence = 0
        #: Behind which sequence the next messages are looked for.
        self.sequence = 0
        self.entries: list[tuple[int, float, bytes]] = []
        self.size = 0
        self.came = False
        #: The large message that comes next; a page has what is before it, or it alone.
        self.large: _Large | None = None
        self.conflict_count = 0


class NatsPages:
    """The pages that are asked for."""

    #: What the line of each message begins with.
    kind: ClassVar[bytes] = b"1o"

    def __init__(
        self,
        requests: NatsRequests,
        stream: HeardStream,
        logs: Logs[Any],
        downloads: NatsDownloads,
        took: Callable[[bytes, int, Page], object],
        failed: Callable[[bytes, int, str], object],
    ) -> None:
        """Note who is asked.

        `took` is called with the name of a topic, the number of the read, and the page; `failed`
        with why there is none.
        """
        self._requests, self._stream, self._logs = requests, stream, logs
        self._downloads = downloads
        self._took, self._failed = took, failed
        self._waiting: deque[Read] = deque()
        self._read_count = 0
        self._later: list[Read] = []
        #: Of pages behind which more is asked for: name → epoch, offset, sequence.
        self._ends: dict[bytes, tuple[int, int, int]] = {}

    def read(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        """Read a log behind a position."""
        self._waiting.append(Read(name, number, epoch, offset, bounds))
        self._begin_next()

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        self._downloads.tick()
        later, self._later = self._later, []
        for one in later:
            self._begin(one)

    def _begin_next(self) -> None:
        while self._waiting and self._read_count < _READ_COUNT:
            self._read_count += 1
            self._begin(self._waiting.popleft())

    def _begin(self, one: Read) -> None:
        one.large = None
        self._prepare(one, partial(self._prepared, one))

    def _prepare(self, one: Read, then: Then) -> None:
        """Have the stream there, and call `then`."""
        self._stream.want(one.bounds, then)

    def _prepared(self, one: Read, error: str | None) -> None:
        if error is not None:
            self._fail(one, error)
            return
        one.log = self._logs.provide(one.name)
        taker = partial(self._learned, one, one.log)
        self._stream.ask_leader(taker, last_by_subj=one.log.subject.decode())

    def _fail(self, one: Read, error: str) -> None:
        self._read_count -= 1
        self._failed(one.name, one.number, error)
        self._begin_next()

    def _check(self, one: Read, answer: Answer) -> tuple[dict[str, Any] | None, int]:
        """Return what was answered, and an error that means something.

        None: the read goes on later, or has failed.
        """
        refusal = find_refusal(answer)
        if refusal is not None:
            self._fail(one, refusal)
            return None, 0
        found, error = read_answer(answer)
        if answer.status or error in PASSING_ERRORS:
            self._later.append(one)
        elif error == NO_STREAM:
            self._stream.forget()
            self._begin(one)  # it is made, or looked for, again
        elif error not in (0, NO_MESSAGE):
            self._fail(one, describe(found))
        else:
            return found, error
        return None, 0

    # ---- where the log ends

    def _learned(self, one: Read, log: Log[Any], answer: Answer) -> None:
        found, error = self._check(one, answer)
        if found is None:
            return
        message = None if error else found["message"]
        if not log.is_busy:
            if one.epoch and (log.epoch != one.epoch or log.top < one.offset):
                log.epoch, log.top = one.epoch, one.offset  # what we knew was there
            learn(log, message)
            place = (log.epoch, log.top, log.sequence)
        else:  # it is about to change, and what is proposed is checked anyway
            other: Log[Any] = Log(log.name, log.subject)
            other.epoch, other.top = one.epoch, one.offset
            learn(other, message)
            place = (other.epoch, other.top, other.sequence)
        is_stored = message is not None and read_place(data_of(message)) == place[:2]
        if is_stored:
            self._go_behind(one, log, place)
        else:
            self._begin_log(one, log, place)

    def _begin_log(self, one: Read, log: Log[Any], place: tuple[int, int, int]) -> None:
        """Say in the stream that another log begins: so all hosts have the same one."""
        epoch, _, sequence = place
        reply = self._requests.expect(log.subject, partial(self._began, one, log, epoch))
        head = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % sequence
        self._requests.write(pack_message(log.subject, b"1o %016x 0\n" % epoch, reply, head))

    def _began(self, one: Read, log: Log[Any], epoch: int, answer: Answer) -> None:
        found, error = read_answer(answer)
        if answer.status or error:
            log.is_known = log.is_known and log.is_busy
            refusal = find_refusal(answer)
            if refusal is not None:
                self._fail(one, refusal)
            elif answer.status or error in PASSING_ERRORS or one.conflict_count > _MOST_CONFLICTS:
                one.conflict_count = 0
                self._later.append(one)
            else:  # somebody else was faster, or the stream has gone
                one.conflict_count += 1
                self._begin(one)
            return
        sequence = int(found["seq"])
        log.note(epoch, 0, sequence)
        self._go_behind(one, log, (epoch, 0, sequence))

    # ---- what is in it

    def _go_behind(self, one: Read, log: Log[Any], place: tuple[int, int, int]) -> None:
        """Read up to the last message, whose place is known."""
        epoch, one.top, one.last_sequence = place
        if epoch != one.epoch:
            one.epoch, one.offset = epoch, 0
            one.entries, one.size = [], 0
        count = one.bounds[0]
        one.offset = max(one.offset, one.top - count)
        end = self._ends.pop(one.name, None)
        if end is not None and end[:2] == (one.epoch, one.offset):
            one.sequence = end[2]
        if one.offset >= one.top:
            self._finish(one)
        else:
            self._ask_more(one)

    def _ask_more(self, one: Read) -> None:
        assert one.log is not None
        one.came = False
        taker = partial(self._take, one)
        self._stream.ask_from(one.sequence + 1, one.log.subject, _PAGE_COUNT, _PAGE_SIZE, taker)

    def _take(self, one: Read, answer: Answer) -> None:
        """Take a message of a page, or its end."""
        if not answer.status:
            one.came = True
            self._take_message(one, *read_stamp(answer), answer.message)
            return
        if answer.status == FORBIDDEN:
            self._check(one, answer)
            return
        if answer.status not in (204, 404):
            if answer.status == NOBODY:
                self._stream.forget()  # it has gone, or has no leader
            self._later.append(one)
            return
        if self._is_done(one):
            self._end(one)
        elif one.came:
            self._ask_more(one)
        else:
            self._ask_leader(one)

    def _ask_leader(self, one: Read) -> None:
        """Ask the stream's leader for the next message: a replica may not have it yet."""
        assert one.log is not None
        taker = partial(self._take_next, one)
        subject = one.log.subject.decode()
        self._stream.ask_leader(taker, seq=one.sequence + 1, next_by_subj=subject)

    def _take_next(self, one: Read, answer: Answer) -> None:
        found, error = self._check(one, answer)
        if found is None:
            return
        if error:  # it has gone meanwhile
            self._finish(one)
            return
        message = found["message"]
        self._take_message(one, message["seq"], read_time(message["time"]), data_of(message))
        if self._is_done(one):
            self._end(one)
        else:
            self._ask_leader(one)

    def _take_message(self, one: Read, sequence: int, time_ms: float, message: bytes) -> None:
        """Keep what belongs into the page: of this log, behind the position, and not too old."""
        if not one.sequence < sequence <= one.last_sequence or self._is_done(one):
            return
        place = read_place(message, self.kind)
        if place is None or place[0] != one.epoch or not one.offset < place[1] <= one.top:
            one.sequence = sequence
            return
        life_s = one.bounds[2]
        if life_s and self._stream.now_ms() - time_ms > life_s * 1000:
            one.sequence = sequence
            return
        begin = message.index(b"\n") + 1
        if message.startswith(LARGE, begin):
            one.large = _Large(sequence, place[1], time_ms, read_reference(message[begin:]))
        else:
            self._keep(one, sequence, place[1], time_ms, message[begin:])

    def _keep(self, one: Read, sequence: int, offset: int, time_ms: float, message: bytes) -> None:
        one.sequence, one.offset = sequence, offset
        one.entries.append((offset, time_ms, message))
        one.size += len(message)

    def _is_done(self, one: Read) -> bool:
        """Tell whether nothing more is read of the log for this page."""
        return (
            one.sequence >= one.last_sequence
            or one.size >= _PAGE_SIZE
            or len(one.entries) >= _PAGE_COUNT
            or one.large is not None
        )

    def _end(self, one: Read) -> None:
        """Tell of the page, or have its one message put together first, where that is large."""
        large = one.large
        if large is None or one.entries:
            self._finish(one)
        elif large.reference is None:
            self._take_whole(one, large, None, "")
        else:
            taker = partial(self._take_whole, one, large)
            self._downloads.begin(one.name, large.reference, one.bounds, taker)

    def _take_whole(self, one: Read, large: _Large, message: bytes | None, error: str) -> None:
        """Take a large message; where a part of it has gone, the log goes on without it."""
        one.large = None
        if error:
            self._fail(one, error)
        elif message is not None:
            self._keep(one, large.sequence, large.offset, large.time_ms, message)
            self._finish(one)
        else:
            one.sequence, one.offset = large.sequence, large.offset
            if one.sequence >= one.last_sequence:
                self._finish(one)
            else:
                self._ask_more(one)

    def _finish(self, one: Read) -> None:
        self._read_count -= 1
        if one.offset < one.top and one.entries:
            if len(self._ends) >= _READ_COUNT:
                self._ends.clear()
            self._ends[one.name] = (one.epoch, one.offset, one.sequence)
        self._took(
            one.name, one.number, (one.epoch, one.top, self._stream.now_ms(), one.entries)
        )  # fmt: skip
        self._begin_next()
