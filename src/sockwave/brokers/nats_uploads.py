"""How the parts of a large message get into their stream.

A part is known by what it is: where it is sent again, by us or by the session that follows, it is
stored once. So an upload goes on where it was broken off.
"""

import hashlib
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import (
    NO_MESSAGE,
    NO_STREAM,
    PASSING_ERRORS,
    describe,
    find_refusal,
    forbidden,
    read_answer,
)
from sockwave.brokers.nats_parts import PartStream, Reference, count_parts, find_rows
from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, TIMED_OUT, Answer, NatsRequests
from sockwave.brokers.nats_wire import pack_message
from sockwave.core.topics.parts import PART_SIZE

# So many parts are on their way at a time: 1 MiB.
_WINDOW_COUNT = 8

# So often it begins anew where the first parts have gone before the last ones were stored.
_MOST_ATTEMPTS = 3

#: Called with what stands for the message in the log, else with why it cannot be stored.
Uploaded: TypeAlias = Callable[[bytes, str | None], object]


class _Upload:
    """One message on its way."""

    def __init__(
        self, name: bytes, message: bytes, msg_id: bytes, bounds: Bounds, then: Uploaded
    ) -> None:
        self.name, self.message, self.msg_id = name, message, msg_id
        self.bounds, self.then = bounds, then
        self.count = count_parts(len(message))
        self.checksum = 0
        self.summed_count = 0
        self.attempt = 0
        self.window_count = _WINDOW_COUNT
        self.begin()

    def begin(self) -> None:
        """Have no part of it stored."""
        self.attempt += 1
        self.sequences = [0] * self.count
        self.due = deque(range(self.count))
        self.stored_count = self.unanswered_count = 0

    def slice_at(self, index: int) -> bytes:
        """Return a part, and add it to the checksum when it leaves for the first time."""
        part = self.message[index * PART_SIZE : (index + 1) * PART_SIZE]
        if index == self.summed_count:
            self.checksum = zlib.crc32(part, self.checksum)
            self.summed_count += 1
        return part


class NatsUploads:
    """The large messages that are on their way to the stream of parts, one after the other."""

    def __init__(self, requests: NatsRequests, stream: PartStream) -> None:
        self._requests, self._stream = requests, stream
        self._waiting: deque[_Upload] = deque()
        self._later = False

    def begin(
        self, name: bytes, message: bytes, msg_id: bytes, bounds: Bounds, then: Uploaded
    ) -> None:
        """Store the parts of a message on a topic, and call `then`.

        `msg_id` is by what JetStream would know the message, were it small.
        """
        self._waiting.append(_Upload(name, message, msg_id, bounds, then))
        if len(self._waiting) == 1:
            self._prepare()

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        if self._later and self._waiting:
            self._later = False
            self._prepare()

    def _prepare(self) -> None:
        upload = self._waiting[0]
        self._stream.want(upload.bounds, partial(self._prepared, upload))

    def _prepared(self, upload: _Upload, error: str | None) -> None:
        if error is not None:
            self._finish(b"", error)
        else:
            self._send(upload)

    def _finish(self, reference: bytes, error: str | None) -> None:
        upload = self._waiting.popleft()
        self._later = False
        upload.then(reference, error)
        if self._waiting:
            self._prepare()

    def _send(self, upload: _Upload) -> None:
        """Send parts, as far as they may be on their way."""
        subject = self._stream.subject_of(upload.name)
        while upload.due and upload.unanswered_count < upload.window_count:
            index = upload.due.popleft()
            part = upload.slice_at(index)
            digest = hashlib.blake2b(
                b"%b %d %d\n" % (upload.msg_id, upload.attempt, index), digest_size=20
            )
            digest.update(part)
            known = b"Nats-Msg-Id: %b\r\n" % digest.hexdigest().encode()
            taker = partial(self._stored, upload, upload.attempt, index)
            reply = self._requests.expect(subject, taker)
            upload.unanswered_count += 1
            self._requests.write(pack_message(subject, part, reply, known))

    def _stored(self, upload: _Upload, attempt: int, index: int, answer: Answer) -> None:
        """Take what became of a part."""
        if not self._waiting or self._waiting[0] is not upload or upload.attempt != attempt:
            return
        upload.unanswered_count -= 1
        found, error = read_answer(answer)
        if answer.status == FORBIDDEN:
            self._finish(b"", forbidden(answer.message))
        elif answer.status or error in PASSING_ERRORS:
            if answer.status == NOBODY:
                self._stream.forget()  # it is made again, or JetStream is not there
            elif answer.status == TIMED_OUT:  # on a slow way, fewer at a time are answered in time
                upload.window_count = max(upload.window_count // 2, 1)
            upload.due.append(index)
            self._later = True
        elif error:
            self._finish(b"", describe(found))
        else:
            upload.sequences[index] = int(found["seq"])
            upload.stored_count += 1
            if upload.stored_count == upload.count:
                self._check(upload)
            elif not self._later:
                self._send(upload)

    def _check(self, upload: _Upload) -> None:
        """See whether the oldest part is still there: so all are, as the oldest goes first."""
        self._stream.ask_leader(partial(self._checked, upload), seq=min(upload.sequences))

    def _checked(self, upload: _Upload, answer: Answer) -> None:
        refusal = find_refusal(answer)
        if refusal is not None:
            self._finish(b"", refusal)
            return
        found, error = read_answer(answer)
        if answer.status or error in PASSING_ERRORS:
            self._later = True
            upload.stored_count -= 1  # the last one is sent again, and all are looked at again
            upload.due.append(upload.count - 1)
        elif error in (NO_MESSAGE, NO_STREAM) and upload.attempt < _MOST_ATTEMPTS:
            self._stream.forget()
            upload.begin()
            self._prepare()
        elif error in (NO_MESSAGE, NO_STREAM):
            self._finish(b"", "its first parts went before its last ones were stored")
        elif error:
            self._finish(b"", describe(found))
        else:
            rows = find_rows(upload.sequences)
            size = len(upload.message)
            self._finish(Reference(size, upload.checksum, rows).pack(), None)
