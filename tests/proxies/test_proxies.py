"""The configurations of docs/proxies.md, in the real programs. `make docs-check` runs it.

Whose address the server sees, what comes through at once, and what does not come through.
"""

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATIENCE_S, find_port, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

PAGE = (Path(__file__).parents[2] / "docs" / "proxies.md").read_text("utf-8")
BY_HEADERS, BY_PROXY_PROTOCOL = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)

CLIENT = "127.0.0.2"  # not the proxy's own address, which is trusted

NGINX = """
include /etc/nginx/modules-enabled/*.conf;
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
{kind} {{
    {settings}
{block}
}}
"""

# Where nginx keeps what does not fit in memory: in places of root's, unless it is told.
NGINX_PATHS = "access_log off; " + " ".join(
    f"{kind}_temp_path {{directory}}/{kind};"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def find_blocks() -> Iterator[object]:
    """Give the configurations in the page, with the program that stands behind each."""
    program = ""
    for language, block in re.findall(r"```([\w-]+)\n(.+?)```", PAGE, re.DOTALL):
        if language == "python":
            program = block
        else:
            way = "headers" if program == BY_HEADERS else "proxy protocol"
            yield pytest.param(language, block, program, id=f"{language}, {way}")


def write_configuration(language: str, block: str, directory: Path) -> list[str]:
    """Write the file that a program runs with, and give its command."""
    path = directory / "proxy.conf"
    if language == "haproxy":
        path.write_text(block)
        return ["haproxy", "-db", "-f", str(path)]
    kind = "stream" if language == "nginx-stream" else "http"
    settings = NGINX_PATHS.format(directory=directory) if kind == "http" else ""
    path.write_text(NGINX.format(directory=directory, kind=kind, settings=settings, block=block))
    return ["nginx", "-c", str(path)]


@contextlib.contextmanager
def proxied(language: str, block: str, program: str, directory: Path) -> Iterator[int]:
    """Run a proxy in front of a server for the length of a block, and give the proxy's port."""
    name = language.partition("-")[0]
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    with running(program) as address:
        port = find_port()
        configured = block.replace("127.0.0.1:8000", address).replace("8080", f"127.0.0.1:{port}")
        configured = configured.replace("bind :", "bind ")
        with running_proxy(write_configuration(language, configured, directory), port):
            yield port


@contextlib.contextmanager
def running_proxy(command: list[str], port: int) -> Iterator[None]:
    """Run a proxy for the length of a block, in which it listens at a port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as proxy:
        try:
            wait_until_open(proxy, port)
            yield
        finally:
            proxy.terminate()
            proxy.wait(PATIENCE_S)


def wait_until_open(proxy: "subprocess.Popen[bytes]", port: int) -> None:
    while True:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port), PATIENCE_S),
        ):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            proxy.wait(0.05)
            assert proxy.stdout
            pytest.fail(f"the proxy has ended: {proxy.stdout.read().decode()}")


def open_client(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S, (CLIENT, 0))


def open_websocket(port: int, origin: str) -> ClientConnection:
    """Connect as a page of an origin does, which claims to be somebody else."""
    return connect(
        f"ws://127.0.0.1:{port}/",
        sock=open_client(port),
        origin=Origin(origin),
        additional_headers={"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"},
        proxy=None,
    )


def receive_until(client: socket.socket, end: bytes) -> bytes:
    """Receive until something has come."""
    received = b""
    while end not in received:
        data = client.recv(65536)
        assert data, f"expected {end!r}, given {received!r}"
        received += data
    return received


@pytest.mark.parametrize(("language", "block", "program"), list(find_blocks()))
def test_configuration_of_the_page(language: str, block: str, program: str, tmp_path: Path) -> None:
    with proxied(language, block, program, tmp_path) as port:
        with open_websocket(port, f"http://127.0.0.1:{port}") as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == f"{CLIENT}: hello"
        with pytest.raises(InvalidStatus) as refused:
            open_websocket(port, "http://elsewhere.example")
        assert refused.value.response.status_code == 403
        with open_client(port) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            receive_until(sock, f"{CLIENT}\n".encode())  # at once, before there is a body
            sock.sendall(bytes(1_000_000))
            receive_until(sock, b"1000000 B\n")
