"""Streams that can be joined late, over several hosts: the broker keeps them for all."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host
from log_brokers import LogBroker, by_all_log_brokers
from valkey_server import ValkeyServer, needs_valkey, until
from wire import Wire, connect_both

import sockwave

pytestmark = needs_valkey


async def start_streaming(
    start_server: StartServer, url: str, count: int = 2, **options: Any
) -> list[Host]:
    """Start hosts whose topics `answer/*` have compact envelopes, and wait for their broker."""
    hosts = [await start_host(start_server, url, **options) for _ in range(count)]
    for host in hosts:
        host.server.topic("answer/*", envelope="compact")
        await until(lambda host=host: host.server.health().status == "ok")
    return hosts


async def receive_to(wire: Wire, last: Any) -> list[tuple[int, Any]]:
    """Return offset and delta of all that comes, up to one."""
    found: list[tuple[int, Any]] = []
    while not found or found[-1][1] != last:
        found.append(tuple(json.loads(await wire.receive_message())))
    return found


async def test_subscribers_of_all_hosts_get_the_deltas_in_order(
    start_server: StartServer, log_url: str
) -> None:
    hosts = await start_streaming(start_server, log_url)
    for host in hosts:
        await host.conn.subscribe("answer/1")
    topic = hosts[0].server.topic("answer/1")
    published = [await topic.append(token) for token in ("Hel", "lo", " world")]
    assert [one.position.offset for one in published] == [1, 2, 3]
    await topic.finish()
    for host in hosts:
        heard = await receive_to(host.wire, None)
        assert heard == [(1, "Hel"), (2, "lo"), (3, " world"), (4, None)]
        await host.wire.receive_nothing()


@by_all_log_brokers
async def test_who_joins_late_on_any_host_gets_one_snapshot_and_then_deltas(
    start_server: StartServer, log_url: str
) -> None:
    hosts = await start_streaming(start_server, log_url)
    topic = hosts[0].server.topic("answer/1")
    for token in "abc":
        last = await topic.append(token)
    for host in reversed(hosts):
        subscribed = await host.conn.subscribe("answer/1")
        assert subscribed.position == last.position
    await topic.append("d")
    for host in hosts:
        assert await receive_to(host.wire, "d") == [(3, "abc"), (4, "d")]
    # Who comes back says what it has.
    wire, conn = await connect_both(hosts[1].server)
    since = sockwave.Position(last.position.epoch, 1)
    assert (await conn.subscribe("answer/1", since=since)).recovered
    assert await receive_to(wire, "bcd") == [(4, "bcd")]
    await topic.finish()
    for one in (wire, *(host.wire for host in hosts)):
        assert await receive_to(one, None) == [(5, None)]
    wire, conn = await connect_both(hosts[1].server)
    await conn.subscribe("answer/1")
    assert await receive_to(wire, None) == [(4, "abcd"), (5, None)]


async def test_a_stream_that_many_hosts_append_to_has_one_order(
    start_server: StartServer, log_url: str
) -> None:
    hosts = await start_streaming(start_server, log_url)
    for host in hosts:
        await host.conn.subscribe("answer/1")
    waiting = [
        hosts[number % 2].server.topic("answer/1").append(f"<{number}>") for number in range(60)
    ]
    places = {(await one).position.offset: f"<{number}>" for number, one in enumerate(waiting)}
    assert sorted(places) == list(range(1, 61))
    for host in hosts:
        assert await receive_to(host.wire, places[60]) == sorted(places.items())
        await host.wire.receive_nothing()
    wire, conn = await connect_both(hosts[1].server)
    await conn.subscribe("answer/1")
    assert await receive_to(wire, "".join(text for _, text in sorted(places.items())))


async def test_binary_streams(start_server: StartServer, log_url: str) -> None:
    one, other = await start_streaming(start_server, log_url)
    topic = one.server.topic("stream")
    await topic.append(b"\0")
    await topic.append(bytearray(b"\xff"))
    await other.conn.subscribe("stream")
    assert json.loads(await other.wire.receive_message())["base64"] == "AP8="
    with pytest.raises(sockwave.SockwaveError, match="text"):
        await other.server.topic("stream").append("text")


async def test_who_hears_by_a_pattern_hears_streams(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_streaming(start_server, log_url)
    await other.conn.subscribe("answer/*")
    topic = one.server.topic("answer/1")
    for token in "abc":
        await topic.append(token)
    assert await receive_to(other.wire, "c") == [(1, "a"), (2, "b"), (3, "c")]
    wire, conn = await connect_both(other.server)
    await conn.subscribe("answer/1")
    await topic.finish()
    assert await receive_to(other.wire, None) == [(4, None)]
    assert await receive_to(wire, None) == [(3, "abc"), (4, None)]


@pytest.mark.slow
async def test_a_large_delta_and_a_long_stream_come_whole(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_streaming(start_server, log_url)
    await other.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    large = "x" * (300 << 10)
    waiting = [topic.append(text) for text in (large, *("y" for _ in range(3000)), "z")]
    await asyncio.gather(*waiting)
    heard = await receive_to(other.wire, "z")
    assert [offset for offset, _ in heard] == list(range(1, 3003))
    wire, conn = await connect_both(other.server)
    await conn.subscribe("answer/1")
    assert json.loads(await wire.receive_message()) == [3002, large + "y" * 3000 + "z"]
    third = (await start_streaming(start_server, log_url, 1))[0]
    await third.conn.subscribe("answer/1")
    assert json.loads(await third.wire.receive_message()) == [3002, large + "y" * 3000 + "z"]


async def test_what_a_stream_cannot_have_raises(start_server: StartServer, log_url: str) -> None:
    one, other = await start_streaming(start_server, log_url, append_size=10)
    topic, same = one.server.topic("answer/1"), other.server.topic("answer/1")
    await topic.append("x" * 6)
    await same.append("x" * 4)
    for again in (topic, same):
        with pytest.raises(sockwave.SockwaveError, match="append_size"):
            await again.append("y")
    with pytest.raises(sockwave.SockwaveError, match="is a stream"):
        await one.server.publish("answer/1", "x")
    await topic.finish()
    for again in (topic, same):
        with pytest.raises(sockwave.SockwaveError, match="has ended"):
            await again.append("z")
    await one.conn.subscribe("answer/2")
    await one.server.publish("answer/2", "a message")
    with pytest.raises(sockwave.SockwaveError, match="has messages"):
        await one.server.topic("answer/2").append("z")
    one.server.topic("kept", history=sockwave.History())
    await one.server.publish("kept", "a message")
    with pytest.raises(sockwave.SockwaveError, match="has messages"):
        await other.server.topic("kept").append("z")


async def test_a_replica_that_finds_no_room_is_said_to_be_none(
    start_server: StartServer, log_url: str
) -> None:
    (one,) = await start_streaming(start_server, log_url, 1)
    (small,) = await start_streaming(start_server, log_url, 1, history_budget=100)
    await small.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    await topic.append("x" * 96)
    wire, conn = await connect_both(small.server)
    await conn.subscribe("answer/1")
    assert await receive_to(wire, "x" * 96)
    last = (await topic.append("y")).position
    assert await receive_to(small.wire, "y") == [(1, "x" * 96), (2, "y")]
    wire, conn = await connect_both(small.server)
    for since in (None, "0-0"):
        with pytest.raises(sockwave.SockwaveError, match="no room"):
            await conn.subscribe("answer/1", since=since)
    before = sockwave.Position(last.epoch, 1)
    assert not (await conn.subscribe("answer/1", since=before)).recovered
    await topic.append("z")
    for one_wire in (small.wire, wire):
        assert await receive_to(one_wire, "z") == [(3, "z")]


async def test_a_connection_that_breaks_costs_no_delta(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    hosts = await start_streaming(start_server, log_broker.url)
    for host in hosts:
        await host.conn.subscribe("answer/1")
    places = {}
    for turn in range(3):
        waiting = {}
        for number in range(100):
            text = f"{turn} {number}"
            waiting[text] = hosts[number % 2].server.topic("answer/1").append(text)
            if number == 50:
                await asyncio.to_thread(log_broker.cut)
            await asyncio.sleep(0)
        places.update({(await one).position.offset: text for text, one in waiting.items()})
    assert sorted(places) == list(range(1, 301))
    await hosts[0].server.topic("answer/1").finish()
    for host in hosts:
        assert await receive_to(host.wire, None) == [*sorted(places.items()), (301, None)]
    assert all(host.server.health().lost_count for host in hosts)


async def test_a_broker_that_dies_and_comes_back_costs_no_delta(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    hosts = await start_streaming(start_server, log_broker.url)
    await hosts[1].conn.subscribe("answer/1")
    topics = [host.server.topic("answer/1") for host in hosts]
    await topics[0].append("begin")
    waiting = {}
    for number in range(200):
        text = f"{number},"
        waiting[text] = topics[number % 2].append(text)
        if number == 100:
            await waiting["50,"]
            await asyncio.to_thread(log_broker.kill)
    await asyncio.to_thread(log_broker.start)
    waiting["end"] = topics[0].append("end")
    places = {(await one).position.offset: text for text, one in waiting.items()}
    assert sorted(places) == list(range(2, 203))
    expected = [(1, "begin"), *sorted(places.items())]
    await topics[0].finish()
    assert await receive_to(hosts[1].wire, None) == [*expected, (203, None)]
    wire, conn = await connect_both(hosts[0].server)
    await conn.subscribe("answer/1")
    whole = "".join(text for _, text in expected)
    assert await receive_to(wire, None) == [(202, whole), (203, None)]


async def test_a_stream_that_the_broker_loses_is_aborted(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    one, other = await start_streaming(start_server, log_broker.url)
    await other.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    await topic.append("a")
    assert await receive_to(other.wire, "a") == [(1, "a")]
    log_broker.purge()
    with pytest.raises(sockwave.SockwaveError, match="has lost the stream"):
        await topic.append("b")
    with pytest.raises(sockwave.SockwaveError, match="has ended"):
        await topic.append("c")
    assert await receive_to(other.wire, False) == [(2, False)]


async def test_a_broker_that_comes_back_with_less_has_no_stream(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    one, other = await start_streaming(start_server, valkey.url)
    topic = one.server.topic("answer/1")
    for text in "ab":
        await topic.append(text)
    await other.conn.subscribe("answer/1")
    assert await receive_to(other.wire, "ab") == [(2, "ab")]
    valkey.ask(b"HSET", b"sockwave:m:answer/1", b"o", b"1")
    with pytest.raises(sockwave.SockwaveError, match="has lost the stream"):
        await topic.append("c")
    assert await receive_to(other.wire, False) == [(3, False)]


async def test_while_the_broker_is_away_deltas_wait_or_raise(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    (queueing,) = await start_streaming(start_server, log_broker.url, 1)
    (raising,) = await start_streaming(start_server, log_broker.url, 1, broker_down="raise")
    log_broker.kill()
    for host in (queueing, raising):
        await until(lambda host=host: host.server.health().broker == "down")
    with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
        raising.server.topic("answer/1").append("a")
    assert await queueing.conn.subscribe("answer/1") == (None, False)
    coming_back = raising.conn.subscribe("answer/1", since="0-0")
    waiting = [queueing.server.topic("answer/1").append(text) for text in "abc"]
    waiting.append(queueing.server.topic("answer/1").finish())
    log_broker.start()
    assert [(await one).position.offset for one in waiting] == [1, 2, 3, 4]
    await coming_back
    for host in (queueing, raising):
        heard = await receive_to(host.wire, None)
        assert "".join(text for _, text in heard[:-1]) == "abc"


async def test_a_stream_is_watched_while_any_host_has_a_subscriber(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_streaming(start_server, log_url)
    told: asyncio.Queue[str] = asyncio.Queue()
    topic = one.server.topic("answer/1")
    topic.on("unwatched", told.put_nowait)
    await topic.append("x")
    await other.conn.subscribe("answer/1")
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await asyncio.sleep(14)  # longer than a stream has that nobody watches
    assert told.empty()
    other.conn.unsubscribe("answer/1")
    left = loop.time()
    assert await asyncio.wait_for(told.get(), 30) == "answer/1"
    assert loop.time() - left >= 9.9
    assert loop.time() - begin >= 23.9


async def test_a_host_that_ends_aborts_its_streams(start_server: StartServer, log_url: str) -> None:
    one, other = await start_streaming(start_server, log_url)
    await one.server.topic("answer/1").append("a")
    await one.server.topic("answer/2").append("b")
    await other.conn.subscribe("answer/1")
    assert await receive_to(other.wire, "a") == [(1, "a")]
    await asyncio.sleep(1)  # both have heard each other
    await one.server.close(drain=0)
    assert await receive_to(other.wire, False) == [(2, False)]
    # Nobody has heard that one here.
    await other.conn.subscribe("answer/2")
    assert await receive_to(other.wire, False) == [(1, "b"), (2, False)]


async def test_a_stream_whose_host_is_never_heard_is_aborted(
    start_server: StartServer, valkey_url: str, shared_valkey: ValkeyServer
) -> None:
    one, other = await start_streaming(start_server, valkey_url)
    await one.server.topic("answer/1").append("a")
    prefix = valkey_url.partition("prefix=")[2].encode()
    # As one that has died before.
    (entry,) = shared_valkey.ask(b"XRANGE", prefix + b":s:answer/1", b"-", b"+")
    host = json.loads(entry[1][3].partition(b"\n")[0].split(b" ", 2)[2])["producer"].encode()
    dead = b"00000000000000ab"
    shared_valkey.ask(b"DEL", prefix + b":s:answer/1")
    shared_valkey.ask(
        b"XADD", prefix + b":s:answer/1", b"1-0", b"t", b"1", b"m",
        entry[1][3].replace(host, dead),
    )  # fmt: skip
    shared_valkey.ask(b"HSET", prefix + b":m:answer/1", b"p", dead)
    shared_valkey.ask(b"SADD", prefix + b":f:" + dead, b"answer/1")
    begin = asyncio.get_running_loop().time()
    await other.conn.subscribe("answer/1")
    assert await receive_to(other.wire, False) == [(1, "a"), (2, False)]
    assert asyncio.get_running_loop().time() - begin < 5.0


@pytest.mark.parametrize("broker", ["nats://h", "valkey://h"])
def test_streams_are_refused_where_nothing_orders_deltas(broker: str) -> None:
    server = sockwave.create_server(broker=broker, broker_down="local")
    with pytest.raises(sockwave.SockwaveError, match="with a stream"):
        server.topic("answer").append("x")


async def test_who_subscribes_and_appends_at_once_hears_itself(
    start_server: StartServer, log_url: str
) -> None:
    one, other = await start_streaming(start_server, log_url)
    subscribing = one.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    published = [topic.append(text) for text in "abc"]
    await subscribing
    assert [(await each).position.offset for each in published] == [1, 2, 3]
    await topic.finish()
    heard = await receive_to(one.wire, None)
    assert "".join(text for _, text in heard[:-1]) == "abc"
    assert [offset for offset, _ in heard][-2:] == [3, 4]
    await other.conn.subscribe("answer/1")
    assert await receive_to(other.wire, None) == [(3, "abc"), (4, None)]


async def test_what_another_program_says_of_streams_costs_itself_and_a_count(
    start_server: StartServer, shared_log_broker: LogBroker, log_url: str
) -> None:
    one, other = await start_streaming(start_server, log_url)
    prefix = log_url.partition("prefix=")[2]
    await other.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    last = (await topic.append("a")).position
    epoch = b"%016x" % last.epoch
    bad = [
        b"1s", b"1s \n", b"1s 000000000000000g 2\n1t\nx", b"1s %b 2\n1x\n" % epoch,
        b"1s %b 999\n1t\nx" % epoch, b"1s %b 2\n1t\n\xff" % epoch, b"1s 00000000000000ab 7\n1t\nx",
        b"1o %b 2\n1t\nx" % epoch, b"1t\na plain message",
    ]  # fmt: skip
    for message in bad:
        shared_log_broker.say_on(prefix, "answer/1", message)
    names = (b"{", b"[1]", b'["*"]', b'[["answer/1"]]', b'[["answer/1","x"]]', b"[" * 100_000)
    for said in names:
        for kind in (b"q", b"w"):
            message = b"1m 00000000000000ab 0 %b\n%b" % (kind, said)
            shared_log_broker.say_to_hosts(prefix, message)
    await topic.append("b")
    assert await receive_to(other.wire, "b") == [(1, "a"), (2, "b")]
    await until(lambda: other.server.health().bad_count >= 12)
    assert other.server.health().status == "ok"


async def test_a_client_appends_once_by_its_id_on_any_host(
    start_server: StartServer, log_url: str
) -> None:
    hosts = await start_streaming(start_server, log_url, subprotocol="sockwave.1")
    wires = []
    for host in hosts:
        host.server.on("publish", lambda conn, topic: True)
        headers = {"Sec-WebSocket-Protocol": "sockwave.1"}
        wires.append(await Wire.connect(host.server.addresses[0], headers=headers))

    async def ask(wire: Wire, **fields: str) -> Any:
        wire.send(json.dumps(fields))
        return json.loads(await wire.receive_message())["position"]

    places = [await ask(wire, append="answer/1", delta="a", id="c:1") for wire in wires * 2]
    assert len(set(places)) == 1
    ends = [await ask(wire, finish="answer/1", id="c:2") for wire in wires]
    assert [end[-2:] for end in ends] == ["-2", "-2"]


async def test_a_stream_that_has_ended_is_kept_for_a_minute(
    start_server: StartServer, valkey_url: str, shared_valkey: ValkeyServer
) -> None:
    one, other = await start_streaming(start_server, valkey_url)
    prefix = valkey_url.partition("prefix=")[2].encode()
    keys = [prefix + kind + b"answer/1" for kind in (b":m:", b":s:", b":x:")]
    topic = one.server.topic("answer/1")
    await topic.append("a")
    for key in keys:
        assert 23 * 3600 < shared_valkey.ask(b"TTL", key) <= 24 * 3600
    await topic.finish()
    for key in keys:
        assert 50 < shared_valkey.ask(b"TTL", key) <= 60
    # When they have gone, the topic is a plain one again.
    shared_valkey.ask(b"DEL", *keys)
    await other.conn.subscribe("answer/1")
    await other.wire.receive_nothing()
    await other.server.publish("answer/1", "a message")
    assert await other.wire.receive_message() == '[0,"a message"]'


async def test_a_user_without_rights_for_streams_hears_plain_topics(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")
    rules = next(line for line in page.splitlines() if line.startswith("ACL SETUSER app on"))
    valkey.set_user("app", rules.removeprefix("ACL SETUSER app ").replace(">PASSWORD", ">pass"))
    (host,) = await start_streaming(start_server, valkey.url.replace("://", "://app:pass@"), 1)
    for topic in ("answer/1", "answer/2", "answer/3"):
        await host.conn.subscribe(topic)
    await host.server.publish("answer/3", "a message")
    assert await host.wire.receive_message() == '[0,"a message"]'
    with pytest.raises(sockwave.SockwaveError, match="the broker: NOPERM"):
        await host.server.topic("answer/1").append("a")
    entries = [dict(zip(one[::2], one[1::2], strict=True)) for one in valkey.ask(b"ACL", b"LOG")]
    assert [one[b"count"] for one in entries if one[b"object"] == b"mget"] == [1]
    # Nor has it what is kept; plain topics are heard all the same.
    host.server.topic("kept/*", history=sockwave.History())
    for _ in range(2):
        with pytest.raises(sockwave.SockwaveError, match="the broker: NOPERM"):
            await host.server.publish("kept/1", "a")
    await host.server.publish("answer/3", "again")
    assert await host.wire.receive_message() == '[0,"again"]'
    assert host.server.health().status == "ok"
    assert host.server.health().lost_count == 0
