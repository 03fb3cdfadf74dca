"""Sentinels say which server of Valkey is the primary; another one takes its place."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import start_host, start_two
from valkey_server import ValkeyServer, needs_valkey, until

import sockwave
from sockwave.brokers.urls import make_opener

pytestmark = needs_valkey


class Watched:
    """A primary and its replica, and a sentinel that watches them."""

    def __init__(self, directory: Path) -> None:
        directories = [directory / name for name in ("primary", "replica", "sentinel")]
        for one in directories:
            one.mkdir()
        access = ("--requirepass", "secret", "--masterauth", "secret")
        self.primary = ValkeyServer(directories[0], *access).start()
        self.replica = ValkeyServer(
            directories[1], "--replicaof", f"127.0.0.1 {self.primary.port}", *access
        ).start()
        settings = directories[2] / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor lobby 127.0.0.1 {self.primary.port} 1\n"
            "sentinel auth-pass lobby secret\n"
            "sentinel down-after-milliseconds lobby 1500\n"
            "sentinel failover-timeout lobby 3000\n"
            "requirepass watcher\n"
        )
        self.sentinel = ValkeyServer(directories[2], before=(str(settings), "--sentinel")).start()

    @property
    def url(self) -> str:
        absent = "127.0.0.1:1"  # one sentinel of several may be away
        return (
            f"valkey+sentinel://:secret@{absent},127.0.0.1:{self.sentinel.port}/lobby"
            "?sentinel_password=watcher"
        )

    def knows_the_replica(self) -> bool:
        replicas = self.sentinel.ask(b"SENTINEL", b"REPLICAS", b"lobby", login=(b"watcher",))
        return bool(replicas) and b"slave-master-down" not in replicas[0]

    def kill(self) -> None:
        for server in (self.sentinel, self.primary, self.replica):
            server.kill()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with contextlib.closing(contextlib.ExitStack()) as stack:
        found = Watched(tmp_path)
        stack.callback(found.kill)
        yield found


@pytest.mark.slow
async def test_hosts_follow_the_primary(start_server: StartServer, watched: Watched) -> None:
    one, other = await start_two(start_server, watched.url)
    await one.server.publish("room/1", "by the first")
    assert await other.wire.receive_message() == "by the first"
    assert watched.primary.ask(b"PUBSUB", b"NUMPAT", login=(b"secret",)) == 0
    await until(watched.knows_the_replica)
    watched.primary.kill()
    for host in (one, other):
        await until(lambda host=host: host.server.health().lost_count)
        await until(lambda host=host: host.server.health().status == "ok")
    await one.server.publish("room/1", "by the second")
    assert await other.wire.receive_message() == "by the second"
    channels = watched.replica.ask(b"PUBSUB", b"CHANNELS", login=(b"secret",))
    assert b"sockwave:t:room/1" in channels


async def test_publisher_asks_the_sentinels(start_server: StartServer, watched: Watched) -> None:
    host = await start_host(start_server, watched.url)
    await until(lambda: host.server.health().status == "ok")
    await host.conn.subscribe("room/1")
    async with sockwave.Publisher(watched.url) as publisher:
        await publisher.publish("room/1", "hello")
    assert await host.wire.receive_message() == "hello"


def test_a_replica_is_no_primary(watched: Watched) -> None:
    """What sentinels say may be old: a server that is a replica by now takes nothing."""
    opener: Any = make_opener(watched.url, "host")
    opener._sentinels.find_primary = lambda _: ("127.0.0.1", watched.replica.port)
    with pytest.raises(ConnectionError, match="expected the primary"):
        opener.connect()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("valkey+sentinel://a:26379", "expected the name of a service"),
        ("valkey+sentinel://a:26379/", "expected the name of a service"),
        ("valkey+sentinel://a:26379,/lobby", "expected HOST:PORT of each sentinel, given ''"),
        ("valkey+sentinel://a:x/lobby", "expected HOST:PORT of each sentinel, given 'a:x'"),
        ("valkey+sentinel://a/lobby?sentinel_db=1", "expected sentinel_username or -password"),
        ("valkey+sentinel://a/lobby?colour=1", "expected settings that valkey knows"),
    ],
)
def test_what_is_no_url_of_sentinels_is_refused(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sockwave.create_server(broker=url)


def test_an_ipv6_address_and_tls_are_those_of_the_sentinels_too() -> None:
    opener: Any = make_opener(
        "valkeys+sentinel://u:p@[::1]:26380,b/lobby?ssl_ca_certs=ca.pem&sentinel_password=s", "host"
    )
    assert opener._sentinels._places == [("::1", 26380), ("b", 26379)]
    assert opener._sentinels._settings == {
        "password": "s",
        "ssl": True,
        "ssl_check_hostname": True,
        "ssl_ca_certs": "ca.pem",
    }
