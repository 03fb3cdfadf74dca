"""Topics over several workers: everybody hears everything, whichever worker a client has."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import Client
from services import FORKING, Service, needs_workers, serving_application, started_service

pytestmark = needs_workers

APPLICATION = """
import asyncio, json, os, sockwave
from sockwave import History, Member

server = sockwave.create_server(subprotocol="sockwave.1")
server.topic("kept/*", history=History(count=100_000, size=None))
server.topic("people/*", presence=True)
server.on("publish", lambda conn, topic: True)

@server.on("subscribe")
def may_subscribe(conn, topic):
    return Member(f"pid-{os.getpid()}", conn.id) if topic == "people/pids" else True

@server.on("connection")
def connected(conn):
    @conn.on("message")
    async def message(message):
        command, _, rest = message.partition(" ")
        if command == "pid":
            answer = os.getpid()
        elif command == "id":
            answer = conn.id
        elif command == "broadcast":
            answer = server.broadcast(json.dumps({"message": rest}))
        elif command == "tell":
            answer = conn.broadcast(json.dumps({"message": rest}))
        elif command == "count":
            answer = await server.count(rest)
        elif command == "members":
            answer = await server.topic(rest).members()
        elif command == "publish":
            answer = await server.publish(rest, "from the application")
        elif command == "stream":
            topic = server.topic(rest)
            for token in ("a", "b", "c"):
                await topic.append(token)
            answer = "appended"
        await conn.send(json.dumps({"answer": answer}))
"""

StartService = Callable[..., Service]


@pytest.fixture(params=["serve", "run"])
def start_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartService]:
    """`service = start_service(workers)`: by `sockwave serve`, and by `server.run(workers=...)`."""
    with contextlib.ExitStack() as stack:

        def start(workers: int = 2) -> Service:
            if request.param == "serve":
                serving = serving_application(
                    tmp_path, "--workers", str(workers), application=APPLICATION
                )
            else:
                program = tmp_path / "program.py"
                program.write_text(APPLICATION + FORKING)
                serving = started_service(tmp_path, str(program), str(workers))
            service = stack.enter_context(serving)
            service.wait_ready(workers)
            return service

        yield start


async def ask(client: Client, command: str) -> Any:
    """Have the application of a client's worker do something, and return its answer."""
    client.say(send=command)
    while True:
        said = await client.hear()
        if "answer" in said:
            return said["answer"]


@contextlib.asynccontextmanager
async def clients_of(service: Service, count: int = 1) -> AsyncIterator[list[list[Client]]]:
    """Connect so many clients to each of two workers."""
    found: dict[int, list[Client]] = {}
    spare = []
    while len(found) < 2 or min(map(len, found.values())) < count:
        client = await Client.connect(("127.0.0.1", service.port))
        pid = await ask(client, "pid")
        mine = found.setdefault(pid, [])
        (mine if len(mine) < count else spare).append(client)
    for client in spare:
        await client.wire.close()
    yield list(found.values())
    for mine in found.values():
        for client in mine:
            await client.wire.close()


@pytest.mark.slow
async def test_a_message_reaches_the_subscribers_of_all_workers(
    start_service: StartService,
) -> None:
    service = start_service(2)
    async with clients_of(service, 2) as ((one, two), (three, four)):
        for client in (one, two, three):
            assert "subscribed" in await client.ask(subscribe="room/7")
        assert "subscribed" in await four.ask(subscribe="room/*")
        one.say(publish="room/7", message="hello")
        for client in (two, three, four, one):
            assert await client.hear() == {"topic": "room/7", "message": "hello"}
        assert "acknowledged" in await one.hear()
        assert await ask(one, "count room/7") == 4
        assert await ask(three, "publish room/7") == [None, 2]
        for client in (one, two, four):
            assert (await client.hear())["message"] == "from the application"
        assert await ask(three, "id") != await ask(one, "id")
        await four.ask(unsubscribe="room/*")
        await one.wire.close()
        await two.wire.close()
        assert await ask(four, "count room/7") == 1


