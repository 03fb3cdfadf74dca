"""How a host reads the parts of a large message, and puts them together."""

import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import (
    NO_MESSAGE,
    NO_STREAM,
    PASSING_ERRORS,
    data_of,
    describe,
    find_refusal,
    read_answer,
)
from sockwave.brokers.nats_parts import PartStream, Reference
from sockwave.brokers.nats_requests import NOBODY, Answer
from sockwave.brokers.nats_wire import find_sequence

# So much is asked for at a time: the server never keeps more of it for us.
_WINDOW_SIZE = 1 << 20
_WINDOW_COUNT = 8

# So many messages are put together at a time: each is in memory.
_DOWNLOAD_COUNT = 2

#: Called with the message, None: it has gone, or a part of it; and with why nobody knows, else "".
Downloaded: TypeAlias = Callable[[bytes | None, str], object]


class _Download:
    """One message of which the parts are being read."""

    def __init__(self, name: bytes, reference: Reference, bounds: Bounds, then: Downloaded) -> None:
        self.name, self.reference = name, reference
        self.bounds, self.then = bounds, then
        self.rows = deque(reference.rows)
        #: Which sequence comes next.
        self.sequence = reference.rows[0][0]
        self.data = bytearray()
        self.came = self.has_gap = False

    def take(self, sequence: int, part: bytes) -> None:
        """Take the next part, or find that it is not there."""
        if self.has_gap or not self.rows:
            return
        last = self.rows[0][1]
        if sequence != self.sequence or len(self.data) + len(part) > self.reference.size:
            self.has_gap = True
            return
        self.came = True
        self.data += part
        self.sequence += 1
        if sequence == last:
            self.rows.popleft()
            if self.rows:
                self.sequence = self.rows[0][0]

    def whole(self) -> bytes | None:
        """Return the message; None: it is not what was published."""
        whole = bytes(self.data)
        is_whole = len(whole) == self.reference.size
        return whole if is_whole and zlib.crc32(whole) == self.reference.checksum else None


class NatsDownloads:
    """The large messages that are being read."""

    def __init__(self, stream: PartStream) -> None:
        self._stream = stream
        self._waiting: deque[_Download] = deque()
        self._count = 0
        self._later: list[_Download] = []

    def begin(self, name: bytes, reference: Reference, bounds: Bounds, then: Downloaded) -> None:
        """Read the parts of a message of a topic, and call `then`."""
        self._waiting.append(_Download(name, reference, bounds, then))
        self._begin_next()

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        later, self._later = self._later, []
        for one in later:
            self._prepare(one)

    def _begin_next(self) -> None:
        while self._waiting and self._count < _DOWNLOAD_COUNT:
            self._count += 1
            self._prepare(self._waiting.popleft())

    def _prepare(self, one: _Download) -> None:
        self._stream.want(one.bounds, partial(self._prepared, one))

    def _prepared(self, one: _Download, error: str | None) -> None:
        if error is not None:
            self._finish(one, None, error)
        else:
            self._ask_more(one)

    def _finish(self, one: _Download, message: bytes | None, error: str = "") -> None:
        self._count -= 1
        one.then(message, error)
        self._begin_next()

    def _ask_more(self, one: _Download) -> None:
        one.came = False
        count = min(one.rows[0][1] - one.sequence + 1, _WINDOW_COUNT)
        subject = self._stream.subject_of(one.name)
        taker = partial(self._take, one)
        self._stream.ask_from(one.sequence, subject, count, _WINDOW_SIZE, taker)

    def _take(self, one: _Download, answer: Answer) -> None:
        """Take a part, or the end of those that were asked for."""
        if not answer.status:
            one.take(find_sequence(answer.head), answer.message)
            return
        if answer.status in (204, 404):
            if one.rows and not one.has_gap and not one.came:
                self._ask_leader(one)
            else:
                self._go_on(one)
            return
        refusal = find_refusal(answer) if answer.status != NOBODY else None
        if refusal is not None:
            self._finish(one, None, refusal)
            return
        if answer.status == NOBODY:
            self._stream.forget()  # it has gone, or has no leader
        self._later.append(one)

    def _go_on(self, one: _Download) -> None:
        """Read what follows what has come, if there is more."""
        if one.has_gap:
            self._finish(one, None)
        elif one.rows:
            self._ask_more(one)
        else:
            self._finish(one, one.whole())

    def _ask_leader(self, one: _Download) -> None:
        """Ask the stream's leader for the next part: a replica may not have it yet."""
        self._stream.ask_leader(partial(self._take_next, one), seq=one.sequence)

    def _take_next(self, one: _Download, answer: Answer) -> None:
        refusal = find_refusal(answer)
        if refusal is not None:
            self._finish(one, None, refusal)
            return
        found, error = read_answer(answer)
        if answer.status or error in PASSING_ERRORS:
            self._later.append(one)
        elif error in (NO_MESSAGE, NO_STREAM):
            self._finish(one, None)
        elif error:
            self._finish(one, None, describe(found))
        else:
            message: dict[str, Any] = found["message"]
            one.take(message["seq"], data_of(message))
            self._go_on(one)
