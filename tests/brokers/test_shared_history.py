"""Topics with a history over several hosts: the broker keeps it, and gives messages places."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host
from log_brokers import LogBroker, by_all_log_brokers
from valkey_server import ValkeyServer, needs_valkey, until
from wire import Wire, connect_both

import sockwave
from sockwave import History

pytestmark = needs_valkey


async def start_kept(
    start_server: StartServer, url: str, *, history: History | None = None, **options: Any
) -> Host:
    """Start a host whose topics `kept/*` have a history, and wait for its broker."""
    host = await start_host(start_server, url, **options)
    host.server.topic("kept/*", history=history or History(), envelope="compact")
    await until(lambda: host.server.health().status == "ok")
    return host


async def start_pair(start_server: StartServer, url: str, **options: Any) -> list[Host]:
    return [await start_kept(start_server, url, **options) for _ in range(2)]


async def receive_all(wire: Wire, last: str) -> list[Any]:
    """Return offset and message of all that comes, up to one message."""
    found = []
    while not found or found[-1][1] != last:
        found.append(tuple(json.loads(await wire.receive_message())))
    return found


def count_from(first: int, *messages: str) -> list[tuple[int, str]]:
    return list(enumerate(messages, first))


async def test_hosts_agree_on_places(start_server: StartServer, log_url: str) -> None:
    hosts = await start_pair(start_server, log_url)
    for host in hosts:
        await host.conn.subscribe("kept/1")
    published = await asyncio.gather(
        *(hosts[number % 2].server.publish("kept/1", f"{number}") for number in range(40))
    )
    assert [one.local_count for one in published] == [1] * 40
    places = {one.position.offset: f"{number}" for number, one in enumerate(published)}
    assert sorted(places) == list(range(1, 41))
    assert len({one.position.epoch for one in published}) == 1
    for host in hosts:
        heard = [tuple(json.loads(await host.wire.receive_message())) for _ in range(40)]
        assert heard == sorted(places.items())
        await host.wire.receive_nothing()


@by_all_log_brokers
async def test_who_comes_later_to_another_host_recovers(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_pair(start_server, log_url)
    places = [(await one.server.publish("kept/1", f"{number}")).position for number in range(5)]
    subscribed = await other.conn.subscribe("kept/1", since=places[1])
    assert subscribed == (places[4], True)
    await one.server.publish("kept/1", "live")
    assert await receive_all(other.wire, "live") == count_from(3, "2", "3", "4", "live")
    # All that there is, and nothing of it; on the host that has published, too.
    for host in (one, other):
        wire, conn = await connect_both(host.server)
        assert (await conn.subscribe("kept/1", since="0-0")).recovered
        assert len(await receive_all(wire, "live")) == 6
        wire, conn = await connect_both(host.server)
        assert (await conn.subscribe("kept/1")).position == (places[0].epoch, 6)
        await wire.receive_nothing()


async def test_the_publisher_does_not_get_its_message_where_it_is_excluded(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_pair(start_server, log_url)
    for host in (one, other):
        await host.conn.subscribe("kept/1")
    published = await one.server.publish("kept/1", "hello", exclude=one.conn)
    assert published.local_count == 0
    await one.server.publish("kept/1", "to all")
    assert await receive_all(one.wire, "to all") == [(2, "to all")]
    assert await receive_all(other.wire, "to all") == count_from(1, "hello", "to all")


@by_all_log_brokers
async def test_an_id_is_published_once_on_all_hosts(
    start_server: StartServer, log_url: str
) -> None:
    hosts = await start_pair(start_server, log_url)
    await hosts[1].conn.subscribe("kept/1")
    published = await asyncio.gather(
        *(hosts[number % 2].server.publish("kept/1", "once", id="a:b") for number in range(6))
    )
    assert len({one.position for one in published}) == 1
    assert (await hosts[0].server.publish("kept/1", "next", id="a")).position.offset == 2
    assert await receive_all(hosts[1].wire, "next") == count_from(1, "once", "next")


@pytest.mark.parametrize("is_heard", [False, True])
async def test_a_program_that_is_no_host_publishes_with_a_place(
    start_server: StartServer, log_url: str, is_heard: bool
) -> None:
    host, other = await start_pair(start_server, log_url, history=History(count=3))
    if is_heard:
        await other.conn.subscribe("kept/1")
    else:
        await host.server.publish("kept/1", "by a host")
    large = "x" * 300_000
    async with sockwave.Publisher(log_url) as publisher:
        first = await publisher.publish("kept/1", "a", id="x")
        assert await publisher.publish("kept/1", "a", id="x") == first
        await publisher.publish("kept/1", large)
        last = await publisher.publish("kept/1", "b")
        await publisher.publish("kept/1", "c")
        assert (await publisher.publish("plain", "d")).position is None
    assert last.position.epoch == first.position.epoch
    assert last.position.offset == first.position.offset + 2
    expected = count_from(last.position.offset - 1, large, "b", "c")
    if is_heard:
        expected.insert(0, (first.position.offset, "a"))
    else:
        await other.conn.subscribe("kept/1", since="0-0")
    assert await receive_all(other.wire, "c") == expected
    assert other.server.health().bad_count == 0
    position = (await host.server.publish("kept/1", "by a host")).position
    assert position.offset == last.position.offset + 2


async def test_a_server_that_has_forgotten_the_scripts_is_told_them_again(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    host = await start_kept(start_server, valkey.url)
    await host.conn.subscribe("kept/1")

    def publish_all() -> None:
        with sockwave.Publisher(valkey.url) as publisher:
            publisher.publish("kept/1", "a")
            valkey.ask(b"SCRIPT", b"FLUSH")
            publisher.publish("kept/1", "b")

    await asyncio.get_running_loop().run_in_executor(None, publish_all)
    assert await receive_all(host.wire, "b") == count_from(1, "a", "b")


@pytest.mark.parametrize(
    ("history", "kept"),
    [(History(count=3), 3), (History(size=3 * 200), 3), (History(ttl=None), 5)],
)
async def test_the_broker_keeps_what_the_history_says(
    start_server: StartServer, log_url: str, history: History, kept: int
) -> None:
    one, other = await start_pair(start_server, log_url, history=history)
    for number in range(5):
        place = (await one.server.publish("kept/1", f"{number}" * 92)).position
    assert (await other.conn.subscribe("kept/1", since="0-0")).recovered
    heard = await receive_all(other.wire, "4" * 92)
    assert [offset for offset, _ in heard] == list(range(6 - kept, 6))
    wire, conn = await connect_both(other.server)
    lost = sockwave.Position(place.epoch, 5 - kept - 1) if kept < 5 else place
    assert (await conn.subscribe("kept/1", since=lost)).recovered is (kept == 5)
    await wire.receive_nothing()


async def test_messages_end_with_their_time(start_server: StartServer, log_url: str) -> None:
    one, other = await start_pair(start_server, log_url, history=History(ttl=1.0))
    await one.server.publish("kept/1", "old")
    await asyncio.sleep(1.01)
    assert (await other.conn.subscribe("kept/1", since="0-0")).position.offset == 1
    await one.server.publish("kept/1", "new")
    assert await receive_all(other.wire, "new") == [(2, "new")]


async def test_a_large_message_is_read_from_the_log(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_pair(start_server, log_url)
    for host in (one, other):
        await host.conn.subscribe("kept/1")
    large = "x" * (300 << 10)
    await asyncio.gather(*(one.server.publish("kept/1", text) for text in ("a", large, "b", "c")))
    for host in (one, other):
        assert await receive_all(host.wire, "c") == count_from(1, "a", large, "b", "c")


@pytest.mark.slow
async def test_a_long_history_comes_in_pages(start_server: StartServer, log_url: str) -> None:
    one, other = await start_pair(start_server, log_url, history=History(count=5000, size=None))
    texts = [f"{number}" for number in range(2500)]
    await asyncio.gather(*(one.server.publish("kept/1", text) for text in texts))
    assert (await other.conn.subscribe("kept/1", since="0-0")).recovered
    assert await receive_all(other.wire, texts[-1]) == count_from(1, *texts)


async def test_who_hears_by_a_pattern_misses_nothing(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_pair(start_server, log_url)
    await other.conn.subscribe("kept/*")
    await one.server.publish("kept/1", "a")
    await one.server.publish("kept/1", "x" * (200 << 10))
    await one.server.publish("kept/1", "b")
    assert [place for place, _ in await receive_all(other.wire, "b")] == [1, 2, 3]
    wire, conn = await connect_both(other.server)
    assert (await conn.subscribe("kept/1", since="0-0")).recovered
    assert len(await receive_all(wire, "b")) == 3
    await one.server.publish("kept/1", "c")
    for one_wire in (wire, other.wire):
        assert await receive_all(one_wire, "c") == [(4, "c")]


async def test_a_topic_that_is_left_and_heard_again_is_whole(
    start_server: StartServer,
    shared_log_broker: LogBroker,
    log_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._LEAVE_S", 0.0)
    one, other = await start_pair(start_server, log_url)
    prefix = log_url.partition("prefix=")[2]
    await other.conn.subscribe("kept/1")
    await one.server.publish("kept/1", "a")
    assert await receive_all(other.wire, "a") == [(1, "a")]
    other.conn.unsubscribe("kept/1")
    await until(lambda: not shared_log_broker.is_heard(prefix, "kept/1"))
    await one.server.publish("kept/1", "b")
    assert (await other.conn.subscribe("kept/1", since="0-0")).recovered
    await one.server.publish("kept/1", "c")
    assert await receive_all(other.wire, "c") == count_from(1, "a", "b", "c")


async def test_a_connection_that_breaks_costs_no_message(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    hosts = await start_pair(start_server, log_broker.url, history=History(count=1000))
    for host in hosts:
        await host.conn.subscribe("kept/1")
    places = {}
    for turn in range(3):
        waiting = {}
        for number in range(100):
            text = f"{turn} {number}"
            waiting[text] = hosts[number % 2].server.publish("kept/1", text)
            if number == 50:
                log_broker.cut()
            await asyncio.sleep(0)
        places.update({(await one).position.offset: text for text, one in waiting.items()})
    assert sorted(places) == list(range(1, 301))
    for host in hosts:
        heard = [tuple(json.loads(await host.wire.receive_message())) for _ in range(300)]
        assert heard == sorted(places.items())
        await host.wire.receive_nothing()
    assert all(host.server.health().lost_count for host in hosts)


async def test_a_restart_that_loses_nothing_costs_nothing(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    hosts = await start_pair(start_server, log_broker.url)
    for host in hosts:
        await host.conn.subscribe("kept/1")
    before = (await hosts[0].server.publish("kept/1", "before")).position
    log_broker.kill()
    for host in hosts:
        await until(lambda host=host: host.server.health().status != "ok")
    waiting = [host.server.publish("kept/1", "meanwhile") for host in hosts]
    log_broker.start()
    places = [(await one).position for one in waiting]
    assert sorted(one.offset for one in places) == [2, 3]
    assert {one.epoch for one in places} == {before.epoch}
    await hosts[1].server.publish("kept/1", "after")
    for host in hosts:
        assert await receive_all(host.wire, "after") == count_from(
            1, "before", "meanwhile", "meanwhile", "after"
        )


async def test_a_log_that_is_lost_is_another_one_and_that_is_told(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    one, other = await start_pair(start_server, log_broker.url)
    await other.conn.subscribe("kept/1")
    before = (await one.server.publish("kept/1", "before")).position
    assert await receive_all(other.wire, "before") == [(1, "before")]
    log_broker.purge()
    after = (await one.server.publish("kept/1", "after")).position
    assert after.offset == 1
    assert after.epoch != before.epoch
    heard = await receive_all(other.wire, "after")
    assert heard[-1] == (1, "after")
    assert [0, True] in [list(one) for one in heard]
    wire, conn = await connect_both(one.server)
    assert not (await conn.subscribe("kept/1", since=before)).recovered
    assert await receive_all(wire, "after") == [(1, "after")]


@pytest.mark.slow
async def test_a_log_that_is_lost_is_missed_without_a_message(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    host = await start_kept(start_server, valkey.url)
    await host.conn.subscribe("kept/1")
    before = (await host.server.publish("kept/1", "before")).position
    assert await receive_all(host.wire, "before") == [(1, "before")]
    await until(lambda: valkey.ask(b"EXISTS", b"sockwave:g"))
    valkey.ask(b"FLUSHALL")
    assert json.loads(await host.wire.receive_message()) == [0, True]
    _, conn = await connect_both(host.server)
    subscribed = await conn.subscribe("kept/1", since=before)
    assert not subscribed.recovered
    assert subscribed.position.epoch != before.epoch


async def test_a_broker_that_comes_back_with_less_has_another_log(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    host = await start_kept(start_server, valkey.url)
    await host.conn.subscribe("kept/1")
    for text in ("a", "b"):
        place = (await host.server.publish("kept/1", text)).position
    valkey.ask(b"HSET", b"sockwave:m:kept/1", b"o", b"1")
    valkey.ask(b"DEL", b"sockwave:s:kept/1")
    valkey.ask(b"XADD", b"sockwave:s:kept/1", b"1-0", b"t", b"1", b"m", b"1t\na")
    valkey.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub")
    await until(lambda: host.server.health().lost_count == 1)
    published = await host.server.publish("kept/1", "c")
    assert published.position.epoch != place.epoch
    _, conn = await connect_both(host.server)
    assert not (await conn.subscribe("kept/1", since=place)).recovered


async def test_who_publishes_finds_out_that_the_broker_has_lost_its_last(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    one, other = await start_pair(start_server, valkey.url)
    await other.conn.subscribe("kept/1")
    for text in ("a", "b"):
        place = (await one.server.publish("kept/1", text)).position
    assert await receive_all(other.wire, "b") == count_from(1, "a", "b")
    # As a replica that takes over, and has not got all.
    valkey.ask(b"DEL", b"sockwave:s:kept/1")
    valkey.ask(b"XADD", b"sockwave:s:kept/1", b"1-0", b"t", b"1", b"m", b"1t\na")
    valkey.ask(b"HSET", b"sockwave:m:kept/1", b"o", b"1")
    assert (await one.server.publish("kept/1", "c")).position.epoch != place.epoch
    heard = await receive_all(other.wire, "c")
    assert any(message is True for _, message in heard)


async def test_while_the_broker_is_away_publishing_waits_or_raises(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    queueing = await start_kept(start_server, log_broker.url)
    raising = await start_kept(start_server, log_broker.url, broker_down="raise")
    log_broker.kill()
    for host in (queueing, raising):
        await until(lambda host=host: host.server.health().broker == "down")
    with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
        raising.server.publish("kept/1", "a")
    assert await queueing.conn.subscribe("kept/1") == (None, False)
    coming_back = raising.conn.subscribe("kept/1", since="0-0")
    waiting = [queueing.server.publish("kept/1", f"{number}") for number in range(3)]
    log_broker.start()
    assert [(await one).position.offset for one in waiting] == [1, 2, 3]
    assert (await coming_back).recovered
    assert await receive_all(raising.wire, "2") == count_from(1, "0", "1", "2")
    assert await receive_all(queueing.wire, "2") == count_from(1, "0", "1", "2")


async def test_what_the_broker_refuses_raises(
    start_server: StartServer, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.set_user("app", "on nopass &sockwave:* ~sockwave:* +@all -xadd")
    host = await start_kept(start_server, valkey.url.replace("://", "://app:any@"))
    await host.conn.subscribe("kept/1")
    with pytest.raises(sockwave.SockwaveError, match=r"the broker: .*(ermission|can't run)"):
        await host.server.publish("kept/1", "a")
    valkey.set_user("app", "+xadd -xrange")
    assert (await host.server.publish("kept/1", "b")).position is not None
    assert (await host.conn.subscribe("kept/2", since="0-0")).recovered is False
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "refuses what it is asked for" in lines[0]


async def test_the_rights_that_are_documented_suffice(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    begin = "ACL SETUSER app "
    rules = [line.removeprefix(begin) for line in page.splitlines() if line.startswith(begin)]
    assert len(rules) == 2
    for given in rules:
        valkey.set_user("app", given.replace(">PASSWORD", ">pass"))
    one, other = await start_pair(start_server, valkey.url.replace("://", "://app:pass@"))
    await one.server.publish("kept/1", "hello", id="a")
    await one.server.publish("kept/1", "again")
    assert (await other.conn.subscribe("kept/1", since="0-0")).recovered
    assert await receive_all(other.wire, "again") == count_from(1, "hello", "again")
    topic = one.server.topic("stream")
    await topic.append("delta")
    await other.conn.subscribe("stream")
    assert json.loads(await other.wire.receive_message())["delta"] == "delta"
    await topic.finish()
    assert json.loads(await other.wire.receive_message())["end"] == "finished"
    await one.server.close(drain=0)
    await until(lambda: valkey.ask(b"EXISTS", b"sockwave:g"))
    assert other.server.health() == sockwave.Health("ok", "up", 0, 0, 0, 0, 0)
    log = valkey.ask(b"ACL", b"LOG")
    assert log == []


BAD = [
    b"1o", b"1o \n", b"1o 0000000000000000 1\n1t\nx", b"1o 000000000000000g 1\n1t\nx",
    b"1o 0000000000000001 0\n1t\nx", b"1o 0000000000000001 1234567890123456789\n1t\nx",
    b"1o 0000000000000001 -1\n1t\nx", b"1o 0000000000000001 1", b"1o 0000000000000001  1\n1t\nx",
    b"1t\na plain message",
]  # fmt: skip


async def test_what_is_no_message_costs_itself_and_a_count(
    start_server: StartServer, shared_valkey: ValkeyServer, valkey_url: str
) -> None:
    one, other = await start_pair(start_server, valkey_url)
    await other.conn.subscribe("kept/1")
    await other.conn.subscribe("plain")
    place = (await one.server.publish("kept/1", "first")).position
    prefix = valkey_url.partition("prefix=")[2].encode()
    for message in BAD:
        shared_valkey.ask(b"PUBLISH", prefix + b":t:kept/1", message)
    shared_valkey.ask(b"PUBLISH", prefix + b":t:plain", b"1o 0000000000000001 1\n1t\nx")
    # Places that no log has, and messages that are none.
    epoch = b"%016x" % place.epoch
    for forged in (b"1o %b 999\n", b"1o %b 999\n1t\nx", b"1o %b 2\n1x\n", b"1o %b 2\n1t\n\xff"):
        shared_valkey.ask(b"PUBLISH", prefix + b":t:kept/1", forged % epoch)
    shared_valkey.ask(b"PUBLISH", prefix + b":t:kept/1", b"1o 00000000000000ab 7\n1t\nx")
    await one.server.publish("kept/1", "second")
    assert await receive_all(other.wire, "second") == count_from(1, "first", "second")
    await until(lambda: other.server.health().bad_count >= len(BAD) + 1)
    assert other.server.health().status == "ok"


async def test_what_stands_in_a_log_and_is_no_message_is_missing(
    start_server: StartServer, shared_valkey: ValkeyServer, valkey_url: str
) -> None:
    one, other = await start_pair(start_server, valkey_url)
    await one.server.publish("kept/1", "a")
    prefix = valkey_url.partition("prefix=")[2].encode()
    for offset, words in ((b"2-0", [b"t", b"1", b"m", b"1x\n"]), (b"3-0", [b"only", b"one"])):
        shared_valkey.ask(b"XADD", prefix + b":s:kept/1", offset, *words)
    shared_valkey.ask(b"HSET", prefix + b":m:kept/1", b"o", b"3")
    await other.conn.subscribe("kept/1", since="0-0")
    await one.server.publish("kept/1", "b")
    assert (await receive_all(other.wire, "b"))[-1] == (4, "b")
    await until(lambda: other.server.health().bad_count == 2)


def test_what_a_broker_cannot_keep_is_refused() -> None:
    for options, expected in (
        (
            {"broker": "nats://127.0.0.1", "broker_down": "local"},
            "broker_down='queue' or 'raise'",
        ),
        (
            {"broker": "valkey://127.0.0.1", "broker_down": "local"},
            "broker_down='queue' or 'raise'",
        ),
    ):
        server = sockwave.create_server(**options)
        with pytest.raises(sockwave.SockwaveError, match=expected):
            server.topic("kept/*", history=History())


async def wait_declared(broker: LogBroker, pattern: str, prefix: str = "sockwave") -> None:
    """Wait until the broker has what a host has declared while it ran."""
    await until(lambda: broker.is_declared(pattern, prefix))


async def test_a_program_publishes_with_a_place_before_any_subscriber(
    start_server: StartServer, shared_log_broker: LogBroker, log_url: str
) -> None:
    host = await start_kept(start_server, log_url)
    host.server.topic("kept/plain", slow="conflate")
    host.server.topic("lobby", presence=True)
    prefix = log_url.partition("prefix=")[2]
    for pattern in ("kept/*", "kept/plain", "lobby"):
        await wait_declared(shared_log_broker, pattern, prefix)
    large = "x" * 300_000
    async with sockwave.Publisher(log_url) as publisher:
        first = await publisher.publish("kept/1", "a", id="x")
        assert first.position.offset == 1
        assert await publisher.publish("kept/1", "a", id="x") == first
        assert (await publisher.publish("kept/2", large)).position.offset == 1
        assert (await publisher.publish("lobby", "hello")).position.offset == 1
        for plain in ("kept/plain", "kept/1/draft", "other"):
            assert (await publisher.publish(plain, "a")).position is None
        # What is declared later, or by a host that comes later, holds for the next message.
        assert (await publisher.publish("late/1", "a")).position is None
        host.server.topic("late/*", history=History(count=2))
        other = await start_host(start_server, log_url)
        other.server.topic("later", history=History())
        await until(lambda: other.server.health().status == "ok")
        while (await publisher.publish("late/1", "b")).position is None:
            pass
        while (await publisher.publish("later", "b")).position is None:
            pass
    assert (await host.conn.subscribe("kept/1", since="0-0")).recovered
    assert await receive_all(host.wire, "a") == [(1, "a")]
    assert (await host.conn.subscribe("kept/2", since="0-0")).recovered
    assert await receive_all(host.wire, large) == [(1, large)]


async def test_what_is_declared_outlives_the_keys_of_the_broker(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    host = await start_kept(start_server, log_broker.url)
    await wait_declared(log_broker, "kept/*")
    async with sockwave.Publisher(log_broker.url) as publisher:
        first = (await publisher.publish("kept/1", "a")).position
        log_broker.purge()
        # Who has known it knows it still; who comes later waits for a host that says it again.
        after = (await publisher.publish("kept/1", "b")).position
        assert after.epoch != first.epoch
        await wait_declared(log_broker, "kept/*")
    async with sockwave.Publisher(log_broker.url) as publisher:
        assert (await publisher.publish("kept/2", "c")).position.offset == 1
    assert host.server.health().status == "ok"


async def test_what_was_declared_a_day_ago_counts_no_more(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    old, now = (int(valkey.ask(b"TIME")[0]) - ago for ago in (25 * 3600, 0))
    for pattern, at in ((b"old", old), (b"new", now)):
        valkey.ask(b"HSET", b"sockwave:d", pattern, b"10 1000 0@%d" % at)
    for pattern, said in (
        (b"a*b", b"10 1000 0@%d" % now),
        (b"bad", b"ten@%d" % now),
        (b"no", b"1"),
    ):
        valkey.ask(b"HSET", b"sockwave:d", pattern, said)
    async with sockwave.Publisher(valkey.url) as publisher:
        assert (await publisher.publish("new", "a")).position.offset == 1
        for name in ("old", "bad", "no"):
            assert (await publisher.publish(name, "a")).position is None
    host = await start_kept(start_server, valkey.url)
    await until(lambda: not valkey.ask(b"HEXISTS", b"sockwave:d", b"old"))
    assert host.server.health().status == "ok"


async def test_a_program_publishes_no_message_on_a_stream(
    start_server: StartServer, valkey_url: str
) -> None:
    host = await start_kept(start_server, valkey_url)
    await host.server.topic("stream").append("a")
    async with sockwave.Publisher(valkey_url) as publisher:
        with pytest.raises(sockwave.SockwaveError, match="is a stream"):
            await publisher.publish("stream", "x")


async def test_a_host_that_is_up_has_declared_its_topics(log_broker: LogBroker) -> None:
    server = sockwave.create_server(broker=log_broker.url)
    server.topic("kept/*", history=History())
    server.listen(0, "127.0.0.1")
    async with server:
        await until(lambda: server.health().status == "ok")
        async with sockwave.Publisher(log_broker.url) as publisher:
            assert (await publisher.publish("kept/1", "a")).position.offset == 1
