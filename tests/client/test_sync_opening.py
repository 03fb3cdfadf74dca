"""`sockwave.sync.connect`: how connections come about, and why not."""

import asyncio
import contextlib
import importlib.util
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from certificates import client_context, server_context
from conftest import StartServer, echo
from raw_servers import RawPeer, answer, raw_server
from test_client_proxies import Proxy
from test_connect_peers import aiohttp_server, websockets_server
from threads import aside, count_threads, uri_of
from wire import PATIENCE_S, count_descriptors, wait_until

import sockwave
from sockwave.sync import connect
from sockwave.sync.loops import find_loop


def talk(uri: str, **options: Any) -> None:
    with connect(uri, **options) as conn:
        for message in ("hello", "x" * 300_000, b"bytes"):
            conn.send(message)
            assert conn.recv(timeout=PATIENCE_S) == message
    assert conn.close_code == 1000


async def test_options_are_checked_before_anything_is_sent() -> None:
    for error, uri, options in (
        (ValueError, "http://a", {}),
        (TypeError, "ws://a", {"colour": "red"}),
        (TypeError, "ws://a", {"backoff": 5}),
        (TypeError, "ws://a", {"proxy": 1}),
        (ValueError, "ws://a", {"ssl": ssl.create_default_context()}),
        (TypeError, "ws://a", {"path": "a", "sock": socket.socket()}),
    ):
        with pytest.raises(error):
            connect(uri, **options)
        with contextlib.suppress(KeyError, AttributeError):
            options["sock"].close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", [websockets_server, aiohttp_server])
async def test_servers_of_others(engine: str, server: Any) -> None:
    async with server() as uri:
        await aside(talk_with_peer, uri, engine)


def talk_with_peer(uri: str, engine: str) -> None:
    talk(uri, engine=engine, subprotocol=["a", "b"])
    talk(uri, engine=engine, subprotocol="b", compression=True)
    with connect(uri, engine=engine) as conn:
        assert conn.ping(b"now") > 0
        conn.send("close")
        with pytest.raises(sockwave.ConnectionClosed):
            conn.recv()
    assert (conn.close_code, conn.close_reason) == (4001, "as you wish")
    with pytest.raises(sockwave.HandshakeRefused) as caught:
        connect(f"{uri}/refused", engine=engine).open()
    assert (caught.value.status, caught.value.body) == (403, b"not here\n")


