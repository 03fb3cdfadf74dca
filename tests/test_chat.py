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

import sockwave.cli


@pytest.fixture(scope="module")
def chat_url() -> Iterator[str]:
    with serving("chat", "--port", "0") as (_, url):
        yield url


class Person:
    """Someone in the chat, without a page."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.welcome = self.hear()
        self.id = self.welcome["id"]

    def hear(self) -> dict[str, Any]:
        """Wait for the next message."""
        message: dict[str, Any] = json.loads(self.client.recv(PATIENCE_S))
        return message

    def say(self, message: object) -> None:
        """Send an object as JSON."""
        self.client.send(json.dumps(message))

    def join(self, name: str) -> str:
        """Join, and give the name as the server took it."""
        self.say({"type": "join", "name": name})
        heard = self.hear()
        assert (heard["type"], heard["id"]) == ("join", self.id)
        taken: str = heard["name"]
        return taken

    def close_code(self) -> int:
        """Wait for the end of the connection."""
        with pytest.raises(ConnectionClosed) as closed:
            self.hear()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code


@contextlib.contextmanager
def person(url: str) -> Iterator[Person]:
    with connect(url.replace("http", "ws", 1), origin=url.rstrip("/")) as client:  # type: ignore[arg-type]
        yield Person(client)


def test_people_are_told_who_is_here_who_comes_what_is_said_and_who_leaves(chat_url: str) -> None:
    with person(chat_url) as ada:
        assert ada.welcome == {"type": "welcome", "id": ada.id, "people": []}
        ada.join("Ada")
        with person(chat_url) as bob:
            assert bob.welcome["people"] == [{"id": ada.id, "name": "Ada"}]
            assert bob.id != ada.id
            bob.join("Bob")
            assert ada.hear() == {"type": "join", "id": bob.id, "name": "Bob"}
            bob.say({"type": "say", "text": "<b>hé</b> \ud800"})
            said = {"type": "say", "id": bob.id, "text": "<b>hé</b> \ud800"}
            assert ada.hear() == said
            assert bob.hear() == said
        assert ada.hear() == {"type": "leave", "id": bob.id}


def test_joining_again_changes_the_name(chat_url: str) -> None:
    with person(chat_url) as ada:
        assert ada.join("Ada") == "Ada"
        assert ada.join("Countess") == "Countess"
        with person(chat_url) as bob:
            assert bob.welcome["people"] == [{"id": ada.id, "name": "Countess"}]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("  Ada  ", "Ada"),
        ("x" * 10_000, "x" * 24),
        ("x" * 23 + "   y", "x" * 23),
        ("", "Guest"),
        (" \t\n", "Guest"),
        ("\u202eadA\u0000\r\n\u200b", "adA"),
        ("\ud800", "Guest"),
        ("Ünïcode 🦊", "Ünïcode 🦊"),
        ("<script>", "<script>"),
    ],
)
def test_name_is_trimmed_cut_and_rid_of_what_cannot_be_seen(
    chat_url: str, wanted: str, taken: str
) -> None:
    with person(chat_url) as ada:
        assert ada.join(wanted) == taken


def test_text_is_trimmed_and_cut(chat_url: str) -> None:
    with person(chat_url) as ada:
        ada.join("Ada")
        ada.say({"type": "say", "text": "\n  " + "é" * 2001})
        assert ada.hear()["text"] == "é" * 2000


@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        "join",
        [],
        {},
        {"type": "join"},
        {"type": "join", "name": None},
        {"type": "join", "name": ["Ada"]},
        {"type": "say"},
        {"type": "say", "text": 1},
        {"type": "say", "text": " \n "},
        {"type": "leave", "id": 1},
        {"type": ["say"], "text": "hello"},
        {"type": "say", "text": float("inf")},
    ],
)
def test_message_that_means_nothing_is_ignored(chat_url: str, message: object) -> None:
    with person(chat_url) as ada:
        ada.join("Ada")
        ada.say(message)
        ada.say({"type": "say", "text": "still here"})
        assert ada.hear() == {"type": "say", "id": ada.id, "text": "still here"}


def test_nobody_speaks_before_joining(chat_url: str) -> None:
    with person(chat_url) as ada, person(chat_url) as ghost:
        ghost.say({"type": "say", "text": "boo"})
        assert ghost.join("Ghost") == "Ghost"
        assert ada.hear() == {"type": "join", "id": ghost.id, "name": "Ghost"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", 1007),
        ("{", 1007),
        ("hello", 1007),
        ("[" * 16_000, 1007),
        ('{"type":"say","text":' + "9" * 5000 + "}", 1007),
        (b'{"type":"join","name":"Ada"}', 1003),
        ("x" * 16_385, 1009),
    ],
    ids=["empty", "unfinished", "no JSON", "deep", "huge number", "binary", "long"],
)
def test_message_that_is_no_json_text_ends_that_connection_alone(
    chat_url: str, message: str | bytes, code: int
) -> None:
    with person(chat_url) as ada:
        ada.join("Ada")
        with person(chat_url) as bad:
            bad.client.send(message)
            assert bad.close_code() == code
        assert ada.join("Ada still") == "Ada still"


def test_page_of_another_site_may_not_connect(chat_url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(chat_url.replace("http", "ws", 1), origin="http://example.org")  # type: ignore[arg-type]
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
