"""What is published while the broker is away: it waits, raises, or stays on its host."""

import asyncio

import pytest
from conftest import StartServer
from valkey_server import ValkeyServer, needs_valkey, until
from wire import Wire, connect_both

import sockwave

pytestmark = needs_valkey


class Pair:
    """Two hosts, each with a client that hears `room/1`."""

    def __init__(self, servers: list[sockwave.Server], wires: list[Wire]) -> None:
        self.one, self.other = servers
        self.wire, self.other_wire = wires

    async def wait(self, status: str) -> None:
        for server in (self.one, self.other):
            await until(lambda server=server: server.health().status == status)


async def start_pair(
    start_server: StartServer, valkey: ValkeyServer, policy: str, **options: object
) -> Pair:
    options = {"broker": valkey.url, "broker_down": policy, **options}
    servers = [await start_server(**options) for _ in range(2)]
    wires = []
    for server in servers:
        wire, conn = await connect_both(server)
        await conn.subscribe("room/1")
        wires.append(wire)
    pair = Pair(servers, wires)
    await pair.wait("ok")
    return pair


async def test_messages_wait_for_the_broker_and_come_in_order(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue")
    valkey.kill()
    await pair.wait("degraded")
    for number in range(1000):
        await pair.one.publish("room/1", f"{number}")
        assert await pair.wire.receive_message() == f"{number}"  # local delivery goes on
    pair.one.broadcast("to all")
    valkey.start()
    # The other host may come back behind the first: then it has missed what was sent at once.
    await pair.wait("ok")
    await pair.one.publish("room/1", "the end")
    heard = [await pair.other_wire.receive_message()]
    while heard[-1] != "the end":
        heard.append(await pair.other_wire.receive_message())
    expected = [f"{number}" for number in range(1000)] + ["to all", "the end"]
    assert heard == expected[len(expected) - len(heard) :]
    assert pair.one.health().dropped_count == 0
    assert pair.one.health().unknown_count == 0


async def test_publishing_raises_when_too_much_waits(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue")
    valkey.kill()
    await pair.wait("degraded")
    await pair.wire.close()
    message = bytes(1 << 20)

    async def publish_all() -> None:
        for _ in range(100):
            await pair.one.publish("elsewhere", message)
            await asyncio.sleep(0)  # the client of the broker has its turn

    with pytest.raises(sockwave.SockwaveError, match="does not take what waits for it"):
        await publish_all()
    with pytest.raises(sockwave.SockwaveError, match="does not take"):
        pair.one.broadcast("to all")
    # What was taken is kept, and nothing of it was dropped.
    assert pair.one.health().dropped_count == 0
    valkey.start()
    await pair.wait("ok")
    await pair.one.publish("room/1", "goes on")
    assert await pair.other_wire.receive_message() == "goes on"


async def test_publishing_raises_while_the_broker_is_away(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "raise")
    valkey.kill()
    await pair.wait("degraded")
    with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
        pair.one.publish("room/1", "no")
    with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
        pair.one.broadcast("no")
    with pytest.raises(sockwave.SockwaveError, match="the broker is away"):
        next(iter(pair.one.connections)).broadcast("no")
    await pair.wire.receive_nothing()
    valkey.start()
    await pair.wait("ok")
    await pair.one.publish("room/1", "yes")
    assert await pair.wire.receive_message() == "yes"
    assert await pair.other_wire.receive_message() == "yes"


async def test_what_cannot_leave_is_broadcast_to_nobody(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue")
    with pytest.raises(sockwave.SockwaveError, match="expected a record"):
        pair.one.broadcast(bytes(65 << 20))
    with pytest.raises(
        ValueError, match="key: expected at most 1024 B for other workers, given 1025"
    ):
        pair.one.broadcast("no", slow="conflate", key="k" * 1025)
    pair.one.broadcast("yes", slow="conflate", key="k" * 1024)
    for wire in (pair.wire, pair.other_wire):
        assert await wire.receive_message() == "yes"


async def test_messages_stay_on_their_host(start_server: StartServer, valkey: ValkeyServer) -> None:
    pair = await start_pair(start_server, valkey, "local")
    valkey.kill()
    await pair.wait("degraded")
    for number in range(10):
        await pair.one.publish("room/1", f"{number}")
        assert await pair.wire.receive_message() == f"{number}"
    valkey.start()
    await pair.wait("ok")
    await pair.one.publish("room/1", "again")
    assert await pair.other_wire.receive_message() == "again"
    await until(lambda: pair.one.health().dropped_count == 10)


@pytest.mark.slow
async def test_a_message_of_64_mib_ends_no_connection(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue", max_backlog=None)
    large = bytes(range(256)) * (256 << 10)
    await pair.one.publish("room/1", large[:-1])
    assert await pair.other_wire.receive_message() == large[:-1]
    await pair.one.publish("room/1", "behind it")
    assert await pair.other_wire.receive_message() == "behind it"
    for server in (pair.one, pair.other):
        assert server.health() == sockwave.Health("ok", "up")
    said = valkey.ask(b"INFO", b"stats").partition(b"client_output_buffer_limit_disconnections:")[2]
    assert said[:1] in (b"0", b"")  # Redis 7.0 does not count them


async def test_what_is_published_while_a_large_message_leaves_follows_it(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue", max_backlog=None)
    large = bytes(8 << 20)
    await pair.one.publish("room/2", large)  # which nobody hears
    await asyncio.sleep(0)  # some of its parts are on their way
    await pair.one.publish("room/1", "behind it")
    assert await pair.other_wire.receive_message() == "behind it"


async def test_parts_that_cannot_be_cost_themselves_and_a_count(
    start_server: StartServer, valkey: ValkeyServer
) -> None:
    pair = await start_pair(start_server, valkey, "queue")
    good = [b"1p h 1 0 2\n1t h\nwh", b"1p h 1 1 2\nole"]
    bad = [
        b"1p \n", b"1p h 1 0 1\nonly one", b"1p h 1 0 9999999999\n", b"1p h 2 1 2\nnot the first",
        b"1p h 3 -1 2\n", b"1p h 4 0 x\n", b"1p h 5 0 2 6\n", b"1p " + b"h" * 200 + b" 1 0 2\n",
    ]  # fmt: skip
    for message in (*bad, good[0], b"1p h 6 0 2\nanother", good[1], b"1p h 6 0 2\nagain"):
        valkey.ask(b"PUBLISH", b"sockwave:t:room/1", message)
    assert await pair.wire.receive_message() == "whole"
    for message in (b"1p h 7 0 2\n1p", b"1p h 7 1 2\n h 8 0 2\nin parts itself"):
        valkey.ask(b"PUBLISH", b"sockwave:t:room/1", message)
    await until(lambda: pair.one.health().bad_count == len(bad) + 2)
    assert pair.one.health().status == "ok"
