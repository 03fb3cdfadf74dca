"""A host that hears nothing of a broker that is there finds out, says so, and hears again."""

import asyncio
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from conftest import StartServer
from valkey_server import ValkeyServer, by_redis_too, deafening, needs_valkey, until
from wire import Wire, connect_both

import sockwave

pytestmark = needs_valkey


async def hear_again(one: sockwave.Server, other: Wire) -> None:
    """Publish until a message arrives: of a plain topic, those before may be lost."""

    async def hear() -> None:
        while await other.receive_message() != "again":
            pass

    hearing = asyncio.ensure_future(hear())
    while not hearing.done():
        await one.publish("room/1", "again")
        await asyncio.wait([hearing], timeout=0.02)
    await hearing


async def start_two(
    start_server: StartServer, url: str, **options: Any
) -> tuple[sockwave.Server, sockwave.Server, Wire]:
    """Start two hosts; a client of the second hears `room/1`."""
    one, other = [await start_server(broker=url, **options) for _ in range(2)]
    wire, conn = await connect_both(other)
    await conn.subscribe("room/1")
    for server in (one, other):
        await until(lambda server=server: server.health().status == "ok")
    return one, other, wire


def lines_of(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [line for line in map(logging.LogRecord.getMessage, caplog.records) if text in line]


@by_redis_too("valkey")
async def test_a_broker_that_is_started_anew_is_heard_again(
    start_server: StartServer, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, other, wire = await start_two(start_server, valkey.url)
    valkey.kill()
    await until(lambda: other.health().status == "degraded")
    assert other.health().broker == "down"
    valkey.start()
    await until(lambda: {one.health().status, other.health().status} == {"ok"})
    await hear_again(one, wire)
    assert other.health().lost_count == 1
    assert other.health().deaf_count == 0
    assert len(lines_of(caplog, "is away")) == 2


async def test_a_subscription_that_is_killed_comes_back(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    one, other, wire = await start_two(start_server, valkey.url)
    assert valkey.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub") == 2
    await until(lambda: other.health().lost_count == 1)
    await hear_again(one, wire)
    await until(lambda: other.health().status == "ok")


async def test_a_broker_that_hangs_is_left_and_found_again(
    start_server: StartServer, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._TICK_S", 0.1)
    one, other, wire = await start_two(start_server, valkey.url)
    valkey.freeze()
    await until(lambda: other.health().broker == "down")
    assert other.health().deaf_count == 0  # the broker is away: it answers nobody
    valkey.thaw()
    await until(lambda: {one.health().status, other.health().status} == {"ok"})
    await hear_again(one, wire)


async def test_what_was_asked_for_a_moment_ago_is_not_missed(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    _, other, _ = await start_two(start_server, valkey.url)
    client = other._host.topics.reach.hosts._client
    await until(lambda: client._canary.is_free)
    client._check(client._session)  # a tick, at which nothing is to be confirmed
    await until(lambda: not client._canary.is_probing)
    waiting = next(iter(other.connections)).subscribe("late")
    client._check(client._session)  # a tick, before the confirmation can be there
    await waiting
    assert other.health() == sockwave.Health("ok", "up")


@pytest.mark.slow
async def test_silence_is_no_deafness(start_server: StartServer, valkey: ValkeyServer) -> None:
    one, other, wire = await start_two(start_server, valkey.url)

    def published() -> int:
        said = valkey.ask(b"INFO", b"commandstats").partition(b"cmdstat_publish:calls=")[2]
        return int(said.partition(b",")[0])

    count = published()
    await until(lambda: published() >= count + 4)  # two canaries of each host
    await one.publish("room/1", "hello")
    assert await wire.receive_message() == "hello"
    assert other.health() == sockwave.Health("ok", "up")


@pytest.mark.slow
async def test_deafness_is_found_counted_said_once_and_repaired(
    start_server: StartServer, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = await start_server(broker=valkey.url)
    async with deafening(valkey) as (url, swallow):
        other = await start_server(broker=url)
        wire, conn = await connect_both(other)
        await conn.subscribe("room/1")
        await until(lambda: other.health().status == "ok")
        swallow(True)
        await until(lambda: other.health().is_deaf)
        await until(lambda: other.health().deaf_count >= 2)
        assert other.health().is_deaf  # until it is heard, and not until it is reached
        assert len(lines_of(caplog, "is not heard")) == 1
        assert one.health().status == "ok"
        swallow(False)
        await until(lambda: other.health().status == "ok")
        await hear_again(one, wire)
        await wire.close()
        await other.close(drain=1.0)


async def test_a_subscriber_that_the_broker_drops_for_its_buffer_comes_back(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    one, other, wire = await start_two(start_server, valkey.url, max_backlog=None)
    limits = b"pubsub 100000 100000 1"
    assert valkey.ask(b"CONFIG", b"SET", b"client-output-buffer-limit", limits) == b"OK"
    # This loop reads nothing meanwhile, and the system takes less than all of it.
    message = b"1t\n" + b"x" * 1_000_000
    while valkey.ask(b"PUBLISH", b"sockwave:t:room/1", message):
        pass
    await until(lambda: other.health().lost_count == 1)
    await until(lambda: other.health().status == "ok")
    await hear_again(one, wire)
    assert one.health().lost_count == 0  # it was not subscribed to the topic


PROGRAM = """
import asyncio, os, sys, sockwave

async def main():
    server = sockwave.create_server(broker=sys.argv[1])
    server.listen(0, "127.0.0.1")
    await server.start()
    while server.health().status != "ok":
        await asyncio.sleep(0.01)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    print("forked", flush=True)
    sys.stdin.read(1)
    await server.close(drain=0)
    print("closed", flush=True)
    sys.stdin.read(1)
    os.close(writer)
    os.waitpid(child, 0)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_keeps_no_connection_to_the_broker(valkey: ValkeyServer) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, valkey.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"forked\n"
        assert valkey.ask(b"CLIENT", b"LIST").count(b"name=sockwave-") == 2
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.readline() == b"closed\n"
        # The broker sees the end of both connections, although the child goes on.
        while valkey.ask(b"CLIENT", b"LIST").count(b"name=sockwave-"):
            pass
        process.stdin.write(b"x")
        process.stdin.flush()
    assert process.returncode == 0
