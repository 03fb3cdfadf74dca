"""Streams of several hosts, as the bridge of one sees them: no socket, no broker, any time."""

import json
import random
from typing import Any

import pytest

from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.links import Link
from sockwave.core.topics.records import (
    ABORTED,
    DELTA,
    HELLO,
    IS_PATTERN,
    LAST,
    MSG,
    NAME,
    PONG,
    PUB,
    REFUSED,
    SUB,
    TEXT,
    UNSUB,
    UNWATCHED,
    pack_record,
    unpack_records,
)
from sockwave.core.topics.sequencer import Sequencer

ABOUT = json.dumps({"pid": 1, "kind": "worker"}).encode()
OTHER = b"00000000000000ab"
EPOCH = b"00000000000000cd"


class Host:
    """One host with one worker, and a broker that says what the test says."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.bridge = Bridge(lambda: None)
        self.sequencer = Sequencer(clock=lambda: self.now, **options)
        self.sequencer.attach(self.bridge)
        self.link = self.sequencer.connect()
        self.link.take(pack_record(HELLO, request=1, epoch=7, payload=ABOUT))
        self.sequence = 0
        self.bridge.presence.connected()
        self.hear()

    def connect(self, name: bytes = b"answer/1", number: int = 2, incarnation: int = 7) -> Link:
        """Connect the same worker once more, or another one, which names a topic."""
        link = self.sequencer.connect()
        link.take(pack_record(HELLO, request=1, epoch=incarnation, payload=ABOUT))
        link.take(pack_record(NAME, topic=number, payload=name))
        link.read()
        return link

    def unsubscribe(self) -> None:
        self.link.take(pack_record(UNSUB, topic=1))

    def subscribe(self, name: bytes = b"answer/1") -> None:
        """Subscribe to a topic, or a pattern, that is no stream; the broker confirms it."""
        is_pattern = b"*" in name
        self.link.take(pack_record(NAME, IS_PATTERN if is_pattern else 0, topic=1, payload=name))
        self.link.take(pack_record(SUB, topic=1, request=1))
        self.bridge.confirm(name.decode() if is_pattern else name)
        self.bridge.streams.seen(names := self.bridge.streams.take_looks(), [False] * len(names))

    def append(self, delta: bytes, flags: int = 0, number: int = 2) -> None:
        if not self.sequence:
            self.link.take(pack_record(NAME, topic=number, payload=b"answer/1"))
        self.sequence += 1
        self.link.take(
            pack_record(
                PUB, DELTA | TEXT | flags, topic=number, sequence=self.sequence, payload=delta
            )
        )

    def place(self) -> list[tuple[int, bytes]]:
        """Give the deltas that leave their places, and return these and the deltas."""
        found = []
        for number, delta in enumerate(self.bridge.streams.take_deltas(), 1):
            found.append((number, delta[2].partition(b"\n")[2]))
            self.bridge.streams.answered(delta[0], int(EPOCH, 16), number, is_producer=True)
        return found

    def come(self, offset: int, delta: bytes, meta: bytes = b"") -> bool:
        """Have a delta of another host come."""
        line = b"1s %b %d\n1t -%b\n" % (EPOCH, offset, b" " + meta if meta else b"")
        return self.bridge.take(b"answer/1", line + delta)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.sequencer.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.sequencer.tick()
            if not self.link.is_ended:
                self.link.take(pack_record(PONG))
        self.now = end

    def hear(self) -> list[tuple[int, int, bytes]]:
        """Return type, flags and payload of what the worker is sent."""
        records, _ = unpack_records(self.link.read())
        return [(one[0], one[1], one[8]) for one in records]

    def told(self, *types: int) -> list[tuple[int, bytes]]:
        return [(flags, payload) for type, flags, payload in self.hear() if type in types]


def test_who_waits_for_a_plain_topic_is_answered_when_the_broker_has_told() -> None:
    host = Host()
    host.link.take(pack_record(NAME, topic=1, payload=b"answer/1"))
    host.link.take(pack_record(SUB, topic=1, request=1))
    before = host.hear()
    host.bridge.confirm(b"answer/1")
    assert host.bridge.streams.take_looks() == [b"answer/1"]
    assert host.bridge.streams.take_looks() == []
    assert not host.hear()
    host.bridge.streams.seen([b"answer/1", b"unknown"], [False, True])
    assert host.hear()
    assert before


def test_a_stream_is_taken_from_its_first_delta_on() -> None:
    host = Host()
    host.subscribe()
    host.hear()
    assert host.come(1, b"a", b'{"producer":"%b"}' % OTHER)
    assert host.come(2, b"b")
    assert host.come(3, b"", b'{"end":"finished"}')
    told = [(flags & LAST, payload[-1:]) for flags, payload in host.told(MSG)]
    assert told == [(0, b"a"), (0, b"b"), (LAST, b"}")]  # of the message's meta
    host.wait(61)
    assert host.sequencer.stats["stream_bytes"] == 0


def test_a_stream_that_is_heard_by_a_pattern_is_forgotten_with_it() -> None:
    host = Host()
    host.subscribe(b"answer/*")
    assert host.come(1, b"a")
    assert host.sequencer.stats["topics"] == 1
    host.wait(200)
    assert host.come(2, b"b")
    assert len(host.told(MSG)) == 2
    host.link.take(pack_record(UNSUB, topic=1))
    host.wait(100)
    assert host.sequencer.stats["topics"] == 0


def test_other_hosts_are_asked_before_a_stream_is_unwatched() -> None:
    host = Host()
    host.append(b"a")
    host.place()
    host.wait(9.9)
    assert host.bridge.streams.take_messages() == []
    host.wait(0.2)
    (asked,) = host.bridge.streams.take_messages()
    assert asked.partition(b"\n")[2] == b'["answer/1"]'
    # One host has a subscriber, who leaves three seconds later.
    host.bridge.hear(b'1m %b 0 w\n[["answer/1",0.0]]' % OTHER)
    host.wait(3)
    host.bridge.hear(b'1m %b 0 w\n[["answer/1",0.5]]' % OTHER)
    host.wait(9)
    assert not host.told(UNWATCHED)
    host.wait(3)
    assert len(host.told(UNWATCHED)) == 1
    host.wait(100)  # once for each while
    assert not host.told(UNWATCHED)
    host.bridge.hear(b'1m %b 0 w\n[["answer/1",0.0]]' % OTHER)
    host.wait(25)
    assert len(host.told(UNWATCHED)) == 1


def test_nothing_is_unwatched_while_nobody_can_be_asked() -> None:
    host = Host()
    host.append(b"a")
    host.place()
    host.bridge.lose()
    host.wait(100)
    assert not host.told(UNWATCHED)
    host.bridge.presence.connected()
    host.wait(13)
    assert len(host.told(UNWATCHED)) == 1


def test_a_host_says_whether_it_watches_a_stream_or_has_a_moment_ago() -> None:
    host = Host()
    host.subscribe()
    host.come(1, b"a")
    asking = b'1m %b 0 q\n["answer/1","answer/2"]' % OTHER
    host.bridge.hear(asking)
    (said,) = host.bridge.streams.take_messages()
    assert json.loads(said.partition(b"\n")[2]) == [["answer/1", 0.0]]
    host.link.take(pack_record(UNSUB, topic=1))
    host.now += 4
    host.bridge.hear(asking)
    (said,) = host.bridge.streams.take_messages()
    assert json.loads(said.partition(b"\n")[2]) == [["answer/1", 4.0]]
    host.wait(7)
    host.bridge.hear(asking)
    assert host.bridge.streams.take_messages() == []
    other = Host()
    other.subscribe(b"answer/*")
    other.bridge.hear(asking)
    (said,) = other.bridge.streams.take_messages()
    assert len(json.loads(said.partition(b"\n")[2])) == 2


def test_a_stream_ends_with_its_worker() -> None:
    host = Host()
    for delta in (b"a", b"b"):
        host.append(delta)
    assert host.place() == [(1, b"a"), (2, b"b")]
    host.link.end()
    ((_, _, parcel, *_, end),) = host.bridge.streams.take_deltas()
    assert parcel.partition(b"\n")[0].endswith(b'{"end":"aborted"}')
    assert end == b"a"


def test_a_stream_of_another_host_does_not_end_with_a_worker_that_appends() -> None:
    host = Host()
    host.append(b"a")
    ((key, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.answered(key, int(EPOCH, 16), 5, is_producer=False)
    host.link.end()
    assert host.bridge.streams.take_deltas() == []


@pytest.mark.parametrize("is_producer", [True, False])
def test_a_delta_that_comes_before_the_answer_says_whose_stream_it_is(is_producer: bool) -> None:
    """As the next sequencer of a worker: it hears the stream, and does not know who began it."""
    host = Host()
    host.subscribe()
    host.come(1, b"a")
    host.append(b"b")
    ((key, _, parcel, *_),) = host.bridge.streams.take_deltas()
    assert host.bridge.take(b"answer/1", b"1s %b 2\n%b" % (EPOCH, parcel))
    host.bridge.streams.answered(key, int(EPOCH, 16), 2, is_producer=is_producer)
    host.link.end()
    assert [one[-1] for one in host.bridge.streams.take_deltas()] == [b"a"] * is_producer


def test_hosts_that_are_not_heard_are_told_of_to_the_broker() -> None:
    host = Host()
    host.subscribe()
    host.come(1, b"a", b'{"producer":"%b"}' % OTHER)
    for _ in range(4):
        host.bridge.presence.beat()
    assert host.bridge.streams.take_gone_hosts() == []
    host.bridge.presence.beat()
    assert host.bridge.streams.take_gone_hosts() == [OTHER]


def test_what_the_broker_refuses_is_said() -> None:
    for code, expected in (
        (b"size", b"append_size"), (b"kind", b"all text"), (b"lost", b"has lost"),
        (b"messages", b"has messages"), (b"ended", b"has ended"), (b"ERR any", b"ERR any"),
    ):  # fmt: skip
        host = Host()
        host.append(b"a")
        ((key, *_),) = host.bridge.streams.take_deltas()
        host.bridge.streams.refused(key, code)
        ((_, reason),) = host.told(REFUSED)
        assert expected in reason


def test_a_stream_that_the_broker_has_no_more_is_aborted_here() -> None:
    host = Host()
    host.subscribe()
    host.come(1, b"a")
    host.bridge.logs.read_all()
    assert not host.bridge.logs.take_stream_reads()  # those of histories
    host.bridge.logs.read_all(of_streams=True)
    ((name, number, epoch, offset),) = host.bridge.logs.take_stream_reads()
    assert (name, epoch, offset) == (b"answer/1", int(EPOCH, 16), 1)
    host.bridge.logs.gone(name, number)
    flags, _ = host.told(MSG)[-1]
    assert flags & LAST
    assert flags & ABORTED
    host.wait(61)
    assert host.sequencer.stats["stream_bytes"] == 0


GOOD = [
    b"1s %b 1\n1t - {\"producer\":\"%b\"}\na" % (EPOCH, OTHER), b"1s %b 2\n1t -\nb" % EPOCH,
    b"1s %b 3\n1b -\nb" % EPOCH, b"1s %b 5\n" % EPOCH,
    b'1s %b 4\n1t - {"end":"finished"}\n' % EPOCH,
    b"1s 00000000000000ef 1\n1t -\nx", b"1o %b 1\n1t -\nx" % EPOCH, b"1t -\nplain",
    b'1m %b 0 q\n["answer/1"]' % OTHER, b'1m %b 0 w\n[["answer/1",0.5]]' % OTHER,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_may_come_does_harm(seed: int) -> None:
    chance = random.Random(seed)
    host = Host(history_budget=2000)
    host.subscribe()
    host.append(b"mine")
    for step in range(3000):
        message = bytearray(chance.choice(GOOD))
        for _ in range(chance.randrange(3)):
            place = chance.randrange(len(message) + 1)
            message[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        if message[:2] == b"1m":
            host.bridge.hear(bytes(message))
        else:
            host.bridge.take(b"answer/%d" % chance.randrange(1, 3), bytes(message))
        for name, number, *_ in host.bridge.logs.take_stream_reads():
            if chance.randrange(2):
                host.bridge.logs.gone(name, number)
            else:
                entries = [(1, 0.0, b"1t -\na"), (3, 0.0, b"1t -\nb"), (4, 0.0, b"bad")]
                host.bridge.logs.read(name, number, chance.randrange(1, 4), 4, 0.0, entries)
        if not chance.randrange(20):
            host.append(b"x")
            for key, *_ in host.bridge.streams.take_deltas():
                if chance.randrange(2):
                    host.bridge.streams.answered(key, 1, step + 1, is_producer=step % 2 == 0)
                else:
                    host.bridge.streams.refused(key, chance.choice([b"lost", b"ended", b"size"]))
        if not chance.randrange(50):
            host.wait(chance.choice([0.5, 15, 70]))
            host.bridge.presence.beat()
            host.bridge.streams.take_messages()
            host.bridge.streams.take_gone_hosts()
        if not chance.randrange(200):
            host.bridge.lose()
            host.bridge.expect()
            host.bridge.confirm(b"answer/1")
            host.bridge.presence.connected()
        assert host.sequencer.stats["stream_bytes"] <= 2000
        host.hear()
    host.link.end()
    for key, *_ in host.bridge.streams.take_deltas():
        host.bridge.streams.refused(key, b"ended")
    host.wait(200)
    assert host.sequencer.stats["stream_bytes"] == 0
    assert host.sequencer.stats["topics"] == 0
