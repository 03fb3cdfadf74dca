"""Requests over a connection to NATS: each is answered on a subject of its own."""

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from sockwave.brokers.nats_wire import find_status, pack_message

# A request that is not answered meanwhile is answered by us: the stream may have no leader.
_PATIENCE_S = 3.0

#: Nobody is there who answers.
NOBODY = 503

#: Nobody has answered in time.
TIMED_OUT = 408

#: The server does not let us ask.
FORBIDDEN = 403


class Answer(NamedTuple):
    """What has come for a request."""

    #: 0: a message; else why there is none.
    status: int
    head: bytes
    message: bytes


Taker: TypeAlias = Callable[[Answer], object]


class _Request(NamedTuple):
    subject: bytes
    taker: Taker
    #: Messages come until one that has a status.
    is_many: bool
    due: float


class NatsRequests:
    """The requests that wait for an answer."""

    def __init__(self, write: Callable[[bytes], object], prefix: bytes) -> None:
        self.write = write
        self._begin = b"%b.r.%b." % (prefix, secrets.token_hex(8).encode())
        self._last = 0
        self._waiting: dict[bytes, _Request] = {}

    @property
    def subject(self) -> bytes:
        """What is to be subscribed to."""
        return self._begin + b"*"

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._waiting)

    def expect(self, subject: bytes, taker: Taker, *, is_many: bool = False) -> bytes:
        """Return where the answer to a request on a subject is to be sent."""
        self._last += 1
        word = b"%d" % self._last
        due = time.monotonic() + _PATIENCE_S
        self._waiting[word] = _Request(subject, taker, is_many, due)
        return self._begin + word

    def ask(self, subject: bytes, message: bytes, taker: Taker, *, is_many: bool = False) -> None:
        """Ask something; `taker` is called with each answer."""
        reply = self.expect(subject, taker, is_many=is_many)
        self.write(pack_message(subject, message, reply))

    def take(self, subject: bytes, head: bytes, message: bytes) -> None:
        """Take an answer; one that comes too late is none."""
        word = subject[len(self._begin) :]
        request = self._waiting.get(word)
        if request is None:
            return
        status = find_status(head)
        if status or not request.is_many:
            del self._waiting[word]
        request.taker(Answer(status, head, message))

    def forbid(self, subject: bytes, error: bytes) -> bool:
        """Answer the requests on a subject that the server does not let us ask; False: none."""
        words = [word for word, one in self._waiting.items() if one.subject == subject]
        self._answer(words, Answer(FORBIDDEN, b"", error))
        return bool(words)

    def forbid_all(self, error: bytes) -> None:
        """Answer all requests: the server sends us no answers."""
        self._answer(list(self._waiting), Answer(FORBIDDEN, b"", error))

    def time_out(self) -> None:
        """Answer those that nobody has answered."""
        now = time.monotonic()
        words = [word for word, one in self._waiting.items() if one.due <= now]
        self._answer(words, Answer(TIMED_OUT, b"", b""))

    def _answer(self, words: list[bytes], answer: Answer) -> None:
        for request in [self._waiting.pop(word) for word in words]:
            request.taker(answer)