@pytest.mark.parametrize("tls", ["direct", "portable"])
async def test_tls(engine: str, tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKWAVE_TLS", tls)
    server = sockwave.create_server(engine=engine)
    echo(server)
    async with server.listen(0, "127.0.0.1", ssl=server_context()):
        uri = f"wss://localhost:{server.addresses[0][1]}/"

        def by_name() -> None:
            talk(uri, engine=engine, ssl=client_context())
            with connect(uri, engine=engine, ssl=client_context()) as conn:
                assert conn.is_secure
                assert conn.tls is not None
            with pytest.raises(ssl.SSLError):
                connect(uri, engine=engine).open()

        await aside(by_name)


async def test_versions_of_the_protocol(echo_server: sockwave.Server, engine: str) -> None:
    def by_version() -> None:
        for version in ("draft75", "draft76", "hybi-07", "hybi-08"):
            with connect(uri_of(echo_server), engine=engine, version=version) as conn:
                assert conn.version == version
                conn.send("old")
                assert conn.recv(timeout=PATIENCE_S) == "old"

    await aside(by_version)


async def test_unix_socket_and_a_given_socket(engine: str, tmp_path: Path) -> None:
    server = sockwave.create_server(engine=engine)
    echo(server)
    place = str(tmp_path / "socket")
    async with server.listen(path=place):
        await aside(lambda: talk("ws://localhost/", engine=engine, path=place))
        given = socket.socket(socket.AF_UNIX)
        given.connect(place)
        await aside(lambda: talk("ws://localhost/", engine=engine, sock=given))
    with pytest.raises(OSError, match="socket"):
        connect("ws://localhost/", engine=engine, path=str(tmp_path / "none")).open()


async def test_names_are_resolved_and_addresses_tried(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    echo(server)
    async with server.listen(0, "127.0.0.1"):
        port = server.addresses[0][1]
        await aside(lambda: talk(f"ws://localhost:{port}/", engine=engine))  # ::1 may come first
    with pytest.raises(OSError, match="refused"):
        connect(f"ws://localhost:{port}/", engine=engine).open()
    with pytest.raises(socket.gaierror):
        connect("ws://name.invalid/", engine=engine, proxy=False).open()


def test_error_of_the_resolver_that_is_no_os_error_is_raised(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UnicodeError("a name that it cannot encode")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UnicodeError, match="cannot encode"):
        connect("ws://name.invalid/", engine=engine, proxy=False).open()


async def test_redirects_are_followed(echo_server: sockwave.Server, engine: str) -> None:
    async def answering(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("302 Found", {"Location": uri_of(echo_server), "Content-Length": "0"}))

    async with raw_server(answering) as uri:
        await aside(lambda: talk(uri, engine=engine))


def test_option_that_others_have_is_explained() -> None:
    with pytest.raises(TypeError, match="did you mean 'open_timeout'"):
        connect("ws://127.0.0.1:1", timeout=3)


async def test_open_timeout_bounds_all_of_it(engine: str) -> None:
    async def silent(peer: RawPeer) -> None:
        await peer.receive_head()
        await peer.receive_end()

    async def slow(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("503 Service Unavailable", {"Content-Length": "9"}, b"soon"))
        await peer.receive_end()

    def refused(uri: str) -> None:
        with pytest.raises(sockwave.HandshakeRefused) as caught:
            connect(uri, engine=engine, open_timeout=0.1).open()
        assert (caught.value.status, caught.value.body) == (503, b"soon")

    def late(uri: str) -> None:
        with pytest.raises(TimeoutError, match="open_timeout"):
            connect(uri, engine=engine, open_timeout=0.05).open()

    async with raw_server(silent) as uri:
        await aside(late, uri)
    async with raw_server(slow) as uri:
        await aside(refused, uri)


async def test_what_is_no_answer(engine: str) -> None:
    async def answering(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tea\r\n\r\n")

    def wrong(uri: str) -> None:
        with pytest.raises(sockwave.HandshakeError, match="Upgrade"):
            connect(uri, engine=engine).open()

    async with raw_server(answering) as uri:
        await aside(wrong, uri)


async def test_http_proxy(echo_server: sockwave.Server, engine: str) -> None:
    async with Proxy().serve() as proxy:
        await aside(lambda: talk(uri_of(echo_server), engine=engine, proxy=proxy.url))
    assert proxy.heads[0].startswith(b"CONNECT ")

    def refused(url: str) -> None:
        with pytest.raises(sockwave.HandshakeRefused, match="the proxy"):
            connect(uri_of(echo_server), engine=engine, proxy=url).open()

    async with Proxy(b"HTTP/1.1 407 No\r\n\r\n").serve() as proxy:
        await aside(refused, proxy.url)


async def test_proxy_that_speaks_tls(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server, Proxy().serve("https") as proxy:
        options: dict[str, Any] = {"engine": engine, "proxy": proxy.url, "ssl": client_context()}
        uri = f"wss://localhost:{server.addresses[0][1]}/"
        await aside(lambda: talk(uri, proxy_ssl=client_context(), **options))

        def distrustful() -> None:
            with pytest.raises(ssl.SSLError):
                connect(uri, **options).open()

        await aside(distrustful)


@pytest.mark.skipif(
    importlib.util.find_spec("python_socks") is None, reason="python-socks is not installed"
)
async def test_socks_proxy(echo_server: sockwave.Server, engine: str) -> None:
    async with Proxy().serve("socks5") as proxy:
        await aside(lambda: talk(uri_of(echo_server), engine=engine, proxy=proxy.url))
    assert len(proxy.names) == 1


async def test_connections_leave_no_descriptors_and_no_threads(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    echo(server)

    def open_many(count: int) -> None:
        for number in range(count):
            with connect(uri_of(server), engine=engine) as conn:
                if number % 10 == 0:
                    conn.send("hello")
                    assert conn.recv(timeout=PATIENCE_S) == "hello"

    await aside(open_many, 2)
    await wait_until(lambda: not server.connections)
    before, threads = count_descriptors(), count_threads()
    await aside(open_many, 200)
    await wait_until(lambda: not server.connections)
    await wait_until(lambda: count_descriptors() <= before)
    assert count_threads() == threads


async def test_no_connection_is_opened_where_the_thread_must_not_wait(
    echo_server: sockwave.Server, engine: str
) -> None:
    errors: list[str] = []
    told = threading.Event()

    class Ending:
        def abort(self) -> None:
            # In the thread that all connections share, as handlers of logs may be.
            for kind in {engine, "asyncio"}:
                try:
                    connect(uri_of(echo_server), engine=kind).open()
                except sockwave.SockwaveError as error:
                    errors.append(str(error))
            told.set()

    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine):
            find_loop(engine).end_later(Ending())  # type: ignore[arg-type]
            assert told.wait(PATIENCE_S)

    await aside(talk)
    assert errors
    assert all("may wait" in error for error in errors)


async def test_many_connections_at_once(echo_server: sockwave.Server, engine: str) -> None:
    def open_all() -> None:
        with contextlib.ExitStack() as stack:
            every = [
                stack.enter_context(connect(uri_of(echo_server), engine=engine)) for _ in range(50)
            ]
            for number, conn in enumerate(every):
                conn.send(str(number))
            assert [conn.recv(timeout=PATIENCE_S) for conn in every] == [*map(str, range(50))]

    await aside(open_all)


async def test_inside_a_running_loop_it_blocks_and_works(engine: str) -> None:
    with started_server() as uri:
        talk(uri, engine=engine)  # in this thread, whose loop runs
        await asyncio.sleep(0)


@contextlib.contextmanager
def started_server() -> Any:
    """Serve in a thread with a loop of its own."""
    server = sockwave.create_server()
    echo(server)
    listening = threading.Event()
    server.on("listening", listening.set)
    server.listen(0, "127.0.0.1")
    thread = threading.Thread(target=lambda: asyncio.run(server.serve_forever()))
    thread.start()
    listening.wait(PATIENCE_S)
    try:
        yield uri_of(server)
    finally:
        server.call_threadsafe(server.close)
        thread.join(PATIENCE_S)
