"""What topics keep, over several hosts that have workers: by way of each host's sequencer."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hosts import StartService, ask, ask_until, connect_heard, starting_services
from log_brokers import LogBroker
from services import FORKING, Service, needs_workers, started_service
from valkey_server import needs_valkey, until
from wire import Wire

pytestmark = [needs_valkey, needs_workers]

APPLICATION = """
import os, sockwave

server = sockwave.create_server(broker={url!r})
server.topic("kept/*", history=sockwave.History(count=1000), envelope="compact")
server.topic("lobby", presence=True)

@server.on("connection")
async def connected(conn):
    await conn.send(f"pid {{os.getpid()}}")

    @conn.on("message")
    async def message(message):
        command, _, rest = message.partition(" ")
        if command == "subscribe":
            subscribed = await conn.subscribe("kept/1", since=rest or None)
            await conn.send(f"{{subscribed.recovered}} {{subscribed.position}}")
        elif command == "publish":
            published = await server.publish("kept/1", rest)
            await conn.send(f"{{published.position}}")
        elif command == "join":
            await conn.subscribe("lobby", member=rest)
            await conn.send("joined")
        elif command == "members":
            try:
                await conn.send(" ".join(sorted(await server.topic("lobby").members())))
            except sockwave.SockwaveError as error:  # the sequencer is away
                await conn.send(str(error))
        elif command == "health":
            await conn.send(str(server.health().broker))
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


async def receive_places(wire: Wire, count: int) -> list[tuple[int, str]]:
    return [tuple(json.loads(await wire.receive_message())) for _ in range(count)]


@pytest.mark.slow
async def test_workers_of_all_hosts_agree_whatever_dies(
    start_host: StartService, log_broker: LogBroker
) -> None:
    hosts = [start_host(), start_host()]
    readers = [wire for host in hosts for wire in await connect_heard(host)]
    writers = [wire for host in hosts for wire in await connect_heard(host)]
    for wire in readers:
        assert (await ask(wire, "subscribe")).startswith("False ")
    places: dict[int, str] = {}

    async def write(number: int, wire: Wire) -> None:
        for count in range(60):
            text = f"{number} {count}"
            position = await ask(wire, f"publish {text}")
            offset = int(position.partition("-")[2])
            assert offset not in places
            places[offset] = text

    async def break_things() -> None:
        started = hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)")
        await until(lambda: len(places) >= 60)
        os.kill(int(started[1]), signal.SIGKILL)
        await until(lambda: len(places) >= 120)
        log_broker.cut()

    await asyncio.gather(break_things(), *(write(*one) for one in enumerate(writers)))
    assert sorted(places) == list(range(1, 241))
    for wire in readers:
        assert await receive_places(wire, 240) == sorted(places.items())
    # Who comes now, to any worker, gets the same.
    for host in hosts:
        for wire in await connect_heard(host):
            wire.send("subscribe 0-0")
            assert await receive_places(wire, 240) == sorted(places.items())
            assert (await wire.receive_message()).startswith("True ")
    await Wire.close_all()


@pytest.mark.slow
async def test_members_of_all_hosts_are_known_whatever_dies(start_host: StartService) -> None:
    hosts = [start_host(), start_host()]
    wires = [wire for host in hosts for wire in await connect_heard(host)]
    for name, wire in zip("abcd", wires, strict=True):
        assert await ask(wire, f"join {name}") == "joined"
    for wire in wires:
        await ask_until(wire, "members", "a b c d")
    # A sequencer, whose workers come again; and then a host, with all of its processes.
    started = hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)")
    os.kill(int(started[1]), signal.SIGKILL)
    hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)", 2)
    for wire in wires:
        await ask_until(wire, "members", "a b c d")
    pids = [hosts[0].process.pid, *hosts[0].ready_pids()]
    pids.append(int(hosts[0].wait_for(r"the sequencer is started \(pid (\d+)\)", 2)[1]))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    for wire in wires[2:]:
        await ask_until(wire, "members", "c d")
    assert time.monotonic() - begin < 5.0
    await Wire.close_all()
