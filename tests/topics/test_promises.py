"""What docs/delivery.md promises, where no other file holds it."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clients import Client
from commands import freeze
from conftest import StartServer
from services import needs_workers, serving_application
from wire import Wire, connect_both

from sockwave import History, Position, Subscribed

ROOT = Path(__file__).parents[2]


async def hear_json(wire: Wire) -> dict[str, Any]:
    message = await wire.receive_message()
    assert isinstance(message, str)
    found = json.loads(message)
    assert isinstance(found, dict)
    return found


# ---- 1. a connection gets its messages whole and in order


async def test_what_is_sent_is_queued_and_not_yet_received(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    await conn.subscribe("room")
    wire.pause_reading()
    await conn.send("sent")
    assert (await server.publish("room", "published")).local_count == 1
    await conn.send("sent again")
    # All of this is done, and the client has read nothing of it.
    wire.resume_reading()
    for message in ("sent", "published", "sent again"):
        assert await wire.receive_message() == message


# ---- 2. without a history: at most once, in one order, and what is dropped is counted


async def test_all_subscribers_of_a_worker_hear_one_order(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.on("subscribe", lambda: True)
    server.on("publish", lambda: True)
    clients = [await Client.connect(server.addresses[0]) for _ in range(4)]
    for client in clients:
        assert "subscribed" in await client.ask(subscribe="room")
    publishers = clients[:2]
    for number in range(100):
        for who, client in enumerate(publishers):
            client.say(publish="room", message=f"{who} {number}")
    heard = []
    for client in clients:
        messages: list[str] = []
        while len(messages) < 200:
            said = await client.hear()
            if "message" in said:
                messages.append(said["message"])
        heard.append(messages)
    assert all(messages == heard[0] for messages in heard)
    for who in range(2):
        own = [message for message in heard[0] if message.startswith(f"{who} ")]
        assert own == [f"{who} {number}" for number in range(100)]


async def test_what_is_dropped_of_a_topic_is_counted(start_server: StartServer) -> None:
    server = await start_server(max_backlog=256 << 10)
    server.topic("news", slow="drop_new")
    wire, conn = await connect_both(server)
    other, second = await connect_both(server)
    conn.subscribe("news")
    second.subscribe("news")
    wire.pause_reading()
    published = 0
    while conn.dropped_count < 5:
        await server.publish("news", f"{published:04}" + "." * 60_000)
        published += 1
        assert (await other.receive_message())[:4] == f"{published - 1:04}"
    dropped = conn.dropped_count
    assert server.dropped_count == dropped
    wire.resume_reading()
    heard = [(await wire.receive_message())[:4] for _ in range(published - dropped)]
    assert heard == sorted(set(heard))
    await wire.receive_nothing()


# ---- 3. with a history: nobody misses one in silence


async def test_what_is_published_while_a_client_comes_back_comes_once(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("room", history=History(count=10_000, size=None))
    for number in range(1, 1001):
        await server.publish("room", str(number))
    wire, conn = await connect_both(server)
    waiting = asyncio.ensure_future(_await(conn.subscribe("room", since="0-0")))
    last = 1000
    while not waiting.done():
        last += 1
        server.publish("room", str(last))
        await asyncio.sleep(0)
    await server.publish("room", "end")
    subscribed = await waiting
    assert subscribed.recovered
    for number in range(1, last + 1):
        said = await hear_json(wire)
        assert said["message"] == str(number)
        assert said["position"].endswith(f"-{number}")
    assert (await hear_json(wire))["message"] == "end"
    await wire.receive_nothing()


async def _await(waiting: Any) -> Any:
    return await waiting


# ---- 4. a hole is found while the connection is open

APPLICATION = """
import asyncio, json, os, signal, sockwave
from sockwave import History

# The backlog: no client of these tests is slow, but the machine may be.
server = sockwave.create_server(subprotocol="sockwave.1", max_backlog=64 * 2**20)
server.topic("kept", history=History(count=1000))
server.on("subscribe", lambda: True)
server.on("publish", lambda: True)

@server.on("connection")
def connected(conn):
    @conn.on("message")
    async def message(message):
        # Publish until it raises: nothing of it is awaited.
        published, count = [], 0
        try:
            while count < 1000:
                published.append(server.publish("kept", "x" * 100_000))
                count += 1
        except sockwave.SockwaveError as error:
            conn.send(json.dumps({"count": count, "error": str(error)}))
        for one in published:
            await one
        conn.send(json.dumps({"all": len(published)}))
"""


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Client, int]]:
    """A client that is subscribed to "kept", and the sequencer's process."""
    with serving_application(tmp_path, "--workers", "2", application=APPLICATION) as service:
        service.wait_ready(2)
        sequencer = int(service.wait_for(r"sequencer.*\(pid (\d+)\)")[1])
        client = await Client.connect(("127.0.0.1", service.port))
        assert "subscribed" in await client.ask(subscribe="kept")
        yield client, sequencer
        await client.wire.close()


