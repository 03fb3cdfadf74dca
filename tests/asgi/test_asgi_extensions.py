"""ASGI's extensions: trailers, files, early hints, debug information, and the TLS session."""

import asyncio
import logging
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import Recorder, accept, answer, get, part, start
from certificates import AUTHORITY, LOCALHOST, client_context, server_context
from conftest import ErrorLog, StartServer
from http_wire import receive_answer, receive_chunked
from websockets.asyncio.client import connect
from wire import PATIENCE_S, Wire, wait_until

import sockwave

SIZE = 3_000_000


def write_file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(i * 7 % 251 for i in range(SIZE)))
    return path


# ---- trailers


async def send_trailers(scope: Any, receive: Any, send: Any) -> None:
    await start(send, 200, (b"trailer", b"x-sum, x-count"), trailers=True)
    await part(send, b"one")
    await part(send, b"two", more_body=False)
    with pytest.raises(RuntimeError, match=r"expected http\.response\.trailers"):
        await part(send, b"more")
    for name in (b"content-length", b"Transfer-Encoding", b"Host"):
        with pytest.raises(ValueError, match="trailers: expected none"):
            await send({"type": "http.response.trailers", "headers": [(name, b"1")]})
    headers = [(b"x-sum", b"6")]
    await send({"type": "http.response.trailers", "headers": headers, "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-count", b"2")]})


async def test_trailers_leave_behind_the_last_chunk(start_server: StartServer) -> None:
    app = Recorder(send_trailers)
    server = await start_server(asgi=app)
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(get(headers=(("TE", "trailers"),)))
            head = await wire.receive_head()
            assert head.headers["trailer"] == "x-sum, x-count"
            expected = b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 6\r\nx-count: 2\r\n\r\n"
            assert await wire.receive(len(expected)) == expected
    assert not app.errors
    assert app.scopes[0]["extensions"]["http.response.trailers"] == {}


@pytest.mark.parametrize("kind", ["HEAD", "length"])
async def test_trailers_are_dropped_where_there_is_no_place_for_them(
    start_server: StartServer, kind: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"2")] if kind == "length" else []
        await start(send, 200, *length, trailers=True)
        await part(send, b"ok", more_body=False)
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")]})

    server = await start_server(asgi=app, lifespan="off")
    method = "HEAD" if kind == "HEAD" else "GET"
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(get(method=method))
            await receive_answer(wire, method=method)


# ---- early hints


async def test_early_hints_leave_before_the_response(start_server: StartServer) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "http.response.early_hint" not in scope["extensions"]:
            assert scope["http_version"] == "1.0"
        links = [b"</style.css>; rel=preload", b"</a.js>; rel=preload"]
        await send({"type": "http.response.early_hint", "links": links})
        await go_on.wait()
        await answer(send, b"ok")

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        head = await wire.receive_head()
        assert head.raw == (
            b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n"
            b"Link: </a.js>; rel=preload\r\n\r\n"
        )
        go_on.set()
        assert (await receive_answer(wire)).body == b"ok"
    # RFC 9110, 15.2: no 1xx for HTTP/1.0.
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await receive_answer(wire)).body == b"ok"


async def test_early_hint_with_a_line_break_is_refused(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ValueError, match="expected no control characters"):
            await send({"type": "http.response.early_hint", "links": [b"a\r\n\r\n"]})
        await answer(send, b"ok")

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"ok"


# ---- files


