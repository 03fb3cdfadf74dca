"""The sequencer: places in one order, history and replay, acknowledgements, streams, patterns."""

import pytest
from topic_links import (
    ABORTED,
    ACK,
    BROADCAST,
    COUNT,
    COUNT_ASKED,
    COUNTED,
    COUNTING,
    DELTA,
    DUPLICATE,
    END,
    FORGET,
    FORGOTTEN,
    GAP,
    ID,
    LAST,
    META,
    MORE,
    MSG,
    NAME,
    PING,
    PUB,
    RECOVERED,
    REFUSED,
    REPLAY,
    TEXT,
    UNSUB,
    UNWATCHED,
    Host,
    Record,
    identified,
    pack,
    unpack,
)

from sockwave.errors import SockwaveError

KEPT = {"room/*": {"history_count": 100}}


def offsets(records: list[Record]) -> list[int]:
    return [one.offset for one in records if one.type == MSG]


# ---- plain topics


def test_a_message_of_a_plain_topic_goes_to_the_other_links_that_want_it() -> None:
    host = Host()
    one, two, three, four = (host.link() for _ in range(4))
    for worker in (one, two, three):
        worker.subscribe("news")
        assert worker.hear() == [Record(END, topic="news", request=1)]
    three.tell(UNSUB, topic="news")
    four.publish("news", b"hello", TEXT)
    one.publish("news", b"\0\xff")
    assert two.hear() == [
        Record(MSG, TEXT, four.id, "news", sequence=1, payload=b"hello"),
        Record(MSG, 0, one.id, "news", sequence=1, payload=b"\0\xff"),
    ]
    assert one.messages() == [b"hello"]
    assert three.hear() == []


def test_messages_of_plain_topics_are_acknowledged_once_for_each_read() -> None:
    host = Host()
    worker = host.link()
    number = worker.number("news")
    worker.hear()
    worker.link.take(b"".join(pack(PUB, topic=number, sequence=n) for n in (1, 2, 3)))
    worker.link.take(pack(PUB, topic=number, sequence=4))
    assert worker.hear() == [Record(ACK, sequence=3), Record(ACK, sequence=4)]


def test_id_and_meta_are_passed_on_as_they_are() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link()
    payload = identified("me", b"\x02\x00{}" + b"message")
    for topic in ("news", "room/1"):
        two.subscribe(topic)
        one.publish(topic, payload, ID | META | TEXT)
        last = two.hear()[-1]
        assert (last.flags, last.payload) == (ID | META | TEXT, payload)


def test_a_broadcast_goes_to_all_other_workers_and_to_no_publisher() -> None:
    host = Host()
    one, two, three = (host.link() for _ in range(3))
    publisher = host.link("publisher")
    one.tell(BROADCAST, TEXT, payload=b"all")
    for worker in (two, three):
        assert worker.hear() == [Record(BROADCAST, TEXT, one.id, payload=b"all")]
    assert one.hear() == publisher.hear() == []


# ---- order, echoes and acknowledgements


