"""Who produces a stream, as the next sequencer of a host learns it from the broker's answers.

The stream ends with its worker, also where that dies before the broker has answered, and where the
broker is lost meanwhile.
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pytest
from test_streams_of_bridge import EPOCH, Host
from valkey_server import ValkeyServer, by_redis_too, needs_valkey

from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_retries import Retries
from sockwave.brokers.valkey_streams import ValkeyStreams
from sockwave.core.topics.links import Link
from sockwave.core.topics.records import (
    ACK,
    DELTA,
    LAST,
    MSG,
    NAME,
    PUB,
    REFUSED,
    SETTINGS,
    SUB,
    TEXT,
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

    def subscribe_again(self) -> None:
        self.link.take(pack_record(SUB, topic=1, request=2))

    def have_stream(self) -> None:
        """Learn that the worker produces the stream, by a delta that comes as well."""
        key, parcel = self.leave()
        self.echo(parcel)
        self.answer(key)

    def beat(self, count: int) -> None:
        """Do as the broker's client, which tells others so often that this host is there."""
        for _ in range(count):
            self.bridge.presence.beat()

    def ends(self) -> list[bytes]:
        """Return how the deltas that leave now end the stream."""
        return [one[-1] for one in self.bridge.streams.take_deltas()]


def connect_other(host: Host, incarnation: int = 8) -> Link:
    """Connect another worker, which appends a delta."""
    link = host.connect(incarnation=incarnation)
    link.take(pack_record(PUB, DELTA | TEXT, topic=2, sequence=1, payload=b"b"))
    return link


def begin_twice() -> tuple[Host, Link, Key, Key]:
    """Have a worker begin a stream while the broker is away, and die, and another one begin the
    same; return the other one's link, and the keys of both deltas, which leave then."""
    host = Host()
    host.append(b"a")
    host.bridge.lose()
    host.link.end()
    host.wait(15)
    link = connect_other(host)
    first, second = [one[0] for one in host.bridge.streams.take_deltas()]
    return host, link, first, second


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
    assert host.ends() == []
    host.beat(5)
    assert host.ends() == []
    host.beat(1)
    ((again, *_, epoch, _, joins, _, _, _, end),) = host.bridge.streams.take_deltas()
    assert (again, epoch, joins, end) == (abort, NUMBER, False, b"a")
    host.answer(again, 4, is_producer=False)
    host.beat(100)
    assert host.ends() == []


@pytest.mark.parametrize("is_shard", [False, True])
def test_an_end_that_the_broker_has_refused_is_sent_once_when_it_is_back(
    host: NextHost, is_shard: bool
) -> None:
    host.answer(host.leave()[0])
    host.unsubscribe()
    host.link.end()
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.refused(abort, b"OOM no memory")
    host.lose_broker(shard=is_shard)
    assert host.ends() == [b"a"]
    host.beat(100)
    assert host.ends() == []


def test_an_end_that_the_broker_refuses_for_minutes_is_given_up(host: NextHost) -> None:
    """It may be that this host is not allowed to append: that costs no memory for ever."""
    host.have_stream()
    host.link.end()
    count = 0
    while deltas := host.bridge.streams.take_deltas():
        count += 1
        host.bridge.streams.refused(deltas[0][0], b"NOPERM")
        host.beat(6)
    assert count == 60
    assert host.bridge.queued_size == 0


@pytest.mark.parametrize("code", [b"ended", b"lost"])
def test_an_end_is_not_sent_again_to_a_stream_that_has_ended(host: NextHost, code: bytes) -> None:
    host.have_stream()
    host.link.end()
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.refused(abort, code)
    host.beat(100)
    assert host.ends() == []
    assert host.bridge.queued_size == 0


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


@pytest.mark.parametrize("is_producer", [True, False])
def test_the_answer_to_its_first_delta_tells_whether_a_stream_ends_with_a_worker(
    is_producer: bool,
) -> None:
    """Its host does not read the stream: another host may have begun it."""
    host = Host()
    host.append(b"a")
    ((key, *_),) = host.bridge.streams.take_deltas()
    host.link.end()
    assert host.bridge.streams.take_deltas() == []
    host.bridge.streams.answered(key, NUMBER, 5, is_producer=is_producer)
    aborts = host.bridge.streams.take_deltas()
    assert [(one[4:7], one[-1]) for one in aborts] == [((NUMBER, 5, False), b"a")] * is_producer


def test_the_broker_tells_which_of_two_workers_produces_a_stream() -> None:
    host, link, first, second = begin_twice()
    host.bridge.streams.answered(first, NUMBER, 1, is_producer=True)
    host.bridge.streams.answered(second, NUMBER, 2, is_producer=False)
    link.end()
    assert [one[-1] for one in host.bridge.streams.take_deltas()] == [b"a"]


