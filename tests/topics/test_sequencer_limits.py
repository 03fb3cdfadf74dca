"""Each limit of the sequencer: at it, and one past it."""

import pytest
from topic_links import (
    ACK,
    COUNT,
    DELTA,
    END,
    ID,
    JOIN,
    LAST,
    MSG,
    NAME,
    PUB,
    REFUSED,
    SUB,
    Host,
    identified,
    pack,
)

from sockwave.core.topics.sequencer import Sequencer
from sockwave.errors import SockwaveError


def test_topics_are_refused_beyond_topic_count() -> None:
    host = Host(topic_count=3)
    one, two = host.link(), host.link()
    for topic in ("a", "b", "c"):
        one.subscribe(topic)
    one.hear()
    number = one.number("d")
    (refused,) = one.hear()
    assert (refused.type, refused.topic, refused.request) == (REFUSED, 0, number)
    assert b"topic_count" in refused.payload
    one.publish("d", b"x")
    one.subscribe("d", request=9)
    one.tell(COUNT, topic="d", request=10)
    assert [(r.type, r.request, r.sequence) for r in one.hear()] == [
        (REFUSED, 0, 1),
        (REFUSED, 9, 0),
        (REFUSED, 10, 0),
    ]
    two.subscribe("a")
    assert two.hear()[0].type == END
    one.forget("d")
    one.forget("c")
    one.subscribe("d")
    assert one.hear()[-1].type == END
    assert host.stat("topics") == 3


@pytest.mark.parametrize("limit", ["history_count", "history_size"])
def test_a_history_is_bounded_in_messages_and_bytes(limit: str) -> None:
    bound = 4 if limit == "history_count" else 4 * (36 + 64)
    host = Host({"room": {limit: bound}})
    one = host.link()
    for number in range(1, 11):
        one.publish("room", b"x" * 36)
        assert host.stat("history_count") == min(number, 4)
    one.publish("room", b"x" * 37)
    assert host.stat("history_count") == (4 if limit == "history_count" else 3)


def test_a_message_larger_than_its_history_is_delivered_and_not_kept() -> None:
    host = Host({"room": {"history_size": 100}})
    one, two = host.link(), host.link()
    two.subscribe("room")
    one.publish("room", b"x" * 36)
    assert host.stat("history_count") == 1
    one.publish("room", b"x" * 37)
    assert host.stat("history_count") == 0
    assert len(two.messages()) == 2
    epoch, top = one.position("room")
    one.subscribe("room", (epoch, 0))
    assert [(r.type, r.flags, r.offset) for r in one.hear()] == [(END, 0, top)]


def test_the_budget_of_all_histories_drops_the_oldest_messages_of_all() -> None:
    host = Host({"**": {"history_count": 100}}, history_budget=1000)
    one, two = host.link(), host.link()
    for number in range(10):
        one.publish(f"room/{number % 3}", b"x" * 36)
    assert (host.stat("history_bytes"), host.stat("evicted")) == (1000, 0)
    one.publish("room/1", b"x" * 37)
    assert (host.stat("history_bytes"), host.stat("evicted")) == (901, 2)
    kept = {}
    for topic in ("room/0", "room/1", "room/2"):
        epoch, top = two.position(topic)
        for since in range(top):
            two.subscribe(topic, (epoch, since))
            if two.hear()[0].type == MSG:
                kept[topic] = (since + 1, top)
                break
    assert kept == {"room/0": (2, 4), "room/1": (2, 4), "room/2": (1, 3)}


def test_topics_of_which_the_budget_takes_the_last_message_are_forgotten() -> None:
    host = Host({"**": {"history_count": 100}}, history_budget=1000)
    one = host.link()
    for number in range(100):
        one.publish(f"{number}", b"x" * 36)
        one.forget(f"{number}")
    assert host.stat("topics") == 10