def test_messages_of_a_sequenced_topic_get_places_and_come_to_all_in_one_order() -> None:
    host = Host(KEPT)
    workers = [host.link() for _ in range(3)]
    for worker in workers:
        worker.subscribe("room/1")
    epoch, top = workers[0].position("room/1")
    assert epoch
    assert top == 0
    for worker in workers:
        worker.hear()
    for number in range(6):
        workers[number % 3].publish("room/1", b"%d" % number)
    heard = [worker.hear() for worker in workers]
    assert heard[0] == heard[1] == heard[2]
    assert offsets(heard[0]) == [1, 2, 3, 4, 5, 6]
    assert {one.epoch for one in heard[0]} == {epoch}
    assert [(one.worker, one.sequence) for one in heard[0]] == [
        (workers[number % 3].id, number // 3 + 1) for number in range(6)
    ]


def test_a_publisher_that_does_not_want_the_topic_gets_an_acknowledgement() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link("publisher")
    epoch, _ = one.position("room/1")
    two.publish("room/1", b"a")
    assert two.hear() == [Record(ACK, topic="room/1", epoch=epoch, offset=1, sequence=1)]


@pytest.mark.parametrize("topic", ["room/1", "here"])
def test_a_message_with_an_id_that_is_known_is_delivered_once(topic: str) -> None:
    host = Host({**KEPT, "here": {"presence": True}})
    one, two = host.link(), host.link()
    epoch, _ = one.position(topic)
    two.publish(topic, identified("a", b"1"), ID)
    two.publish(topic, identified("b", b"2"), ID)
    two.hear()
    three = host.link()  # the client has come back to another worker
    three.publish(topic, identified("a", b"1"), ID)
    assert three.hear() == [Record(ACK, DUPLICATE, 0, topic, 0, epoch, 1, 1)]
    three.publish("room/other", identified("a", b"1"), ID)
    assert three.hear()[0].flags == 0
    assert one.messages() == [identified("a", b"1"), identified("b", b"2")]
    assert host.stat("duplicates") == 1


def test_an_id_is_known_for_five_minutes() -> None:
    host = Host({"room/*": {"history_count": 5, "history_ttl": 1}})
    one, two = host.link(), host.link()
    one.subscribe("room/1")
    two.publish("room/1", identified("a", b"1"), ID)
    two.forget("room/1")
    host.wait(299.999)
    one.hear()
    two.publish("room/1", identified("a", b"1"), ID)
    assert two.hear()[-1].flags == DUPLICATE
    host.wait(0.002)
    one.hear()
    two.publish("room/1", identified("a", b"1"), ID)
    assert one.messages() == [identified("a", b"1")]


def test_a_topic_is_not_forgotten_while_ids_of_it_are_known() -> None:
    host = Host({"here": {"presence": True}})
    one = host.link()
    one.publish("here", identified("a", b"1"), ID)
    one.forget("here")
    assert host.stat("topics") == 1
    one.publish("here", identified("a", b"1"), ID)
    assert one.hear()[-1].flags == DUPLICATE
    one.forget("here")
    host.wait(300)
    assert host.stat("topics") == 0


@pytest.mark.parametrize("topic", ["news", "room/1"])
def test_a_worker_that_sends_again_over_a_new_link_is_not_heard_twice(topic: str) -> None:
    host = Host(KEPT)
    listener = host.link()
    listener.subscribe(topic)
    listener.hear()
    before = host.link()
    for message in (b"1", b"2"):
        before.publish(topic, message)
    before.link.end()
    after = host.link(incarnation=before.incarnation)
    for number in (1, 2, 3):
        after.publish(topic, b"%d" % number, sequence=number)
    assert listener.messages() == [b"1", b"2", b"3"]
    acknowledged = [one.sequence for one in after.hear() if one.type == ACK]
    assert acknowledged[-1] == 3


def test_a_second_link_of_a_worker_ends_the_first_one() -> None:
    host = Host()
    before = host.link()
    assert host.link(incarnation=before.incarnation).link.failure is None
    assert before.link.failure is not None
    assert before.link in host.sequencer.take_dirty()
    with pytest.raises(SockwaveError, match="another one for the same worker"):
        before.publish("news")


# ---- history and replay


def test_replay_gives_what_was_missed_once_and_in_order_and_what_follows_is_live() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link()
    for number in range(1, 6):
        one.publish("room/1", b"%d" % number)
    epoch, _ = one.position("room/1")
    two.subscribe("room/1", (epoch, 2), request=9)
    one.publish("room/1", b"6")
    heard = two.hear()
    assert [(h.type, h.flags, h.request, h.offset) for h in heard] == [
        (MSG, REPLAY, 9, 3),
        (MSG, REPLAY, 9, 4),
        (MSG, REPLAY, 9, 5),
        (END, RECOVERED, 9, 5),
        (MSG, 0, 0, 6),
    ]
    assert [h.payload for h in heard] == [b"3", b"4", b"5", b"", b"6"]


def test_without_a_position_nothing_is_replayed() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link()
    one.publish("room/1", b"1")
    two.subscribe("room/1", request=3)
    (end,) = two.hear()
    assert (end.type, end.flags, end.offset) == (END, 0, 1)


@pytest.mark.parametrize(
    ("since", "recovered"), [(0, False), (1, False), (2, True), (4, True), (5, True), (6, False)]
)
def test_recovery_says_whether_all_that_was_missed_is_there(since: int, recovered: bool) -> None:
    host = Host({"room": {"history_count": 3}})
    one, two = host.link(), host.link()
    for number in range(1, 6):
        one.publish("room", b"%d" % number)
    epoch, _ = one.position("room")
    two.subscribe("room", (epoch, since))
    *missed, end = two.hear()
    assert bool(end.flags & RECOVERED) == recovered
    assert (end.epoch, end.offset) == (epoch, 5)
    assert offsets(missed) == (list(range(since + 1, 6)) if recovered else [])


def test_epoch_0_asks_for_all_that_is_kept() -> None:
    host = Host({"room": {"history_count": 3}})
    one, two = host.link(), host.link()
    for number in range(1, 6):
        one.publish("room", b"%d" % number)
    epoch, _ = one.position("room")
    two.subscribe("room", (0, 0), page=80)
    *missed, end = two.hear()
    assert offsets(missed) == [3, 4]
    assert (end.flags, end.epoch, end.offset) == (RECOVERED | MORE, epoch, 4)
    two.subscribe("room", (0, 7))
    assert offsets(two.hear()) == [3, 4, 5]
    two.subscribe("empty", (0, 0))
    assert [h.type for h in two.hear()] == [END]


def test_a_position_of_another_epoch_is_not_recovered() -> None:
    host = Host(KEPT)
    one = host.link()
    one.publish("room/1", b"1")
    epoch, _ = one.position("room/1")
    two = host.link()
    two.subscribe("room/1", (epoch ^ 1, 0))
    (end,) = two.hear()
    assert (end.flags, end.epoch, end.offset) == (0, epoch, 1)


def test_a_new_sequencer_has_new_epochs() -> None:
    epochs = set()
    for _ in range(3):
        worker = Host(KEPT).link()
        epochs |= {worker.sequencer_epoch, worker.position("room/1")[0]}
    assert len(epochs) == 6


def test_pages_follow_each_other_until_the_top() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link()
    for _ in range(1, 11):
        one.publish("room/1", b"x" * 60)
    since = (one.position("room/1")[0], 0)
    pages = []
    flags = MORE
    while flags & MORE:
        two.subscribe("room/1", since, request=len(pages), page=300)
        *missed, end = two.hear()
        assert end.flags & RECOVERED
        pages.append(offsets(missed))
        flags, since = end.flags, (end.epoch, end.offset)
    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]


