"""Slots of a cluster that move to another shard, with what is in them, and who hears them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host
from valkey_cluster import ValkeyCluster, running_cluster, slot_name
from valkey_server import REDIS, ValkeyServer, needs_redis, needs_valkey, until
from wire import Wire, connect_both

import sockwave
from sockwave import History
from sockwave.brokers.valkey_logs import ValkeyLogs
from sockwave.brokers.valkey_names import ValkeyNames, bucket_of
from sockwave.brokers.valkey_retries import NOT_YET
from sockwave.core.topics.resp import RespError

pytestmark = needs_valkey


async def start(start_server: StartServer, url: str) -> Host:
    host = await start_host(start_server, url, max_backlog=None)
    host.server.topic("kept/**", history=History(count=10_000, size=None), envelope="compact")
    host.server.topic("stream/**", envelope="compact")
    await until(lambda: host.server.health().status == "ok")
    return host


async def hear_kept(host: Host, topic: str) -> Wire:
    """Have another client of a host hear a topic from its beginning."""
    wire, conn = await connect_both(host.server)
    assert (await conn.subscribe(topic, since="0-0")).recovered
    return wire


async def receive_all(wire: Wire, count: int) -> list[Any]:
    """Return the messages of so many positions, which follow one another."""
    found = [json.loads(await wire.receive_message()) for _ in range(count)]
    assert [place for place, _ in found] == list(range(1, count + 1))
    return [message for _, message in found]


def find(condition: Callable[[str], object], begin: str) -> str:
    """Return the first topic of which something is so."""
    return next(one for number in range(9999) if condition(one := f"{begin}/{number}"))


def lost_counts(*hosts: Host) -> list[int]:
    return [host.server.health().lost_count for host in hosts]


@pytest.mark.parametrize("carried", ["nothing", ":s:", "all"])
async def test_only_what_is_kept_waits_while_a_slot_is_on_its_way(
    start_server: StartServer,
    shared_cluster: ValkeyCluster,
    cluster_url: str,
    caplog: pytest.LogCaptureFixture,
    carried: str,
) -> None:
    await check_waiting(start_server, shared_cluster, cluster_url, caplog, carried)


@pytest.mark.slow
@needs_redis
async def test_the_same_waits_in_a_cluster_of_redis(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_cluster(tmp_path, program=REDIS) as cluster:
        await check_waiting(start_server, cluster, cluster.url, caplog, ":s:")


async def check_waiting(
    start_server: StartServer,
    cluster: ValkeyCluster,
    url: str,
    caplog: pytest.LogCaptureFixture,
    carried: str,
) -> None:
    """See what goes on, and what waits, while a slot is on its way, with some of its keys."""
    one, other = [await start(start_server, url) for _ in range(2)]
    topic = "kept/1"
    owner = cluster.owner_of(topic)
    target = cluster.other_than(owner)
    beside = find(lambda name: cluster.owner_of(name) is owner, "beside")
    near = find(lambda name: bucket_of(name.encode()) == bucket_of(topic.encode()), "near")
    await other.conn.subscribe(beside)
    wire = await hear_kept(other, topic)
    first = (await one.server.publish(topic, "before")).position
    cluster.begin_move(topic, target)
    if carried != "nothing":
        cluster.carry_keys(topic, target, "" if carried == "all" else carried)
    waiting = [host.server.publish(topic, "meanwhile") for host in (one, other)]
    late = await start(start_server, url)
    recovery = asyncio.ensure_future(hear_kept(late, topic))
    await until(lambda: caplog.text.count("is asked again") >= 2)
    # Channels of the slot, and of the shard, are heard, and can be subscribed to.
    await other.conn.subscribe(near)
    for name in (near, beside):
        await one.server.publish(name, f"on {name}")
        assert await other.wire.receive_message() == f"on {name}"
    with sockwave.Publisher(url) as publisher:
        outside = asyncio.ensure_future(asyncio.to_thread(publisher.publish, topic, "outside"))
        await asyncio.sleep(0)
        assert not any(published.done() for published in waiting)
        assert lost_counts(one, other, late) == [0, 0, 0]
        cluster.carry_keys(topic, target)
        cluster.end_move(topic, target)
        positions = [(await published).position for published in waiting]
        positions.append((await outside).position)
    assert sorted(one.offset for one in positions) == [2, 3, 4]
    assert {one.epoch for one in positions} == {first.epoch}
    heard = await receive_all(wire, 4)
    assert sorted(heard[1:]) == ["meanwhile", "meanwhile", "outside"]
    assert await receive_all(await recovery, 4) == heard
    assert cluster.owner_of(topic) is target


async def test_a_move_that_is_given_up_changes_no_order(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = [await start(start_server, cluster_url) for _ in range(2)]
    topics = ["kept/1", "stream/1"]
    wire = await hear_kept(other, "kept/1")
    await one.server.topic("stream/1").append("0,")
    reader, conn = await connect_both(other.server)
    await conn.subscribe("stream/1")
    assert json.loads(await reader.receive_message()) == [1, "0,"]
    published: list[Any] = []
    appended: list[Any] = []
    for _ in range(5):
        for topic in topics:
            await asyncio.to_thread(
                shared_cluster.begin_move,
                topic,
                shared_cluster.other_than(shared_cluster.owner_of(topic)),
            )
            for _ in range(20):
                published.append(one.server.publish("kept/1", str(len(published))))
                appended.append(one.server.topic("stream/1").append(f"{len(appended) + 1},"))
            await asyncio.sleep(0)
            await asyncio.to_thread(shared_cluster.give_up_move, topic)
    places = [(await one).position.offset for one in published]
    assert places == list(range(1, len(published) + 1))
    assert await receive_all(wire, len(published)) == [str(n) for n in range(len(published))]
    places = [(await one).position.offset for one in appended]
    assert places == list(range(2, len(appended) + 2))
    deltas = [json.loads(await reader.receive_message()) for _ in appended]
    assert deltas == [[place, f"{place - 1},"] for place in places]
    assert lost_counts(one, other) == [0, 0]


@pytest.mark.slow
async def test_what_is_published_while_slots_move_comes_once_and_in_order(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = [await start(start_server, cluster_url) for _ in range(2)]
    topics = ["kept/1", "kept/2"]
    wires = [await hear_kept(other, topic) for topic in topics]
    is_moving = True
    counts = dict.fromkeys(topics, 0)

    async def publish(topic: str) -> None:
        while is_moving:
            first = counts[topic]
            counts[topic] += 50
            burst = [one.server.publish(topic, str(first + number)) for number in range(50)]
            places = [(await published).position.offset for published in burst]
            assert places == [first + number + 1 for number in range(50)]

    publishing = [asyncio.ensure_future(publish(topic)) for topic in topics]
    for _ in range(3):
        for topic in topics:
            target = shared_cluster.other_than(shared_cluster.owner_of(topic))
            await asyncio.to_thread(shared_cluster.move, topic, target)
    is_moving = False
    await asyncio.gather(*publishing)
    for topic, wire in zip(topics, wires, strict=True):
        assert await receive_all(wire, counts[topic]) == [str(n) for n in range(counts[topic])]
    assert all(lost_counts(one, other))  # which told that connections were lost


@pytest.mark.slow
async def test_a_recovery_goes_on_where_its_slot_has_gone(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    topic = "kept/1"
    one = await start(start_server, cluster_url)
    texts = [str(number) * 100_000 for number in range(60)]  # six pages
    for text in texts:
        await one.server.publish(topic, text)
    for _ in range(2):
        late = await start(start_server, cluster_url)
        target = shared_cluster.other_than(shared_cluster.owner_of(topic))
        recovery = asyncio.ensure_future(late.conn.subscribe(topic, since="0-0"))
        moving = asyncio.ensure_future(asyncio.to_thread(shared_cluster.move, topic, target))
        assert await receive_all(late.wire, len(texts)) == texts
        assert (await recovery).recovered
        await moving


async def test_a_slot_that_arrives_without_its_keys_has_other_logs_and_that_is_told(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = [await start(start_server, cluster_url) for _ in range(2)]
    topic = "kept/1"
    wire = await hear_kept(other, topic)
    before = (await one.server.publish(topic, "before")).position
    assert json.loads(await wire.receive_message()) == [1, "before"]
    target = shared_cluster.other_than(shared_cluster.owner_of(topic))
    shared_cluster.begin_move(topic, target)
    # The one that had it hears of that, and deletes what it has.
    shared_cluster.ask(
        target, "CLUSTER SETSLOT", slot_name(topic), "NODE", shared_cluster.find_id(target)
    )
    await until(lambda: other.server.health().lost_count)
    after = (await one.server.publish(topic, "after")).position
    assert after.offset == 1
    assert after.epoch != before.epoch
    heard = [json.loads(await wire.receive_message()) for _ in range(2)]
    assert heard == [[0, True], [1, "after"]]
    _, conn = await connect_both(one.server)
    assert not (await conn.subscribe(topic, since=before)).recovered


@pytest.mark.slow
async def test_what_all_hosts_hear_follows_its_slot(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = [await start_host(start_server, cluster_url) for _ in range(2)]
    for number, host in enumerate((one, other)):
        host.server.topic("room/*", presence=True)
        await until(lambda host=host: host.server.health().status == "ok")
        await host.conn.subscribe("room/1", member=f"m{number}")
        await host.conn.subscribe("else/**")
    members = {"m0": None, "m1": None}
    for host in (one, other):
        while await host.server.topic("room/1").members() != members:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    target = shared_cluster.other_than(shared_cluster.owner_of(""))
    await asyncio.to_thread(shared_cluster.move, "", target)
    for host in (one, other):
        await until(lambda host=host: host.server.health().lost_count)
        await until(lambda host=host: host.server.health().status == "ok")
        assert await host.server.topic("room/1").members() == members
    wire, conn = await connect_both(one.server)
    await conn.subscribe("room/1", member="m2")
    members["m2"] = None
    while await other.server.topic("room/1").members() != members:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    one.server.broadcast("to all")
    while await other.wire.receive_message() != "to all":
        pass  # who has joined
    names = [f"else/{number}" for number in range(24)]
    for name in names:
        await one.server.publish(name, name)
    assert sorted([str(await other.wire.receive_message()) for _ in names]) == sorted(names)
    await wire.close()


async def test_a_stream_ends_with_its_host_while_its_slot_is_on_its_way(
    start_server: StartServer, shared_cluster: ValkeyCluster, cluster_url: str
) -> None:
    one, other = [await start(start_server, cluster_url) for _ in range(2)]
    topic = "stream/1"
    await one.server.topic(topic).append("a")
    wire, conn = await connect_both(other.server)
    await conn.subscribe(topic)
    assert json.loads(await wire.receive_message()) == [1, "a"]
    target = shared_cluster.other_than(shared_cluster.owner_of(topic))
    shared_cluster.begin_move(topic, target)
    shared_cluster.carry_keys(topic, target, ":m:")
    await one.server.close(drain=0)
    shared_cluster.carry_keys(topic, target)
    shared_cluster.end_move(topic, target)
    assert json.loads(await wire.receive_message()) == [2, False]


def test_a_message_has_no_place_before_the_one_that_was_sent_before_it(
    shared_valkey: ValkeyServer,
) -> None:
    """Else the server would take the first one for one that it knows, and nobody would hear it."""
    logs = ValkeyLogs(ValkeyNames(b"before"))

    def publish(number: int, before: int, id: bytes = b"") -> Any:
        parcel = b"1t %016x.%d\n" % (7, number)
        message = ((7, number), b"topic", parcel, id, (100, 1 << 20, 0.0))
        reply = shared_valkey.send(logs.publish(message, 0, 0, before))
        return str(reply) if isinstance(reply, RespError) else int(reply[1])

    shared_valkey.send(logs.load(), 2)
    assert publish(2, 0, b"known") == 1
    shared_valkey.ask(b"DEL", b"before:p:topic\n%016x" % 7)
    assert publish(4, 3) == NOT_YET  # the server has refused what was before it
    assert publish(3, 0, b"known") == 1
    assert publish(4, 3) == 2  # the one before it has its place, although by its id
    assert publish(5, 4) == 3
    assert publish(5, 4) == 3
    assert publish(7, 6) == NOT_YET
