"""What hosts have declared of their topics, at a server of NATS: for those who are no hosts.

A program that publishes knows of no settings. So each host writes its own into one stream of
JetStream, with a subject for each topic or pattern, of which the newest message is kept:
a line `1d MESSAGES BYTES MILLISECONDS` and the pattern, or a line `1d -` where nothing is kept of
it. What no host has said for a day goes by itself; hosts say it again once an hour.
"""

import re
import time
from collections.abc import Callable, Iterable
from functools import partial

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import (
    PASSING_ERRORS,
    SECOND,
    Forbidden,
    NoLogs,
    describe,
    find_refusal,
    forbidden,
    read_answer,
    read_stamp,
)
from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, Answer, NatsRequests
from sockwave.brokers.nats_state import find_largest
from sockwave.brokers.nats_stream import KeptStream, LogStream
from sockwave.brokers.nats_wire import pack_message
from sockwave.core.topics.wildcards import Patterns, check_pattern

# What no host has said for so long counts no more.
_LIFE_S = 24 * 3600

# What a host has said for less than this, it does not say again: settings change one by one.
_RENEWAL_S = 1800.0

# So many are on their way at a time.
_WINDOW_COUNT = 64

# Of one answer of the server.
_PAGE_COUNT = 1000
_PAGE_SIZE = 1 << 20

# More of them are not taken from a server: their names would be tens of MiB.
_MOST_COUNT = 100_000

_SAID = re.compile(rb"1d (?:-|(\d{1,19}) (\d{1,20}) (\d{1,15}))\n(.+)", re.DOTALL)

# What is kept of declarations is the same for all.
_NO_BOUNDS: Bounds = (1, 1, 1.0)


class DeclarationStream(KeptStream):
    """The stream of what is declared, which has one message for each pattern."""

    suffix = b"+declared"
    branch = b".d."
    description = "What hosts of sockwave have declared of topics"

    def bound_fields(self, _: Bounds) -> dict[str, int]:
        """Return what of its configuration bounds what it keeps."""
        return {"max_msgs_per_subject": 1, "max_age": _LIFE_S * SECOND}


class NatsDeclarations:
    """What a host has to say of its topics, until the stream has it."""

    def __init__(
        self,
        requests: NatsRequests,
        stream: DeclarationStream,
        logs: LogStream,
        refused: Callable[[str], object],
        done: Callable[[], object],
    ) -> None:
        """Note who is asked.

        `refused` is called with why something could not be said, `done` when nothing is left.
        """
        self._requests, self._stream, self._logs = requests, stream, logs
        self._refused, self._done = refused, done
        #: What has not been said, and how much of it is on its way.
        self._due: dict[str, Bounds | None] = {}
        self._sent_count = 0
        #: What the stream has, and since when.
        self._said: dict[str, tuple[Bounds | None, float]] = {}
        self._is_preparing = self._later = False

    @property
    def is_busy(self) -> bool:
        """Whether something has not been said."""
        return bool(self._due or self._sent_count)

    def declare(self, declared: Iterable[tuple[str, Bounds | None]]) -> None:
        """Say what is kept of topics; None: they are plain ones."""
        now = time.monotonic()
        for pattern, bounds in declared:
            said, said_s = self._said.get(pattern, (None, -_RENEWAL_S))
            if said != bounds or now - said_s >= _RENEWAL_S:
                self._due[pattern] = bounds
        self._go()

    def forget(self) -> None:
        """Have all said again: the stream may have lost it."""
        self._said.clear()

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        self._later = False
        self._go()

    def _go(self) -> None:
        """Have the streams made, that of the messages too: who is no host knows nothing of it."""
        if self._due and not self._is_preparing and not self._sent_count:
            self._is_preparing = True
            kept = [bounds for bounds in self._due.values() if bounds is not None]
            self._logs.want(find_largest(kept), self._prepared_logs)

    def _prepared_logs(self, error: str | None) -> None:
        if error is not None:
            self._prepared(error)
        else:
            self._stream.want(_NO_BOUNDS, self._prepared)

    def _prepared(self, error: str | None) -> None:
        self._is_preparing = False
        if error is None:
            self._send_more()
            return
        self._due.clear()
        if not isinstance(error, NoLogs) or isinstance(error, Forbidden):
            self._refused(error)  # else who needs what is not there is told so
        self._finish()

    def _send_more(self) -> None:
        while self._due and self._sent_count < _WINDOW_COUNT and not self._later:
            self._send(*self._due.popitem())

    def _send(self, pattern: str, bounds: Bounds | None) -> None:
        subject = self._stream.subject_of(pattern.encode())
        reply = self._requests.expect(subject, partial(self._stored, pattern, bounds))
        self._sent_count += 1
        self._requests.write(pack_message(subject, write_declared(pattern, bounds), reply))

    def _stored(self, pattern: str, bounds: Bounds | None, answer: Answer) -> None:
        self._sent_count -= 1
        found, error = read_answer(answer)
        if answer.status == FORBIDDEN:
            self._refused(forbidden(answer.message))
        elif answer.status or error in PASSING_ERRORS:
            if answer.status == NOBODY:
                self._stream.forget()
            self._due.setdefault(pattern, bounds)
            self._later = True
        elif error:
            self._refused(describe(found))
        else:
            self._said[pattern] = bounds, time.monotonic()
        self._send_more()
        self._finish()

    def _finish(self) -> None:
        if not self.is_busy:
            self._done()