def test_a_page_whose_next_message_has_gone_is_not_recovered() -> None:
    host = Host({"room": {"history_count": 4}})
    one, two = host.link(), host.link()
    for number in range(4):
        one.publish("room", b"%d" % number)
    epoch, _ = one.position("room")
    two.subscribe("room", (epoch, 0), page=1)
    assert two.hear()[-1].flags == RECOVERED | MORE
    for number in range(3):
        one.publish("room", b"%d" % number)
    two.hear()
    two.subscribe("room", (epoch, 1), page=1)
    (end,) = two.hear()
    assert (end.flags, end.offset) == (0, 7)


def test_a_page_is_empty_while_the_link_is_full_and_nothing_is_lost() -> None:
    host = Host(KEPT, link_cap=1000)
    one, two = host.link(), host.link()
    for _ in range(30):
        one.publish("room/1", b"x" * 160)
        one.hear()
    epoch, _ = one.position("room/1")
    for request in range(10):
        two.subscribe("room/1", (epoch, 0), request=request)
    heard = two.hear()
    assert two.link.failure is None
    ends = [h for h in heard if h.type == END]
    assert len(ends) == 10
    assert all(end.flags == RECOVERED | MORE for end in ends)
    assert len(offsets(heard)) == ends[0].offset == 5
    assert {end.offset for end in ends[1:]} == {0}


def test_messages_are_kept_for_as_long_as_the_settings_say() -> None:
    host = Host({"room": {"history_ttl": 10}})
    one, two = host.link(), host.link()
    one.publish("room", b"1")
    host.wait(5)
    one.publish("room", b"2")
    epoch, _ = one.position("room")
    for seconds, kept in ((4.9, 2), (0.2, 1), (4.7, 1), (0.2, 0)):
        host.wait(seconds)
        assert host.stat("history_count") == kept
        two.hear()
        two.subscribe("room", (epoch, 2 - kept))
        assert [two_.type for two_ in two.hear()] == [MSG] * kept + [END]


