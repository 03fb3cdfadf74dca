"""Presence in the sequencer: members of all links, their differences, and who dies."""

import json
from typing import Any

import pytest
from topic_links import (
    DIFF,
    FORGET,
    GAP,
    JOIN,
    MEMBERS,
    MORE,
    REFUSED,
    SNAPSHOT,
    TEXT,
    UNWATCH,
    WATCH,
    Host,
    Worker,
)

HERE = {"here": {"presence": True}}
GRACE = {"here": {"presence": True, "grace": 5}}


def differences(worker: Worker) -> list[dict[str, Any]]:
    """Give the differences that a worker has heard of since."""
    return [json.loads(one.payload) for one in worker.hear() if one.type == DIFF]


def watching(host: Host) -> Worker:
    worker = host.link()
    worker.tell(WATCH, topic="here", request=1)
    worker.hear()
    return worker


def test_a_member_is_there_from_the_first_link_to_the_last() -> None:
    host = Host(HERE)
    one, two, watcher = host.link(), host.link(), watching(host)
    one.join("here", "ann", '{"name":"Ann"}')
    two.join("here", "ann", '{"name":"Ann"}')
    assert watcher.members("here") == {"ann": {"name": "Ann"}}
    one.leave("here", "ann")
    assert watcher.members("here") == {"ann": {"name": "Ann"}}
    two.leave("here", "ann")
    assert watcher.members("here") == {}
    two.leave("here", "ann")
    one.leave("here", "nobody")
    assert watcher.members("here") == {}
    assert host.stat("members") == 0


def test_watchers_hear_differences_and_others_nothing() -> None:
    host = Host(HERE)
    one, watcher, other = host.link(), watching(host), host.link()
    other.subscribe("here")
    other.hear()
    one.join("here", "ann", "[1]")
    one.join("here", "bob")
    host.wait(0)
    assert differences(watcher) == [{"join": {"ann": [1], "bob": None}, "leave": {}}]
    host.wait(0.1)
    one.leave("here", "ann")
    host.wait(0)
    assert differences(watcher) == [{"join": {}, "leave": {"ann": [1]}}]
    watcher.tell(UNWATCH, topic="here")
    one.leave("here", "bob")
    host.wait(1)
    assert watcher.hear() == other.hear() == []


def test_there_is_one_difference_in_a_tenth_of_a_second() -> None:
    host = Host(HERE)
    one, watcher = host.link(), watching(host)
    one.join("here", "a")
    host.wait(0)
    one.join("here", "b")
    one.join("here", "c")
    one.leave("here", "a")
    host.wait(0.099)
    assert differences(watcher) == [{"join": {"a": None}, "leave": {}}]
    host.wait(0.002)
    assert differences(watcher) == [{"join": {"b": None, "c": None}, "leave": {"a": None}}]


def test_what_has_come_and_gone_between_two_differences_is_not_told() -> None:
    host = Host(HERE)
    one, watcher = host.link(), watching(host)
    one.join("here", "stays", "1")
    host.wait(0.2)
    watcher.hear()
    one.join("here", "short")
    one.leave("here", "short")
    one.leave("here", "stays")
    one.join("here", "stays", "1")
    one.join("here", "stays", "2")
    one.join("here", "stays", "1")
    host.wait(1)
    assert watcher.hear() == []


def test_joining_again_replaces_the_data_and_is_told_only_if_they_differ() -> None:
    host = Host(HERE)
    one, two, watcher = host.link(), host.link(), watching(host)
    one.join("here", "ann", "1")
    host.wait(0.2)
    watcher.hear()
    two.join("here", "ann", "1")
    host.wait(0.2)
    assert watcher.hear() == []
    two.join("here", "ann", "2")
    host.wait(0.2)
    assert differences(watcher) == [{"join": {"ann": 2}, "leave": {}}]
    assert watcher.members("here") == {"ann": 2}


def test_the_end_of_a_link_is_the_leave_of_its_members() -> None:
    host = Host(HERE)
    one, two, watcher = host.link(), host.link(), watching(host)
    for key in ("a", "b", "both"):
        one.join("here", key)
    two.join("here", "both")
    host.wait(0.2)
    watcher.hear()
    one.link.end()
    assert watcher.members("here") == {"both": None}
    host.wait(0.1)
    assert differences(watcher) == [{"join": {}, "leave": {"a": None, "b": None}}]


def test_a_worker_that_comes_back_at_once_has_not_left() -> None:
    host = Host(HERE)
    one, watcher = host.link(), watching(host)
    one.join("here", "ann")
    host.wait(0.2)
    watcher.hear()
    one.link.end()
    again = host.link(incarnation=one.incarnation)
    again.join("here", "ann")
    host.wait(1)
    assert watcher.hear() == []


