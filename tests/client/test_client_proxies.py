"""Proxies between a client and its server: HTTP CONNECT, and SOCKS5."""

import asyncio
import contextlib
import importlib.util
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from certificates import client_context, server_context
from conftest import echo
from wire import PATIENCE_S, case, count_descriptors, wait_until

import sockwave
from sockwave.client.proxies import find_proxy
from sockwave.client.uri import parse_uri


class Proxy:
    """A proxy that speaks CONNECT, or SOCKS5 without authentication."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.names: list[tuple[int, bytes, int]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.url = ""

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        writer.write(self.answer)
        host, _, port = head.split(b" ")[1].rpartition(b":")
        if b" 200 " in self.answer:
            # Names that are nobody's are this host's.
            here = b"127.0.0.1" if host.endswith(b".example") else host.strip(b"[]")
            await self.relay(reader, writer, here.decode(), int(port))

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        size = (await reader.readexactly(1))[0] if kind == 3 else 4
        name = await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.names.append((kind, name, port))
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        await self.relay(reader, writer, "127.0.0.1", port)

    async def relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        other, to_other = await asyncio.open_connection(host, port)
        await asyncio.wait(
            [
                asyncio.ensure_future(pump(reader, to_other)),
                asyncio.ensure_future(pump(other, writer)),
            ]
        )
        to_other.close()

    @contextlib.asynccontextmanager
    async def serve(self, kind: str = "http") -> AsyncIterator["Proxy"]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.add(task)
            try:
                await (self.socks if kind == "socks5" else self.connect)(reader, writer)
            finally:
                writer.close()
                self.tasks.discard(task)

        context = server_context() if kind == "https" else None
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        name = "localhost" if kind == "https" else "127.0.0.1"
        self.url = f"{kind}://{name}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=PATIENCE_S)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until there are no more."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()  # TLS has no half of a connection


@pytest.fixture
async def server(engine: str) -> AsyncIterator[sockwave.Server]:
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, "127.0.0.1")
    async with server:
        yield server


def port_of(server: sockwave.Server) -> int:
    return int(server.addresses[0][1])


async def assert_echo(connector: Any) -> None:
    async with connector as conn:
        for message in ("by proxy", "x" * 100_000):
            conn.send(message)
            assert await conn.receive() == message


async def test_http_proxy(server: sockwave.Server, engine: str) -> None:
    port = port_of(server)
    async with Proxy().serve() as proxy:
        uri = f"ws://localhost:{port}/"
        await assert_echo(sockwave.connect(uri, engine=engine, proxy=proxy.url))
        await assert_echo(
            sockwave.connect(
                uri, engine=engine, proxy=proxy.url.replace("://", "://na%3Ame:p%40w@")
            )
        )
    target = f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n".encode()
    assert proxy.heads == [
        target + b"\r\n",
        target + b"Proxy-Authorization: Basic bmE6bWU6cEB3\r\n\r\n",
    ]


async def test_tls_goes_through_the_tunnel(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server, Proxy().serve() as proxy:
        uri = f"wss://localhost:{port_of(server)}/"
        await assert_echo(
            sockwave.connect(uri, engine=engine, ssl=client_context(), proxy=proxy.url)
        )


WRONG_ANSWERS = {
    b"": "expected an answer to CONNECT",
    b"SSH-2.0\r\n\r\n": "expected an answer to CONNECT",
    b"HTTP/1.1 200 OK\r\n\r\nearly": "expected nothing behind its answer",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000: "expected an answer to CONNECT",
}


async def test_proxy_that_speaks_tls(server: sockwave.Server, engine: str) -> None:
    before = count_descriptors()
    async with Proxy().serve("https") as proxy:
        uri = f"ws://127.0.0.1:{port_of(server)}/"
        options: dict[str, Any] = {"engine": engine, "proxy": proxy.url}
        await assert_echo(sockwave.connect(uri, proxy_ssl=client_context(), **options))
        with pytest.raises(ssl.SSLError):  # its authority is not the system's
            await sockwave.connect(uri, **options)
    async with Proxy(b"HTTP/1.1 407 No\r\n\r\n").serve("https") as proxy:
        with pytest.raises(sockwave.HandshakeRefused) as caught:
            await sockwave.connect(uri, engine=engine, proxy=proxy.url, proxy_ssl=client_context())
    assert caught.value.status == 407
    await wait_until(lambda: count_descriptors() <= before)


async def test_tls_in_tls(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with server, Proxy().serve("https") as proxy:
        connector = sockwave.connect(
            f"wss://localhost:{port_of(server)}/",
            engine=engine,
            ssl=client_context(),
            proxy=proxy.url,
            proxy_ssl=client_context(),
        )
        await assert_echo(connector)


async def test_wrong_answers_of_a_proxy(engine: str) -> None:
    for raw, sentence in WRONG_ANSWERS.items():
        proxy = Proxy(raw)

        async def connect(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes = raw
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)

        proxy.connect = connect  # type: ignore[method-assign]
        with case(raw[:30]):
            async with proxy.serve():
                with pytest.raises((sockwave.HandshakeError, ConnectionError), match=sentence):
                    await sockwave.connect("ws://localhost:1", engine=engine, proxy=proxy.url)


async def test_proxy_that_refuses(engine: str) -> None:
    raw = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
    async with Proxy(raw).serve() as proxy:
        with pytest.raises(sockwave.HandshakeRefused, match=r"^the proxy refuses") as caught:
            await sockwave.connect("ws://localhost:1", engine=engine, proxy=proxy.url)
    assert caught.value.status == 407
    assert caught.value.headers["proxy-authenticate"] == "Basic"


async def test_environment_names_the_proxy(
    server: sockwave.Server, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = port_of(server)
    async with Proxy().serve() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await assert_echo(sockwave.connect(f"ws://sockwave.example:{port}/", engine=engine))
        assert len(proxy.heads) == 1
        for host in ("localhost", "127.0.0.1"):
            await assert_echo(sockwave.connect(f"ws://{host}:{port}/", engine=engine))
        assert len(proxy.heads) == 1
        await assert_echo(sockwave.connect(f"ws://127.0.0.1:{port}/", proxy=proxy.url))
        assert len(proxy.heads) == 2


def test_which_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    plain, secure = parse_uri("ws://a.example.com"), parse_uri("wss://a.example.com")
    assert find_proxy(True, plain) is None
    monkeypatch.setenv("all_proxy", "socks5://all:1")
    assert find_proxy(True, plain) == find_proxy(True, secure) == "socks5://all:1"
    monkeypatch.setenv("https_proxy", "http://secure:1")
    assert (find_proxy(True, plain), find_proxy(True, secure)) == (
        "socks5://all:1",
        "http://secure:1",
    )
    monkeypatch.setenv("no_proxy", ".example.com")
    assert find_proxy(True, plain) is None
    assert find_proxy(True, parse_uri("wss://example.org")) == "http://secure:1"
    for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "[::1]"):
        assert find_proxy(True, parse_uri(f"wss://{host}")) is None
        assert find_proxy("http://mine:1", parse_uri(f"wss://{host}")) == "http://mine:1"
    for host in ("localhost.example", "128.0.0.1", "[::2]"):
        assert find_proxy(True, parse_uri(f"wss://{host}")) == "http://secure:1"
    assert find_proxy("http://mine:1", plain) == "http://mine:1"
    assert find_proxy(False, parse_uri("ws://example.org")) is None


def test_option_is_checked() -> None:
    for proxy, kind, sentence in (
        (3, TypeError, "proxy: expected str or bool, given int"),
        ("ftp://a", ValueError, "proxy: expected http://HOST:PORT, https://HOST:PORT"),
        ("http://", ValueError, "proxy: expected http://"),
        ("http://user:secret@a:99999", ValueError, "."),
    ):
        with case(proxy), pytest.raises(kind, match=sentence) as caught:
            sockwave.connect("ws://a", proxy=proxy)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)


has_socks = importlib.util.find_spec("python_socks") is not None


@pytest.mark.skipif(not has_socks, reason="python-socks is not installed")
async def test_socks_proxy(server: sockwave.Server, engine: str) -> None:
    port = port_of(server)
    async with Proxy().serve("socks5") as proxy:
        uri = f"ws://localhost:{port}/"
        await assert_echo(sockwave.connect(uri, engine=engine, proxy=proxy.url))
        by_name = proxy.url.replace("socks5", "socks5h")
        await assert_echo(sockwave.connect(uri, engine=engine, proxy=by_name))
    assert [(kind, at) for kind, _, at in proxy.names] == [(1, port), (3, port)]
    assert proxy.names[1][1] == b"localhost"


async def test_package_that_is_missing_is_named(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(sockwave.SockwaveError, match=r"pip install 'sockwave\[proxy\]'"):
        await sockwave.connect("ws://a", engine=engine, proxy="socks5://127.0.0.1:1")


def test_context_is_checked() -> None:
    with pytest.raises(TypeError, match=r"proxy_ssl: expected .* or None, given bool"):
        sockwave.connect("ws://a", proxy_ssl=True)  # type: ignore[arg-type]