def test_settings_change_what_is_kept_of_a_topic_that_is_known() -> None:
    host = Host({"room": {"history_count": 5}})
    one = host.link()
    for number in range(5):
        one.publish("room", b"%d" % number)
    epoch, _ = one.position("room")
    one.declare({"room": {"history_count": 2}})
    assert host.stat("history_count") == 2
    assert one.position("room") == (epoch, 5)
    one.declare({"room": {}})
    assert host.stat("history_count") == 0
    assert one.position("room") == (0, 0)
    one.declare({"room": {"history_count": 2}})
    assert one.position("room")[0] != epoch  # messages without a place came in between, perhaps


def test_the_most_specific_settings_hold_and_the_latest_of_each_pattern() -> None:
    host = Host({"a/**": {"history_count": 1}, "a/b": {"history_count": 2}})
    one, two = host.link(), host.link()
    two.declare({"a/**": {"history_count": 3}})
    for _ in range(5):
        one.publish("a/b")
        one.publish("a/c")
        one.publish("b")
    assert host.stat("history_count") == 2 + 3


# ---- patterns


def test_a_link_that_wants_by_pattern_and_by_name_gets_one_message() -> None:
    host = Host(KEPT)
    one, two = host.link(), host.link()
    for topic in ("room/*", "room/1", "**", "room/*"):
        two.subscribe(topic)
    two.hear()
    one.publish("room/1", b"1")
    one.publish("room/2", b"2")
    one.publish("other", b"3")
    heard = two.hear()
    assert [h.topic for h in heard] == ["room/1", "room/2", "other"]


def test_patterns_count_from_their_subscription_to_its_end() -> None:
    host = Host()
    one, two = host.link(), host.link()
    one.publish("room/1", b"0")
    two.subscribe("room/*")
    assert two.hear() == [Record(END, request=1)]
    one.publish("room/1", b"1")
    two.tell(UNSUB, topic="room/*")
    one.publish("room/1", b"2")
    two.subscribe("room/*")
    one.publish("room/1", b"3")
    two.forget("room/*")
    one.publish("room/1", b"4")
    assert two.messages() == [b"1", b"3"]


def test_a_topic_that_nobody_needs_is_forgotten_and_pattern_links_are_told() -> None:
    host = Host()
    one, two = host.link(), host.link()
    two.subscribe("**")
    one.publish("room/1", b"1")
    assert host.stat("topics") == 1
    one.forget("room/1")
    assert host.stat("topics") == 0
    assert [h.type for h in two.hear()] == [END, MSG, FORGOTTEN]
    one.publish("room/1", b"2")
    assert two.messages() == [b"2"]


def test_a_topic_that_outlives_a_link_that_has_forgotten_it_knows_it_no_more() -> None:
    host = Host({"room/*": {"history_count": 5, "history_ttl": 10}})
    for _ in range(50):
        one = host.link()
        one.subscribe("room/1")
        one.publish("room/1", b"1")
        one.forget("room/1")
        one.link.end()
        del one
        host._workers.clear()
    two, three = host.link(), host.link()
    two.subscribe("**")
    three.publish("room/1", b"2")
    assert two.messages() == [b"2"]
    three.forget("room/1")
    host.wait(11)
    assert host.stat("topics") == 0
    assert FORGOTTEN in [one.type for one in two.hear()]


def test_a_link_with_patterns_that_ends_is_written_to_no_more() -> None:
    host = Host(KEPT)
    one, two, three = (host.link() for _ in range(3))
    for worker in (two, three):
        worker.subscribe("**")
    one.publish("a")
    two.link.end()
    one.publish("a")
    one.publish("room/1")
    assert len(three.messages()) == 3
    three.link.end()
    one.publish("a")
    assert host.stat("delivered") == 4


# ---- slow links


def test_a_slow_link_loses_messages_and_is_told_of_which_topics() -> None:
    host = Host(KEPT, link_cap=1000)
    one, two, three = (host.link() for _ in range(3))
    for worker in (two, three):
        worker.subscribe("room/1")
        worker.subscribe("news")
        worker.hear()
    for _ in range(1, 21):
        one.publish("room/1", b"x" * 60, TEXT)
        assert len(three.messages()) == 1
    one.publish("news", b"x")
    one.publish("news", b"x")
    assert two.link.output_size <= 1100
    epoch, _ = one.position("room/1")
    live = [h.offset for h in two.hear() if h.type == MSG]
    assert live == list(range(1, 12))
    assert two.hear() == [
        Record(GAP, topic="room/1", epoch=epoch, offset=20),
        Record(GAP, topic="news", offset=2),
    ]
    one.publish("room/1", b"y")
    assert offsets(two.hear()) == [21]
    two.subscribe("room/1", (epoch, 11))
    assert offsets(two.hear()) == list(range(12, 22))


