"""Clients that speak `sockwave.1`: what they may say, and what they are told."""

import asyncio
import json
from typing import Any

import pytest
from clients import Client
from conftest import StartServer
from wire import wait_until

import sockwave
from sockwave import History, Member


def allow(server: sockwave.Server) -> None:
    server.on("subscribe", lambda conn, topic: True)
    server.on("publish", lambda conn, topic: True)


async def test_a_client_subscribes_and_publishes(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    allow(server)
    one, two = await Client.connect(server.addresses[0]), await Client.connect(server.addresses[0])
    for client in (one, two):
        assert await client.ask(subscribe="room", request=7) == {
            "subscribed": "room",
            "position": None,
            "recovered": False,
            "request": 7,
        }
    one.say(publish="room", message="hello", id="c:1")
    assert await two.hear() == {"topic": "room", "message": "hello"}
    assert await one.hear() == {"topic": "room", "message": "hello"}
    assert await one.hear() == {"acknowledged": "c:1", "topic": "room", "position": None}
    two.say(publish="room", base64="AP8=")
    assert await one.hear() == {"topic": "room", "base64": "AP8="}
    assert await two.hear() == {"topic": "room", "base64": "AP8="}
    assert (await two.hear())["acknowledged"] is None
    assert await one.ask(unsubscribe="room") == {"unsubscribed": "room"}
    await server.publish("room", "later")
    assert await two.hear() == {"topic": "room", "message": "later"}
    await one.wire.receive_nothing()


async def test_commands_never_reach_the_application(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    allow(server)
    heard: list[object] = []
    server.on("connection", lambda conn: conn.on("message", heard.append) and None)
    client = await Client.connect(server.addresses[0])
    await client.ask(subscribe="room")
    client.say(send="for the application")
    await wait_until(lambda: heard)
    assert heard == ["for the application"]


async def test_a_handler_receives_what_is_sent_to_it(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")

    async def handler(conn: sockwave.Connection) -> None:
        async for message in conn:
            conn.send(json.dumps({"message": message}))

    server.handle_with(handler)
    client = await Client.connect(server.addresses[0])
    assert "refused" in await client.ask(subscribe="room")
    assert await client.ask(send="echo") == {"message": "echo"}


async def test_without_a_listener_that_allows_it_nothing_is_done(
    start_server: StartServer,
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    client = await Client.connect(server.addresses[0])
    assert await client.ask(subscribe="room", request=1) == {
        "refused": "subscribe",
        "topic": "room",
        "reason": "the application does not allow it",
        "request": 1,
    }
    assert (await client.ask(publish="room", message="x", id="c:1")) == {
        "refused": "publish",
        "topic": "room",
        "reason": "the application does not allow it",
        "id": "c:1",
    }
    server.on("subscribe", lambda conn, topic: topic == "open")
    server.on("publish", lambda: "yes")
    assert "refused" in await client.ask(subscribe="room")
    assert "subscribed" in await client.ask(subscribe="open")
    assert "refused" in await client.ask(publish="open", message="x")
    await server.publish("room", "not for it")
    await client.wire.receive_nothing()


async def test_asynchronous_listeners_keep_the_order(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    gate = asyncio.Event()

    @server.on("subscribe")
    async def may_subscribe(conn: sockwave.Connection, topic: str) -> bool:
        if topic == "first":
            await gate.wait()
        return topic != "third"

    server.on("publish", lambda conn, topic: True)
    client = await Client.connect(server.addresses[0])
    client.say(subscribe="first")
    client.say(subscribe="second")
    client.say(publish="first", message="x", id="1")
    client.say(subscribe="third")
    await client.wire.wait_until_read()
    gate.set()
    assert [next(iter(await client.hear())) for _ in range(5)] == [
        "subscribed",
        "subscribed",
        "topic",
        "acknowledged",
        "refused",
    ]


async def test_a_listener_that_raises_closes_the_connection(
    start_server: StartServer, error_log: Any
) -> None:
    server = await start_server(subprotocol="sockwave.1")

    @server.on("subscribe")
    def may_subscribe(conn: sockwave.Connection, topic: str) -> bool:
        raise RuntimeError("no idea")

    client = await Client.connect(server.addresses[0])
    client.say(subscribe="room")
    assert (await client.wire.receive_close())[0] == 1011
    assert [str(error) for error in error_log.take()] == ["no idea"]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ("", "a JSON object"),
        ("[]", "a JSON object"),
        ("5", "a JSON object"),
        ("{" * 5000, "a JSON object"),
        ("{}", "expected one of"),
        ('{"subscribe":"a","publish":"b"}', "expected one of"),
        ('{"subscribe":5}', "subscribe: expected a text"),
        (b"{}", "a text frame"),
    ],
)
async def test_what_is_no_command_is_answered(
    start_server: StartServer, frame: str | bytes, sentence: str
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    allow(server)
    client = await Client.connect(server.addresses[0])
    client.wire.send(frame)
    assert sentence in (await client.hear())["error"]
    assert "subscribed" in await client.ask(subscribe="room")


@pytest.mark.parametrize(
    "fields",
    [
        {"subscribe": ""},
        {"subscribe": "a*"},
        {"subscribe": "x" * 256},
        {"subscribe": "kept", "since": "x"},
        {"subscribe": "kept", "since": 5},
        {"subscribe": "kept/*", "since": "1-1"},
        {"publish": "room"},
        {"publish": "room", "message": 5},
        {"publish": "room", "message": "x", "base64": "AA=="},
        {"publish": "room", "base64": "!"},
        {"publish": "room/*", "message": "x"},
        {"publish": "kept", "message": "x", "id": 5},
        {"publish": "kept", "message": "x", "id": "y" * 256},
        {"append": "room", "delta": 5},
        {"append": "kept", "delta": "x"},
        {"members": "room"},
    ],
)
async def test_a_wrong_command_is_refused(
    start_server: StartServer, fields: dict[str, Any]
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.topic("kept", history=History())
    allow(server)
    client = await Client.connect(server.addresses[0])
    answer = await client.ask(**fields, request=3)
    assert answer["refused"] == next(iter(fields))
    assert answer["request"] == 3
    assert answer["reason"]
    assert "subscribed" in await client.ask(subscribe="room")


async def test_a_client_resumes_where_it_was(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.topic("room", history=History())
    allow(server)
    client = await Client.connect(server.addresses[0])
    position = (await client.ask(subscribe="room"))["position"]
    for number in range(5):
        await server.publish("room", str(number))
    other = await Client.connect(server.addresses[0])
    other.say(subscribe="room", since=position)
    said = [await other.hear() for _ in range(6)]
    assert [one.get("message") for one in said[:5]] == list("01234")
    assert said[5]["recovered"] is True
    assert said[5]["position"] == said[4]["position"]
    first = await other.ask(publish="room", message="mine", id="c:1")
    assert first["message"] == "mine"
    assert first["id"] == "c:1"
    acknowledged = await other.hear()
    assert acknowledged["position"] == first["position"]
    again = await other.ask(publish="room", message="mine", id="c:1")
    assert again == acknowledged


async def test_presence_is_told_to_clients(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.topic("room", presence=True)
    server.on("publish", lambda conn, topic: True)
    server.on(
        "subscribe",
        lambda conn, topic: Member("ann", {"name": "Ann"}) if conn.id == first else True,
    )
    one = await Client.connect(server.addresses[0])
    await wait_until(lambda: server.connections)
    first = next(iter(server.connections)).id
    assert (await one.ask(subscribe="room"))["subscribed"] == "room"
    assert await one.hear() == {"topic": "room", "members": {"ann": {"name": "Ann"}}}
    two = await Client.connect(server.addresses[0])
    two.say(subscribe="room", data="B")
    assert (await two.hear())["subscribed"] == "room"
    second = str(max(conn.id for conn in server.connections))
    assert (await two.hear())["members"].keys() >= {"ann"}
    told = await one.hear()
    while second not in told.get("join", {}):
        told = await one.hear()
    assert told["join"][second] == "B"
    two.say(members="room", request=1)
    answer = await two.hear()
    while "request" not in answer:
        answer = await two.hear()
    assert answer["members"] == {"ann": {"name": "Ann"}, second: "B"}
    await two.wire.shake_close()
    told = await one.hear()
    assert told == {"topic": "room", "join": {}, "leave": {second: "B"}}


async def test_streams_of_clients(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    allow(server)
    client = await Client.connect(server.addresses[0])
    await client.ask(subscribe="answer")
    assert (await client.ask(append="answer", delta="a", id="1"))["delta"] == "a"
    assert (await client.hear())["acknowledged"] == "1"
    late = await Client.connect(server.addresses[0])
    assert (await late.ask(subscribe="answer"))["delta"] == "a"
    assert (await late.hear())["subscribed"] == "answer"
    client.say(finish="answer", id="2")
    assert (await client.hear())["end"] == "finished"
    assert (await client.hear())["acknowledged"] == "2"
    assert (await late.hear())["end"] == "finished"
