"""The log in memory that outlives the sequencer: what was kept is there after its death."""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from topic_links import ACK, DUPLICATE, END, ID, MSG, RECOVERED, Clock, Host, Worker, identified

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memory files")

KEPT = {"room/*": {"history_count": 100}}
Revive = Callable[..., Host]


@pytest.fixture
def revive() -> Iterator[Revive]:
    """`host = revive(settings, **options)`: a sequencer that goes on from the one before."""
    log = os.memfd_create("log")
    clock = Clock()

    def begin(settings: Any = None, **options: Any) -> Host:
        return Host(settings, clock=clock, log=log, **options)

    yield begin
    os.close(log)


def history(worker: Worker, topic: str) -> list[tuple[int, int, bytes]]:
    """Give all that is kept of a topic."""
    worker.hear()
    worker.subscribe(topic, (0, 0))
    heard = worker.hear()
    assert heard[-1].type == END
    return [(one.epoch, one.offset, one.payload) for one in heard if one.type == MSG]


def test_what_was_kept_is_there_after_the_death(revive: Revive) -> None:
    before = revive(KEPT)
    one = before.link()
    for number in range(10):
        one.publish(f"room/{number % 2}", b"%d" % number)
    kept = [history(one, topic) for topic in ("room/0", "room/1")]
    assert len(kept[0]) == 5
    for _ in range(3):  # it dies more than once
        after = revive(KEPT)
        two = after.link()
        assert two.sequencer_epoch != one.sequencer_epoch
        assert [history(two, topic) for topic in ("room/0", "room/1")] == kept
    two.publish("room/1", b"new")
    epoch, offset, _ = kept[1][-1]
    assert two.hear()[-1].offset == offset + 1
    two.subscribe("room/1", (epoch, 4))
    *missed, end = two.hear()
    assert [one.payload for one in missed] == [b"9", b"new"]
    assert end.flags == RECOVERED


def test_what_is_sent_again_after_the_death_is_taken_once(revive: Revive) -> None:
    before = revive(KEPT)
    one, two = before.link(), before.link()
    for number in range(1, 4):
        one.publish("room/1", b"%d" % number)
    two.publish("room/1", identified("x", b"4"), ID)
    epoch, _ = two.position("room/1")
    after = revive(KEPT)
    again = after.link(incarnation=one.incarnation)
    for number in (2, 3, 4):  # of which it has heard nothing
        again.publish("room/1", b"%d" % number, sequence=number)
    other = after.link()
    other.publish("room/1", identified("x", b"4"), ID)
    assert [one.flags for one in again.hear()] == [DUPLICATE, DUPLICATE, 0]
    (known,) = other.hear()
    assert (known.type, known.flags, known.epoch, known.offset) == (ACK, DUPLICATE, epoch, 4)
    assert [message for _, _, message in history(other, "room/1")] == [
        b"1",
        b"2",
        b"3",
        identified("x", b"4"),
        b"4",
    ]


def test_ids_expire_when_they_would_have(revive: Revive) -> None:
    settings = {"room/*": {"history_count": 1}}
    before = revive(settings)
    one = before.link()
    one.publish("room/1", identified("x", b"1"), ID)
    one.publish("room/1", b"2")
    before.wait(200)
    after = revive(settings)
    two = after.link()
    two.publish("room/1", identified("x", b"1"), ID)
    assert two.hear()[-1].flags == DUPLICATE
    after.wait(100)
    two.publish("room/1", identified("x", b"1"), ID)
    assert two.hear()[-1].flags == 0


def test_messages_are_too_old_when_they_would_have_been(revive: Revive) -> None:
    settings = {"room": {"history_ttl": 10}}
    one = revive(settings).link()
    one.publish("room", b"1")
    after = revive(settings)
    after.link()
    after.wait(9)
    assert after.stat("history_count") == 1
    after.wait(2)
    assert after.stat("history_count") == 0


def test_settings_hold_for_what_was_found(revive: Revive) -> None:
    one = revive(KEPT).link()
    for number in range(10):
        one.publish("room/1", b"%d" % number)
    epoch, _ = one.position("room/1")
    after = revive({"room/*": {"history_count": 3}})
    two = after.link()
    assert [message for _, _, message in history(two, "room/1")] == [b"7", b"8", b"9"]
    assert two.position("room/1") == (epoch, 10)


def test_a_topic_with_a_new_epoch_has_nothing_of_the_old_one(revive: Revive) -> None:
    host = revive(KEPT)
    one = host.link()
    one.publish("room/1", b"old")
    one.declare({"room/*": {}})
    one.declare(KEPT)
    one.publish("room/1", b"new")
    kept = history(one, "room/1")
    two = revive(KEPT).link()
    assert history(two, "room/1") == kept
    assert [message for _, _, message in kept] == [b"new"]


def test_the_log_is_written_anew_and_stays_small(revive: Revive) -> None:
    host = revive({"room/*": {"history_count": 4}})
    one = host.link()
    drawn = random.Random(1)
    for number in range(600):
        one.publish(f"room/{drawn.randrange(5)}", b"%d" % number * 30_000)
        one.hear()
    kept = [history(one, f"room/{number}") for number in range(5)]
    two = revive({"room/*": {"history_count": 4}}).link()
    assert [history(two, f"room/{number}") for number in range(5)] == kept


def test_members_and_plain_messages_are_not_kept(revive: Revive) -> None:
    host = revive({"here": {"presence": True}})
    one = host.link()
    one.join("here", "a")
    one.publish("here", b"a")
    one.publish("news", b"a")
    after = revive({"here": {"presence": True}})
    assert after.stat("topics") == after.stat("members") == 0


def test_what_is_no_log_is_not_taken_for_one() -> None:
    log = os.memfd_create("log")
    try:
        os.write(log, (8000).to_bytes(8, "little") + os.urandom(10_000))
        with pytest.raises(ValueError, match="expected an entry"):
            Host(log=log)
    finally:
        os.close(log)
    with pytest.raises(MemoryError):
        Host(log=log)
