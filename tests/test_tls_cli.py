"""The commands over TLS, and SIGHUP: certificates are renewed while a server runs."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from certificates import client_context, common_name, issue, write_pem
from commands import PATIENCE_S, port_of, run, serving, stop
from websockets.asyncio.client import ClientConnection, connect


def names_of(port: int) -> list[str]:
    """Give the names in the certificate that a new connection is shown."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        client_context().wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return common_name(secure.getpeercert(binary_form=True))


async def echo(client: ClientConnection, message: str) -> None:
    """Send a message, and see it come back.

    The client is that of asyncio: the other one reads and writes in two threads, and CPython lets
    both into one connection of OpenSSL at a time, which now and then loses what is on its way.
    """
    await client.send(message)
    assert await asyncio.wait_for(client.recv(), PATIENCE_S) == message


@pytest.mark.parametrize("engine", ["auto", "asyncio"])
async def test_echo_speaks_tls_with_the_certificate_that_it_is_told(
    tmp_path: Path, engine: str
) -> None:
    cert, key = write_pem(issue("127.0.0.1"), tmp_path, "pair")
    options = ["--port", "0", "--engine", engine, "--tls-cert", cert, "--tls-key", key]
    with serving("echo", *options) as (process, url):
        assert url.startswith("wss://127.0.0.1:")
        async with connect(url, ssl=client_context()) as client:
            await echo(client, "sealed")
        assert stop(process) == (0, "")


@pytest.mark.slow
def test_chat_gives_its_page_over_https(tmp_path: Path) -> None:
    cert, key = write_pem(issue("localhost"), tmp_path, "pair")
    both = tmp_path / "both.pem"
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    with serving("chat", "--port", "0", "--tls-cert", str(both)) as (process, url):
        assert url.startswith("https://127.0.0.1:")
        with (
            socket.create_connection(("127.0.0.1", port_of(url)), PATIENCE_S) as plain,
            client_context().wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 200")
        assert stop(process) == (0, "")


def test_a_certificate_that_is_missing_is_said_in_one_line_with_status_1(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    ended = run("echo", "--port", "0", "--tls-cert", missing)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"sockwave echo: no certificate in {missing}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.slow
async def test_sighup_reads_the_certificate_again_and_keeps_the_connections(
    tmp_path: Path,
) -> None:
    cert, key = write_pem(issue("localhost", "127.0.0.1", "old.example"), tmp_path, "pair")
    with serving("echo", "--port", "0", "--tls-cert", cert, "--tls-key", key) as (process, url):
        port = port_of(url)
        async with connect(url, ssl=client_context()) as client:
            assert "old.example" in names_of(port)
            write_pem(issue("localhost", "new.example"), tmp_path, "pair")
            process.send_signal(signal.SIGHUP)
            for _ in range(100):
                if "new.example" in names_of(port):
                    break
            else:
                pytest.fail("the new certificate was never shown")
            await echo(client, "still here")
        assert stop(process) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.slow
def test_sighup_keeps_the_old_certificate_where_the_new_one_is_wrong(tmp_path: Path) -> None:
    cert, key = write_pem(issue("localhost", "old.example"), tmp_path, "pair")
    with serving("echo", "--port", "0", "--tls-cert", cert, "--tls-key", key) as (process, url):
        Path(cert).write_text("no certificate at all")
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        line = process.stderr.readline()
        assert line.startswith("the certificate was not loaded again: ")
        assert "old.example" in names_of(port_of(url))
        assert stop(process) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_server_without_tls_ends_at_sighup_as_it_always_did() -> None:
    with serving("echo", "--port", "0") as (process, _):
        assert stop(process, signal.SIGHUP)[0] == -signal.SIGHUP