@pytest.mark.parametrize("is_last", [False, True])
def test_a_stream_is_bounded_by_append_size(is_last: bool) -> None:
    host = Host(append_size=10)
    one, two = host.link(), host.link()
    two.subscribe("answer")
    two.hear()
    flags = DELTA | LAST if is_last else DELTA
    one.publish("answer", b"12345", DELTA)
    one.publish("answer", b"123456", flags)
    assert [r.type for r in one.hear()] == [ACK, REFUSED]
    one.publish("answer", b"12345", flags)
    assert [r.type for r in one.hear()] == [ACK]
    assert two.messages() == [b"12345", b"12345"]


def test_a_stream_that_begins_too_large_does_not_begin() -> None:
    host = Host(append_size=10)
    one = host.link()
    one.publish("answer", b"x" * 11, DELTA)
    assert one.hear()[0].type == REFUSED
    one.publish("answer", b"message")
    assert one.hear()[0].type == ACK


def test_streams_have_a_part_in_the_budget() -> None:
    host = Host({"kept": {"history_count": 100}}, history_budget=1000)
    one = host.link()
    for _ in range(10):
        one.publish("kept", b"x" * 36)
    one.hear()
    for topic in ("a", "b"):
        one.publish(topic, b"x" * 496, DELTA)
        assert one.hear()[-1].type == ACK
    assert (host.stat("stream_bytes"), host.stat("history_bytes")) == (1000, 0)
    one.publish("b", b"", DELTA)
    refused = one.hear()[-1]
    assert (refused.type, b"history_budget" in refused.payload) == (REFUSED, True)


@pytest.mark.parametrize("size", [1, 255])
def test_ids_have_one_byte_for_their_length(size: int) -> None:
    host = Host({"a": {"history_count": 1}})
    one = host.link()
    for _ in range(2):
        one.publish("a", identified("x" * size, b"m"), ID)
    assert [r.flags for r in one.hear()] == [0, 64]


@pytest.mark.parametrize(
    ("flags", "payload"),
    [
        (4, b""),
        (4, b"\0message"),
        (4, b"\4abc"),
        (2, b"\0"),
        (2, b"\2\0{"),
        (6, b"\1a"),
        (6, b"\1a\1\0"),
    ],
)
def test_a_payload_that_is_shorter_than_it_says_closes_the_link(flags: int, payload: bytes) -> None:
    host = Host()
    one, two = host.link(), host.link()
    two.subscribe("a")
    two.hear()
    with pytest.raises(SockwaveError, match="all of its parts"):
        one.publish("a", payload, flags)
    assert two.hear() == []


def test_names_have_one_to_255_bytes() -> None:
    host = Host()
    one = host.link()
    one.subscribe("x" * 255)
    assert one.hear()[-1].type == END
    for name in (b"", b"x" * 256, b"\xff", b"a\nb"):
        with pytest.raises(SockwaveError, match="type 3"):
            host.link().link.take(pack(NAME, topic=1, payload=name))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_number_is_new_when_it_is_named(number: int) -> None:
    one = Host().link()
    one.number("a"), one.number("b/*")
    with pytest.raises(SockwaveError, match="expected a new number"):
        one.link.take(pack(NAME, topic=number, payload=b"c"))


@pytest.mark.parametrize("type", [PUB, SUB, JOIN, COUNT])
@pytest.mark.parametrize("number", [0, 9])
def test_a_number_is_known_when_it_is_used(type: int, number: int) -> None:
    one = Host().link()
    with pytest.raises(SockwaveError, match="expected the number of a topic"):
        one.link.take(pack(type, topic=number))


@pytest.mark.slow
def test_links_have_numbers_of_two_bytes() -> None:
    sequencer = Sequencer()
    links = [sequencer.connect() for _ in range(65535)]
    assert len({link.id for link in links}) == 65535
    with pytest.raises(SockwaveError, match="65535 links"):
        sequencer.connect()
    links[7].end()
    assert sequencer.connect().id == links[7].id
