import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

import sockwave.cli


@pytest.fixture(scope="module")
def chat_url() -> Iterator[str]:
    with serving("chat", "--port", "0") as (_, url):
        yield url


class Person:
    """Someone in the chat, without a page."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    def hear(self) -> dict[str, Any]:
        """Wait for the next frame."""
        frame: dict[str, Any] = json.loads(self.client.recv(PATIENCE_S))
        return frame

    def say(self, **command: object) -> None:
        """Send a command."""
        self.client.send(json.dumps(command))

    def enter(self, room: str, **more: object) -> list[Any]:
        """Enter a room, and give the lines that were kept of it, and who is there."""
        topic = f"room/{room}"
        self.say(subscribe=topic, since="0-0", data=more)
        lines = []
        while "subscribed" not in (frame := self.hear()):
            lines.append(frame["message"])
        assert (frame["subscribed"], frame["recovered"]) == (topic, True)
        while "members" not in frame or more not in frame["members"].values():
            frame = self.hear()
            if "join" in frame:
                self.say(members=topic)
        return [lines, list(frame["members"].values())]

    def hear_message(self) -> tuple[str, str]:
        """Wait for the next message, and give its topic and itself."""
        while "message" not in (frame := self.hear()):
            pass
        return frame["topic"], frame["message"]


@contextlib.contextmanager
def person(url: str) -> Iterator[Person]:
    with connect(
        url.replace("http", "ws", 1),
        origin=Origin(url.rstrip("/")),
        subprotocols=[Subprotocol("sockwave.1")],
    ) as client:
        yield Person(client)


def test_line_reaches_everyone_in_its_room_and_nobody_else(chat_url: str) -> None:
    with person(chat_url) as ada, person(chat_url) as bob, person(chat_url) as eve:
        ada.enter("one")
        bob.enter("one")
        eve.enter("two")
        ada.say(publish="room/one", message="hello", id="a:1")
        assert ada.hear_message() == bob.hear_message() == ("room/one", "hello")
        eve.say(publish="room/two", message="alone", id="e:1")
        assert eve.hear_message() == ("room/two", "alone")


def test_who_comes_later_gets_the_last_lines(chat_url: str) -> None:
    with person(chat_url) as ada:
        assert ada.enter("kept")[0] == []
        for number in range(205):
            ada.say(publish="room/kept", message=str(number), id=f"k:{number}")
        while ada.hear_message() != ("room/kept", "204"):
            pass
        with person(chat_url) as bob:
            assert bob.enter("kept")[0] == [str(number) for number in range(5, 205)]


def test_people_of_a_room_know_each_other(chat_url: str) -> None:
    with person(chat_url) as ada:
        assert ada.enter("known", name="Ada")[1] == [{"name": "Ada"}]
        with person(chat_url) as bob:
            members = bob.enter("known", name="Bob")[1]
            assert sorted(one["name"] for one in members) == ["Ada", "Bob"]
            while "join" not in (frame := ada.hear()) or not frame["join"]:
                pass
            assert list(frame["join"].values()) == [{"name": "Bob"}]
            bob.say(subscribe="room/known", data={"name": "Robert"})
            while {"name": "Robert"} not in (frame := ada.hear()).get("join", {}).values():
                pass
        while not (frame := ada.hear()).get("leave"):
            pass
        assert list(frame["leave"].values()) == [{"name": "Robert"}]


@pytest.mark.parametrize(
    "topic",
    ["lobby", "room", "room/", "room/a/b", "room/*", "room/**", "*", "**", "room/" + "x" * 33],
)
def test_what_is_no_room_can_be_neither_entered_nor_written_to(chat_url: str, topic: str) -> None:
    with person(chat_url) as ada:
        ada.say(subscribe=topic)
        ada.say(publish=topic, message="hello", id="a:1")
        for command in ("subscribe", "publish"):
            frame = ada.hear()
            assert (frame["refused"], frame["topic"]) == (command, topic)


def test_frame_that_is_no_command_ends_nothing(chat_url: str) -> None:
    with person(chat_url) as ada:
        ada.client.send("hello")
        assert "error" in ada.hear()
        assert ada.enter("whole")[0] == []


def test_line_over_the_largest_size_ends_its_connection_alone(chat_url: str) -> None:
    with person(chat_url) as ada, person(chat_url) as bad:
        ada.enter("long")
        bad.say(publish="room/long", message="x" * 16_384)
        with pytest.raises(ConnectionClosed) as closed:
            bad.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        ada.say(publish="room/long", message="still here", id="a:1")
        assert ada.hear_message() == ("room/long", "still here")


def test_page_of_another_site_may_not_connect(chat_url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(chat_url.replace("http", "ws", 1), origin=Origin("http://example.org"))
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html"),
        ("?tab=2", "text/html"),
        ("chat.css", "text/css"),
        ("chat.js", "text/javascript"),
        ("chat.svg", "image/svg+xml"),
    ],
)
def test_files_of_the_page_are_served_with_a_strict_policy(
    chat_url: str, path: str, kind: str
) -> None:
    with urllib.request.urlopen(chat_url + path, timeout=PATIENCE_S) as answer:
        assert answer.headers.get_content_type() == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert len(answer.read()) == int(answer.headers["Content-Length"]) > 0


def test_script_of_the_client_is_served(chat_url: str) -> None:
    with urllib.request.urlopen(chat_url + "sockwave.js", timeout=PATIENCE_S) as answer:
        assert answer.headers.get_content_type() == "text/javascript"
        assert b"export function connect" in answer.read()


@pytest.mark.parametrize(
    "path", ["favicon.ico", "chat.py", "../chat.py", "%2e%2e/chat.py", "/chat.css", "chat.css/"]
)
def test_every_other_path_is_not_found(chat_url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(chat_url + path, timeout=PATIENCE_S)
    assert answer.value.code == 404
    answer.value.close()


def test_page_fetches_nothing_from_elsewhere() -> None:
    page = Path(sockwave.cli.__file__).with_name("page")
    for file in page.iterdir():
        found = re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", file.read_text("utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, file.name
