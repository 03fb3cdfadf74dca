"""Who produces a stream, as the next sequencer of a host learns it from the broker's answers.

The stream ends with its worker, also where that dies before the broker has answered, and where the
broker is lost meanwhile.
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pytest
from test_streams_of_bridge import ABOUT, EPOCH, Host
from valkey_server import ValkeyServer, by_redis_too, needs_valkey

from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_retries import Retries
from sockwave.brokers.valkey_streams import ValkeyStreams
from sockwave.core.topics.links import Link
from sockwave.core.topics.records import (
    ACK,
    DELTA,
    HELLO,
    LAST,
    MSG,
    NAME,
    PUB,
    REFUSED,
    SETTINGS,
    TEXT,
    UNSUB,
    UNWATCHED,
    pack_record,
    unpack_records,
)
from sockwave.core.topics.resp import RespError

NUMBER = int(EPOCH, 16)

Key: TypeAlias = tuple[int, int]


class NextHost(Host):
    """One whose sequencer is not its first: it reads a stream, and does not know who began it."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribe()
        self.come(1, b"a")

    def leave(self, delta: bytes = b"b", flags: int = 0) -> tuple[Key, bytes]:
        """Append a delta that leaves for the broker; return its key, and the message."""
        self.append(delta, flags)
        ((key, _, parcel, *_),) = self.bridge.streams.take_deltas()
        return key, parcel

    def echo(self, parcel: bytes, offset: int = 2) -> None:
        """Have a delta of ours come by its channel."""
        assert self.bridge.take(b"answer/1", b"1s %b %d\n%b" % (EPOCH, offset, parcel))

    def answer(self, key: Key, offset: int = 2, *, is_producer: bool = True) -> None:
        self.bridge.streams.answered(key, NUMBER, offset, is_producer=is_producer)

    def read(self, *parcels: bytes) -> None:
        """Have the broker tell what has come behind what is known; the stream has two deltas."""
        ((name, number, _, _),) = self.bridge.logs.take_stream_reads()
        entries = [(2, 0.0, one) for one in parcels]
        self.bridge.logs.read(name, number, NUMBER, 2, 0.0, entries)

    def lose_broker(self, *, shard: bool = False) -> None:
        """Lose the broker, or the shard, and find it again."""
        if shard:
            self.bridge.lose_shard(lambda name: name == b"answer/1")
        else:
            self.bridge.lose()
        self.bridge.expect()
        self.bridge.presence.connected()

    def unsubscribe(self) -> None:
        self.link.take(pack_record(UNSUB, topic=1))

    def reconnect(self) -> Link:
        """Connect the same worker once more."""
        link = self.sequencer.connect()
        link.take(pack_record(HELLO, request=1, epoch=7, payload=ABOUT))
        link.take(pack_record(NAME, topic=2, payload=b"answer/1"))
        link.read()
        return link

    def ends(self) -> list[bytes]:
        """Return how the deltas that leave now end the stream."""
        return [one[-1] for one in self.bridge.streams.take_deltas()]


@pytest.fixture
def host() -> NextHost:
    return NextHost()


# ---- a worker that dies


@pytest.mark.parametrize("is_producer", [True, False])
@pytest.mark.parametrize("is_heard", [False, True])
def test_a_stream_ends_whose_worker_dies_before_the_broker_answers(
    host: NextHost, is_heard: bool, is_producer: bool
) -> None:
    key, parcel = host.leave()
    if is_heard:
        host.echo(parcel)
    host.link.end()
    assert host.ends() == []
    host.answer(key, is_producer=is_producer)
    aborts = host.bridge.streams.take_deltas()
    assert [one[-1] for one in aborts] == [b"a"] * is_producer
    # Of this stream, and no other that may be there by now.
    assert [(one[4], one[6], one[7]) for one in aborts] == [(NUMBER, False, False)] * is_producer
    for abort in aborts:
        host.answer(abort[0], 3, is_producer=False)
    host.wait(100)
    assert host.sequencer.stats["topics"] == 0


