"""What comes over a link: cut anywhere, malformed, or made up. It costs that link alone."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from topic_links import (
    BROADCAST,
    COUNT,
    DELTA,
    FORGET,
    HEAD,
    HELLO,
    ID,
    JOIN,
    LAST,
    LEAVE,
    NAME,
    PONG,
    PUB,
    SETTINGS,
    SINCE,
    SUB,
    TEXT,
    UNSUB,
    WATCH,
    Host,
    Record,
    identified,
    pack,
    unpack,
)

from sockwave.core.topics import records
from sockwave.core.topics.sequencer import Sequencer
from sockwave.errors import SockwaveError

MAX_LENGTH = (64 << 20) + (64 << 10)


def hello(kind: str = "worker", incarnation: int = 77) -> bytes:
    payload = json.dumps({"pid": 1, "kind": kind}).encode()
    return pack(HELLO, request=1, epoch=incarnation, payload=payload)


def conversation() -> bytes:
    """Write a bit of everything, as one worker says it."""
    declared = [["room", {"history_count": 5, "presence": True}]]
    said = [
        hello(),
        pack(SETTINGS, payload=json.dumps(declared).encode()),
        pack(NAME, topic=1, payload=b"room"),
        pack(NAME, topic=2, payload=b"news"),
        pack(NAME, SINCE, topic=3, payload=b"**"),
        pack(NAME, topic=4, payload=b"answer"),
        pack(SUB, topic=1, request=1),
        pack(PUB, TEXT, topic=1, sequence=1, payload=b"hello"),
        pack(PUB, TEXT | ID, topic=1, sequence=2, payload=identified("a", b"x" * 100)),
        pack(SUB, topic=3, request=2),
        pack(PUB, topic=2, sequence=3, payload=b"news"),
        pack(JOIN, topic=1, payload=b"\3\0ann[1]"),
        pack(WATCH, topic=1, request=3),
        pack(PUB, TEXT | DELTA, topic=4, sequence=4, payload=b"he"),
        pack(PUB, DELTA | LAST, topic=4, sequence=5),
        pack(SUB, topic=4, request=4),
        pack(COUNT, topic=1, request=5),
        pack(BROADCAST, payload=b"all"),
        pack(LEAVE, topic=1, payload=b"ann"),
        pack(UNSUB, topic=1),
        pack(FORGET, topic=2),
        pack(PONG),
    ]
    return b"".join(said)


def answers(pieces: list[bytes]) -> list[Record]:
    """Feed a conversation in pieces; give what it was told, but for what is drawn at random."""
    link = Host().sequencer.connect()
    for piece in pieces:
        link.take(piece)
    # How often messages of plain topics are acknowledged depends on the reads.
    return [one._replace(epoch=0) for one in unpack(link.read()) if one.topic or one.request]


def test_records_may_be_cut_anywhere() -> None:
    data = conversation()
    whole = answers([data])
    assert len(whole) == 14
    for place in range(len(data) + 1):
        assert answers([data[:place], data[place:]]) == whole
    assert answers([data[place : place + 1] for place in range(len(data))]) == whole
    assert answers([data[place : place + 41] for place in range(0, len(data), 41)]) == whole


def test_records_come_in_any_kind_of_bytes() -> None:
    data = conversation()
    link = Host().sequencer.connect()
    for one in (bytearray(data[:100]), memoryview(data)[100:200], data[200:], b""):
        link.take(one)
    assert len(unpack(link.read())) > 10


def test_output_may_be_taken_off_in_any_pieces() -> None:
    host = Host()
    one, two = host.link(), host.link()
    two.subscribe("a")
    for number in range(100):
        one.publish("a", b"%d" % number * 50)
    drawn = random.Random(3)
    taken = b""
    while two.link.output_size:
        taken += two.link.read(drawn.randrange(1, 500))
        one.publish("a", b"x") if drawn.random() < 0.1 else None
    published = host.stat("messages")
    assert len(unpack(taken)) == 2 + published


def test_a_large_record_comes_whole() -> None:
    host = Host()
    one, two = host.link(), host.link()
    two.subscribe("a")
    two.hear()
    message = random.Random(5).randbytes(10 << 20)
    record = pack(PUB, topic=one.number("a"), sequence=1, payload=message)
    for place in range(0, len(record), 1 << 18):
        one.link.take(record[place : place + (1 << 18)])
    assert two.messages() == [message]


@pytest.mark.parametrize("length", [0, 39, MAX_LENGTH + 1, 0xFFFFFFFF])
@pytest.mark.parametrize("cut", [None, 10, 40, 45])
def test_a_length_that_cannot_be_closes_the_link_at_once(length: int, cut: int | None) -> None:
    one = Host().link()
    data = pack(PONG, length=length) + b"x" * 100
    if cut is not None and cut < 40:
        one.link.take(data[:cut])
        data = data[cut:]
        cut = None
    with pytest.raises(SockwaveError, match="expected a record of 40 B to 64 MiB"):
        one.link.take(data[:cut])


@pytest.mark.parametrize("length", [40, MAX_LENGTH])
def test_a_length_at_the_limits_is_taken(length: int) -> None:
    one = Host().link()
    one.link.take(pack(PONG, length=length))
    one.link.take(b"x" * 100 if length > 40 else b"")


@pytest.mark.parametrize("type", [0, 16, 64, 65, 77, 255])
def test_a_type_that_no_worker_sends_closes_the_link(type: int) -> None:
    one = Host().link()
    with pytest.raises(SockwaveError, match=f"given type {type}"):
        one.link.take(pack(type))


@pytest.mark.parametrize(
    "data",
    [
        pack(PONG),
        pack(HELLO, request=2, payload=b'{"kind":"worker"}'),
        pack(HELLO, request=1, payload=b'{"kind":"other"}'),
        pack(HELLO, request=1, payload=b"[]"),
        pack(HELLO, request=1, payload=b"{"),
        pack(HELLO, request=1, payload=b"\xff"),
    ],
)
def test_a_link_begins_with_hello(data: bytes) -> None:
    link = Host().sequencer.connect()
    with pytest.raises(SockwaveError, match="expected"):
        link.take(data)
    assert link.read() == b""


@pytest.mark.parametrize(
    "data",
    [
        hello(),
        pack(SETTINGS, payload=b"{}x"),
        pack(SETTINGS, payload=b'[["a", 1]]'),
        pack(SETTINGS, payload=b'[["a", {"history_count": -1}]]'),
        pack(SETTINGS, payload=b'[["a", {"history_count": "x"}]]'),
        pack(SETTINGS, payload=b'[["a**", {}]]'),
        pack(SETTINGS, payload=b"[" * 100_000),
        pack(NAME, SINCE, topic=9, payload=b"a/**/b"),
        pack(SUB, SINCE, topic=2, request=1),
        pack(PUB, topic=2),
        pack(JOIN, topic=1, payload=b"\1"),
        pack(JOIN, topic=1, payload=b"\2\0a"),
        pack(JOIN, topic=1, payload=b"\1\0\xff"),
        pack(JOIN, topic=1, payload=b"\1\0a{"),
        pack(JOIN, topic=1, payload=b"\1\0aNaN"),
        pack(PUB, LAST, topic=1),
        pack(PUB, 16, topic=1),
        pack(BROADCAST, DELTA),
        pack(BROADCAST, ID),
    ],
)
def test_a_record_that_cannot_be_costs_its_link_alone(data: bytes) -> None:
    host = Host({"a": {"presence": True}})
    one, two = host.link(), host.link()
    one.number("a"), one.number("b/*")
    two.subscribe("a")
    one.publish("a", b"before")
    with pytest.raises(SockwaveError, match="expected"):
        one.link.take(data)
    one.link.end()
    two.publish("a", b"after")
    assert two.messages() == [b"before", b"after"]


def test_a_link_that_has_ended_takes_nothing() -> None:
    one = Host().link()
    one.link.end()
    with pytest.raises(SockwaveError, match="has ended"):
        one.link.take(pack(PONG))
    assert one.link.read() == b""


heads = st.builds(
    lambda type, flags, topic, request, epoch, offset, sequence, payload: pack(
        type,
        flags,
        topic=topic,
        request=request,
        epoch=epoch,
        offset=offset,
        sequence=sequence,
        payload=payload,
    ),
    type=st.integers(1, 16),
    flags=st.integers(0, 255) | st.sampled_from([0, 1, 4, 8, 32, 128]),
    topic=st.integers(0, 5) | st.integers(0, 0xFFFFFFFF),
    request=st.integers(0, 3),
    epoch=st.integers(0, 3) | st.integers(0, 2**64 - 1),
    offset=st.integers(0, 5) | st.integers(0, 2**64 - 1),
    sequence=st.integers(0, 20) | st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=40)
    | st.sampled_from([b"a", b"b/*", b"\1\0k1", b"[]", b'[["**",{"history_count":3,"grace":1}]]']),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 2), heads | st.binary(max_size=60)), max_size=40),
    st.integers(0, 5),
)
def test_whatever_comes_costs_its_link_alone(said: list[tuple[int, bytes]], seconds: int) -> None:
    declared = {"a": {"history_count": 3, "presence": True}, "b/**": {"history_ttl": 2}}
    host = Host(declared, history_budget=2000, append_size=50, topic_count=6, link_cap=3000)
    witness = host.link()
    witness.subscribe("witness")
    links = [host.link() for _ in range(3)]
    for number, worker in enumerate(links):
        for topic in ("a", "b/c", "d/*", "answer"):
            worker.number(topic)
        worker.subscribe("a" if number else "d/*")
        worker.is_silent = True  # half a record may wait
    for who, data in said:
        worker = links[who]
        try:
            worker.link.take(data)
        except SockwaveError:
            worker.link.end()
            links[who] = host.link()
            links[who].number("a")
            links[who].is_silent = True
    host.wait(seconds)
    witness.hear()
    publisher = host.link()
    publisher.publish("witness", b"still here")
    assert witness.link.failure is None
    assert b"still here" in witness.messages() or host.stat("topics") == 6
    for worker in (*links, witness, publisher):
        worker.link.end()
    host.wait(400)
    stats = host.sequencer.stats
    assert (stats["links"], stats["members"], stats["ids"], stats["stream_bytes"]) == (0, 0, 0, 0)


# ---- the helpers for those who are not compiled


@given(
    st.integers(65, 79),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.lists(st.integers(0, 0xFFFFFFFF), min_size=2, max_size=2),
    st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3),
    st.binary(max_size=100),
)
def test_records_are_written_and_read_as_a_slow_codec_does(
    type: int, flags: int, worker: int, small: list[int], large: list[int], payload: bytes
) -> None:
    data = records.pack_record(type, flags, worker, *small, *large, payload)
    assert data == HEAD.pack(len(data), type, flags, worker, *small, *large) + payload
    whole = (type, flags, worker, *small, *large, payload)
    for cut in (0, 1, 39, len(data) - 1, len(data)):
        found, size = records.unpack_records(data + data[:cut])
        expected = 2 if cut == len(data) else 1
        assert (found, size) == ([whole] * expected, expected * len(data))


@pytest.mark.parametrize("data", [pack(1), pack(64), pack(80), pack(65, length=39)])
def test_what_no_sequencer_sends_is_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a record of the sequencer"):
        records.unpack_records(data)


def test_the_sequencer_takes_only_its_options_by_name() -> None:
    with pytest.raises(TypeError):
        Sequencer(100)  # type: ignore[misc]
