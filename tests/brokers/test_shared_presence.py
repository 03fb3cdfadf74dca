"""Members of topics over several hosts: each host tells the others, and beats."""

import asyncio
import json
import random
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host, start_host
from log_brokers import LogBroker, by_all_log_brokers
from valkey_server import needs_valkey, until
from wire import connect_both

import sockwave
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.records import HELLO, SETTINGS, pack_record
from sockwave.core.topics.sequencer import Sequencer

pytestmark = needs_valkey


async def start_lobby(start_server: StartServer, log_url: str, **settings: Any) -> Host:
    """Start a host whose topics `lobby/*` have presence, and wait for its broker."""
    host = await start_host(start_server, log_url)
    host.server.topic("lobby/*", presence=True, **settings)
    await until(lambda: host.server.health().status == "ok")
    return host


async def wait_for_members(host: Host, expected: dict[str, Any], topic: str = "lobby/1") -> None:
    while await host.server.topic(topic).members() != expected:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


@by_all_log_brokers
async def test_members_are_those_of_all_hosts(start_server: StartServer, log_url: str) -> None:
    one, other = [await start_lobby(start_server, log_url) for _ in range(2)]
    await one.conn.subscribe("lobby/1", member="ann", data={"n": 1})
    await other.conn.subscribe("lobby/1", member="bob")
    both = {"ann": {"n": 1}, "bob": None}
    for host in (one, other):
        await wait_for_members(host, both)
    # A member is there from the first connection to the last one, on whichever hosts.
    wire, again = await connect_both(other.server)
    await again.subscribe("lobby/1", member="ann", data={"n": 2})
    await wait_for_members(one, {"ann": {"n": 2}, "bob": None})
    one.conn.unsubscribe("lobby/1")
    other.conn.unsubscribe("lobby/1")
    for host in (one, other):
        await wait_for_members(host, {"ann": {"n": 2}})
    await wire.close()
    for host in (one, other):
        await wait_for_members(host, {})


async def test_events_come_on_all_hosts(start_server: StartServer, log_url: str) -> None:
    one, other = [await start_lobby(start_server, log_url) for _ in range(2)]
    heard: list[tuple[str, str]] = []
    lobby = other.server.topic("lobby/1")
    lobby.on("join", lambda key: heard.append(("join", key)))
    lobby.on("leave", lambda key: heard.append(("leave", key)))
    await other.conn.subscribe("lobby/1")
    await one.conn.subscribe("lobby/1", member="ann")
    await until(lambda: heard == [("join", "ann")])
    one.conn.unsubscribe("lobby/1")
    await until(lambda: heard == [("join", "ann"), ("leave", "ann")])


async def test_a_grace_holds_on_all_hosts(start_server: StartServer, log_url: str) -> None:
    one, other = [await start_lobby(start_server, log_url, grace=3600) for _ in range(2)]
    await one.conn.subscribe("lobby/1", member="ann")
    await one.conn.subscribe("lobby/2", member="bob")
    await wait_for_members(other, {"ann": None})
    await wait_for_members(other, {"bob": None}, "lobby/2")
    one.conn.unsubscribe("lobby/1")
    await one.conn.subscribe("lobby/2", member="cid")
    await wait_for_members(other, {"bob": None, "cid": None}, "lobby/2")
    assert await other.server.topic("lobby/1").members() == {"ann": None}


async def test_a_host_that_comes_later_knows_all(start_server: StartServer, log_url: str) -> None:
    one = await start_lobby(start_server, log_url)
    conns = [await connect_both(one.server) for _ in range(3)]
    expected = {}
    for number, (_, conn) in enumerate(conns):
        for room in range(100):
            key = f"{room} {number}" + "k" * 200
            expected[key] = {"text": "d" * 200}
            await conn.subscribe(f"lobby/{room}", member=key, data=expected[key])
    other = await start_lobby(start_server, log_url)
    for room in (0, 50, 99):
        mine = {key: data for key, data in expected.items() if key.startswith(f"{room} ")}
        await wait_for_members(other, mine, f"lobby/{room}")


