"""Messages that have their places, and have not come: a publisher waits for them no longer than
there is something here by which they can come.
"""

import json

import pytest
from test_streams_of_bridge import EPOCH, Host

from sockwave.core.topics.records import (
    ACK,
    END,
    FORGET,
    IS_PATTERN,
    MSG,
    NAME,
    PUB,
    SETTINGS,
    SUB,
    TEXT,
    pack_record,
    unpack_records,
)

NUMBER = int(EPOCH, 16)
PLACED = b"1o %b %%d\n%%b" % EPOCH


class LogHost(Host):
    """One that follows a topic with a history, of which the broker has nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.declare("kept/*", history_count=5)
        self.link.take(pack_record(NAME, topic=1, payload=b"kept/1"))
        self.subscribe_log()
        self.confirm()
        self.hear()

    def declare(self, pattern: str, **settings: int) -> None:
        self.link.take(pack_record(SETTINGS, payload=json.dumps([[pattern, settings]]).encode()))

    def subscribe_log(self) -> None:
        self.link.take(pack_record(SUB, topic=1, request=1))

    def confirm(self) -> None:
        self.bridge.confirm(b"kept/1")
        for name, number, *_ in self.bridge.logs.take_reads():
            self.bridge.logs.read(name, number, NUMBER, 0, 0.0, [])

    def publish(self, *, answers: bool = True) -> bytes:
        """Publish a message, to which the broker gives its place; return what is to come."""
        self.link.take(pack_record(PUB, TEXT, topic=1, sequence=1, payload=b"x"))
        ((key, _, parcel, *_),) = self.bridge.placements.take_submissions()
        if answers:
            self.bridge.placements.answered(key, NUMBER, 1)
            assert not self.told(ACK)
        return PLACED % (1, parcel)

    def lose_broker(self, *, shard: bool = False) -> None:
        if shard:
            self.bridge.lose_shard(lambda name: name == b"kept/1")
        else:
            self.bridge.lose()

    def find_broker(self) -> None:
        self.bridge.take_changes()  # all that is wanted is asked for
        self.bridge.expect()
        self.bridge.presence.connected()


@pytest.fixture
def host() -> LogHost:
    return LogHost()


# ---- the last subscriber leaves


@pytest.mark.parametrize("is_shard", [False, True])
@pytest.mark.parametrize("is_back", [False, True])
def test_a_publisher_is_answered_whose_topic_nobody_wants_when_the_broker_is_back(
    host: LogHost, is_back: bool, is_shard: bool
) -> None:
    """The broker is away, or has not confirmed the topic yet: nothing of it will be read here."""
    host.publish()
    host.lose_broker(shard=is_shard)
    if is_back:
        host.find_broker()
    assert not host.told(ACK)
    host.unsubscribe()
    assert len(host.told(ACK)) == 1
    assert host.bridge.queued_size == 0


@pytest.mark.parametrize("is_shard", [False, True])
def test_a_publisher_is_answered_whose_topic_is_wanted_by_a_pattern_alone(
    host: LogHost, is_shard: bool
) -> None:
    """The log is read when the broker is back, if anything is known of it."""
    host.lose_broker(shard=is_shard)
    host.unsubscribe()
    host.find_broker()
    host.link.take(pack_record(NAME, IS_PATTERN, topic=2, payload=b"kept/*"))
    host.link.take(pack_record(SUB, topic=2, request=2))
    host.subscribe_log()
    host.bridge.confirm("kept/*")
    host.bridge.confirm(b"kept/1")  # and is read, when the broker answers
    host.link.take(pack_record(PUB, TEXT, topic=1, sequence=1, payload=b"x"))
    host.unsubscribe()
    for key, *_ in host.bridge.placements.take_submissions():
        host.bridge.placements.answered(key, NUMBER, 1)
    host.lose_broker(shard=is_shard)
    assert len(host.told(ACK)) == 1


def test_a_publisher_waits_while_somebody_wants_the_topic(host: LogHost) -> None:
    come = host.publish()
    host.lose_broker()
    host.find_broker()
    assert not host.told(ACK)
    host.confirm()
    host.bridge.take(b"kept/1", come)
    assert len(host.told(MSG)) == 1
    assert not host.told(ACK)


def test_a_publisher_waits_until_a_topic_is_left_that_nobody_wants(host: LogHost) -> None:
    host.publish()
    host.unsubscribe()
    assert not host.told(ACK)
    host.bridge.unconfirm(b"kept/1")
    assert len(host.told(ACK)) == 1


# ---- the topic is another one


@pytest.mark.parametrize("is_named", [False, True])
def test_a_message_is_not_kept_for_a_topic_that_is_forgotten(host: LogHost, is_named: bool) -> None:
    """What waits for the broker is bounded: for ever, this would be a part of it."""
    host.publish()
    if is_named:
        host.unsubscribe()
        host.link.take(pack_record(FORGET, topic=1))
        assert len(host.told(ACK)) == 1
    else:
        host.link.end()
    assert host.sequencer.stats["topics"] == 0
    assert host.bridge.queued_size == 0


def test_a_worker_that_comes_back_is_answered_though_its_topic_was_forgotten(
    host: LogHost,
) -> None:
    host.publish()
    host.link.end()
    link = host.connect(b"kept/1", 1)
    link.take(pack_record(PUB, TEXT, topic=1, sequence=1, payload=b"x"))
    ((key, *_),) = host.bridge.placements.take_submissions()
    host.bridge.placements.answered(key, NUMBER, 1)
    assert [one[0] for one in unpack_records(link.read())[0]] == [ACK]


def test_a_publisher_is_answered_whose_topic_is_declared_anew_without_a_history(
    host: LogHost,
) -> None:
    host.publish()
    host.declare("kept/1")
    assert len(host.told(ACK)) == 1
    assert host.bridge.queued_size == 0


def test_a_subscriber_is_answered_whose_topic_is_declared_anew_without_a_history() -> None:
    host = LogHost()
    host.unsubscribe()
    host.bridge.unconfirm(b"kept/1")
    host.subscribe_log()
    assert not host.told(END)
    host.declare("kept/1")
    host.bridge.confirm(b"kept/1")
    host.bridge.streams.seen(host.bridge.streams.take_looks(), [False])
    assert len(host.told(END)) == 1


def test_a_subscriber_is_answered_of_a_stream_that_does_not_begin() -> None:
    """The broker refuses its first delta, so that the topic is a plain one; then it is read no
    more."""
    host = Host()
    host.append(b"a", number=1)
    host.link.take(pack_record(SUB, topic=1, request=1))
    host.bridge.confirm(b"answer/1")
    assert host.bridge.streams.take_deltas() == []  # until the stream is read
    ((name, number, *_),) = host.bridge.logs.take_stream_reads()
    host.bridge.logs.gone(name, number)
    ((key, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.refused(key, b"OOM no memory")
    host.bridge.streams.seen(host.bridge.streams.take_looks(), [False])
    assert len(host.told(END)) == 1


def test_a_subscriber_is_answered_of_a_stream_that_is_refused_while_it_is_read() -> None:
    host = Host()
    host.append(b"a", number=1)
    ((key, *_),) = host.bridge.streams.take_deltas()
    host.link.take(pack_record(SUB, topic=1, request=1))
    host.bridge.confirm(b"answer/1")
    assert len(host.bridge.logs.take_stream_reads()) == 1
    host.bridge.streams.refused(key, b"OOM no memory")
    host.bridge.streams.seen(host.bridge.streams.take_looks(), [False])
    assert len(host.told(END)) == 1