def test_a_stream_is_aborted_once(host: NextHost) -> None:
    keys = [host.leave(delta)[0] for delta in (b"b", b"c", b"d")]
    host.link.end()
    for offset, key in enumerate(keys, 2):
        host.answer(key, offset)
    assert host.ends() == [b"a"]


def test_a_stream_that_ends_with_its_known_producer_is_aborted_once(host: NextHost) -> None:
    host.answer(host.leave()[0])
    key, _ = host.leave(b"c")
    host.link.end()
    assert host.ends() == [b"a"]
    host.answer(key, 3)
    assert host.ends() == []


def test_a_stream_is_aborted_again_where_the_broker_has_refused_that(host: NextHost) -> None:
    keys = [host.leave(delta)[0] for delta in (b"b", b"c")]
    host.link.end()
    host.answer(keys[0])
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.refused(abort, b"OOM no memory")
    host.answer(keys[1], 3)
    assert host.ends() == [b"a"]


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_stream_that_its_worker_has_finished_is_not_aborted(
    host: NextHost, is_heard: bool
) -> None:
    first, parcel = host.leave()
    last, end = host.leave(b"", LAST)
    if is_heard:
        host.echo(parcel)
        host.echo(end, 3)
        host.link.end()
        host.answer(first)
    host.link.end()
    host.answer(last, 3)
    assert host.ends() == []


def test_nobody_is_told_that_an_ended_stream_is_unwatched(host: NextHost) -> None:
    first, parcel = host.leave()
    host.echo(parcel)
    host.come(3, b"", b'{"end":"finished"}')
    host.answer(first)
    host.unsubscribe()
    host.wait(30)
    assert not host.told(UNWATCHED)


# ---- the broker is lost