async def test_a_host_that_ends_takes_its_members_with_it(
    start_server: StartServer, log_url: str
) -> None:
    one, other = [await start_lobby(start_server, log_url) for _ in range(2)]
    await one.conn.subscribe("lobby/1", member="ann")
    await other.conn.subscribe("lobby/1", member="bob")
    await wait_for_members(other, {"ann": None, "bob": None})
    await one.server.close(drain=0)
    await wait_for_members(other, {"bob": None})


@pytest.mark.slow
async def test_a_host_that_dies_is_missed_within_five_seconds(
    start_server: StartServer, log_url: str, shared_log_broker: LogBroker
) -> None:
    host = await start_lobby(start_server, log_url)
    await host.conn.subscribe("lobby/1", member="bob")
    # A host that says who is there, and nothing any more.
    prefix = log_url.partition("prefix=")[2]
    said = b'1m 00000000000000ab 7 s 0 1\n[["lobby/1","ann","1"]]'
    loop = asyncio.get_running_loop()
    begin = loop.time()
    shared_log_broker.say_to_hosts(prefix, said)
    await wait_for_members(host, {"ann": 1, "bob": None})
    await wait_for_members(host, {"bob": None})
    assert 2.0 < loop.time() - begin < 5.0


@pytest.mark.slow
async def test_a_broker_that_restarts_changes_nobody(
    start_server: StartServer, log_broker: LogBroker
) -> None:
    one, other = [await start_lobby(start_server, log_broker.url) for _ in range(2)]
    left: list[str] = []
    other.server.topic("lobby/*").on("leave", left.append)
    await other.conn.subscribe("lobby/1")
    await one.conn.subscribe("lobby/1", member="ann")
    wire, conn = await connect_both(one.server)
    await conn.subscribe("lobby/1", member="bob")
    await wait_for_members(other, {"ann": None, "bob": None})
    log_broker.kill()
    for host in (one, other):
        await until(lambda host=host: host.server.health().broker == "down")
    await wire.close()  # what changes meanwhile is known afterwards
    await wait_for_members(one, {"ann": None})
    log_broker.start()
    await wait_for_members(other, {"ann": None})
    await until(lambda: left == ["bob"])


async def test_messages_of_a_topic_with_presence_have_one_order(
    start_server: StartServer, log_url: str
) -> None:
    hosts = [await start_lobby(start_server, log_url) for _ in range(2)]
    for number, host in enumerate(hosts):
        await host.conn.subscribe("lobby/1", member=f"{number}")
    published = await asyncio.gather(
        *(hosts[number % 2].server.publish("lobby/1", f"{number}") for number in range(30))
    )
    order = [
        f"{number}" for number, _ in sorted(enumerate(published), key=lambda one: one[1].position)
    ]
    for host in hosts:
        assert [await host.wire.receive_message() for _ in range(30)] == order
        await host.wire.receive_nothing()


GOOD = [
    b"1m 00000000000000ab 1 s 0 1\n[]", b"1m 00000000000000ab 2 c\n" + b'[["lobby/1","a","null"]]',
    b"1m 00000000000000ab 3 c\n" + b'[["lobby/1","a"]]', b"1m 00000000000000ab 3 h\n",
    b"1m 00000000000000ab 3 a\n*", b"1m 00000000000000ab 3 s 0 2\n" + b'[["lobby/2","b",""]]',
    b"1m 00000000000000ab 3 s 1 2\n" + b'[["lobby/2","c","{}"]]', b"1m 00000000000000ab 3 x\n",
]  # fmt: skip

