"""One file as a response: whole, in part, or known already (RFC 9110, sections 8, 13 and 14)."""

import asyncio
import gc
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from http_wire import Answer, receive_answer
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire, count_descriptors, wait_until

import sockwave
from sockwave.http.dates import format_date, parse_date
from sockwave.http.files import guess_type, parse_range

DATA = bytes(range(256)) * 4
MODIFIED = 784111777  # the second that RFC 9110, 5.6.7 uses in its examples
MODIFIED_DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


def fill(path: Path, data: bytes) -> None:
    """Replace the content of the file."""
    path.write_bytes(data)


def get(*fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} / HTTP/{version}", "Host: a", *fields, "", ""]).encode()


async def serve(start_server: Any, path: Path, **arguments: Any) -> Wire:
    """Connect to a server that sends one file."""
    server = await start_server()
    server.on("request", lambda req, res: res.send_file(path, **arguments))
    return await Wire.open(server.addresses[0])


async def ask(wire: Wire, *fields: str, method: str = "GET") -> Answer:
    wire.write(get(*fields, method=method))
    return await receive_answer(wire, method=method)


async def test_file_is_sent_with_what_is_known_of_it(start_server: Any, path: Path) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire)
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-length"] == str(len(DATA))
        assert answer.headers["last-modified"] == MODIFIED_DATE
        assert answer.headers["accept-ranges"] == "bytes"


async def test_head_of_a_file_is_that_of_the_whole(start_server: Any, path: Path) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire, "Range: bytes=0-1", method="HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(DATA)))
        assert (await ask(wire)).body == DATA


async def test_empty_file_is_an_empty_body(start_server: Any, path: Path) -> None:
    fill(path, b"")
    async with await serve(start_server, path) as wire:
        answer = await ask(wire)
        assert (answer.status, answer.headers["content-length"]) == (200, "0")
        answer = await ask(wire, "Range: bytes=0-")
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("since", "status"),
    [
        (MODIFIED_DATE, 304),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("yesterday", 200),
        ("", 200),
        ("Sun, 99 Nov 99999999999999999999 08:49:37 GMT", 200),
    ],
)
async def test_file_that_is_known_is_not_sent_again(
    start_server: Any, path: Path, since: str, status: int
) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire, f"If-Modified-Since: {since}")
        assert (answer.status, answer.body) == (status, DATA if status == 200 else b"")
        assert answer.headers["last-modified"] == MODIFIED_DATE
        # A tag that we never gave matches nothing, and counts alone (RFC 9110, 13.1.3).
        answer = await ask(wire, f"If-Modified-Since: {since}", 'If-None-Match: "x"')
        assert answer.status == 200


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("Bytes = 10 - 19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=1000-99999", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-99999", 0, 1024),
        ("bytes=1023-1023", 1023, 1024),
    ],
)
async def test_one_range_is_sent_alone(
    start_server: Any, path: Path, wanted: str, start: int, end: int
) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire, f"Range: {wanted}")
        assert (answer.status, answer.body) == (206, DATA[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
async def test_range_behind_the_end_is_416(start_server: Any, path: Path, wanted: str) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire, f"Range: {wanted}")
        assert (answer.status, answer.body) == (416, b"")
        assert answer.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=" + ",".join(["0-1"] * 5000),
        "bytes=5-4",
        "bytes=-",
        "bytes=",
        "bytes",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=\xb2-\xb3",
        "bytes=" + "9" * 5000 + "-",
        "lines=0-1",
    ],
)
async def test_range_that_is_not_understood_is_ignored(
    start_server: Any, path: Path, wanted: str
) -> None:
    async with await serve(start_server, path) as wire:
        wire.write(f"GET / HTTP/1.1\r\nHost: a\r\nRange: {wanted}\r\n\r\n".encode("latin-1"))
        answer = await receive_answer(wire)
        assert (answer.status, answer.body) == (200, DATA)


async def test_range_of_another_version_of_the_file_is_ignored(
    start_server: Any, path: Path
) -> None:
    async with await serve(start_server, path) as wire:
        answer = await ask(wire, "Range: bytes=0-1", f"If-Range: {MODIFIED_DATE}")
        assert answer.status == 206
        for other in ("Sun, 06 Nov 1994 08:49:38 GMT", '"tag"'):
            answer = await ask(wire, "Range: bytes=0-1", f"If-Range: {other}")
            assert (answer.status, answer.body) == (200, DATA)


async def test_application_adds_to_the_head_of_a_file(start_server: Any, path: Path) -> None:
    headers = {"Cache-Control": "no-store", "content-type": "image/x"}
    async with await serve(start_server, path, headers=headers) as wire:
        answer = await ask(wire)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "image/x"
        assert answer.head.raw.lower().count(b"content-type") == 1


async def test_file_can_be_the_page_of_an_error(start_server: Any, path: Path) -> None:
    server = await start_server()

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(404, {"X": "y", "Connection": "close"}, "Nowhere")
        res.send_file(path)

    async with await Wire.open(server.addresses[0]) as wire:
        answer = await ask(wire, "Range: bytes=0-1", f"If-Modified-Since: {MODIFIED_DATE}")
        assert (answer.status, answer.head.reason, answer.body) == (404, "Nowhere", DATA)
        assert (answer.headers["x"], answer.headers["connection"]) == ("y", "close")
        await wire.receive_end()