def test_a_gap_is_told_under_a_quarter_of_the_cap_and_before_newer_messages() -> None:
    host = Host(link_cap=1000)
    one, two = host.link(), host.link()
    two.subscribe("news")
    two.hear()
    for number in range(12):
        one.publish("news", b"%060d" % number)
    assert two.link.output_size == 1100
    assert len(two.hear(800)) == 8
    one.publish("news", b"dropped, as the link is still slow")
    assert two.link.output_size == 300
    assert len(two.hear(100)) == 1
    one.publish("news", b"new")
    assert [h.type for h in two.hear()] == [MSG, MSG, GAP, MSG]


def test_answers_are_not_dropped_for_a_slow_link_and_close_one_that_reads_nothing() -> None:
    host = Host(link_cap=1000)
    one, two = host.link(), host.link()
    two.subscribe("news")
    two.hear()
    for _ in range(20):
        one.publish("news", b"x" * 60)
    count = (4000 - two.link.output_size + 100) // 40
    for _ in range(count):
        two.subscribe("news")
    assert two.link.failure is None
    with pytest.raises(SockwaveError, match="expected it to take its answers"):
        two.subscribe("news")
    assert two.link.failure is not None
    one.publish("news", b"y")
    assert one.link.failure is None


def test_a_publisher_whose_echo_was_dropped_is_acknowledged() -> None:
    host = Host(KEPT, link_cap=1000)
    one = host.link()
    one.subscribe("room/1")
    one.hear()
    for _ in range(20):
        one.publish("room/1", b"x" * 60)
    heard = one.hear()
    assert [h.sequence for h in heard] == list(range(1, 21))
    assert {h.type for h in heard} == {MSG, ACK}


def test_broadcasts_that_a_slow_link_misses_are_told_of() -> None:
    host = Host(link_cap=1000)
    one, two = host.link(), host.link()
    for _ in range(15):
        one.tell(BROADCAST, payload=b"x" * 60)
    assert len(two.hear()) == 11
    assert two.hear() == [Record(GAP, offset=4)]


# ---- streams


def test_a_stream_is_live_and_one_snapshot_for_those_who_come_late() -> None:
    host = Host()
    one, two, three = (host.link() for _ in range(3))
    two.subscribe("answer")
    two.hear()
    for delta in (b"he", b"l", b"lo"):
        one.publish("answer", delta, TEXT | DELTA)
    three.subscribe("answer", request=5)
    one.publish("answer", b"!", TEXT | DELTA)
    one.publish("answer", b"", DELTA | LAST)
    live = two.hear()
    assert [(h.flags, h.offset, h.payload) for h in live] == [
        (TEXT | DELTA, 1, b"he"),
        (TEXT | DELTA, 2, b"l"),
        (TEXT | DELTA, 3, b"lo"),
        (TEXT | DELTA, 4, b"!"),
        (DELTA | LAST, 5, b""),
    ]
    late = three.hear()
    assert late[0] == Record(
        MSG, TEXT | DELTA | REPLAY, 0, "answer", 5, live[0].epoch, 3, 0, b"hello"
    )
    assert (late[1].type, late[1].flags, late[1].offset) == (END, RECOVERED, 3)
    assert late[2:] == live[3:]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (0, [(3, b"abc"), (4, b"end")]),
        (2, [(3, b"c"), (4, b"end")]),
        (3, [(4, b"end")]),
        (4, []),
    ],
)
def test_a_stream_that_has_ended_is_replayed_from_anywhere(
    since: int, expected: list[tuple[int, bytes]]
) -> None:
    host = Host()
    one, two = host.link(), host.link()
    for delta in (b"a", b"b", b"c"):
        one.publish("answer", identified("1" + delta.decode(), delta), TEXT | DELTA | ID)
    one.publish("answer", b"end", TEXT | DELTA | LAST)
    epoch = one.hear()[0].epoch
    two.subscribe("answer", (epoch, since))
    *replayed, end = two.hear()
    assert [(h.offset, h.payload) for h in replayed] == expected
    assert all(h.flags & (TEXT | DELTA | REPLAY) and h.request == 1 for h in replayed)
    assert [h.flags & LAST for h in replayed if h.offset == 4] == [LAST] * (since < 4)
    assert (end.flags, end.offset) == (RECOVERED, 4)


