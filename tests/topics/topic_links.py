"""Links of workers as the sequencer's tests hold them: records by a codec of their own."""

import contextlib
import itertools
import json
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from commands import PATIENCE_S

from sockwave.core.topics.sequencer import Sequencer

HEAD = struct.Struct("<IBBHIIQQQ")

HELLO, SETTINGS, NAME, FORGET, PUB, SUB, UNSUB, JOIN = range(1, 9)
LEAVE, WATCH, UNWATCH, COUNT, COUNTING, BROADCAST, PONG = range(9, 16)
WELCOME, NAMED, MSG, ACK, END, GAP, MEMBERS, DIFF = range(65, 73)
COUNTED, COUNT_ASKED, UNWATCHED, FORGOTTEN, PING, REFUSED = range(73, 79)

TEXT, META, ID, DELTA, REPLAY, MORE, RECOVERED, LAST = (1 << bit for bit in range(8))
SINCE = PATTERN = MORE
ABORTED = DUPLICATE = RECOVERED
SNAPSHOT = LAST

_incarnations = itertools.count(1)


class Record(NamedTuple):
    """One record; `topic` is the topic's name, where one is known."""

    type: int
    flags: int = 0
    worker: int = 0
    topic: Any = 0
    request: int = 0
    epoch: int = 0
    offset: int = 0
    sequence: int = 0
    payload: bytes = b""


def pack(
    type: int,
    flags: int = 0,
    *,
    worker: int = 0,
    topic: int = 0,
    request: int = 0,
    epoch: int = 0,
    offset: int = 0,
    sequence: int = 0,
    payload: bytes = b"",
    length: int | None = None,
) -> bytes:
    """Write a record; `length` lies about its length."""
    size = HEAD.size + len(payload) if length is None else length
    head = HEAD.pack(size, type, flags, worker, topic, request, epoch, offset, sequence)
    return head + payload


def unpack(data: bytes) -> list[Record]:
    """Read records, of which none may be cut."""
    found = []
    while data:
        length, *fields = HEAD.unpack_from(data)
        assert HEAD.size <= length <= len(data)
        found.append(Record(*fields, data[HEAD.size : length]))
        data = data[length:]
    return found


def identified(id: str, message: bytes) -> bytes:
    """Write the payload of a message with an id."""
    return bytes([len(id)]) + id.encode() + message


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """A sequencer, its clock, and the links to it."""

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None, **options: Any):
        self.clock: Clock = options.setdefault("clock", Clock())
        self.sequencer = Sequencer(**options)
        self.settings = settings
        self._workers: list[Worker] = []

    def link(self, kind: str = "worker", incarnation: int | None = None) -> "Worker":
        """Link a worker, which has said HELLO, and what the application has declared."""
        worker = Worker(self.sequencer, kind, incarnation or next(_incarnations))
        if self.settings is not None and kind == "worker":
            worker.declare(self.settings)
        self._workers.append(worker)
        return worker

    def wait(self, seconds: float) -> None:
        """Let time pass; what is due on the way is done when it is."""
        end = self.clock.now + seconds
        while (due := self.sequencer.next_due()) is not None and due <= end:
            self.clock.now = max(due, self.clock.now)
            self._tick()
        self.clock.now = end
        self._tick()

    def _tick(self) -> None:
        self.sequencer.tick()
        for worker in self._workers:
            if not (worker.is_silent or worker.link.failure or worker.link.is_ended):
                worker.tell(PONG)

    def stat(self, name: str) -> int:
        return self.sequencer.stats[name]