async def test_large_file_is_streamed_and_the_connection_goes_on(
    start_server: Any, path: Path
) -> None:
    data = os.urandom(1 << 16) * 80
    fill(path, data)
    before = count_descriptors()
    async with await serve(start_server, path) as wire:
        for _ in range(3):
            assert (await ask(wire)).body == data
        answer = await ask(wire, "Range: bytes=100000-4999999")
        assert answer.body == data[100_000:5_000_000]
        assert (await ask(wire, method="HEAD")).headers["content-length"] == str(len(data))
        await wait_until(lambda: count_descriptors() <= before + 8, "the files to be closed")


async def test_large_file_for_http_1_0_is_framed_by_its_length(
    start_server: Any, path: Path
) -> None:
    fill(path, bytes(300_000))
    async with await serve(start_server, path) as wire:
        wire.write(get(version="1.0"))
        answer = await receive_answer(wire)
        assert answer.body == bytes(300_000)
        await wire.receive_end()


async def test_sending_a_file_can_be_awaited(start_server: Any, path: Path) -> None:
    server = await start_server()
    sent = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await res.send_file(path)
        sent.append(req.method)

    async with await Wire.open(server.addresses[0]) as wire:
        assert (await ask(wire)).body == DATA
        fill(path, bytes(1_000_000))
        assert (await ask(wire)).body == bytes(1_000_000)
        await wait_until(lambda: len(sent) == 2)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the descriptors in /proc")
async def test_file_is_closed_when_the_client_vanishes(start_server: Any, path: Path) -> None:
    fill(path, bytes(50_000_000))

    def count_open() -> int:
        links = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
        return sum(os.path.realpath(link) == str(path.resolve()) for link in links)

    wire = await serve(start_server, path)
    async with wire:
        wire.writer.transport.pause_reading()
        wire.write(get())
        await wait_until(lambda: count_open() == 1, "the file to be opened")
        wire.reset()
        await wait_until(lambda: count_open() == 0, "the file to be closed")


async def test_file_that_shrinks_while_it_is_sent_drops_the_connection(
    start_server: Any, path: Path
) -> None:
    size = 50_000_000
    fill(path, bytes(size))
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await res.send_file(path)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.writer.transport.pause_reading()
        wire.write(get())
        await asyncio.sleep(0.2)
        os.truncate(path, 1000)
        wire.writer.transport.resume_reading()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await receive_answer(wire)
    await wait_until(lambda: errors, "the error")
    assert isinstance(errors[0], OSError)


async def test_what_cannot_be_sent_raises_in_the_caller(
    start_server: Any, path: Path, tmp_path: Path
) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    wrong: list[Any] = [tmp_path / "none", tmp_path, "a\0b"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        wrong.append(tmp_path / "fifo")
        wrong.append("/dev/zero")

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        for one in wrong:
            with pytest.raises((OSError, ValueError)) as caught:
                res.send_file(one)
            errors.append(caught.value)
        with pytest.raises(ValueError, match="Content-Length"):
            res.send_file(path, {"Content-Length": "5"})
        with pytest.raises(ValueError, match="control"):
            res.send_file(path, {"A": "b\r\nc: d"})
        assert not res.headers_sent
        res.end("none of them")

    before = count_descriptors()
    async with await Wire.open(server.addresses[0]) as wire:
        assert (await ask(wire)).body == b"none of them"
        assert len(errors) == len(wrong)
        assert count_descriptors() <= before + 2


async def test_missing_file_is_a_500_when_nobody_catches_it(
    start_server: Any, tmp_path: Path
) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)
    server.on("request", lambda req, res: res.send_file(tmp_path / "none"))
    async with await Wire.open(server.addresses[0]) as wire:
        assert (await ask(wire)).status == 500
    assert isinstance(errors[0], FileNotFoundError)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.CSS", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.json", "application/json"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("README", "application/octet-stream"),
        ("/a.html/data:text", "application/octet-stream"),
    ],
)
def test_type_is_guessed_from_the_name(name: str, kind: str) -> None:
    assert guess_type(name) == kind


@given(st.text(max_size=30), st.integers(0, 1000))
def test_any_range_is_within_the_file_or_ignored(text: str, size: int) -> None:
    for wanted in (text, "bytes=" + text, "bytes=1-" + text):
        found = parse_range(wanted, size)
        if found is not None and found[0] < found[1]:
            assert 0 <= found[0] < found[1] <= size


@given(st.integers(0, 4_000_000_000))
def test_dates_survive_their_format(seconds: int) -> None:
    assert parse_date(format_date(seconds)) == seconds


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert parse_date(text) is None or parse_date(text) == parse_date(text + "")


async def test_what_is_no_path_is_not_touched(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    server = await start_server()
    other, far = socket.socketpair()
    with (tmp_path / "file").open("rb") as file, other, far:
        os.lseek(file.fileno(), 3, os.SEEK_SET)
        wrong = [file.fileno(), file, True, other, other.fileno(), None, b"file", 1.5]

        @server.on("request")
        def request(_: sockwave.Request, res: sockwave.Response) -> None:
            for path in wrong:
                with pytest.raises(TypeError, match="path: expected a path"):
                    res.send_file(path)  # type: ignore[arg-type]
            assert not res.headers_sent
            res.write_head(202)
            res.send_file(tmp_path / "file")

        wire = await Wire.open(server.addresses[0])
        wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await receive_answer(wire)
        assert (answer.status, answer.body) == (202, b"content")
        gc.collect()
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 3
        assert other.fileno() >= 0
        os.fstat(other.fileno())
        os.fstat(1)