def test_the_end_of_its_producer_aborts_a_stream() -> None:
    host = Host()
    one, two, three = (host.link() for _ in range(3))
    two.subscribe("answer")
    one.publish("answer", b"a", DELTA)
    two.publish("answer", b"b", DELTA)
    two.hear()
    one.link.end()
    (end,) = two.hear()
    assert (end.flags, end.offset, end.payload) == (DELTA | LAST | ABORTED, 3, b"")
    three.subscribe("answer")
    assert [(h.flags, h.payload) for h in three.hear()[:-1]] == [
        (REPLAY | DELTA, b"ab"),
        (REPLAY | DELTA | LAST | ABORTED, b""),
    ]
    two.publish("answer", b"c", DELTA)
    assert two.hear()[-1].type == REFUSED


def test_a_stream_that_has_ended_is_kept_for_a_minute() -> None:
    host = Host()
    one = host.link()
    one.publish("answer", b"a", DELTA)
    one.publish("answer", b"", DELTA | LAST)
    epoch = one.hear()[0].epoch
    one.forget("answer")
    host.wait(59.9)
    two = host.link()
    two.subscribe("answer")
    assert two.hear()[0].payload == b"a"
    host.wait(0.2)
    two.hear()
    two.publish("answer", b"new", DELTA)
    echo = two.hear()[0]
    assert echo.epoch != epoch
    assert (echo.offset, echo.payload) == (1, b"new")
    two.publish("answer", b"", DELTA | LAST)
    two.forget("answer")
    host.wait(60)
    assert host.stat("topics") == 0
    assert host.stat("stream_bytes") == 0


def test_the_producer_is_told_when_no_link_has_wanted_a_stream_for_ten_seconds() -> None:
    host = Host()
    one, two = host.link(), host.link()
    one.publish("answer", b"a", DELTA)
    one.hear()
    host.wait(9.9)
    assert one.hear() == []
    host.wait(0.2)
    assert one.hear() == [Record(UNWATCHED, topic="answer")]
    host.wait(100)
    assert one.hear() == []
    two.subscribe("answer")
    two.tell(UNSUB, topic="answer")
    host.wait(5)
    two.subscribe("*")
    host.wait(20)
    assert one.hear() == []
    two.link.end()
    host.wait(9.9)
    assert one.hear() == []
    host.wait(0.2)
    assert one.hear() == [Record(UNWATCHED, topic="answer")]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (0, "expected a delta, given a message"),
        (DELTA, "all text, or all binary"),
        (DELTA | TEXT, "the stream has ended"),
    ],
)
def test_what_is_no_part_of_a_stream_is_refused(flags: int, reason: str) -> None:
    host = Host()
    one, two = host.link(), host.link()
    one.publish("answer", b"a", TEXT | DELTA)
    if "ended" in reason:
        one.publish("answer", b"", DELTA | LAST)
    two.publish("answer", b"b", flags)
    (refused,) = two.hear()
    assert (refused.type, refused.topic, refused.sequence) == (REFUSED, "answer", 1)
    assert reason in refused.payload.decode()


@pytest.mark.parametrize("topic", ["news", "room/1"])
def test_a_topic_with_messages_becomes_no_stream(topic: str) -> None:
    host = Host(KEPT)
    one = host.link()
    one.publish(topic, b"a")
    one.hear()
    one.publish(topic, b"b", DELTA)
    (refused,) = one.hear()
    assert (refused.type, refused.sequence) == (REFUSED, 2)


# ---- counts


def test_subscribers_are_counted_over_all_links_that_want_the_topic() -> None:
    host = Host()
    one, two, three = (host.link() for _ in range(3))
    one.subscribe("room/1")
    two.subscribe("room/*")
    one.hear(), two.hear()
    three.tell(COUNT, topic="room/1", request=8)
    for worker, count in ((one, 3), (two, 4)):
        (asked,) = worker.hear()
        assert (asked.type, asked.topic) == (COUNT_ASKED, "room/1")
        assert three.hear() == []
        worker.tell(COUNTING, request=asked.request, offset=count)
    assert three.hear() == [Record(COUNTED, topic="room/1", request=8, offset=7)]


