"""Whatever comes from a broker: nothing of it does harm, and what is counted is what was bad."""

import json
import random
from typing import Any

import pytest

from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.records import (
    BROADCAST,
    HELLO,
    IS_PATTERN,
    MSG,
    NAME,
    PUB,
    SETTINGS,
    SUB,
    pack_record,
    unpack_records,
)
from sockwave.core.topics.sequencer import Sequencer

ABOUT = json.dumps({"pid": 1, "kind": "worker"}).encode()


class Worker:
    """A worker whose sequencer has a bridge."""

    def __init__(self) -> None:
        self.calls = 0
        self.bridge = Bridge(self.schedule)
        self.sequencer = Sequencer()
        self.sequencer.attach(self.bridge)
        self.link = self.sequencer.connect()
        self.link.take(pack_record(HELLO, request=1, epoch=7, payload=ABOUT))
        self.hear()

    def schedule(self) -> None:
        self.calls += 1

    def subscribe(self, number: int, name: bytes) -> None:
        self.link.take(pack_record(NAME, topic=number, payload=name))
        self.link.take(pack_record(SUB, topic=number, request=number))

    def hear(self) -> list[Any]:
        """Return type and payload of the messages that the worker is sent."""
        records, _ = unpack_records(self.link.read())
        return [(one[0], one[8]) for one in records if one[0] in (MSG, BROADCAST)]


def test_a_change_is_told_once_until_it_is_taken() -> None:
    worker = Worker()
    for number in range(1, 4):
        worker.subscribe(number, b"topic/%d" % number)
    assert worker.calls == 1
    assert worker.bridge.take_changes() == {b"topic/1": True, b"topic/2": True, b"topic/3": True}
    worker.link.end()
    assert worker.calls == 2
    assert worker.bridge.take_changes() == {b"topic/1": False, b"topic/2": False, b"topic/3": False}
    assert worker.bridge.wanted() == []


def test_who_subscribes_is_answered_when_the_broker_has_confirmed() -> None:
    worker = Worker()
    worker.subscribe(1, b"room/1")
    records, _ = unpack_records(worker.link.read())
    assert worker.bridge.wanted() == [b"room/1"]
    worker.bridge.confirm(b"room/1")
    worker.bridge.streams.seen(worker.bridge.streams.take_looks(), [False])
    later, _ = unpack_records(worker.link.read())
    assert [one[4] for one in later] == [1]
    assert len(records) == 1  # the number of the topic
    # While the broker is away nobody waits, nor where it goes meanwhile.
    worker.subscribe(2, b"room/2")
    worker.bridge.lose()
    worker.subscribe(3, b"room/3")
    answered, _ = unpack_records(worker.link.read())
    assert [one[4] for one in answered if one[4] in (2, 3) and not one[8]] == [2, 3]


def test_what_waits_is_bounded() -> None:
    worker = Worker()
    worker.bridge.lose()
    worker.link.take(pack_record(NAME, topic=1, payload=b"room/1"))
    for sequence in range(1, 20):
        worker.link.take(pack_record(5, topic=1, sequence=sequence, payload=bytes(1 << 20)))
    assert len(worker.bridge.take_messages()) == 7
    assert worker.bridge.dropped_count == 12


@pytest.mark.parametrize("seed", range(10))
def test_no_bytes_do_harm(seed: int) -> None:
    chance = random.Random(seed)
    worker = Worker()
    worker.subscribe(1, b"room/1")
    good = [
        b"1t\nhello", b"1b h\n\x00", b'1t h {"slow":"close","id":"i"}\nx', b"1p h 1 0 2\n1t\nx",
        b"1p h 1 1 2\ny", b'1t - {"key":1,"compress":true}\n\xc3\xa9',
    ]  # fmt: skip
    for _ in range(3000):
        message = bytearray(chance.choice(good))
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(message) + 1)
            message[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        worker.bridge.take(chance.choice([b"room/1", b"\xff", b""]), bytes(message))
        worker.bridge.broadcast(bytes(message))
    worker.hear()
    bad = worker.bridge.bad_count
    assert bad > 0
    worker.bridge.take(b"room/1", b"1t\nat last")
    worker.bridge.broadcast(b"1t\nto all")
    assert worker.hear() == [(MSG, b"at last"), (BROADCAST, b"to all")]
    assert worker.bridge.bad_count == bad


@pytest.mark.parametrize("seed", range(10))
def test_no_bytes_do_harm_to_a_log(seed: int) -> None:
    chance = random.Random(seed)
    worker = Worker()
    settings = json.dumps([["kept/*", {"history_count": 20, "history_ttl": 60.0}]]).encode()
    worker.link.take(pack_record(SETTINGS, payload=settings))
    worker.subscribe(1, b"kept/1")
    worker.link.take(pack_record(NAME, topic=2, payload=b"kept/*", flags=IS_PATTERN))
    worker.link.take(pack_record(SUB, topic=2, request=2))
    worker.bridge.confirm(b"kept/1")
    logs = worker.bridge.logs
    good = [
        b"1o 00000000000000aa %d\n1t\nhello", b"1o 00000000000000aa %d\n",
        b'1o 00000000000000aa %d\n1b 0000000000000007.3 {"id":"i"}\n\x00',
        b"1o 00000000000000ab %d\n1t\nx",
    ]  # fmt: skip
    for step in range(3000):
        message = bytearray(chance.choice(good) % chance.randrange(1, 40))
        for _ in range(chance.randrange(3)):
            place = chance.randrange(len(message) + 1)
            message[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        worker.bridge.take(chance.choice([b"kept/1", b"kept/2", b"plain"]), bytes(message))
        if not chance.randrange(20):
            payload = chance.choice([b"a", b"b"])
            worker.link.take(pack_record(PUB, topic=1, sequence=step + 1, payload=payload))
        for key, *_ in worker.bridge.placements.take_submissions():
            worker.bridge.placements.answered(
                key, chance.choice([0xAA, 0xAB]), chance.randrange(40)
            )
        if not chance.randrange(200):
            worker.bridge.lose()
            worker.bridge.expect()
            worker.bridge.confirm(b"kept/1")
        for name, number, *_ in logs.take_reads():
            entries = [
                (chance.randrange(1, 40), 1.0, chance.choice([b"1t\nx", b"1x", b""]))
                for _ in range(chance.randrange(4))
            ]
            epoch = chance.choice([0xAA, 0xAB])
            logs.read(name, number, epoch, chance.randrange(40), 2.0, entries)
        worker.hear()
    assert worker.bridge.bad_count + logs.bad_count > 0
    # Once the broker tells the truth again, all is well.
    worker.bridge.lose()
    worker.bridge.expect()
    worker.bridge.confirm(b"kept/1")
    for _ in range(3):
        for name, number, *_ in logs.take_reads():
            kept = [(50, 1.0, b"1t\nkept")]
            logs.read(name, number, 0xAC, 50, 2.0, kept)
    worker.hear()
    worker.bridge.take(b"kept/1", b"1o 00000000000000ac 51\n1t\nat last")
    assert worker.hear() == [(MSG, b"at last")]


@pytest.mark.slow
def test_parts_that_never_end_are_bounded() -> None:
    worker = Worker()
    worker.subscribe(1, b"room/1")
    for number in range(1000):
        worker.bridge.take(b"room/1", b"1p h %d 0 2\n" % number + bytes(1 << 20))
    assert worker.bridge.bad_count >= 1000 - 130
    worker.bridge.take(b"room/1", b"1p h 999 1 2\n")  # the newest is there
    assert worker.bridge.bad_count in range(1000 - 130, 1001)
