import re
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

from commands import PATIENCE_S, running
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> AbstractContextManager[str]:
    """Run an example, and give its host and port."""
    return running((EXAMPLES / name).read_text("utf-8"))


def test_first_example_broadcasts_and_answers_http() -> None:
    with example("first.py") as address:
        with urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"We can handle normal http connections too!\n"
        with connect(f"ws://{address}/") as ada:
            connected = ada.recv(PATIENCE_S)
            assert re.fullmatch(r"<\S+> connected", str(connected))
            with connect(f"ws://{address}/") as bob:
                bob_connected = str(ada.recv(PATIENCE_S))
                assert bob.recv(PATIENCE_S) == bob_connected
                bob.send("hello")
                assert ada.recv(PATIENCE_S) == bob_connected.replace("connected", "hello")
            assert ada.recv(PATIENCE_S) == bob_connected.replace("connected", "disconnected")


def test_async_for_example_echoes() -> None:
    with example("async_for.py") as address, connect(f"ws://{address}/") as client:
        for message in ["one", b"two"]:
            client.send(message)
            assert client.recv(PATIENCE_S) == message


def test_chat_example_serves_the_page() -> None:
    with (
        example("chat.py") as address,
        urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE_S) as answer,
    ):
        assert answer.headers.get_content_type() == "text/html"
