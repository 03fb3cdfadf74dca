"""Publishing on subjects of NATS, by one connection whose caller waits."""

import secrets
import socket
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from sockwave.brokers.interface import Bounds, Key, Outcome, Submitted
from sockwave.brokers.nats_answers import NoLogs, read_answer
from sockwave.brokers.nats_declarations import DeclarationStream, Declared
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_logs import Log, Logs
from sockwave.brokers.nats_newest import NatsNewest
from sockwave.brokers.nats_parts import PartStream
from sockwave.brokers.nats_places import NatsPlaces
from sockwave.brokers.nats_requests import Answer, NatsRequests
from sockwave.brokers.nats_stored import Delta
from sockwave.brokers.nats_stream import LogStream
from sockwave.brokers.nats_subjects import subject_of
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.brokers.nats_wire import NatsReader, find_refused, pack_message
from sockwave.brokers.sockets import receive_now, set_deadline
from sockwave.deliveries import Position
from sockwave.errors import SockwaveError

_READ_SIZE = 64 << 10

# What a stream does not take at the moment is sent again so much later.
_TICK_S = 0.1

# The numbers of our subscriptions.
_ANSWERS, _DECLARED = b"1", b"2"

_IS_STREAM = "the topic is a stream: expected no message"

# A program that is no host says nothing of what is kept.
_NO_BOUNDS: Bounds = (1, 1, 1.0)


