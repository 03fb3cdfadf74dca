"""Streams over several hosts that have workers: they end with their worker, or its host."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hosts import StartService, ask, connect_heard, starting_services
from log_brokers import LogBroker
from services import FORKING, Service, needs_workers, started_service
from valkey_server import needs_valkey
from wire import Wire

pytestmark = [needs_valkey, needs_workers, pytest.mark.slow]

APPLICATION = """
import os, sockwave

server = sockwave.create_server(broker={url!r})
server.topic("answer/*", envelope="compact")

@server.on("connection")
async def connected(conn):
    await conn.send(f"pid {{os.getpid()}}")

    @conn.on("message")
    async def message(message):
        command, _, rest = message.partition(" ")
        name, _, text = rest.partition(" ")
        if command == "subscribe":
            await conn.subscribe(name)
            await conn.send("subscribed")
        elif command == "append":
            try:
                published = await server.topic(name).append(text)
                await conn.send(f"{{published.position.offset}}")
            except sockwave.SockwaveError as error:
                await conn.send(str(error))
        elif command == "health":
            await conn.send(str(server.health().broker))
        elif command == "pid":
            await conn.send(str(os.getpid()))
"""


@pytest.fixture
def start_host(tmp_path: Path, log_broker: LogBroker) -> Iterator[StartService]:
    """`host = start_host()`: a host with two workers."""

    def serve(place: Path) -> AbstractContextManager[Service]:
        program = place / "program.py"
        program.write_text(APPLICATION.format(url=log_broker.url) + FORKING)
        return started_service(place, str(program), "2")

    with starting_services(tmp_path, serve) as start:
        yield start


async def receive(wire: Wire) -> tuple[int, Any]:
    offset, delta = json.loads(await wire.receive_message())
    return offset, delta


async def test_a_stream_is_aborted_with_its_worker(start_host: StartService) -> None:
    hosts = [start_host(), start_host()]
    producer, beside, *others = [wire for host in hosts for wire in await connect_heard(host)]
    readers = [beside, others[0]]
    for wire in readers:
        assert await ask(wire, "subscribe answer/1") == "subscribed"
    for offset, token in enumerate("abc", 1):
        assert await ask(producer, f"append answer/1 {token}") == str(offset)
        for wire in readers:
            assert await receive(wire) == (offset, token)
    # A worker of another host appends, too: the stream is none of its.
    assert await ask(others[1], "append answer/1 d") == "4"
    for wire in readers:
        assert await receive(wire) == (4, "d")
    os.kill(int(await ask(others[1], "pid")), signal.SIGKILL)
    assert await ask(producer, "append answer/1 e") == "5"
    os.kill(int(await ask(producer, "pid")), signal.SIGKILL)
    begin = time.monotonic()
    for wire in readers:
        assert await receive(wire) == (5, "e")
        assert await receive(wire) == (6, False)
    assert time.monotonic() - begin < 5.0
    assert "has ended" in await ask(beside, "append answer/1 f")
    await Wire.close_all()


async def test_a_stream_is_aborted_with_its_host(start_host: StartService) -> None:
    hosts = [start_host(), start_host()]
    producer, _, *others = [wire for host in hosts for wire in await connect_heard(host)]
    assert await ask(producer, "append answer/1 a") == "1"
    assert await ask(others[0], "subscribe answer/1") == '[1,"a"]'
    assert await others[0].receive_message() == "subscribed"
    pids = [hosts[0].process.pid, *hosts[0].ready_pids()]
    pids.append(int(hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)")[1]))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    assert await receive(others[0]) == (2, False)
    assert time.monotonic() - begin < 5.0
    others[1].send("subscribe answer/1")
    heard = [await others[1].receive_message() for _ in range(3)]
    assert heard == ['[1,"a"]', "[2,false]", "subscribed"]
    await Wire.close_all()


async def test_a_stream_outlives_the_sequencer_of_its_host(start_host: StartService) -> None:
    hosts = [start_host(), start_host()]
    producer, beside, *others = [wire for host in hosts for wire in await connect_heard(host)]
    for wire in (beside, others[0]):
        assert await ask(wire, "subscribe answer/1") == "subscribed"
    assert await ask(producer, "append answer/1 a") == "1"
    started = hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)")
    os.kill(int(started[1]), signal.SIGKILL)
    assert await ask(producer, "append answer/1 b") == "2"
    for wire in (beside, others[0]):
        assert [await receive(wire), await receive(wire)] == [(1, "a"), (2, "b")]
    # The worker is its producer to the next sequencer as well, and is not missed with the last.
    end, offset = time.monotonic() + 6.0, 2
    while time.monotonic() < end:
        offset += 1
        assert await ask(producer, f"append answer/1 {offset}") == str(offset)
        for wire in (beside, others[0]):
            assert await receive(wire) == (offset, str(offset))
        await asyncio.sleep(0.1)
    os.kill(int(await ask(producer, "pid")), signal.SIGKILL)
    begin = time.monotonic()
    for wire in (beside, others[0]):
        assert await receive(wire) == (offset + 1, False)
    assert time.monotonic() - begin < 5.0
    await Wire.close_all()