@pytest.mark.slow
@needs_workers
async def test_who_is_there_when_the_sequencer_dies_hears_of_it(both: tuple[Client, int]) -> None:
    client, sequencer = both
    before = await client.ask(publish="kept", message="before", id="a:1")
    assert before["message"] == "before"
    assert "acknowledged" in await client.hear()
    os.kill(sequencer, signal.SIGKILL)
    after = await client.ask(publish="kept", message="after", id="a:2")
    is_new = "gap" in after
    if is_new:
        # The new log has another epoch, in which the client goes on.
        assert after["gap"] == "kept"
        after = await client.hear()
    assert after["message"] == "after"
    assert (epoch_of(after) != epoch_of(before)) == is_new
    assert "acknowledged" in await client.hear()
    # All of the new log is behind any position of the old one.
    assert await client.ask(subscribe="kept", since=before["position"]) == after
    assert await client.hear() == {
        "subscribed": "kept",
        "position": after["position"],
        "recovered": not is_new,
    }


def epoch_of(said: dict[str, Any]) -> str:
    epoch: str = said["position"].partition("-")[0]
    return epoch


@pytest.mark.slow
@needs_workers
async def test_publishing_raises_when_too_much_waits_for_the_sequencer(
    both: tuple[Client, int],
) -> None:
    client, sequencer = both
    freeze(sequencer)
    try:
        client.say(send="publish")
        raised = await client.hear()
        assert "awaited" in raised["error"]
        # 8 MiB, and what the socket has taken.
        assert 80 <= raised["count"] <= 120
    finally:
        os.kill(sequencer, signal.SIGCONT)
    for _ in range(raised["count"]):
        assert len((await client.hear())["message"]) == 100_000
    assert await client.hear() == {"all": raised["count"]}


# ---- 5. a new log has a new epoch


async def test_a_position_of_before_a_restart_is_not_recovered(start_server: StartServer) -> None:
    positions: list[Position | None] = []
    for _ in range(2):
        server = await start_server()
        server.topic("room", history=History())
        positions += [(await server.publish("room", str(number))).position for number in range(3)]
    wire, conn = await connect_both(server)
    old, new = positions[0], positions[3]
    assert isinstance(old, Position)
    assert isinstance(new, Position)
    assert old.offset == new.offset
    assert await conn.subscribe("room", since=old) == Subscribed(positions[-1], False)
    for number in (0, 1, 2):
        assert (await hear_json(wire))["message"] == str(number)
    assert await conn.subscribe("room", since=str(new)) == Subscribed(positions[-1], True)
    for number in (1, 2):
        assert (await hear_json(wire))["message"] == str(number)
    await wire.receive_nothing()


# ---- 7. nothing more


def test_no_page_promises_more_than_can_be_held() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.py")]:
        text = re.sub(r"\s+", " ", page.read_text("utf-8"))
        assert not re.search("exactly[ -]once", text, re.IGNORECASE), page


# ---- 8. a position says where, never who may


async def test_coming_back_asks_the_application_again(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.topic("room", history=History())
    allowed = {"room"}
    server.on("subscribe", lambda conn, topic: topic in allowed)
    client = await Client.connect(server.addresses[0])
    position = (await client.ask(subscribe="room"))["position"]
    await server.publish("room", "secret")
    assert (await client.hear())["message"] == "secret"
    allowed.clear()
    back = await Client.connect(server.addresses[0])
    for since in (position, "0-0"):
        assert (await back.ask(subscribe="room", since=since))["refused"] == "subscribe"
    await server.publish("room", "secret too")
    await back.wire.receive_nothing()


async def test_many_who_come_back_at_once_are_all_brought_up_to_date(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("room", history=History(count=1000))
    everyone = [await connect_both(server) for _ in range(100)]
    position = None
    for number in range(1, 21):
        position = (await server.publish("room", str(number))).position
    assert isinstance(position, Position)
    since = Position(position.epoch, 5)
    waiting = [conn.subscribe("room", since=since) for _, conn in everyone]
    server.publish("room", "21")
    for one in waiting:
        assert (await one).recovered
    await server.publish("room", "22")
    for wire, _ in everyone:
        heard = [(await hear_json(wire))["message"] for _ in range(17)]
        assert heard == [str(number) for number in range(6, 23)]


async def test_who_is_sent_away_is_told_when_to_come_back(start_server: StartServer) -> None:
    server = await start_server(max_connections=1)
    wire, _ = await connect_both(server)
    refused = await Wire.open(server.addresses[0])
    head = await refused.receive_head()
    assert (head.status, head.headers["retry-after"]) == (503, "1")
    closing = asyncio.ensure_future(_await(server.close(jitter=1)))
    assert await wire.receive_close() == (1001, "retry=1")
    wire.write_close(1001)
    await closing


# ---- 9. what comes from another process is not trusted


def test_nothing_is_unpickled() -> None:
    source = ROOT / "src/sockwave"
    for path in [*source.rglob("*.py"), *source.rglob("*.pyx")]:
        text = path.read_text("utf-8")
        assert not re.search(r"^\s*(import|from) (pickle|marshal|shelve)\b", text, re.MULTILINE), (
            path
        )