def test_a_count_waits_for_no_link_that_ends_or_is_stopped() -> None:
    host = Host()
    one, two, three = (host.link() for _ in range(3))
    for worker in (one, two, three):
        worker.subscribe("a")
        worker.hear()
    three.tell(COUNT, topic="a", request=8)
    asked = three.hear()[0]
    three.tell(COUNTING, request=asked.request, offset=2)
    one.link.end()
    assert three.hear() == []
    host.wait(2)
    assert three.hear() == [Record(COUNTED, topic="a", request=8, offset=2)]
    two.tell(COUNTING, request=asked.request, offset=2)  # too late
    three.tell(COUNT, topic="nobody", request=9)
    assert three.hear() == [Record(COUNTED, topic="nobody", request=9)]


# ---- links


def test_a_link_that_is_silent_for_twenty_seconds_is_failed() -> None:
    host = Host()
    silent, alive = host.link(), host.link()
    silent.is_silent = True
    host.wait(20)
    assert silent.link.failure is None
    host.wait(5)
    assert silent.link.failure is not None
    assert alive.link.failure is None
    assert silent.link in host.sequencer.take_dirty()


def test_a_publisher_may_be_silent() -> None:
    host = Host()
    publisher, unknown = host.link("publisher"), host.sequencer.connect()
    publisher.is_silent = True
    host.wait(100)
    assert publisher.link.failure is None
    assert publisher.link.output_size == 0
    assert unknown.failure is not None


def test_a_sequencer_that_was_stopped_fails_no_link() -> None:
    host = Host()
    worker = host.link()
    host.clock.now += 3600
    host.sequencer.tick()
    assert worker.link.failure is None


def test_links_with_output_are_given_once() -> None:
    host = Host()
    one, two = host.link(), host.link()
    host.sequencer.take_dirty()
    two.subscribe("news")
    assert host.sequencer.take_dirty() == [two.link]
    one.publish("news")
    one.publish("news")
    assert host.sequencer.take_dirty() == [one.link, two.link]
    assert host.sequencer.take_dirty() == []


def test_nothing_is_due_where_nothing_is() -> None:
    host = Host()
    assert host.sequencer.next_due() is None
    worker = host.link()
    assert host.sequencer.next_due() == host.clock.now + 5
    worker.link.end()
    host.wait(5)
    assert host.sequencer.next_due() is None


def test_ended_links_leave_nothing_behind() -> None:
    host = Host({"**": {"presence": True}})
    workers = [host.link() for _ in range(5)]
    for worker in workers:
        for topic in ("a", "b", "c/*"):
            worker.subscribe(topic)
        worker.join("a", "me")
        worker.publish("c/1", b"x")
        worker.tell(COUNT, topic="a")
    for worker in workers:
        worker.link.end()
        worker.link.end()
    host.wait(1)
    stats = host.sequencer.stats
    assert [stats[name] for name in ("links", "topics", "members", "history_bytes")] == [0] * 4


def test_numbers_of_links_may_be_any_and_are_free_after_forget() -> None:
    host = Host()
    one = host.link()
    for number in (0xFFFFFFFF, 1, 1 << 20, 17, 33, 49):
        one.link.take(pack(NAME, topic=number, payload=b"t%d" % number))
    one.hear()
    one.link.take(pack(FORGET, topic=33))
    one.link.take(pack(PUB, topic=49, sequence=1))
    with pytest.raises(SockwaveError, match="expected the number of a topic"):
        one.link.take(pack(PUB, topic=33, sequence=2))


def test_settings_without_a_bound_have_none() -> None:
    host = Host()
    worker = host.link()
    worker.declare({"a": {"history_count": None, "history_ttl": 3, "presence": True}})
    worker.publish("a", b"1")
    assert host.stat("history_count") == 1


def test_links_that_come_and_go_do_not_add_pings_for_those_that_stay() -> None:
    host = Host()
    for _ in range(20):
        host.link().link.end()
    host._workers.clear()
    worker = host.link()
    host.wait(11)
    assert [one.type for one in unpack(worker.link.read())].count(PING) == 2
    assert worker.link.failure is None