class NatsPublishing:
    """One connection to one server."""

    def __init__(
        self,
        sock: socket.socket,
        prefix: str,
        max_payload: int,
        refusal: NoLogs | None,
        replica_count: int,
    ) -> None:
        self._socket = sock
        begin = prefix.encode()
        self._topics = begin + b".t."
        self._reader = NatsReader(self._take_line, self._take_message)
        self._output: list[bytes] = []
        #: Why the server ends the connection, if it has said so.
        self._failure = ""
        self._refusals: dict[bytes, SockwaveError] = {}
        self._has_pong = False
        self._requests = NatsRequests(self._output.append, begin)
        self._output.append(b"SUB %b %b\r\n" % (self._requests.subject, _ANSWERS))
        self._stream = LogStream(self._requests, begin, replica_count, refusal, is_host=False)
        self._parts = PartStream(self._requests, begin, replica_count, refusal, is_host=False)
        self._declared_stream = DeclarationStream(
            self._requests, begin, replica_count, refusal, is_host=False
        )
        self._declared = Declared(self._declared_stream)
        self._output.append(b"SUB %b %b\r\n" % (self._declared_stream.begin + b">", _DECLARED))
        self._deltas = DeltaStream(self._requests, begin, replica_count, refusal, is_host=False)
        self._newest = NatsNewest(self._deltas)
        self._logs: Logs[Submitted] = Logs(self._stream.begin)
        self._places = _OutsidePlaces(
            self, self._requests, self._stream, self._logs, max_payload, self._parts, self._declared
        )
        self._count = 0
        self._calls: list[tuple[float, Callable[[], object]]] = []
        #: What became of messages: of those of plain topics, nothing yet.
        self._outcomes: dict[Key, Outcome] = {}
        self._plain: set[Key] = set()

    def is_alive(self) -> bool:
        """Tell whether the server has not closed the connection; answer it if it has asked us."""
        while data := receive_now(self._socket):
            try:
                self._reader.take(data)
                self._send(time.monotonic() + _TICK_S)
            except (OSError, SockwaveError):
                return False
            if self._failure:
                return False
        return data is not None

    def publish(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], until: float
    ) -> list[Outcome]:
        """Publish messages: each gets its place, where the topic has a history.

        Where there is no JetStream, or none for us, all topics are plain ones.
        """
        self._learn(until)
        first = self._count + 1
        self._count += len(messages)
        keys = [(0, number) for number in range(first, self._count + 1)]
        self._outcomes, self._plain = {}, set()
        self._places.submit(
            [
                (key, *message, self._declared.find(message[0]) or _NO_BOUNDS)
                for key, message in zip(keys, messages, strict=True)
            ]
        )
        self._converse(until, lambda: len(self._outcomes) + len(self._plain) == len(keys))
        plain = [
            (key, message[:2])
            for key, message in zip(keys, messages, strict=True)
            if key in self._plain
        ]
        streams = self._find_streams({message[0] for _, message in plain}, until)
        for key, (name, _) in plain:
            if name in streams:
                self.refused(key, _IS_STREAM)
        plain = [one for one in plain if one[1][0] not in streams]
        if plain:
            found = self.publish_parts([message for _, message in plain], until)
            self._outcomes.update(zip((key for key, _ in plain), found, strict=True))
        return [self._outcomes[key] for key in keys]

    def _learn(self, until: float) -> None:
        """Read what hosts have declared, once; what they say later comes by itself."""
        if not self._declared.is_read:
            self._declared.read()
            self._converse(until, lambda: self._declared.is_read)
        self._stream.makes = self._declared.has_kept

    def _find_streams(self, names: Collection[bytes], until: float) -> set[bytes]:
        """Return which topics are streams, as far as the server tells."""
        told: list[set[bytes]] = []

        def take(found: dict[bytes, Delta] | None) -> None:
            live = found or {}
            told.append({name for name, one in live.items() if not self._deltas.is_over(one)})

        def ask(error: str | None) -> None:
            if error is None:
                self._newest.ask(names, take)
            else:
                told.append(set())

        if not names:
            return set()
        self._deltas.find(ask)
        self._converse(until, partial(bool, told))
        return told[0]

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish messages on plain topics; a PONG says that they have been taken."""
        subjects = [self._topics + subject_of(name) for name, _ in messages]
        self._output += [
            pack_message(subject, message)
            for subject, (_, message) in zip(subjects, messages, strict=True)
        ]
        self._output.append(b"PING\r\n")
        self._has_pong = False
        self._refusals = {}
        self._converse(until, lambda: self._has_pong)
        return [self._refusals.get(subject) for subject in subjects]

    def has_history(self, name: bytes, until: float) -> bool | SockwaveError:
        """Ask whether a topic has a history: then no message of it goes in parts."""
        self._learn(until)
        found: list[bool | SockwaveError] = []

        def learned(answer: Answer) -> None:
            is_kept = not answer.status and not read_answer(answer)[1]
            found.append(is_kept or self._declared.find(name) is not None)

        def prepared(error: str | None) -> None:
            if error is None:
                subject = self._logs.provide(name).subject
                self._stream.ask_leader(learned, last_by_subj=subject.decode())
            else:
                found.append(not isinstance(error, NoLogs) and _refusal(error))

        self._stream.want(_NO_BOUNDS, prepared)
        self._converse(until, lambda: bool(found))
        if found[0] is False and self._find_streams([name], until):
            return _refusal(_IS_STREAM)
        return found[0]

    # ---- what became of messages

    def placed(self, key: Key, epoch: int, offset: int) -> None:
        """Note where a message stands."""
        self._outcomes[key] = Position(epoch, offset)

    def refused(self, key: Key, error: str) -> None:
        """Note that a message was not taken, and why."""
        self._outcomes[key] = _refusal(error)

    def found_plain(self, key: Key) -> None:
        """Note that a message is one of a plain topic."""
        self._plain.add(key)

    # ---- the connection

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> None:
        """Call something later, while we wait for the server."""
        self._calls.append((time.monotonic() + delay_s, callback))

    def _send(self, until: float) -> None:
        output = b"".join(self._output)
        self._output.clear()
        if output:
            set_deadline(self._socket, until)
            self._socket.sendall(output)

    def _converse(self, until: float, is_done: Callable[[], object]) -> None:
        """Send what is to be sent, and read, until something is so."""
        tick_s = time.monotonic() + _TICK_S
        while True:
            self._send(until)
            if is_done():
                return
            now = time.monotonic()
            if now >= tick_s:
                tick_s = now + _TICK_S
                self._requests.time_out()
                self._stream.tick()
                self._parts.tick()
                self._declared_stream.tick()
                self._deltas.tick()
                self._declared.tick()
                self._places.tick()
                continue
            due = [one for one in self._calls if one[0] <= now]
            if due:
                self._calls = [one for one in self._calls if one[0] > now]
                for _, callback in due:
                    callback()
                continue
            set_deadline(self._socket, min(until, tick_s, *(one[0] for one in self._calls)))
            try:
                data = self._socket.recv(_READ_SIZE)
            except TimeoutError:
                if time.monotonic() >= until:
                    raise
                continue
            if not data:
                raise ConnectionResetError("it has closed the connection")
            self._reader.take(data)
            if self._failure:
                raise ConnectionResetError(f"it says {self._failure}")

    def _take_line(self, line: bytes) -> None:
        if line == b"PING":
            self._output.append(b"PONG\r\n")
        elif line == b"PONG":
            self._has_pong = True
        elif line.startswith(b"-ERR"):
            self._take_error(line[5:])

    def _take_error(self, error: bytes) -> None:
        subject = find_refused(error)
        reason = error.decode("utf-8", "replace")
        if not subject:  # the server closes the connection next
            self._failure = reason
        elif subject == self._requests.subject:
            self._stream.refuse(error)
            self._parts.refuse(error)
            self._declared_stream.refuse(error)
            self._deltas.refuse(error)
            self._requests.forbid_all(error)
        elif not self._requests.forbid(subject, error):
            self._refusals[subject] = _refusal(reason)

    def _take_message(self, subject: bytes, sid: bytes, head: bytes, message: bytes) -> None:
        if sid == _ANSWERS:
            self._requests.take(subject, head, message)
        else:
            self._declared.hear(message)

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._socket.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class _OutsidePlaces(NatsPlaces):
    """The messages of a program that is no host: where nothing is kept, a topic is a plain one."""

    def __init__(
        self,
        publishing: NatsPublishing,
        requests: NatsRequests,
        stream: LogStream,
        logs: Logs[Submitted],
        max_payload: int,
        parts: PartStream,
        declared: Declared,
    ) -> None:
        name = secrets.token_hex(8).encode()
        super().__init__(
            requests,
            stream,
            logs,
            publishing,
            name,
            max_payload,
            NatsUploads(requests, parts),
            publishing.call_later,
        )
        self._publishing = publishing
        self._parts = parts
        self._declared = declared

    def _bounds_of(self, message: Submitted) -> Bounds:
        """Return what is declared, or what the stream of the messages is bound by."""
        bounds = message[4]
        self._parts.replica_count = self._stream.kept_replica_count
        return self._stream.bounds if bounds is _NO_BOUNDS else bounds

    def _refuse_all(self, log: Log[Submitted], error: str) -> None:
        if isinstance(error, NoLogs) and self._declared.find(log.name) is None:
            self._find_plain(log)
        else:
            super()._refuse_all(log, error)

    def _take_last(self, log: Log[Submitted], message: dict[str, Any] | None) -> None:
        # What a host has declared before we asked has come before the answer.
        if message is None and self._declared.find(log.name) is None:
            self._find_plain(log)
        else:
            super()._take_last(log, message)

    def _find_plain(self, log: Log[Submitted]) -> None:
        while log.waiting:
            message = log.waiting.popleft()
            if self.is_large(message):  # its log has gone since we looked whether there is one
                self._publishing.refused(message[0], "expected the topic to have its history yet")
            else:
                self._publishing.found_plain(message[0])
        log.is_known = log.is_busy = False


def _refusal(error: str) -> SockwaveError:
    return SockwaveError(f"the broker refuses it: {error}")
