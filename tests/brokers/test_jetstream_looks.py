"""Which topics are streams: whatever JetStream answers, or does not, nobody waits for long.

What a server would be sent is read here, and answered as one does that has no leader, say.
"""

import json
from typing import Any

import pytest
from test_streams_of_bridge import EPOCH, Host

from sockwave.brokers.nats_deltas import DeltaStream, split_subjects
from sockwave.brokers.nats_parts import PartStream
from sockwave.brokers.nats_requests import NatsRequests
from sockwave.brokers.nats_stored import DeltaState
from sockwave.brokers.nats_stream import LogStream
from sockwave.brokers.nats_streams import NatsStreams
from sockwave.brokers.nats_uploads import NatsUploads
from sockwave.core.topics.records import MSG, NAME, SUB, pack_record

NOW = b"2026-01-01T00:00:00Z"
NAME_ = b"answer/1"
BUSY = {"error": {"err_code": 10008, "description": "temporarily unavailable"}}
NO_STREAM = {"error": {"err_code": 10059, "description": "stream not found"}}


class Looking:
    """A host, and the other end of its session."""

    def __init__(self, *, is_clustered: bool = False) -> None:
        self.host = Host()
        self.sent: list[tuple[bytes, bytes, bytes]] = []
        requests = self.requests = NatsRequests(self.take, b"p")
        stream = self.stream = DeltaStream(requests, b"p", 1, None)
        parts = PartStream(requests, b"p", 1, None)
        self.streams = NatsStreams(
            self.host.bridge, lambda: self, requests, stream, LogStream(requests, b"p", 1, None),
            parts, NatsUploads(requests, parts), b"p.t.", 1 << 20, lambda *_: None,
            is_clustered=is_clustered,
        )  # fmt: skip

    def refused(self, error: str) -> None:
        raise AssertionError(error)

    def messages_came(self) -> None:
        pass

    def take(self, data: bytes) -> None:
        """Read a command, as a server does."""
        line, _, rest = data.partition(b"\r\n")
        _, subject, reply, size = line.split(b" ")
        self.sent.append((subject, reply, rest[: int(size)]))

    def subscribe(self) -> None:
        self.host.link.take(pack_record(NAME, topic=1, payload=NAME_))
        self.host.link.take(pack_record(SUB, topic=1, request=1))
        self.host.bridge.confirm(NAME_)
        self.host.hear()
        self.streams.look(self.host.bridge.streams.take_looks())

    def answer(self, expected: bytes, status: bytes = b"", answer: Any = None) -> None:
        """Answer the next request: with a status, or with JSON."""
        subject, reply, _ = self.sent.pop(0)
        assert expected in subject
        head = b"NATS/1.0 %b\r\n\r\n" % status if status else b""
        self.requests.take(reply, head, b"" if status else json.dumps(answer).encode())

    def give_delta(self, offset: int = 2, pending: int = 0) -> None:
        """Tell of the newest delta of a stream, and that there is no more."""
        _, reply, _ = self.sent[0]
        head = b"NATS/1.0\r\n%bNats-Subject: p.a.answer.1\r\nNats-Sequence: 9\r\n" % (
            DeltaState(1, b"t", b"", b"00000000000000ab", 7).pack()
        )
        line = b"1s %b %d\n1t\nx" % (EPOCH, offset)
        self.requests.take(reply, head + b"Nats-Time-Stamp: %b\r\n\r\n" % NOW, line)
        self.answer(b"DIRECT.GET", b"204 EOB\r\nNats-Num-Pending: %d" % pending)

    def answered(self) -> int:
        """Return how many subscriptions were answered since this was asked."""
        return len([one for one in self.host.hear() if one[0] not in (MSG, NAME)])

    def reads(self) -> list[bytes]:
        return [read[0] for read in self.host.bridge.logs.take_stream_reads()]


def test_where_there_is_no_stream_none_is_made() -> None:
    one = Looking()
    one.subscribe()
    one.answer(b"DIRECT.GET.p+streams", b"503")
    assert not one.answered()
    one.answer(b"STREAM.INFO.p+streams", answer=NO_STREAM)
    assert one.answered() == 1
    assert not one.sent


def test_a_stream_is_read_before_anybody_is_answered() -> None:
    one = Looking()
    one.subscribe()
    one.give_delta()
    assert one.reads() == [NAME_]
    assert not one.answered()


def test_without_a_leader_it_is_asked_again_and_nobody_waits_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("sockwave.brokers.nats_streams.time.monotonic", lambda: now)
    one = Looking()
    one.subscribe()
    for _ in range(3):
        one.answer(b"DIRECT.GET", b"408")
        assert not one.answered()
        assert not one.sent
        now += 0.8
        one.streams.tick()
    now += 5
    one.answer(b"DIRECT.GET", b"408")
    assert one.answered() == 1
    # It is a stream all the same: all of it comes.
    one.streams.tick()
    one.give_delta()
    assert one.reads() == [NAME_]
    one.host.bridge.logs.read(
        NAME_, 1, int(EPOCH, 16), 2, 0.0, [(1, 0, b"1t\na"), (2, 0, b"1t\nb")]
    )
    assert [payload for _, payload in one.host.told(MSG)] == [b"a", b"b"]
    one.streams.tick()
    assert not [subject for subject, _, _ in one.sent if b"DIRECT" in subject]


def test_a_stream_that_has_no_leader_now_is_looked_for() -> None:
    one = Looking()
    one.subscribe()
    one.answer(b"DIRECT.GET", b"503")
    one.answer(b"STREAM.INFO", answer=BUSY)
    one.streams.tick()
    one.answer(b"STREAM.INFO", answer=NO_STREAM)
    assert one.answered() == 1


def test_who_may_not_ask_does_so_once() -> None:
    one = Looking()
    one.subscribe()
    one.requests.forbid(b"$JS.API.DIRECT.GET.p+streams", b"'Permissions Violation'")
    assert one.answered() == 1
    one.sent.clear()
    one.streams.look([b"answer/2"])
    assert not one.sent


def test_in_a_cluster_it_is_asked_twice() -> None:
    """A replica may not have yet what the leader has, and another server not our subscription."""
    one = Looking(is_clustered=True)
    one.subscribe()
    one.answer(b"DIRECT.GET", b"404")
    assert one.answered() == 1
    one.streams.tick()
    assert not one.sent
    one.streams.tick()
    one.give_delta()
    assert one.reads() == [NAME_]
    one.streams.tick()
    assert not one.sent


def test_what_does_not_fit_into_one_answer_is_asked_for_again() -> None:
    one = Looking()
    one.streams.look([NAME_, b"answer/2"])
    one.give_delta(pending=1)
    assert json.loads(one.sent[0][2])["multi_last"] == ["p.a.answer.2"]


def test_questions_are_small() -> None:
    subjects = [b"p.a." + b"x" * 200 + b"%d" % number for number in range(2000)]
    groups = list(split_subjects(subjects))
    assert [one for group in groups for one in group] == subjects
    assert all(len(json.dumps([one.decode() for one in group])) < 100_000 for group in groups)
    assert list(split_subjects([])) == []
    assert len(list(split_subjects(b"%d" % number for number in range(501)))) == 2