@pytest.mark.parametrize("has_length", [True, False])
async def test_file_is_sent_by_its_path(
    start_server: StartServer, tmp_path: Path, has_length: bool
) -> None:
    path = write_file(tmp_path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", str(SIZE).encode())] if has_length else []
        await start(send, 200, *length)
        await send({"type": "http.response.pathsend", "path": str(path)})

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        for method in ("GET", "HEAD", "GET"):
            wire.write(get(method=method))
            head = await wire.receive_head()
            if has_length:
                assert head.headers["content-length"] == str(SIZE)
            if method == "GET":
                reading = wire.receive(SIZE) if has_length else receive_chunked(wire)
                assert await reading == path.read_bytes()


async def test_file_that_cannot_be_sent_raises(start_server: StartServer, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for path, error in ((tmp_path / "none", FileNotFoundError), (tmp_path, OSError)):
            with pytest.raises(error):
                await send({"type": "http.response.pathsend", "path": str(path)})
        with pytest.raises(TypeError, match="path: expected str"):
            await send({"type": "http.response.pathsend", "path": tmp_path})
        with pytest.raises(TypeError, match="file: expected a file"):
            await send({"type": "http.response.zerocopysend", "file": "name"})
        with pytest.raises(ValueError, match="count: expected 0 or more"):
            await send({"type": "http.response.zerocopysend", "file": 0, "count": -1})
        await part(send, b"ok", more_body=False)

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"ok"


async def test_parts_of_files_are_sent_by_their_descriptor(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = write_file(tmp_path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        with path.open("rb") as file:
            message = {"type": "http.response.zerocopysend", "file": file, "more_body": True}
            await send(message | {"offset": 10, "count": 5})
            await send(message | {"count": 5})
            await part(send, b"|")
            await send(message | {"offset": SIZE - 5, "file": file.fileno(), "more_body": False})

    server = await start_server(asgi=app, lifespan="off")
    content = path.read_bytes()
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(get())
            assert (await receive_answer(wire)).body == content[10:20] + b"|" + content[-5:]


async def test_whole_file_is_sent_by_its_descriptor_as_the_client_takes_it(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = write_file(tmp_path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, (b"content-length", str(SIZE).encode()))
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file})

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == path.read_bytes()


# ---- debug information


async def test_debug_information_is_taken_where_the_loop_is_debugged(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sockwave")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "http.response.debug" in scope["extensions"]:
            await send({"type": "http.response.debug", "info": {"template": "a.html"}})
        await answer(send, b"ok")

    server = await start_server(asgi=app, lifespan="off")
    loop = asyncio.get_running_loop()
    async with await Wire.open(server.addresses[0]) as wire:
        for debugged in (False, True):
            loop.set_debug(debugged)
            wire.write(get())
            assert (await receive_answer(wire)).body == b"ok"
            said = [one for one in caplog.records if "a.html" in one.getMessage()]
            assert len(said) == debugged
        loop.set_debug(False)


# ---- TLS


def pem_of(certificate: Any) -> list[str]:
    """Give a certificate, and those behind it by which it is verified."""
    return [one.bytes().decode() for one in certificate.cert_chain_pems]


async def ask_over_tls(server: sockwave.Server, context: ssl.SSLContext) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(
            *server.addresses[0], ssl=context, server_hostname="localhost"
        )
        writer.write(get())
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("data_path", ["direct", "portable"])
async def test_scope_tells_of_the_tls_session(
    engine: str, error_log: ErrorLog, monkeypatch: pytest.MonkeyPatch, data_path: str
) -> None:
    monkeypatch.setenv("SOCKWAVE_TLS", data_path)
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send, b"ok")
        else:
            await accept(receive, send)
        seen.append(scope)

    server = sockwave.create_server(engine=engine, asgi=app, lifespan="off")
    context = server_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=AUTHORITY.cert_pem.bytes().decode())
    server.listen(0, "127.0.0.1", ssl=context)
    certificate = AUTHORITY.create_child_ca().issue_cert("client.example")
    client = client_context()
    certificate.configure_cert(client)
    async with server:
        await ask_over_tls(server, client_context(newest=ssl.TLSVersion.TLSv1_2))
        await ask_over_tls(server, client)
        async with connect(f"wss://localhost:{server.addresses[0][1]}", ssl=client):
            pass
        await wait_until(lambda: len(seen) == 3)
    assert [scope["scheme"] for scope in seen] == ["https", "https", "wss"]
    old, new, opened = (scope["extensions"]["tls"] for scope in seen)
    assert (old["tls_version"], new["tls_version"]) == (0x0303, 0x0304)
    assert new["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    assert old["cipher_suite"] >> 8 == 0xC0
    assert old["client_cert_name"] is None
    assert old["client_cert_chain"] == []
    assert "O=trustme" in new["client_cert_name"]
    # The authority's own certificate has verified the client's, but was not sent. Only from Python
    # 3.13 on the ssl module tells of more than the client's own.
    sent = pem_of(certificate)[: None if sys.version_info >= (3, 13) else 1]
    for one in (new, opened):
        assert one["client_cert_chain"] == sent
    for one in (old, new, opened):
        assert one["server_cert"] == (pem_of(LOCALHOST)[0] if data_path == "direct" else None)
        assert one["client_cert_error"] is None