class Worker:
    """A worker's end of a link, which speaks by names."""

    def __init__(self, sequencer: Sequencer, kind: str, incarnation: int) -> None:
        self.link = sequencer.connect()
        self.incarnation = incarnation
        self.sequence = 0
        #: Whether it does not answer pings.
        self.is_silent = False
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        #: The sequencer's number → name.
        self.names: dict[int, str] = {}
        payload = json.dumps({"pid": 1, "kind": kind}).encode()
        self.tell(HELLO, request=1, epoch=incarnation, payload=payload)
        (welcome,) = self.hear()
        assert welcome.type == WELCOME
        self.id, self.sequencer_epoch = welcome.worker, welcome.epoch
        assert self.id == self.link.id

    # ---- to the sequencer

    def tell(self, type: int, flags: int = 0, topic: str | None = None, **fields: Any) -> None:
        number = 0 if topic is None else self.number(topic)
        self.link.take(pack(type, flags, topic=number, **fields))

    def number(self, topic: str) -> int:
        """Give the link's number of a topic or pattern, which is named if it was not yet."""
        if topic not in self._numbers:
            self._last_number += 1
            self._numbers[topic] = self._last_number
            flags = PATTERN if "*" in topic else 0
            record = pack(NAME, flags, topic=self._last_number, payload=topic.encode())
            self.link.take(record)
        return self._numbers[topic]

    def declare(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.tell(SETTINGS, payload=json.dumps(list(settings.items())).encode())

    def publish(self, topic: str, message: bytes = b"", flags: int = 0, **fields: Any) -> int:
        """Publish with the next sequence number, which is returned."""
        self.sequence += 1
        fields.setdefault("sequence", self.sequence)
        self.tell(PUB, flags, topic, payload=message, **fields)
        return self.sequence

    def subscribe(
        self, topic: str, since: tuple[int, int] | None = None, *, request: int = 1, page: int = 0
    ) -> None:
        epoch, offset = since or (0, 0)
        flags = 0 if since is None else SINCE
        self.tell(SUB, flags, topic, request=request, epoch=epoch, offset=offset, sequence=page)

    def join(self, topic: str, key: str, data: str = "") -> None:
        name = key.encode()
        self.tell(JOIN, topic=topic, payload=struct.pack("<H", len(name)) + name + data.encode())

    def leave(self, topic: str, key: str) -> None:
        self.tell(LEAVE, topic=topic, payload=key.encode())

    def forget(self, topic: str) -> None:
        self.tell(FORGET, topic=topic)
        del self._numbers[topic]

    # ---- from the sequencer

    def hear(self, size: int = -1) -> list[Record]:
        """Give what has come since, with names of topics; NAMED and PING are left out."""
        found = []
        for record in unpack(self.link.read(size)):
            if record.type == NAMED:
                self.names[record.topic] = record.payload.decode()
            elif record.type != PING:
                known = self.names.get(record.topic, record.topic)
                if record.type == FORGOTTEN:
                    del self.names[record.topic]
                found.append(record._replace(topic=known))
        return found

    def messages(self) -> list[bytes]:
        """Give the payloads of the messages that have come since."""
        return [one.payload for one in self.hear() if one.type == MSG]

    def position(self, topic: str) -> tuple[int, int]:
        """Ask for the top of a topic; the link wants it from now on."""
        self.hear()
        self.subscribe(topic)
        end = self.hear()[-1]
        assert end.type == END
        return end.epoch, end.offset

    def members(self, topic: str) -> dict[str, Any]:
        """Ask for the members of a topic."""
        self.hear()
        self.tell(WATCH, SNAPSHOT, topic, request=77)
        found: dict[str, Any] = {}
        records = self.hear()
        for record in records:
            assert (record.type, record.topic, record.request) == (MEMBERS, topic, 77)
            assert (record is not records[-1]) == bool(record.flags & MORE)
            found |= json.loads(record.payload)
        return found


class SocketLink:
    """A link over a socket, as a worker or publisher has it."""

    def __init__(
        self,
        path: str,
        kind: str = "worker",
        incarnation: int | None = None,
        *,
        greets: bool = True,
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self._input = b""
        self._waiting: list[Record] = []
        self.sequence = 0
        if greets:
            payload = json.dumps({"pid": os.getpid(), "kind": kind}).encode()
            self.tell(HELLO, request=1, epoch=incarnation or next(_incarnations), payload=payload)
            welcome = self.hear(WELCOME)
            self.id, self.epoch = welcome.worker, welcome.epoch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def tell(self, type: int, flags: int = 0, **fields: Any) -> None:
        self.socket.sendall(pack(type, flags, **fields))

    def name(self, topic: str, number: int = 1) -> None:
        self.tell(NAME, topic=number, payload=topic.encode())
        self.hear(NAMED)

    def subscribe(self, topic: str, number: int = 1) -> None:
        self.name(topic, number)
        self.tell(SUB, topic=number, request=1)
        self.hear(END)

    def publish(self, message: bytes = b"", number: int = 1) -> None:
        self.sequence += 1
        self.tell(PUB, topic=number, sequence=self.sequence, payload=message)

    def hear(self, *types: int) -> Record:
        """Wait for the next record, or for the next of these types; others are dropped."""
        while True:
            for place, record in enumerate(self._waiting):
                if (not types and record.type != PING) or record.type in types:
                    del self._waiting[: place + 1]
                    return record
            self._waiting = []
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError("the sequencer has closed the link")
            self._input += data
            size = find_end(self._input)
            self._waiting = unpack(self._input[:size])
            self._input = self._input[size:]

    def wait_for_end(self) -> None:
        """Wait until the sequencer has closed the link."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(1 << 18):
                pass


def find_end(data: bytes) -> int:
    """Return where the last whole record ends."""
    place = 0
    while len(data) - place >= HEAD.size:
        (length,) = struct.unpack_from("<I", data, place)
        if len(data) - place < length:
            break
        place += length
    return place
