"""Topics over several hosts, each with workers: the sequencer is the host's only client."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hosts import StartService, connect_to_each, starting_services
from services import FORKING, Service, needs_workers, serving_application, started_service
from valkey_server import ValkeyServer, needs_valkey
from wire import Wire

pytestmark = [needs_valkey, needs_workers]

APPLICATION = """
import json, os, sockwave

server = sockwave.create_server({options})

@server.on("connection")
async def connected(conn):
    await conn.subscribe("room/*")
    await conn.send(f"pid {{os.getpid()}}")

    @conn.on("message")
    async def message(message):
        command, _, rest = message.partition(" ")
        if command == "publish":
            try:
                await server.publish("room/1", rest, exclude=conn)
            except sockwave.SockwaveError as error:
                await conn.send(f"error {{error}}")
        elif command == "broadcast":
            server.broadcast(rest)
        elif command == "tell":
            conn.broadcast(rest)
        elif command == "health":
            await conn.send(json.dumps(server.health()._asdict()))
"""


@pytest.fixture(params=["serve", "run"])
def start_host(
    request: pytest.FixtureRequest, tmp_path: Path, valkey: ValkeyServer
) -> Iterator[StartService]:
    """`host = start_host()`: two workers, by `sockwave serve --broker` or by `server.run`."""

    def serve(place: Path) -> AbstractContextManager[Service]:
        if request.param == "serve":
            application = APPLICATION.format(options="")
            return serving_application(
                place, "--workers", "2", "--broker", valkey.url, application=application
            )
        program = place / "program.py"
        options = f"broker={valkey.url!r}, broker_down='raise'"
        program.write_text(APPLICATION.format(options=options) + FORKING)
        return started_service(place, str(program), "2")

    with starting_services(tmp_path, serve) as start:
        yield start


async def ask_health(wire: Wire) -> dict[str, object]:
    wire.send("health")
    answer = json.loads(await wire.receive_message())
    assert isinstance(answer, dict)
    return answer


async def wait_for_broker(wire: Wire, state: str) -> None:
    while (await ask_health(wire))["broker"] != state:
        pass


@pytest.mark.slow
async def test_workers_of_two_hosts_hear_everything_once(
    start_host: StartService, valkey: ValkeyServer
) -> None:
    hosts = [start_host(), start_host()]
    wires = [wire for host in hosts for wire in await connect_to_each(host)]
    for wire in wires:
        await wait_for_broker(wire, "up")
    assert valkey.ask(b"PUBSUB", b"NUMPAT") == 1
    # A host is two connections, whatever the number of its workers; the asker is one more.
    assert valkey.ask(b"INFO", b"clients").partition(b"connected_clients:")[2][:1] == b"5"
    for number, wire in enumerate(wires):
        wire.send(f"publish {number}")
        for other in wires:
            if other is not wire:
                assert await other.receive_message() == f"{number}"
    wires[0].send("broadcast to all")
    for wire in wires:
        assert await wire.receive_message() == "to all"
    wires[0].send("tell the others")
    for wire in wires[1:]:
        assert await wire.receive_message() == "the others"
    for wire in wires:
        assert (await ask_health(wire))["status"] == "ok"
    for wire in wires:
        await wire.close()


@pytest.mark.slow
async def test_a_worker_hears_how_the_broker_is(
    start_host: StartService, valkey: ValkeyServer, request: pytest.FixtureRequest
) -> None:
    host = start_host()
    one, other = await connect_to_each(host)
    await wait_for_broker(one, "up")
    valkey.kill()
    await wait_for_broker(one, "down")
    await wait_for_broker(other, "down")
    one.send("publish meanwhile")
    if "run" in request.node.name:  # broker_down="raise"
        assert "the broker is away" in str(await one.receive_message())
    else:
        assert await other.receive_message() == "meanwhile"
    valkey.start()
    await wait_for_broker(one, "up")
    one.send("publish again")
    assert await other.receive_message() == "again"
    for wire in (one, other):
        await wire.close()
