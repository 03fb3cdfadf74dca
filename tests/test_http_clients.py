"""A client of another make (aiohttp) speaks HTTP with the server."""

import asyncio
import gzip
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import sockwave


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One client; its connections are used again."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@pytest.fixture
async def url(start_server: Any, tmp_path: Path) -> str:
    """A server that does a little of everything."""
    server = await start_server(body_size=8 << 20)
    path = tmp_path / "page.html"
    path.write_text("<p>hello</p>" * 50_000)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        match req.path:
            case "/echo":
                res.write_head(200, {"X-Method": req.method})
                await res.end(await req.body())
            case "/stream":
                async for chunk in req:
                    await res.write(chunk)
                res.end()
            case "/query":
                res.end(",".join(f"{name}={value}" for name, value in req.params.items()))
            case "/cookies":
                res.write_head(200, {"Set-Cookie": ["a=1", "b=2"]})
                res.end(repr(sorted(req.cookies.items())))
            case "/page":
                await res.send_file(path)
            case "/ignore":
                res.write_head(403)
                res.end("not that")
            case _:
                res.write_head(404)
                res.end("nothing here")

    host, port = server.addresses[0]
    return f"http://{host}:{port}"


async def test_bodies_are_echoed(session: aiohttp.ClientSession, url: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for data in (b"", b"x", b"hello" * 100_000):
            async with session.request(method, f"{url}/echo", data=data) as answer:
                assert answer.status == 200
                assert answer.headers["X-Method"] == method
                assert await answer.read() == data


async def test_chunked_bodies_are_streamed_both_ways(
    session: aiohttp.ClientSession, url: str
) -> None:
    async def produce() -> AsyncIterator[bytes]:
        for i in range(200):
            yield b"%d," % i * 100
            await asyncio.sleep(0)

    async with session.post(f"{url}/stream", data=produce()) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert await answer.read() == b"".join(b"%d," % i * 100 for i in range(200))


async def test_query_and_cookies_arrive(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(f"{url}/query", params={"a": "x y", "b": "é&="}) as answer:
        assert await answer.text() == "a=x y,b=é&="
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as keeper:
        async with keeper.get(f"{url}/cookies") as answer:
            assert await answer.text() == "[]"
        async with keeper.get(f"{url}/cookies") as answer:
            assert await answer.text() == "[('a', '1'), ('b', '2')]"


async def test_head_has_no_body(session: aiohttp.ClientSession, url: str) -> None:
    for path in ("/page", "/none"):
        async with session.head(url + path) as answer:
            assert answer.status == (200 if path == "/page" else 404)
            assert int(answer.headers["Content-Length"]) > 0
            assert await answer.read() == b""


async def test_file_is_sent_whole_and_in_part(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(f"{url}/page") as answer:
        assert answer.content_type == "text/html"
        text = await answer.text()
        assert text == "<p>hello</p>" * 50_000
        modified = answer.headers["Last-Modified"]
    async with session.get(f"{url}/page", headers={"Range": "bytes=-11"}) as answer:
        assert answer.status == 206
        assert await answer.text() == text[-11:]
    async with session.get(f"{url}/page", headers={"If-Modified-Since": modified}) as answer:
        assert answer.status == 304


async def test_expected_continue_comes(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(f"{url}/echo", data=b"x" * 100_000, expect100=True) as answer:
        assert await answer.read() == b"x" * 100_000
    async with session.post(f"{url}/ignore", data=b"x" * 100_000, expect100=True) as answer:
        assert answer.status == 403


async def test_too_large_a_body_is_413(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(f"{url}/echo", data=io.BytesIO(bytes((8 << 20) + 1))) as answer:
        assert answer.status == 413


async def test_many_requests_at_once_are_not_mixed_up(
    session: aiohttp.ClientSession, url: str
) -> None:
    async def ask(i: int) -> bool:
        data = b"%d" % i * (i + 1)
        async with session.post(f"{url}/echo", data=data) as answer:
            return await answer.read() == data

    assert all(await asyncio.gather(*(ask(i) for i in range(300))))


async def test_websocket_and_requests_share_the_port(
    session: aiohttp.ClientSession, start_server: Any
) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("plain"))
    server.on("connection", lambda conn: conn.on("message", conn.send))
    host, port = server.addresses[0]
    async with session.ws_connect(f"http://{host}:{port}/") as socket:
        await socket.send_str("hello")
        async with session.get(f"http://{host}:{port}/") as answer:
            assert await answer.text() == "plain"
        assert (await socket.receive_str()) == "hello"


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no openat")
async def test_folder_is_redirected_to_and_its_files_are_decompressed(
    session: aiohttp.ClientSession, engine: str, tmp_path: Path
) -> None:
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b/index.html").write_text("<p>hello</p>")
    (tmp_path / "a:b/index.html.gz").write_bytes(gzip.compress(b"<p>hello</p>"))
    server = sockwave.create_server(engine=engine)
    server.static("/files", tmp_path).listen(0, "127.0.0.1")
    async with server:
        host, port = server.addresses[0]
        url = f"http://{host}:{port}/files/a:b"
        async with session.get(f"{url}?x=1") as answer:
            assert str(answer.url) == f"{url}/?x=1"
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.text() == "<p>hello</p>"
            known = {"If-None-Match": answer.headers["ETag"]}
        async with session.get(f"{url}/", headers=known) as answer:
            assert answer.status == 304