def write_declared(pattern: str, bounds: Bounds | None) -> bytes:
    """Return what says what is kept of topics."""
    if bounds is None:
        return b"1d -\n" + pattern.encode()
    count, size, ttl_s = bounds
    return b"1d %d %d %d\n%b" % (count, size, round(ttl_s * 1000), pattern.encode())


def read_declared(message: bytes) -> tuple[str, Bounds | None] | None:
    """Return a pattern and what is kept of it; None: it is said by none of ours."""
    found = _SAID.fullmatch(message)
    if found is None:
        return None
    try:
        pattern = check_pattern(found[4].decode())
    except ValueError:
        return None
    if found[1] is None:
        return pattern, None
    return pattern, (int(found[1]), int(found[2]), int(found[3]) / 1000)


class Declared:
    """What hosts have declared, as a program knows it that is no host.

    It is read once, and what is said from then on comes by a subscription.
    """

    def __init__(self, stream: DeclarationStream) -> None:
        self._stream = stream
        #: What is kept of a pattern, and until when that counts.
        self._said: dict[str, tuple[Bounds | None, float]] = {}
        self._patterns: Patterns | None = None
        self._until = 0.0
        self._has_kept = False
        self._sequence = 0
        self._came = self._later = False
        #: Whether it has been read, or cannot be.
        self.is_read = False

    @property
    def has_kept(self) -> bool:
        """Whether anything is kept of any topic."""
        self._know()
        return self._has_kept

    def read(self) -> None:
        """Read what there is; `is_read` says when that is done."""
        self._stream.want(_NO_BOUNDS, self._prepared)

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        if self._later:
            self._later = False
            self.read()

    def _prepared(self, error: str | None) -> None:
        if error is not None:
            self.is_read = True
        else:
            self._ask_more()

    def _ask_more(self) -> None:
        self._came = False
        all_subjects = self._stream.begin + b">"
        self._stream.ask_from(self._sequence + 1, all_subjects, _PAGE_COUNT, _PAGE_SIZE, self._take)

    def _take(self, answer: Answer) -> None:
        if not answer.status:
            self._came = True
            self._sequence, said_ms = read_stamp(answer)
            age_s = max(self._stream.now_ms() - said_ms, 0) / 1000
            self._note(answer.message, age_s, is_newer=False)
        elif answer.status in (204, 404):
            if self._came:
                self._ask_more()
            else:
                self.is_read = True
        elif answer.status == FORBIDDEN or find_refusal(answer) is not None:
            self.is_read = True
        else:
            self._later = True

    def hear(self, message: bytes) -> None:
        """Take what a host says now."""
        self._note(message, 0, is_newer=True)

    def _note(self, message: bytes, age_s: float, *, is_newer: bool) -> None:
        found = read_declared(message)
        if found is None:
            return
        pattern, bounds = found
        before = self._said.get(pattern)
        if (before is not None and not is_newer) or (
            before is None and len(self._said) >= _MOST_COUNT
        ):
            return
        self._said[pattern] = (bounds, time.monotonic() + _LIFE_S - age_s)
        if before is None or before[0] != bounds:
            self._patterns = None

    def find(self, name: bytes) -> Bounds | None:
        """Return what is kept of a topic; None: it is a plain one, or nobody has said anything."""
        found: tuple[Bounds | None] | None = self._know().best(name.decode())
        return None if found is None else found[0]

    def _know(self) -> Patterns:
        """Return what counts now, once something has been said, or has become too old."""
        now = time.monotonic()
        if self._patterns is None or now >= self._until:
            self._said = {one: said for one, said in self._said.items() if said[1] > now}
            self._until = min((until for _, until in self._said.values()), default=now + _LIFE_S)
            self._has_kept = any(bounds is not None for bounds, _ in self._said.values())
            self._patterns = Patterns()
            for pattern, (bounds, _) in self._said.items():
                self._patterns.add(pattern, (bounds,))
        return self._patterns
