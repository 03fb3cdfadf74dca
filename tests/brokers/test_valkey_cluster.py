"""Topics over several hosts by a cluster of Valkey: each topic is at one shard."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host, start_two
from services import Service, needs_workers, serving_application
from valkey_cluster import ValkeyCluster, running_cluster
from valkey_server import deafening, needs_valkey, until
from wire import Wire, connect_both

import sockwave
from sockwave import History
from sockwave.brokers.cluster_opening import ClusterOpener, read_slots
from sockwave.core.topics.parts import PART_SIZE

pytestmark = needs_valkey

# So many that each of three shards has some.
TOPICS = [f"room/{number}" for number in range(24)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    """A cluster that the test may harm; its first primary has a replica."""
    with running_cluster(tmp_path, replica_count=1, password="secret") as found:
        yield found


async def receive_all(wire: Wire, last: Any) -> list[tuple[int, Any]]:
    """Return offset and message of all that comes, up to one message."""
    found: list[tuple[int, Any]] = []
    while not found or found[-1][1] != last:
        found.append(tuple(json.loads(await wire.receive_message())))
    return found


async def hear_again(one: sockwave.Server, host: Host, topic: str) -> None:
    """Publish until a message arrives: of a plain topic, those before may be lost."""

    async def hear() -> None:
        while await host.wire.receive_message() != f"again {topic}":
            pass

    hearing = asyncio.ensure_future(hear())
    while not hearing.done():
        await one.publish(topic, f"again {topic}")
        await asyncio.wait([hearing], timeout=0.02)
    await hearing


async def test_topics_of_all_shards_reach_all_hosts(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    assert {shared_cluster.owner_of(topic) for topic in TOPICS} == set(shared_cluster.servers)
    one, other = await start_two(start_server, cluster_url, TOPICS[0])
    for topic in TOPICS[1:]:
        await other.conn.subscribe(topic)
    for topic in TOPICS:
        await one.server.publish(topic, f"first on {topic}")
        await one.server.publish(topic, f"last on {topic}", exclude=one.conn)
    heard = [await other.wire.receive_message() for _ in range(2 * len(TOPICS))]
    for topic in TOPICS:
        assert [one for one in heard if str(one).endswith(f" {topic}")] == [
            f"first on {topic}",
            f"last on {topic}",
        ]
    await other.wire.receive_nothing()
    assert await one.wire.receive_message() == f"first on {TOPICS[0]}"
    await one.wire.receive_nothing()
    prefix = cluster_url.partition("prefix=")[2]
    for server in shared_cluster.servers:
        channels = shared_cluster.ask(server, "PUBSUB SHARDCHANNELS")
        mine = [one.rpartition(b":t:")[2].decode() for one in channels if b":t:" in one]
        ours = [topic for topic in TOPICS if shared_cluster.owner_of(topic) is server]
        assert sorted(set(mine) & set(TOPICS)) == sorted(ours)
        assert any(one.startswith(prefix.encode()) and b":c:" in one for one in channels)
        assert shared_cluster.ask(server, "PUBSUB CHANNELS") == []


async def test_a_broadcast_and_a_large_message_reach_all_hosts_once(
    start_server: StartServer, cluster_url: str
) -> None:
    one, other = await start_two(start_server, cluster_url)
    large = os.urandom(3 * PART_SIZE + 1)
    assert one.server.broadcast("to all") == 1
    await one.server.publish("room/1", large)
    one.server.broadcast(large)
    for host in (one, other):  # what goes by different shards has no order
        heard = [await host.wire.receive_message() for _ in range(3)]
        assert sorted(heard, key=len) == ["to all", large, large]
        await host.wire.receive_nothing()


async def test_nothing_is_dropped_of_what_one_turn_publishes(
    start_server: StartServer, cluster_url: str
) -> None:
    hosts = [await start_host(start_server, cluster_url, max_backlog=None) for _ in range(2)]
    one, other = hosts
    for host in hosts:
        await until(lambda host=host: host.server.health().status == "ok")
    await other.conn.subscribe("room/1")
    messages = [bytes([number]) * 1_000_000 for number in range(12)]
    for message in messages:
        one.server.publish("room/1", message)
    for message in messages:
        assert await other.wire.receive_message() == message
    assert one.server.health().dropped_count == 0


async def test_who_hears_in_several_ways_hears_once(
    start_server: StartServer, cluster_url: str
) -> None:
    one, other = await start_two(start_server, cluster_url, "room/1")
    for pattern in ("room/*", "room/**", "*/1"):
        await other.conn.subscribe(pattern)
    for topic in TOPICS:
        await one.server.publish(topic, topic)
    await one.server.publish("room/2/deep", "deep")
    await one.server.publish("elsewhere", "by none")
    heard = [await other.wire.receive_message() for _ in range(len(TOPICS) + 1)]
    assert sorted(map(str, heard)) == sorted([*TOPICS, "deep"])
    other.conn.unsubscribe("room/1")
    await one.server.publish("room/1", "by patterns alone")
    assert await other.wire.receive_message() == "by patterns alone"
    await other.wire.receive_nothing()


async def test_a_topic_and_a_pattern_that_nobody_wants_are_left(
    start_server: StartServer,
    shared_cluster: ValkeyCluster,
    cluster_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._LEAVE_S", 0.0)
    host = await start_host(start_server, cluster_url)
    prefix = cluster_url.partition("prefix=")[2].encode()

    def channels() -> list[bytes]:
        """Return what is heard of topics, and of all topics of buckets."""
        found = [
            one
            for server in shared_cluster.servers
            for one in shared_cluster.ask(server, "PUBSUB SHARDCHANNELS")
        ]
        ours = [one[len(prefix) + 5 :] for one in found if one.startswith(prefix)]
        return [one for one in ours if one[:2] in (b":t", b":a")]

    await host.conn.subscribe("room/1")
    await host.conn.subscribe("room/*")
    assert len(channels()) == 257
    host.conn.unsubscribe("room/1")
    host.conn.unsubscribe("room/*")
    await until(lambda: not channels())
    await host.conn.subscribe("room/*")
    await host.conn.subscribe("room/1")
    assert len(channels()) == 257


async def test_hosts_agree_on_the_places_of_topics_of_all_shards(
    start_server: StartServer, cluster_url: str
) -> None:
    hosts = [await start_host(start_server, cluster_url) for _ in range(2)]
    for host in hosts:
        host.server.topic("room/*", history=History(), envelope="compact")
        await until(lambda host=host: host.server.health().status == "ok")
    await hosts[0].conn.subscribe("room/*")
    await hosts[1].conn.subscribe(TOPICS[0])
    published = await asyncio.gather(
        *(
            hosts[number % 2].server.publish(topic, f"{number}")
            for topic in TOPICS
            for number in range(4)
        )
    )
    assert sorted(one.position.offset for one in published) == sorted([1, 2, 3, 4] * len(TOPICS))
    heard = [tuple(json.loads(await hosts[0].wire.receive_message())) for _ in published]
    assert sorted(heard) == sorted(
        (one.position.offset, f"{n % 4}") for n, one in enumerate(published)
    )
    places = {one.position.offset: f"{number}" for number, one in enumerate(published[:4])}
    assert await receive_all(hosts[1].wire, places[4]) == sorted(places.items())
    # Who comes later to another host misses nothing.
    for topic in TOPICS[1:]:
        wire, conn = await connect_both(hosts[1].server)
        assert (await conn.subscribe(topic, since="0-0")).recovered
        assert [
            place for place, _ in [json.loads(await wire.receive_message()) for _ in range(4)]
        ] == [1, 2, 3, 4]
        await wire.close()
    same = [await host.server.publish(TOPICS[1], "once", id="a") for host in hosts]
    assert same[0].position == same[1].position


async def test_members_are_those_of_all_hosts(start_server: StartServer, cluster_url: str) -> None:
    hosts = [await start_host(start_server, cluster_url) for _ in range(2)]
    for host in hosts:
        host.server.topic("room/*", presence=True)
        await until(lambda host=host: host.server.health().status == "ok")
    for number, topic in enumerate(TOPICS[:6]):
        await hosts[number % 2].conn.subscribe(topic, member=f"m{number}")
    for host in hosts:
        for number, topic in enumerate(TOPICS[:6]):
            while await host.server.topic(topic).members() != {f"m{number}": None}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await hosts[0].server.close(drain=0)
    while await hosts[1].server.topic(TOPICS[0]).members():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_streams_of_all_shards_can_be_joined_late(
    start_server: StartServer, cluster_url: str
) -> None:
    one, other = [await start_host(start_server, cluster_url) for _ in range(2)]
    for host in (one, other):
        host.server.topic("**", envelope="compact")
        await until(lambda host=host: host.server.health().status == "ok")
    for topic in TOPICS[:6]:
        for token in "abc":
            await one.server.topic(topic).append(token)
        wire, conn = await connect_both(other.server)
        await conn.subscribe(topic)
        await one.server.topic(topic).append("d")
        assert await receive_all(wire, "d") == [(3, "abc"), (4, "d")]
        await wire.close()
    await one.server.close(drain=0)  # its producer has gone: it is aborted
    wire, conn = await connect_both(other.server)
    await conn.subscribe(TOPICS[0])
    assert await receive_all(wire, False) == [(4, "abcd"), (5, False)]


@pytest.mark.parametrize("is_declared", [False, True])
async def test_a_program_that_is_no_host_publishes(
    start_server: StartServer, cluster_url: str, is_declared: bool
) -> None:
    host = await start_host(start_server, cluster_url)
    if is_declared:
        host.server.topic("room/*", history=History(), envelope="compact")
    await until(lambda: host.server.health().status == "ok")
    await host.conn.subscribe("room/*")
    large = "x" * (2 * PART_SIZE + 1)
    async with sockwave.Publisher(cluster_url) as publisher:
        published = await asyncio.gather(
            *(publisher.publish(topic, topic) for topic in TOPICS),
            publisher.publish(TOPICS[0], large),
        )
    positions = [one.position for one in published]
    if is_declared:
        assert [position.offset for position in positions] == [1] * len(TOPICS) + [2]
    else:
        assert positions == [None] * (len(TOPICS) + 1)
    heard = [str(await host.wire.receive_message()) for _ in published]
    if is_declared:
        heard = [json.loads(message)[1] for message in heard]
    assert sorted(heard) == sorted([*TOPICS, large])
    await host.wire.receive_nothing()
    assert host.server.health().bad_count == 0


@pytest.mark.slow
async def test_a_canary_goes_through_each_shard(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    host = await start_host(start_server, cluster_url)
    await until(lambda: host.server.health().status == "ok")

    def published() -> list[int]:
        said = [shared_cluster.ask(one, "INFO", "commandstats") for one in shared_cluster.servers]
        calls = [one.partition(b"cmdstat_spublish:calls=")[2].partition(b",")[0] for one in said]
        return [int(one or 0) for one in calls]

    before = published()
    await until(lambda: all(now >= one + 2 for now, one in zip(published(), before, strict=True)))
    assert host.server.health() == sockwave.Health("ok", "up")


async def test_a_subscription_that_is_killed_at_one_shard_comes_back(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = await start_two(start_server, cluster_url, TOPICS[0])
    for topic in TOPICS[1:]:
        await other.conn.subscribe(topic)
    owner = shared_cluster.owner_of(TOPICS[0])
    elsewhere = next(one for one in TOPICS if shared_cluster.owner_of(one) is not owner)
    shared_cluster.ask(owner, "CLIENT KILL TYPE pubsub")
    await one.server.publish(elsewhere, "not lost")
    assert await other.wire.receive_message() == "not lost"
    await until(lambda: other.server.health().lost_count == 1)
    await hear_again(one.server, other, TOPICS[0])
    for host in (one, other):
        await until(lambda host=host: host.server.health().status == "ok")
        assert host.server.health().lost_count == 1


@pytest.mark.slow
async def test_a_shard_that_is_not_heard_is_found(
    start_server: StartServer, cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = cluster.servers[2]
    here = next(topic for topic in TOPICS if cluster.owner_of(topic) is deaf)
    elsewhere = next(topic for topic in TOPICS if cluster.owner_of(topic) is cluster.servers[1])
    async with deafening(deaf) as (url, swallow):
        # All servers tell hosts that this one is where the proxy is.
        port = url.rpartition(":")[2]
        cluster.ask(deaf, f"CONFIG SET cluster-announce-port {port}")
        cluster.wait(
            lambda: all(
                port.encode() in cluster.ask(one, "CLUSTER NODES") for one in cluster.servers
            )
        )
        one, other = await start_two(start_server, cluster.url, here)
        await other.conn.subscribe(elsewhere)
        swallow(True)
        for host in (one, other):
            await until(lambda host=host: host.server.health().is_deaf)
        await one.server.publish(elsewhere, "meanwhile")
        assert await other.wire.receive_message() == "meanwhile"
        assert any("is not heard" in record.getMessage() for record in caplog.records)
        swallow(False)
        for host in (one, other):
            await until(lambda host=host: host.server.health().status == "ok")
            assert host.server.health().deaf_count
        await hear_again(one.server, other, here)
        for host in (one, other):
            await host.server.close(drain=0)


async def test_a_shard_that_hangs_holds_up_nothing_else(
    start_server: StartServer, cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._TICK_S", 0.2)
    frozen = cluster.servers[1]  # it has no replica
    here = next(topic for topic in TOPICS if cluster.owner_of(topic) is frozen)
    elsewhere = next(topic for topic in TOPICS if cluster.owner_of(topic) is cluster.servers[2])
    one, other = await start_two(start_server, cluster.url, elsewhere)
    await other.conn.subscribe(here)
    frozen.freeze()
    await until(lambda: one.server.health().broker == "down")
    await one.server.publish(elsewhere, "meanwhile")
    assert await other.wire.receive_message() == "meanwhile"
    await asyncio.wait_for(one.conn.subscribe(here), 10)  # nobody waits for what is away
    frozen.thaw()
    for host in (one, other):
        await until(lambda host=host: host.server.health().status == "ok")
    await hear_again(one.server, other, here)


@pytest.mark.parametrize("policy", ["queue", "raise", "local"])
async def test_what_is_published_while_a_shard_is_away(
    start_server: StartServer,
    cluster: ValkeyCluster,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._TICK_S", 0.2)
    frozen = cluster.servers[1]
    here = next(topic for topic in TOPICS if cluster.owner_of(topic) is frozen)
    elsewhere = next(topic for topic in TOPICS if cluster.owner_of(topic) is cluster.servers[2])
    host = await start_host(start_server, cluster.url, broker_down=policy)
    if policy == "queue":
        host.server.topic("room/*", history=History(), envelope="compact")
    await until(lambda: host.server.health().status == "ok")
    await host.conn.subscribe(here)
    await host.conn.subscribe(elsewhere)
    frozen.freeze()
    await until(lambda: host.server.health().broker == "down")
    if policy == "raise":
        with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
            await host.server.publish(elsewhere, "hello")
    elif policy == "local":
        await host.server.publish(here, "to this host")
        assert await host.wire.receive_message() == "to this host"
        await until(lambda: host.server.health().dropped_count == 1)
    else:
        waiting = host.server.publish(here, "waits")
        assert (await host.server.publish(elsewhere, "does not")).position.offset == 1
        assert await receive_all(host.wire, "does not") == [(1, "does not")]
    frozen.thaw()
    await until(lambda: host.server.health().status == "ok")
    if policy == "queue":
        assert (await waiting).position.offset == 1
        assert await receive_all(host.wire, "waits") == [(1, "waits")]


@pytest.mark.slow
async def test_hosts_follow_a_replica_that_takes_over(
    start_server: StartServer, cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture
) -> None:
    primary, replica = cluster.servers[0], cluster.servers[3]
    plain = next(topic for topic in TOPICS if cluster.owner_of(topic) is primary)
    kept = next(
        f"kept/{number}" for number in range(99) if cluster.owner_of(f"kept/{number}") is primary
    )
    hosts = []
    for _ in range(2):
        host = await start_host(start_server, cluster.url)
        host.server.topic("kept/*", history=History(), envelope="compact")
        await until(lambda host=host: host.server.health().status == "ok")
        hosts.append(host)
    one, other = hosts
    await other.conn.subscribe(plain)
    wire, conn = await connect_both(other.server)
    await conn.subscribe(kept)
    first = (await one.server.publish(kept, "before")).position
    cluster.wait(lambda: replica.ask(b"DBSIZE", login=cluster.login))
    primary.kill()
    for host in hosts:
        await until(lambda host=host: host.server.health().lost_count)
    # It waits for the replica, and gets its place there.
    second = (await one.server.publish(kept, "meanwhile")).position
    assert second.epoch == first.epoch
    assert await receive_all(wire, "meanwhile") == [(1, "before"), (2, "meanwhile")]
    await hear_again(one.server, other, plain)
    for host in hosts:
        await until(lambda host=host: host.server.health().status == "ok")
    assert cluster.owner_of(plain) is replica
    assert any("is away" in record.getMessage() for record in caplog.records)
    async with sockwave.Publisher(cluster.url) as publisher:
        assert (await publisher.publish(kept, "from outside")).position.offset == 3


async def test_a_slot_that_moves_is_followed(
    start_server: StartServer, cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await start_two(start_server, cluster.url, TOPICS[0])
    await other.conn.subscribe("else/*")
    owner = cluster.owner_of(TOPICS[0])
    target = next(server for server in cluster.servers[:3] if server is not owner)
    with sockwave.Publisher(cluster.url) as publisher:
        await asyncio.to_thread(publisher.publish, TOPICS[0], "before")
        assert await other.wire.receive_message() == "before"
        cluster.move(TOPICS[0], target)
        await until(lambda: other.server.health().lost_count)
        await hear_again(one.server, other, TOPICS[0])
        for host in (one, other):
            await until(lambda host=host: host.server.health().status == "ok")
        await asyncio.to_thread(publisher.publish, TOPICS[0], "after")
        while (heard := await other.wire.receive_message()) != "after":
            assert heard == f"again {TOPICS[0]}"
    for number in range(24):
        await one.server.publish(f"else/{number}", f"{number}")
    numbers = [str(await other.wire.receive_message()) for _ in range(24)]
    assert sorted(numbers) == sorted(map(str, range(24)))
    channels = cluster.ask(target, "PUBSUB SHARDCHANNELS")
    assert any(channel.endswith(f":t:{TOPICS[0]}".encode()) for channel in channels)
    assert any("slots have moved" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
async def test_a_cluster_that_comes_later_is_found(
    start_server: StartServer, cluster: ValkeyCluster
) -> None:
    for server in cluster.servers:
        server.freeze()
    starting = asyncio.ensure_future(start_host(start_server, cluster.url))
    host = await starting
    await until(lambda: host.server.health().broker == "down")
    await asyncio.wait_for(host.conn.subscribe("room/1"), 10)
    host.server.publish("room/1", "it waits")
    assert await host.wire.receive_message() == "it waits"
    for server in cluster.servers:
        server.thaw()
    await until(lambda: host.server.health().status == "ok")


APPLICATION = """
import sockwave

