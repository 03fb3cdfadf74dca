"""Hosts, of one process or each with workers, which share topics by a broker alone."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

from conftest import StartServer
from services import Service
from valkey_server import until
from wire import PATIENCE_S, Wire, connect_both

import sockwave

#: Starts a host with two workers.
StartService: TypeAlias = Callable[[], Service]


class Host:
    """One host, with one client whose connection is subscribed to a topic."""

    def __init__(self, server: sockwave.Server, wire: Wire, conn: sockwave.Connection) -> None:
        self.server, self.wire, self.conn = server, wire, conn


async def start_host(start_server: StartServer, url: str, **options: Any) -> Host:
    server = await start_server(broker=url, **options)
    return Host(server, *await connect_both(server))


async def start_two(start_server: StartServer, url: str, topic: str = "room/1") -> list[Host]:
    hosts = [await start_host(start_server, url) for _ in range(2)]
    for host in hosts:
        await until(lambda host=host: host.server.health().status == "ok")
        await host.conn.subscribe(topic)
    return hosts


@contextlib.contextmanager
def starting_services(
    directory: Path, serve: Callable[[Path], AbstractContextManager[Service]]
) -> Iterator[StartService]:
    """Give what starts a host with two workers, each in a folder of its own, and wait for them."""
    with contextlib.ExitStack() as stack:
        count = 0

        def start() -> Service:
            nonlocal count
            count += 1
            place = directory / f"host{count}"
            place.mkdir()
            service = stack.enter_context(serve(place))
            service.wait_ready(2)
            return service

        yield start


async def connect_to_each(host: Service) -> list[Wire]:
    """Connect a client to each of two workers; each says first which it is."""
    found: dict[str | bytes, Wire] = {}
    end = time.monotonic() + PATIENCE_S
    while len(found) < 2:
        assert time.monotonic() < end, f"only {list(found)} serves; the host says:\n{host.log}"
        wire = await Wire.connect(("127.0.0.1", host.port))
        pid = await wire.receive_message()
        if pid in found:
            await wire.close()
        else:
            found[pid] = wire
    return list(found.values())


async def ask(wire: Wire, command: str) -> str:
    """Send a command to a worker, and give its answer."""
    wire.send(command)
    return str(await wire.receive_message())


async def ask_until(wire: Wire, command: str, expected: str, host: Service | None = None) -> None:
    """Send a command to a worker until the answer is as expected."""
    end = time.monotonic() + PATIENCE_S
    while (answer := await ask(wire, command)) != expected:
        said = f"; the host says:\n{host.log}" if host else ""
        assert time.monotonic() < end, f"{command}: expected {expected!r}, got {answer!r}{said}"


async def connect_heard(host: Service) -> list[Wire]:
    """Connect a client to each worker of a host, once the broker is heard."""
    wires = await connect_to_each(host)
    for wire in wires:
        await ask_until(wire, "health", "up", host)
    return wires
