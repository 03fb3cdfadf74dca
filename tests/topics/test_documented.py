"""The programs of docs/topics.md do what the page says of them."""

import contextlib
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client
from commands import PATIENCE_S, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

PAGE = Path(__file__).parents[2] / "docs/topics.md"

Connect = Callable[..., ClientConnection]
Serve = Callable[[str], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`address = serve("## Ticker")`: run the first program behind these words of the page."""
    with contextlib.ExitStack() as stack:

        def start(words: str) -> str:
            text = PAGE.read_text("utf-8").split(words, 1)[1]
            found = re.search(r"```python\n(.+?)```", text, re.DOTALL)
            assert found
            return stack.enter_context(running(found[1]))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`client = connect(address, room="a")`: a plain WebSocket client, closed with the test."""
    with contextlib.ExitStack() as stack:

        def start(
            address: str, path: str = "/", *, subprotocol: Any = None, **params: str
        ) -> ClientConnection:
            url = f"ws://{address}{path}?{urllib.parse.urlencode(params)}"
            return stack.enter_context(
                websockets.sync.client.connect(
                    url, subprotocols=subprotocol and [subprotocol], open_timeout=PATIENCE_S
                )
            )

        yield start


def hear(client: ClientConnection) -> str:
    """Give the next message."""
    message = client.recv(PATIENCE_S)
    assert isinstance(message, str)
    return message


def hear_json(client: ClientConnection) -> dict[str, Any]:
    found = json.loads(hear(client))
    assert isinstance(found, dict)
    return found


def settle(client: ClientConnection) -> None:
    """Wait until the server has dealt with what this client has sent, its opening included."""
    assert client.ping().wait(PATIENCE_S)


def test_rooms(serve: Serve, connect: Connect) -> None:
    address = serve("# Topics")
    ann, bob, eve = (connect(address, room=room) for room in ("garden", "garden", "cellar"))
    for client in (ann, bob, eve):
        settle(client)
    ann.send("hello")
    assert hear(bob).endswith("> hello")
    bob.send("hi")
    assert hear(ann).endswith("> hi")
    eve.send("alone")
    settle(eve)
    stranger = connect(address, room="*")
    with pytest.raises(ConnectionClosed):
        stranger.recv(PATIENCE_S)


@pytest.mark.slow
def test_an_application_of_fastapi(serve: Serve, connect: Connect) -> None:
    address = serve("## Publishing")
    one, two = connect(address, "/news"), connect(address, "/news")
    for client in (one, two):
        assert hear(client) == "welcome"
    one.send("from one")
    assert hear(two) == "from one"
    request = urllib.request.Request(f"http://{address}/news?text=from+http", method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert json.load(answer) == {"readers_here": 2}
    for client in (one, two):
        assert hear(client) == "from http"


def notify(address: str, user: str, text: str, key: str) -> str:
    request = urllib.request.Request(
        f"http://{address}/{user}", text.encode(), {"Idempotency-Key": key}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        position: bytes = answer.read()
    return position.decode().strip()


def test_notifications(serve: Serve, connect: Connect) -> None:
    address = serve("## History and coming back")
    first = notify(address, "ann", "one", "1")
    assert notify(address, "ann", "one", "1") == first
    ann = connect(address, user="ann")
    assert hear_json(ann) == {"topic": "notice/ann", "position": first, "message": "one", "id": "1"}
    ann.close()
    notify(address, "ann", "two", "2")
    notify(address, "bob", "not for ann", "2")
    again = connect(address, user="ann", since=first)
    assert hear_json(again)["message"] == "two"
    notify(address, "ann", "three", "3")
    assert hear_json(again)["message"] == "three"
    epoch = first.partition("-")[0]
    lost = connect(address, user="ann", since=f"{int(epoch, 16) ^ 1:x}-1")
    said = [hear_json(lost) for _ in range(4)]
    assert [one.get("message") for one in said[:3]] == ["one", "two", "three"]
    assert said[3] == {"missing": True}
    wrong = connect(address, user="ann", since="yesterday")
    with pytest.raises(ConnectionClosed):
        wrong.recv(PATIENCE_S)
    with pytest.raises(InvalidStatus):
        connect(address, user="eve")


def test_clients_that_speak_the_subprotocol(serve: Serve, connect: Connect) -> None:
    address = serve("## Envelopes")
    client = connect(address, subprotocol="sockwave.1")
    for topic in ("room/**", "room/cellar"):
        client.send(json.dumps({"subscribe": topic}))
        assert hear_json(client)["refused"] == "subscribe"
    client.send(json.dumps({"publish": "room/lobby", "message": "not yet"}))
    assert hear_json(client)["refused"] == "publish"
    client.send(json.dumps({"subscribe": "room/lobby"}))
    assert hear_json(client)["subscribed"] == "room/lobby"
    client.send(json.dumps({"publish": "room/lobby", "message": "hello"}))
    assert hear_json(client)["message"] == "hello"


@pytest.mark.slow
def test_presence(serve: Serve, connect: Connect) -> None:
    address = serve("## Presence")
    ann = connect(address, name="ann")
    heard = {hear(ann), hear(ann)}
    assert heard == {"here: ann", "ann is here"}
    bob = connect(address, name="bob")
    assert hear(ann) == "bob is here"
    second = connect(address, name="bob")
    heard = {hear(second)}
    assert heard <= {"here: ann, bob", "bob is here"}
    bob.close()
    second.close()
    assert hear(ann) == "bob has left"


def test_a_token_stream(serve: Serve, connect: Connect) -> None:
    address = serve("## Streams that can be joined late")
    asking = connect(address)
    asking.send("why?")
    first = hear_json(asking)
    late = connect(address, answer=first["topic"].partition("/")[2])
    for client, text in ((asking, first["delta"]), (late, "")):
        while "end" not in (said := hear_json(client)):
            text += said["delta"]  # noqa: PLW2901
        assert said["end"] == "finished"
        assert text == "You asked: why?"


def test_direct_messages(serve: Serve, connect: Connect) -> None:
    address = serve("## Direct messages")
    ann, tab = (connect(address, token="ann's token") for _ in range(2))
    bobs = [connect(address, token="bob's token") for _ in range(2)]
    for client in (ann, tab, *bobs):
        settle(client)
    ann.send("bob: hello")
    for client in (tab, *bobs):
        assert hear(client) == "ann to bob: hello"
    bobs[0].send("ann: hi")
    for client in (ann, tab, bobs[1]):
        assert hear(client) == "bob to ann: hi"
    with pytest.raises(InvalidStatus):
        connect(address, token="another")


def test_a_ticker(serve: Serve, connect: Connect) -> None:
    address = serve("## Ticker")
    client = connect(address)
    names = {hear(client).partition(" ")[0] for _ in range(10)}
    assert names == {"ACME", "INIT"}