BAD = [
    b"", b"1m", b"2m 00000000000000ab 1 h\n", b"1m host 1 h\n", b"1m 00000000000000ag 1 h\n",
    b"1m 00000000000000ab -1 h\n", b"1m 00000000000000ab 1 z\n", b"1m 00000000000000ab 1 s 0\n[]",
    b"1m 00000000000000ab 1 s 1 2\n[]", b"1m 00000000000000ab 1 s 0 0\n[]",
    b"1m 00000000000000ab 1 s 0 1\n{", b"1m 00000000000000ab 1 s 0 1\n[1]",
    b'1m 00000000000000ab 1 s 0 1\n[["a",1,"1"]]', b'1m 00000000000000ab 1 s 0 1\n[["*","k","1"]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","k","NaN"]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","k",1]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","","1"]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","k","1",2]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","' + b"k" * 256 + b'","1"]]',
    b'1m 00000000000000ab 1 s 0 1\n[["a","k","' + b"1" * 4097 + b'"]]',
    b"1m 00000000000000ab 1 s 0 1\n" + b"[" * 100_000,
]  # fmt: skip


def make_presence() -> Any:
    bridge = Bridge(lambda: None)
    sequencer = Sequencer()
    sequencer.attach(bridge)
    link = sequencer.connect()
    link.take(hello())
    bridge.presence.connected()
    bridge.presence.take_messages()
    return sequencer, bridge.presence


def hello() -> bytes:
    about = json.dumps({"pid": 1, "kind": "worker"}).encode()
    settings = json.dumps([["lobby/*", {"presence": True}]]).encode()
    return pack_record(HELLO, request=1, epoch=7, payload=about) + pack_record(
        SETTINGS, payload=settings
    )


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_what_no_host_says_costs_itself_and_a_count(message: bytes) -> None:
    _, presence = make_presence()
    presence.hear(message)
    assert presence.bad_count == 1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_a_host_may_say_does_harm(seed: int) -> None:
    chance = random.Random(seed)
    sequencer, presence = make_presence()
    for _ in range(2000):
        message = bytearray(chance.choice(GOOD))
        for _ in range(chance.randrange(3)):
            place = chance.randrange(len(message) + 1)
            message[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        presence.hear(bytes(message))
        if not chance.randrange(10):
            presence.take_messages()
            presence.beat()
    for _ in range(6):
        presence.beat()
    assert presence.bad_count
    assert sequencer.stats["members"] == 0
    assert sequencer.stats["links"] == 1


def test_hosts_are_not_missed_while_the_broker_is_silent() -> None:
    sequencer, presence = make_presence()
    presence.hear(GOOD[0])
    presence.hear(GOOD[1])
    for _ in range(20):
        presence.excuse()
        presence.beat()
    assert sequencer.stats["members"] == 1
    for _ in range(4):
        presence.beat()
    assert sequencer.stats["members"] == 0


def test_what_was_missed_is_asked_for_once_a_beat() -> None:
    sequencer, presence = make_presence()
    presence.hear(GOOD[0])
    presence.hear(GOOD[1])
    assert sequencer.stats["members"] == 1
    assert presence.take_messages() == []
    presence.hear(b"1m 00000000000000ab 4 c\n" + b'[["lobby/1","b","1"]]')
    presence.hear(b"1m 00000000000000ab 4 h\n")
    (asked,) = presence.take_messages()
    assert asked.endswith(b" a\n00000000000000ab")
    presence.hear(b"1m 00000000000000ab 4 s 0 1\n" + b'[["lobby/1","b","1"]]')
    assert sequencer.stats["members"] == 1
    presence.hear(b"1m 00000000000000ab 5 c\n" + b'[["lobby/1","c","1"]]')
    assert sequencer.stats["members"] == 2
    assert presence.take_messages() == []


def test_presence_is_refused_where_nothing_orders_messages() -> None:
    for url in ("nats://h", "valkey://h"):
        with pytest.raises(sockwave.SockwaveError, match="presence"):
            sockwave.create_server(broker=url, broker_down="local").topic("lobby", presence=True)
