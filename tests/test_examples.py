import contextlib
import itertools
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATIENCE_S, started, stop
from websockets.sync.client import connect

import sockwave.cli

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_chat_of_the_examples_is_the_chat_of_the_package() -> None:
    packaged = Path(sockwave.cli.__file__).with_name("chat.py")
    assert (EXAMPLES / "chat.py").read_bytes() == packaged.read_bytes()


@contextlib.contextmanager
def example(name: str) -> Iterator[str]:
    """Run an example on a free port instead of 8000, and give its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = (EXAMPLES / name).read_text("utf-8").replace("8000", str(port))
    with started("-c", program) as process:
        for attempt in itertools.count():
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or attempt == PATIENCE_S * 20:
                    process.kill()
                    pytest.fail(f"{name} does not listen: {process.communicate()[1]}")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
        yield f"127.0.0.1:{port}"
        assert stop(process, signal.SIGINT)[0] == 0


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