def test_a_member_leaves_after_its_grace_unless_it_joins_again() -> None:
    host = Host(GRACE)
    one, two, watcher = host.link(), host.link(), watching(host)
    one.join("here", "ann")
    one.join("here", "bob")
    host.wait(0.2)
    watcher.hear()
    one.link.end()
    host.wait(4)
    two.join("here", "ann")
    assert watcher.members("here") == {"ann": None, "bob": None}
    host.wait(0.9)
    assert watcher.hear() == []
    host.wait(0.2)
    assert differences(watcher) == [{"join": {}, "leave": {"bob": None}}]
    two.leave("here", "ann")
    host.wait(4.9)
    assert watcher.members("here") == {"ann": None}
    host.wait(0.2)
    assert watcher.members("here") == {}


def test_a_snapshot_alone_is_followed_by_nothing() -> None:
    host = Host(HERE)
    one, two = host.link(), host.link()
    one.join("here", "a")
    two.tell(WATCH, SNAPSHOT, "here", request=3)
    (members,) = two.hear()
    assert (members.type, members.request, members.payload) == (MEMBERS, 3, b'{"a":null}')
    one.leave("here", "a")
    host.wait(1)
    assert two.hear() == []


def test_snapshot_and_differences_together_are_always_the_members() -> None:
    host = Host(HERE)
    one = host.link()
    for number in range(5):
        one.join("here", f"{number}")
    watcher = host.link()
    watcher.tell(WATCH, topic="here", request=3)
    (members,) = watcher.hear()
    known = json.loads(members.payload)
    one.leave("here", "3")
    one.join("here", "5", "7")
    host.wait(1)
    for difference in differences(watcher):
        known |= difference["join"]
        for key in difference["leave"]:
            known.pop(key, None)
    assert known == watcher.members("here") == dict.fromkeys("0124") | {"5": 7}


def test_a_large_snapshot_comes_in_parts() -> None:
    host = Host(HERE)
    one, two = host.link(), host.link()
    data = json.dumps("x" * 50_000)
    for number in range(100):
        one.join("here", f"{number}", data)
    two.tell(WATCH, SNAPSHOT, "here", request=1)
    records = two.hear()
    assert [one.flags for one in records] == [MORE] * (len(records) - 1) + [0]
    assert max(len(one.payload) for one in records) < (1 << 20) + 60_000
    assert len(two.members("here")) == 100


def test_keys_are_any_text() -> None:
    host = Host(HERE)
    one = host.link()
    keys = ["", 'a"b\\', "ä\u2028\0\n", "x" * 60_000, "\U0001f600"]
    for key in keys:
        one.join("here", key, "{}")
    assert one.members("here") == {key: {} for key in keys}
    for key in keys:
        one.leave("here", key)
    assert one.members("here") == {}


def test_a_difference_that_a_slow_link_misses_is_a_gap() -> None:
    host = Host(HERE, link_cap=1000)
    one, watcher, publisher = host.link(), watching(host), host.link()
    watcher.subscribe("news")
    watcher.hear()
    one.join("here", "ann")
    host.wait(0.2)
    for _ in range(20):
        publisher.publish("news", b"x" * 60, TEXT)
    one.link.end()
    host.wait(0.2)
    assert DIFF in [record.type for record in watcher.hear()]  # that ann has joined
    assert ("here", GAP) in [(record.topic, record.type) for record in watcher.hear()]
    assert watcher.members("here") == {}


def test_who_forgets_a_topic_leaves_it() -> None:
    host = Host(HERE)
    one, two = host.link(), host.link()
    one.join("here", "ann")
    one.tell(FORGET, topic="here")
    assert two.members("here") == {}


def test_a_topic_lives_as_long_as_it_has_members() -> None:
    host = Host(GRACE)
    one = host.link()
    one.join("here", "ann")
    host.wait(1)
    one.link.end()
    assert host.stat("topics") == 1
    host.wait(6)
    assert host.stat("topics") == 0


def test_joining_a_topic_without_presence_is_refused() -> None:
    host = Host()
    one = host.link()
    one.tell(JOIN, topic="here", request=4, payload=b"\1\0a")
    (refused,) = one.hear()
    assert (refused.type, refused.request) == (REFUSED, 4)


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_members_are_many(count: int) -> None:
    host = Host(HERE)
    one, two = host.link(), host.link()
    for number in range(count):
        one.join("here", f"{number}")
    two.join("here", "0")
    assert host.stat("members") == count
    assert len(two.members("here")) == count
    one.link.end()
    assert two.members("here") == {"0": None}
