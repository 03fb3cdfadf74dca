"""What a publisher has to say to the sequencer, and what it was told: as bytes, without a socket.

Messages stay here until they are acknowledged. Over a new link they are sent again, with the
numbers that they had: the sequencer knows those that it has taken.
"""

import json
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from sockwave.core.topics.records import (
    ACK,
    FORGET,
    HELLO,
    ID,
    NAME,
    PING,
    PONG,
    PUB,
    REFUSED,
    TEXT,
    WELCOME,
    pack_record,
    unpack_records,
)
from sockwave.core.topics.wildcards import check_topic_name
from sockwave.deliveries import Position, Published
from sockwave.errors import SockwaveError
from sockwave.messages import Message

#: The largest message: with an id, the record is within what the sequencer takes.
MAX_MESSAGE_SIZE = 64 << 20

# So many bytes of messages may wait for their acknowledgements.
_MAX_WAITING_SIZE = 8 << 20

# So many topics have a number at the sequencer, which keeps what has one.
_NAME_COUNT = 1000

_PROTOCOL_VERSION = 1

Outcome: TypeAlias = Published | SockwaveError


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that was not acknowledged yet."""

    topic: str
    flags: int
    payload: bytes


class Outbox:
    """The messages of one publisher."""

    def __init__(self) -> None:
        self._incarnation = secrets.randbits(63) + 1
        self._sequence = 0
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._input = b""
        # Topic → our number for it, the one used longest ago first.
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._last_number = 0
        #: Bytes of all messages that wait.
        self.waiting_size = 0
        #: Whether the sequencer has greeted on this link.
        self.is_welcome = False

    def add(self, topic: str, message: Message, id: str | None) -> tuple[int, bytes]:
        """Add a message; return its number, and what is to be sent.

        Raises TypeError or ValueError for what can be no topic, message or id.
        """
        waiting = _Waiting(check_topic_name(topic), *_make_payload(message, id))
        self._sequence += 1
        self._waiting[self._sequence] = waiting
        self.waiting_size += len(waiting.payload)
        return self._sequence, self._write(self._sequence, waiting)

    def begin(self) -> bytes:
        """Begin a new link; return what is to be sent, with all that was not acknowledged."""
        self._input = b""
        self._numbers.clear()
        self._last_number = 0
        self.is_welcome = False
        said = json.dumps({"pid": os.getpid(), "kind": "publisher"}).encode()
        hello = pack_record(HELLO, request=_PROTOCOL_VERSION, epoch=self._incarnation, payload=said)
        return hello + b"".join(self._write(*one) for one in self._waiting.items())

    def drop(self, sequence: int) -> None:
        """Forget a message for which nobody waits any more."""
        waiting = self._waiting.pop(sequence, None)
        if waiting is not None:
            self.waiting_size -= len(waiting.payload)

    def _write(self, sequence: int, waiting: _Waiting) -> bytes:
        before = b""
        number = self._numbers.get(waiting.topic)
        if number is None:
            if len(self._numbers) >= _NAME_COUNT:
                _, oldest = self._numbers.popitem(last=False)
                before = pack_record(FORGET, topic=oldest)
            self._last_number += 1
            number = self._numbers[waiting.topic] = self._last_number
            before += pack_record(NAME, topic=number, payload=waiting.topic.encode())
        self._numbers.move_to_end(waiting.topic)
        record = pack_record(
            PUB, waiting.flags, topic=number, sequence=sequence, payload=waiting.payload
        )
        return before + record

    def take(self, data: bytes) -> tuple[list[tuple[int, Outcome]], bytes]:
        """Take what the sequencer has sent; return what became of which messages, and an answer.

        Raises SockwaveError for what no sequencer sends.
        """
        try:
            records, size = unpack_records(self._input + data)
        except ValueError as error:
            raise SockwaveError(f"sequencer: {error}") from None
        self._input = (self._input + data)[size:]
        outcomes: list[tuple[int, Outcome]] = []
        answer = b""
        for type, _, _, topic, _, epoch, offset, sequence, payload in records:
            if type == WELCOME:
                self.is_welcome = True
            elif type == PING:
                answer += pack_record(PONG)
            elif type == ACK and topic:
                position = Position(epoch, offset) if epoch else None
                self._settle(outcomes, sequence, Published(position, 0))
            elif type == ACK:
                # Of plain topics: this one, and those before it that had no answer of their own.
                for one in [one for one in self._waiting if one <= sequence]:
                    self._settle(outcomes, one, Published(None, 0))
            elif type == REFUSED and sequence:
                reason = payload.decode(errors="replace")
                self._settle(outcomes, sequence, SockwaveError(reason))
        return outcomes, answer

    def _settle(self, outcomes: list[tuple[int, Outcome]], sequence: int, outcome: Outcome) -> None:
        if sequence in self._waiting:
            self.drop(sequence)
            outcomes.append((sequence, outcome))


def check_open(*, is_closed: bool, waiting_size: int = 0) -> None:
    """Raise SockwaveError where a publisher takes no more messages."""
    if is_closed:
        raise SockwaveError("the publisher is closed: expected to publish before that")
    if waiting_size > _MAX_WAITING_SIZE:
        raise SockwaveError(
            f"expected to wait for acknowledgements, of which {waiting_size} B of messages have "
            f"had none"
        )


def _make_payload(message: Message, id: str | None) -> tuple[int, bytes]:
    """Return the flags and the payload of a message."""
    is_text, payload = encode_message(message)
    flags = TEXT if is_text else 0
    if id is None:
        return flags, payload
    name = encode_id(id)
    return flags | ID, bytes((len(name),)) + name + payload


def encode_message(message: Message) -> tuple[bool, bytes]:
    """Return whether a message is text, and its bytes. Raises TypeError or ValueError."""
    if isinstance(message, str):
        payload = _encode("message", message)
    elif isinstance(message, (bytes, bytearray, memoryview)):
        payload = bytes(message)
    else:
        raise TypeError(f"message: expected str or bytes-like, given {type(message).__name__}")
    if len(payload) > MAX_MESSAGE_SIZE:
        raise ValueError(f"message: expected at most {MAX_MESSAGE_SIZE} B, given {len(payload)}")
    return isinstance(message, str), payload


def encode_id(id: str) -> bytes:
    """Return the bytes of an id. Raises TypeError or ValueError."""
    if not isinstance(id, str):
        raise TypeError(f"id: expected str, given {type(id).__name__}")
    name = _encode("id", id)
    if not 1 <= len(name) <= 255:
        raise ValueError(f"id: expected 1 to 255 bytes, given {len(name)}")
    return name


def _encode(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what}: expected no lone surrogate, given {text[:60]!r}") from None
