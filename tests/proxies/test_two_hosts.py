"""The configuration of docs/scaling.md: HAProxy before two hosts, which share a broker."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, find_port, started
from nats_server import NatsServer
from test_proxies import running_proxy
from valkey_server import ValkeyServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text("utf-8")
(CONFIGURATION,) = re.findall(r"```haproxy\n(.+?)```", PAGE, re.DOTALL)


@pytest.fixture(params=["valkey", "nats"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    server: Any = ValkeyServer(tmp_path) if request.param == "valkey" else NatsServer()
    yield server.start().url
    server.kill()


@contextlib.contextmanager
def serving_host(broker: str, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = ["-m", "sockwave", "serve", "examples.hosts:server", "--port", str(port)]
    command += ["--broker", broker, "--health-path", "/health", "--workers", "2"]
    with started(*command, environment={"PYTHONPATH": str(ROOT)}) as process:
        yield process


@contextlib.contextmanager
def proxied(ports: list[int], directory: Path) -> Iterator[int]:
    """Run HAProxy as the page has it, and give its port."""
    if shutil.which("haproxy") is None:
        pytest.skip("needs haproxy")
    port = find_port()
    configured = CONFIGURATION.replace("bind :8080", f"bind 127.0.0.1:{port}")
    for number, own in enumerate(ports, 1):
        assert f"10.0.0.{number}:8000" in configured
        configured = configured.replace(f"10.0.0.{number}:8000", f"127.0.0.1:{own}")
    path = directory / "haproxy.cfg"
    path.write_text(configured)
    with running_proxy(["haproxy", "-db", "-f", str(path)], port):
        yield port


def ask_host(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def wait_until(condition: Any) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < end_s
        time.sleep(0.05)


def enter(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/lobby", proxy=None)


def say_and_hear(client: ClientConnection, text: str) -> int:
    """Say something, and wait until it comes back; give the code of a close that comes instead."""
    try:
        client.send(text)
        while not str(client.recv(PATIENCE_S)).endswith(f": {text}"):
            pass
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 1006
    return 0


def test_configuration_of_two_hosts(broker: str, tmp_path: Path) -> None:
    ports = [find_port(), find_port()]
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(serving_host(broker, port)) for port in ports]
        for port in ports:
            wait_until(lambda port=port: ask_host(port, "/health")["broker"] == "up")
        port = stack.enter_context(proxied(ports, tmp_path))
        clients = [stack.enter_context(enter(port)) for _ in range(4)]
        for client in clients:  # it is subscribed as soon as it hears itself
            assert say_and_hear(client, "here") == 0
        # Two on each host: whatever is said reaches all four.
        clients[0].send("hello all")
        for client in clients:
            while not str(client.recv(PATIENCE_S)).endswith(": hello all"):
                pass
        hosts[0].send_signal(signal.SIGTERM)
        hosts[0].wait(PATIENCE_S)
        codes = [say_and_hear(client, "who is left?") for client in clients]
        assert sorted(codes) == [0, 0, 1001, 1001]
        pid = hosts[1].pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert str(ask_host(port, "/host")["worker"]) in workers
        with enter(port) as again:
            assert say_and_hear(again, "back") == 0