def test_the_answer_to_another_worker_does_not_tell_whose_a_stream_is() -> None:
    host, link, first, _ = begin_twice()
    host.bridge.streams.answered(first, NUMBER, 5, is_producer=False)
    link.end()
    assert host.bridge.streams.take_deltas() == []


def test_a_stream_is_ours_where_the_first_delta_of_another_worker_is_refused() -> None:
    host, _, first, second = begin_twice()
    host.bridge.streams.answered(first, NUMBER, 1, is_producer=True)
    host.bridge.streams.refused(second, b"kind")
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.bridge.streams.answered(abort, NUMBER, 2, is_producer=False)
    link = connect_other(host, 9)
    assert REFUSED in [one[0] for one in unpack_records(link.read())[0]]


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
    ((again, *_, epoch, placed, joins, begins, _, _, _),) = host.bridge.streams.take_deltas()
    assert (again, epoch, placed, joins, begins) == (key, 0, 0, True, False)
    host.answer(key)
    host.link.end()
    ((abort, *_),) = host.bridge.streams.take_deltas()
    host.answer(abort, 3, is_producer=False)
    host.wait(100)
    assert host.sequencer.stats["topics"] == 0


def test_the_end_of_a_stream_that_was_given_up_here_ends_no_other(host: NextHost) -> None:
    host.answer(host.leave()[0])
    host.bridge.lose()
    host.link.end()
    host.wait(15)
    assert host.sequencer.stats["topics"] == 0
    link = connect_other(host)
    (abort, *_, epoch, placed, joins, _, _, _, end), (other, *_) = host.bridge.streams.take_deltas()
    assert (epoch, placed, joins, end) == (NUMBER, 0, False, b"a")
    host.bridge.streams.answered(other, 5, 1, is_producer=True)
    host.bridge.streams.refused(abort, b"lost")
    link.end()
    ((*_, epoch, _, _, _, _, _, _),) = host.bridge.streams.take_deltas()
    assert epoch == 5


def test_who_appends_does_not_wait_for_a_stream_that_is_given_up_here(host: NextHost) -> None:
    key, _ = host.leave()
    host.answer(key, is_producer=False)
    assert not host.told(ACK)  # before it comes
    host.bridge.lose()
    host.unsubscribe()
    host.wait(15)
    assert len(host.told(ACK)) == 1


@pytest.mark.parametrize("is_told", [False, True])
def test_a_stream_that_is_wanted_here_is_read_when_it_is_found_to_be_ours(is_told: bool) -> None:
    """Where the first delta is refused, nothing is known of the stream; the next one is taken."""
    host = NextHost()
    host.unsubscribe()
    host.bridge.unconfirm(b"answer/1")
    host.wait(15)
    for delta in (b"b", b"c"):
        host.append(delta)
    keys = [one[0] for one in host.bridge.streams.take_deltas()]
    host.subscribe_again()
    host.bridge.streams.refused(keys[0], b"kind")
    assert host.bridge.streams.take_looks() == [b"answer/1"]
    if is_told:
        host.bridge.streams.seen([b"answer/1"], [True])
    host.answer(keys[1])
    parcel = b"1t 0000000000000007.2\nc"
    host.read(parcel)
    host.link.end()
    assert host.ends() == [b"a"]


# ---- a worker that comes back


def test_a_worker_that_comes_back_is_told_where_its_delta_stands(host: NextHost) -> None:
    key, parcel = host.leave()
    host.echo(parcel)
    host.link.end()
    link = host.connect()
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
    link = host.connect()
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


@needs_valkey
@by_redis_too("shared_valkey")
def test_a_worker_takes_its_stream_along_by_a_delta_that_is_taken(sessions: list[Session]) -> None:
    """The next sequencer does not learn from a refusal whose stream it is: others end it then."""
    first, then = sessions
    then.host.link.take(pack_record(PUB, DELTA, topic=2, sequence=2, payload=b"binary"))
    then.append()
    ((_, reason),) = then.host.told(REFUSED)
    assert b"all text" in reason
    assert then.find(b"HGET", b"m", b"p") == first.host.bridge.host.encode()
    then.host.sequence = 2
    then.host.append(b"b")
    then.append()
    assert then.find(b"HGET", b"m", b"p") == then.host.bridge.host.encode()


@needs_valkey
@by_redis_too("shared_valkey")
def test_a_delta_that_is_too_large_begins_no_stream(
    shared_valkey: ValkeyServer, request: pytest.FixtureRequest
) -> None:
    session = Session(Host(append_size=5), shared_valkey, request.node.name)
    session.host.append(b"too long")
    session.append()
    ((_, reason),) = session.host.told(REFUSED)
    assert b"append_size" in reason
    assert session.find(b"EXISTS", b"m") == 0