@pytest.mark.slow
async def test_a_broadcast_reaches_all_workers(start_service: StartService) -> None:
    service = start_service(2)
    async with clients_of(service, 2) as ((one, two), (three, four)):
        assert await ask(one, "broadcast hello") == 2
        for client in (two, three, four):
            assert await client.hear() == {"message": "hello"}
        assert await ask(one, "tell but you") == 1
        for client in (two, three, four):
            assert await client.hear() == {"message": "but you"}
        assert await ask(three, "broadcast the end") == 2
        assert await one.hear() == {"message": "the end"}


@pytest.mark.slow
async def test_all_workers_agree_on_the_order_of_a_history(start_service: StartService) -> None:
    service = start_service(2)
    async with clients_of(service) as ((one,), (two,)):
        for client in (one, two):
            assert "subscribed" in await client.ask(subscribe="kept/1")
        for number in range(500):
            for client in (one, two):
                client.say(publish="kept/1", message=str(number), id=f"{id(client)}:{number}")
        heard = []
        for client in (one, two):
            messages = []
            while len(messages) < 1000:
                said = await client.hear()
                if "message" in said:
                    messages.append((said["position"], said["message"], said["id"]))
            heard.append(messages)
        assert heard[0] == heard[1]
        offsets = [int(position.partition("-")[2]) for position, _, _ in heard[0]]
        assert offsets == list(range(1, 1001))
        position = heard[0][99][0]
        late = await Client.connect(("127.0.0.1", service.port))
        late.say(subscribe="kept/1", since=position)
        missed = [await late.hear() for _ in range(900)]
        assert [(one["position"], one["message"], one["id"]) for one in missed] == heard[0][100:]
        assert (await late.hear())["recovered"] is True
        await late.wire.close()


@pytest.mark.slow
async def test_members_are_those_of_all_workers(start_service: StartService) -> None:
    service = start_service(2)
    async with clients_of(service) as ((one,), (two,)):
        one.say(subscribe="people/pids")
        assert "subscribed" in await one.hear()
        assert len((await one.hear())["members"]) == 1
        two.say(subscribe="people/pids")
        assert "subscribed" in await two.hear()
        while len((await two.hear()).get("members", {})) < 2:
            pass
        assert len((await one.hear())["join"]) == 1
        pids = [await ask(client, "pid") for client in (one, two)]
        assert (await ask(one, "members people/pids")).keys() == {f"pid-{pid}" for pid in pids}
        os.kill(pids[1], signal.SIGKILL)
        left = await one.hear()
        assert left["leave"].keys() == {f"pid-{pids[1]}"}
        assert (await ask(one, "members people/pids")).keys() == {f"pid-{pids[0]}"}


@pytest.mark.slow
async def test_a_stream_can_be_joined_on_any_worker(start_service: StartService) -> None:
    service = start_service(2)
    async with clients_of(service) as ((one,), (two,)):
        assert await ask(one, "stream answer") == "appended"
        two.say(subscribe="answer")
        assert (await two.hear())["delta"] == "abc"
        assert "subscribed" in await two.hear()
        two.say(append="answer", delta="d")
        assert (await two.hear())["delta"] == "d"
        assert "acknowledged" in await two.hear()
        os.kill(await ask(one, "pid"), signal.SIGKILL)
        assert (await two.hear())["end"] == "aborted"


@pytest.mark.slow
async def test_what_is_published_while_the_sequencer_is_away_is_not_lost(
    start_service: StartService,
) -> None:
    service = start_service(2)
    async with clients_of(service) as ((one,), (two,)):
        for client in (one, two):
            for topic in ("kept/1", "plain"):
                assert "subscribed" in await client.ask(subscribe=topic)
        sequencer = int(service.wait_for(r"sequencer.*\(pid (\d+)\)")[1])
        first = await one.ask(publish="kept/1", message="before", id="a:1")
        assert first["message"] == "before"
        assert "acknowledged" in await one.hear()
        assert (await two.hear())["message"] == "before"
        os.kill(sequencer, signal.SIGKILL)
        one.say(publish="kept/1", message="after", id="a:2")
        epoch = first["position"].partition("-")[0]
        for client in (one, two):
            # The log has outlived the sequencer: nothing is lost, and nobody told of a gap.
            said = await client.hear()
            assert (said["message"], said["position"]) == ("after", f"{epoch}-2")
        assert "acknowledged" in await one.hear()
        two.say(publish="plain", message="plain")
        for client in (one, two):
            assert (await client.hear())["message"] == "plain"