server = sockwave.create_server()
server.topic("kept/*", history=sockwave.History())

@server.on("connection")
async def connected(conn):
    await conn.subscribe("kept/*")
    await conn.subscribe("room/*")
    await conn.send("ready")

    @conn.on("message")
    async def message(message):
        topic, _, text = message.partition(" ")
        await server.publish(topic, text, exclude=conn)
"""


@pytest.mark.slow
@needs_workers
async def test_hosts_with_workers_share_a_cluster(
    tmp_path: Path, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    """The sequencer, which has no asyncio, is the client."""

    def serve(name: str) -> Any:
        place = tmp_path / name
        place.mkdir()
        return serving_application(
            place, "--workers", "2", "--broker", cluster_url, application=APPLICATION
        )

    async def connect(service: Service) -> Wire:
        service.wait_ready(2)
        wire = await Wire.connect(("127.0.0.1", service.port))
        assert await wire.receive_message() == "ready"
        return wire

    with serve("one") as one, serve("other") as other:
        speaker, hearer = [await connect(service) for service in (one, other)]
        for topic in ("room/1", "room/2", "room/3", "kept/1", "kept/2", "kept/3"):
            speaker.send(f"{topic} on {topic}")
            assert f"on {topic}" in str(await hearer.receive_message())
        await hearer.receive_nothing()


async def test_the_rights_that_are_documented_suffice(
    start_server: StartServer, cluster: ValkeyCluster
) -> None:
    lines = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8").splitlines()
    rights = next(line for line in lines if line.startswith("&sockwave:* -@all +spublish"))
    keys = next(line for line in lines if line.startswith("ACL SETUSER app ~sockwave"))
    for server in cluster.servers:
        rules = f"on >pass {rights} {keys.partition(' app ')[2]}"
        server.set_user("app", rules, cluster.login)
    url = cluster.url.replace(":secret@", "app:pass@")
    one, other = [await start_host(start_server, url) for _ in range(2)]
    for host in (one, other):
        host.server.topic("kept/*", history=History(), envelope="compact")
        await until(lambda host=host: host.server.health().status == "ok")
    await other.conn.subscribe("room/*")
    await one.server.publish("room/1", "hello")
    assert await other.wire.receive_message() == "hello"
    await one.server.publish("kept/1", "kept", id="a")
    assert (await other.conn.subscribe("kept/1", since="0-0")).recovered
    assert await receive_all(other.wire, "kept") == [(1, "kept")]
    await one.server.topic("stream").append("delta")
    await other.conn.subscribe("stream")
    assert json.loads(await other.wire.receive_message())["delta"] == "delta"
    async with sockwave.Publisher(url) as publisher:
        assert (await publisher.publish("kept/1", "from outside")).position.offset == 2


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("valkey+cluster://", "expected HOST:PORT of each server, given ''"),
        ("valkey+cluster://a:7000,", "expected HOST:PORT of each server, given ''"),
        ("valkey+cluster://a:x", "expected HOST:PORT of each server, given 'a:x'"),
        ("redis+cluster://a/1", "expected no database"),
        ("redis+cluster://a?prefix=%7Ba%7D", "expected a prefix without braces"),
        ("valkeys+cluster://a?colour=1", "expected settings that valkey knows"),
    ],
)
def test_what_is_no_url_of_a_cluster_is_refused(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sockwave.create_server(broker=url)


def test_places_users_and_tls_are_those_of_the_url() -> None:
    opener: Any = ClusterOpener("valkeys+cluster://u:p@[::1]:7000,b?ssl_ca_certs=ca.pem", "host")
    assert opener._seeds == [("::1", 7000), ("b", 6379)]
    connection = opener._opener._make(("c", 7001))
    assert (connection.host, connection.port) == ("c", 7001)
    assert (connection.username, connection.password, connection.ca_certs) == ("u", "p", "ca.pem")


def test_a_server_that_does_not_know_where_it_is_is_where_it_was_asked() -> None:
    reply = [[0, 8191, [b"", 7000, b"id"]], [8192, 16383, [None, 7001, b"id"], [b"c", 7002, b""]]]
    owners, known = read_slots(reply, ("asked", 1))
    assert set(owners) == {("asked", 7000), ("asked", 7001)}
    assert known == (("asked", 7000), ("asked", 7001), ("c", 7002))
    with pytest.raises(ConnectionError, match="have all slots"):
        read_slots(reply[:1], ("asked", 1))
    with pytest.raises(ConnectionError, match="expected who has which slots"):
        read_slots(b"OK", ("asked", 1))


async def test_the_url_of_one_server_of_a_cluster_names_the_one_to_use(
    start_server: StartServer, shared_cluster: ValkeyCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    host = await start_host(start_server, shared_cluster.servers[0].url)
    host.server.topic("kept/*", history=History())
    host.server.publish("kept/1", "a")

    def is_said() -> bool:
        said = [record.getMessage() for record in caplog.records]
        return any("expected a URL with valkey+cluster://" in line for line in said)

    await until(is_said)
