import hashlib
import http.client
import json
import re
import subprocess
import sys
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from commands import PATIENCE_S, running
from websockets.exceptions import InvalidStatus
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


def test_ticker_conflates_what_a_slow_client_does_not_read() -> None:
    with example("ticker.py") as address, connect(f"ws://{address}/prices/ACME,INIT") as client:
        heard = {str(client.recv(PATIENCE_S)).split()[0] for _ in range(4)}
        assert heard == {"ACME", "INIT"}


@pytest.mark.slow
def test_script_without_asyncio_watches_the_ticker() -> None:
    with example("ticker.py") as address:
        uri = f"ws://{address}/prices/ACME"
        watched = subprocess.run(
            [sys.executable, str(EXAMPLES / "watch.py"), uri, "5"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    lines = watched.stdout.splitlines()
    assert len(lines) == 5
    assert all(re.fullmatch(r"ACME \d+\.\d\d", line) for line in lines)
    assert not watched.stderr


@pytest.mark.slow
def test_answer_of_tokens_is_joined_late() -> None:
    with example("tokens.py") as address:
        asked = httpx.post(f"http://{address}/ask", json={"question": "why?"})
        topic = asked.json()["topic"]
        with connect(f"ws://{address}/{topic}") as client:
            heard, position = "", ""
            while True:
                delivery = json.loads(client.recv(PATIENCE_S))
                if "end" in delivery:
                    break
                heard += delivery["delta"]
                position = position or delivery["position"]
            assert heard == "You have asked: why? "
            assert delivery["end"] == "finished"
        with connect(f"ws://{address}/{topic}?since={position}") as late:
            rest = json.loads(late.recv(PATIENCE_S))
            assert "end" in rest or heard.endswith(rest["delta"])


@pytest.mark.slow
def test_upload_is_written_as_it_comes_and_told() -> None:
    content = bytes(range(256)) * 40_000
    digest = hashlib.sha256(content).hexdigest()
    with example("upload.py") as address, connect(f"ws://{address}/") as watcher:
        answer = httpx.put(f"http://{address}/files/a%20film", content=content)
        told = {"name": "a film", "size": len(content), "sha256": digest}
        assert (answer.status_code, answer.json()) == (201, told)
        assert json.loads(watcher.recv(PATIENCE_S)) == told
        client = http.client.HTTPConnection(address, timeout=PATIENCE_S)
        client.request("PUT", "/files/x", headers={"Content-Length": "200000001"})
        assert client.getresponse().status == 413  # before any of it was sent
        client.close()


def test_calls_of_rpc_run_side_by_side() -> None:
    with example("rpc.py") as address, connect(f"ws://{address}/rpc") as client:
        client.send('{"id": 1, "method": "wait", "params": [0.2]}')
        client.send('{"id": 2, "method": "add", "params": [2, 3]}')
        client.send('{"id": 3, "method": "divide"}')
        heard = [json.loads(client.recv(PATIENCE_S)) for _ in range(3)]
        assert heard == [
            {"id": 2, "result": 5},
            {"id": 3, "error": "KeyError: 'divide'"},
            {"id": 1, "result": "waited"},
        ]


@pytest.mark.slow
def test_production_believes_the_proxies_in_front_of_it() -> None:
    with example("production.py") as address:
        chain = {"X-Forwarded-For": "192.0.2.7, 10.0.0.3", "X-Forwarded-Proto": "https"}
        seen = httpx.get(f"http://{address}/whoami", headers=chain).json()
        assert seen == {"address": "192.0.2.7", "secure": True}
        assert httpx.get(f"http://{address}/health").text == "ok\n"
        with pytest.raises(InvalidStatus):
            connect(f"ws://{address}/news", origin="https://elsewhere.example")  # type: ignore[arg-type]


@pytest.mark.slow
def test_application_is_tested_as_the_example_shows() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rooms.py"]
    found = subprocess.run(
        [*command, "-c", "/dev/null", "-o", "asyncio_mode=auto"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert "1 passed" in found.stdout, found.stdout + found.stderr


def test_lobby_of_hosts_runs_without_a_broker() -> None:
    with example("hosts.py") as address, connect(f"ws://{address}/lobby") as ada:
        with connect(f"ws://{address}/lobby") as bo:
            for client in (ada, bo):
                client.send("here")
                while not str(client.recv(PATIENCE_S)).endswith(": here"):
                    pass
            ada.send("hello")
            while not str(bo.recv(PATIENCE_S)).endswith(": hello"):
                pass
        with urllib.request.urlopen(f"http://{address}/host", timeout=PATIENCE_S) as answer:
            assert set(json.loads(answer.read())) == {"host", "worker", "clients"}


@pytest.mark.slow
def test_page_of_the_cursors_is_there() -> None:
    with example("cursors.py") as address:
        answer = httpx.get(f"http://{address}/")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "new WebSocket" in answer.text


def test_json_rpc_is_spoken_by_any_client() -> None:
    with example("json_rpc.py") as address, connect(f"ws://{address}/rpc") as client:
        client.send('{"jsonrpc": "2.0", "id": "a", "method": "transfer", "params": [70]}')
        asked = json.loads(client.recv(PATIENCE_S))
        assert asked == {"jsonrpc": "2.0", "id": 1, "method": "confirm", "params": [70]}
        client.send('{"jsonrpc": "2.0", "id": 1, "result": true}')
        answer = json.loads(client.recv(PATIENCE_S))
        assert answer == {"jsonrpc": "2.0", "id": "a", "result": "transferred 70"}


@pytest.mark.slow
def test_file_is_sent_by_any_client() -> None:
    content = bytes(1_500_000)
    with example("send_file.py") as address, connect(f"ws://{address}/files") as client:
        client.send('{"name": "film"}')
        client.send([content[:1_000_000], content[1_000_000:]])  # in two frames
        assert json.loads(client.recv(PATIENCE_S))["size"] >= 2**20
        told = json.loads(client.recv(PATIENCE_S))
        assert told["sha256"] == hashlib.sha256(content).hexdigest()