@pytest.mark.parametrize("is_shard", [False, True])
@pytest.mark.parametrize("is_dead", [False, True])
def test_a_delta_that_is_heard_and_not_answered_is_asked_for_again(
    host: NextHost, is_dead: bool, is_shard: bool
) -> None:
    key, parcel = host.leave()
    host.echo(parcel)
    if is_dead:
        host.link.end()
    host.lose_broker(shard=is_shard)
    if not is_dead:
        assert host.bridge.streams.take_deltas() == []  # it is read first
        host.bridge.confirm(b"answer/1")
        host.read()
    ((again, _, nothing, _, *place, begins, _, _, _),) = host.bridge.streams.take_deltas()
    assert (again, nothing, place, begins) == (key, b"", [NUMBER, 2, False], False)
    host.answer(key)
    host.link.end()
    assert host.ends() == [b"a"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_delta_that_is_read_when_the_broker_is_back_is_asked_for(
    host: NextHost, is_refused: bool
) -> None:
    """Its answer was lost, and it is not sent again: so nothing else tells whose it is."""
    key, parcel = host.leave()
    host.lose_broker()
    host.bridge.confirm(b"answer/1")
    host.hear()
    host.read(parcel)
    assert len(host.told(MSG, ACK)) == 1
    ((again, _, nothing, *_),) = host.bridge.streams.take_deltas()
    assert (again, nothing) == (key, b"")
    if is_refused:
        host.bridge.streams.refused(key, b"lost")
        assert not host.told(REFUSED)
    else:
        host.answer(key)
    host.lose_broker()
    host.bridge.confirm(b"answer/1")
    host.read()
    host.link.end()
    assert host.ends() == [b"a"] * (not is_refused)


def test_a_delta_that_was_not_taken_is_sent_again(host: NextHost) -> None:
    key, parcel = host.leave()
    host.link.end()
    host.lose_broker()
    ((again, _, message, *_),) = host.bridge.streams.take_deltas()
    assert (again, message) == (key, parcel)
    host.answer(key)
    assert host.ends() == [b"a"]


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_stream_that_was_given_up_here_ends_with_its_worker(
    host: NextHost, is_dead: bool
) -> None:
    """While the broker is away, nobody here wants the stream any more: it is none of ours then."""
    key, _ = host.leave()
    host.unsubscribe()
    if is_dead:
        host.link.end()
    host.bridge.lose()
    host.wait(15)
    assert host.sequencer.stats["topics"] == (not is_dead)
    assert host.bridge.streams.take_deltas()[0][0] == key
    host.answer(key)
    host.link.end()
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.answer(abort, 3, is_producer=False)
    host.wait(100)
    assert host.sequencer.stats["topics"] == 0


# ---- a worker that comes back


def test_a_worker_that_comes_back_is_told_where_its_delta_stands(host: NextHost) -> None:
    key, parcel = host.leave()
    host.echo(parcel)
    host.link.end()
    link = host.reconnect()
    link.take(pack_record(PUB, DELTA | TEXT, topic=2, sequence=1, payload=b"b"))
    ((type, *_, offset, sequence, _),) = unpack_records(link.read())[0]
    assert (type, offset, sequence) == (ACK, 2, 1)
    assert host.ends() == []
    host.answer(key)
    assert host.ends() == []
    link.end()
    assert host.ends() == [b"a"]


def test_a_topic_that_has_a_history_by_now_is_no_stream(host: NextHost) -> None:
    key, _ = host.leave()
    host.unsubscribe()
    host.link.end()
    host.wait(15)
    settings = json.dumps([["answer/*", {"history_count": 5}]]).encode()
    link = host.reconnect()
    link.take(pack_record(SETTINGS, payload=settings))
    link.end()
    host.answer(key)
    assert host.ends() == []
    assert host.sequencer.stats["topics"] == 0


# ---- with a server


class Session:
    """A session with a server, which answers at once."""

    def __init__(self, host: Host, valkey: ValkeyServer, prefix: str) -> None:
        self.host, self.valkey, self.prefix = host, valkey, prefix.encode()
        self.is_answered = True
        self.retries = Retries(cast("Any", None), self.ask, cast("Any", None))
        self.streams = ValkeyStreams(self, host.bridge, ValkeyNames(self.prefix))

    def ask(self, command: bytes, expected: Callable[[Any], None]) -> None:
        reply = self.valkey.send(command)
        if self.is_answered:
            expected(reply)

    def watch_keys(self) -> None:
        pass

    def check(self, reply: Any) -> None:
        assert not isinstance(reply, RespError), reply

    note_refused = check

    def note_came(self) -> None:
        pass

    def append(self) -> list[Any]:
        """Have the deltas leave, and be answered; return them."""
        deltas = self.host.bridge.streams.take_deltas()
        self.streams.append(deltas)
        return deltas

    def find(self, command: bytes, kind: bytes, *words: bytes) -> Any:
        """Ask for something of what is kept of the stream."""
        return self.valkey.ask(command, b"%b:%b:answer/1" % (self.prefix, kind), *words)


@pytest.fixture
def sessions(shared_valkey: ValkeyServer, request: pytest.FixtureRequest) -> list[Session]:
    """Those of a sequencer by which a worker has begun a stream, and of the one that follows."""
    found = [Session(host, shared_valkey, request.node.name) for host in (Host(), Host())]
    first, then = found
    first.host.append(b"a")
    first.append()
    then.host.subscribe()
    then.host.link.take(pack_record(NAME, topic=2, payload=b"answer/1"))
    then.host.sequence = 1
    return found


@needs_valkey
@by_redis_too("shared_valkey")
def test_a_server_says_whose_a_delta_is_that_has_come(sessions: list[Session]) -> None:
    _, then = sessions
    epoch = then.find(b"HGET", b"m", b"e")
    line = b"1s %b %%d\n" % epoch
    assert then.host.bridge.take(b"answer/1", line % 1 + b"1t -\na")
    then.host.append(b"b")
    then.is_answered = False
    ((_, _, parcel, *_),) = then.append()
    then.is_answered = True
    assert then.host.bridge.take(b"answer/1", line % 2 + parcel)
    then.host.bridge.lose()
    then.host.link.end()
    ((_, _, nothing, *_),) = then.append()
    assert not nothing
    assert then.find(b"XLEN", b"s") == 2
    assert [one[-1] for one in then.append()] == [b"a"]
    assert then.find(b"HGET", b"m", b"x") == b"a"
