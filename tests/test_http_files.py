"""One file as a response: whole, in part, or known already (RFC 9110, sections 8, 13 and 14)."""

import asyncio
import gc
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from http_wire import Answer, receive_answer
from hypothesis import given
from hypothesis import strategies as st
from users import as_nobody
from wire import Wire, count_descriptors, wait_until

import sockwave
from sockwave.http.conditional import Validators, evaluate
from sockwave.http.dates import format_date, parse_date
from sockwave.http.files import guess_type
from sockwave.http.ranges import parse_range

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


def tag_of(path: Path) -> str:
    """Give the entity tag of a file: its size, and the nanoseconds of its time."""
    found = path.stat()
    return f'"{found.st_size:x}-{found.st_mtime_ns:x}"'


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
        assert answer.headers["etag"] == tag_of(path)
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
        # What was put in the place of a newer file has an older date, and is another file.
        ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
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
        "bytes=0-1\r\nRange: bytes=0-1",
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
        for same in (MODIFIED_DATE, tag_of(path)):
            answer = await ask(wire, "Range: bytes=0-1", f"If-Range: {same}")
            assert (answer.status, answer.body) == (206, DATA[:2])
        answer = await ask(wire, "Range: bytes=0-1", f"If-Range: {same}", f"If-Range: {same}")
        assert answer.status == 200
        for other in ("Sun, 06 Nov 1994 08:49:38 GMT", '"tag"', f"W/{tag_of(path)}"):
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


async def test_missing_file_is_a_404_when_nothing_catches_it(
    start_server: Any, path: Path, tmp_path: Path
) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)
    missing = ["none", "none/at/all", f"{path.name}/below", "", "a\0b", "n" * 300]

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.send_file(f"{tmp_path}/{missing[int(req.query)]}")

    for number in range(len(missing)):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(f"GET /?{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = await receive_answer(wire)
            assert (answer.status, answer.body) == (404, b"there is no such file\n")
    assert not errors


async def test_application_can_answer_for_a_missing_file(
    start_server: Any, path: Path, tmp_path: Path
) -> None:
    server = await start_server()
    errors: list[BaseException] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        try:
            res.send_file(tmp_path / "none", {"X": "y"})
        except FileNotFoundError as error:
            errors.append(error)
            res.send_file(path)

    async with await Wire.open(server.addresses[0]) as wire:
        answer = await ask(wire)
        assert (answer.status, answer.body) == (200, DATA)
        assert "x" not in answer.headers
    assert str(errors[0]) == f"[Errno 2] No such file or directory: '{tmp_path / 'none'}'"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
async def test_file_that_may_not_be_read_is_a_500(start_server: Any, path: Path) -> None:
    os.chmod(path, 0)
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)
    server.on("request", lambda req, res: res.send_file(path))
    with as_nobody():
        async with await Wire.open(server.addresses[0]) as wire:
            assert (await ask(wire)).status == 500
    assert isinstance(errors[0], PermissionError)


async def test_older_file_in_the_place_of_a_newer_one_is_sent(
    start_server: Any, path: Path
) -> None:
    async with await serve(start_server, path) as wire:
        newer = await ask(wire)
        fill(path, DATA[::-1])
        os.utime(path, (MODIFIED - 86_400, MODIFIED - 86_400))
        for condition in (
            f"If-Modified-Since: {newer.headers['last-modified']}",
            f"If-None-Match: {newer.headers['etag']}",
        ):
            answer = await ask(wire, condition)
            assert (answer.status, answer.body) == (200, DATA[::-1])


async def test_nanosecond_makes_another_tag(start_server: Any, path: Path) -> None:
    second = MODIFIED * 10**9
    async with await serve(start_server, path) as wire:
        before = await ask(wire)
        os.utime(path, ns=(second, second + 1))
        answer = await ask(wire, f"If-None-Match: {before.headers['etag']}")
        assert answer.status == 200
        assert answer.headers["last-modified"] == before.headers["last-modified"]


async def test_time_that_says_nothing_makes_no_validator(start_server: Any, path: Path) -> None:
    # Reproducible builds give each version of a file the same time.
    async with await serve(start_server, path) as wire:
        for seconds in (0, 1):
            os.utime(path, (seconds, seconds))
            answer = await ask(wire, f"If-Modified-Since: {format_date(seconds)}")
            assert (answer.status, answer.body) == (200, DATA)
            assert not {"etag", "last-modified"} & answer.headers.keys()
            assert (await ask(wire, f"If-None-Match: {tag_of(path)}")).status == 200
            answer = await ask(wire, "Range: bytes=0-1", f"If-Range: {format_date(seconds)}")
            assert answer.status == 200
        os.utime(path, (2, 2))
        assert (await ask(wire)).headers["etag"] == tag_of(path)


async def test_date_in_the_future_is_not_told(start_server: Any, path: Path) -> None:
    future = 10**11
    os.utime(path, (future, future))
    async with await serve(start_server, path) as wire:
        answer = await ask(wire)
        told = parse_date(answer.headers["last-modified"])
        sent = parse_date(answer.headers["date"])
        assert told is not None
        assert sent is not None
        assert told <= sent
        assert (await ask(wire, f"If-None-Match: {answer.headers['etag']}")).status == 304


@pytest.mark.slow
async def test_no_second_is_told_before_it_has_come(start_server: Any, path: Path) -> None:
    """One clock says what is now: there are two, and one of them is some milliseconds behind."""
    os.utime(path, (10**11, 10**11))
    async with await serve(start_server, path) as wire:
        second = int(time.time()) + 1
        await asyncio.sleep(second - 0.001 - time.time())
        sent = 0.0
        while sent < second:
            headers = (await ask(wire)).headers
            told, sent = (parse_date(headers[name]) or 0.0 for name in ("last-modified", "date"))
            assert second - 1 <= told <= sent


# Fields, where {tag} is the file's and {date} its own, and the status: RFC 9110, 13.2.2.
CONDITIONS = {
    "If-None-Match: {tag}": 304,
    "If-None-Match: W/{tag}": 304,
    'If-None-Match: "a,b" , ,{tag},"c"': 304,
    'If-None-Match: "a"\r\nIf-None-Match: {tag}': 304,
    "If-None-Match: *": 304,
    'If-None-Match: "a", *': 200,
    'If-None-Match: "a"': 200,
    'If-None-Match: W/"a", "b"': 200,
    "If-None-Match: ": 200,
    "If-None-Match: {bare}": 200,
    'If-None-Match: "{bare}': 200,
    "If-None-Match: w/{tag}": 200,
    'If-None-Match: "a" {tag}': 200,
    'If-None-Match: "a"\r\nIf-Modified-Since: {date}': 200,
    "If-Modified-Since: {date}\r\nIf-Modified-Since: {date}": 200,
    "If-Match: {tag}": 200,
    'If-Match: "a", {tag}': 200,
    "If-Match: *": 200,
    "If-Match: W/{tag}": 412,
    'If-Match: "a"': 412,
    "If-Match: ": 412,
    "If-Match: {tag}\r\nIf-None-Match: {tag}": 304,
    'If-Match: "a"\r\nIf-None-Match: {tag}': 412,
    'If-Match: "a"\r\nRange: bytes=0-1': 412,
    "If-Match: {tag}\r\nRange: bytes=0-1": 206,
    "If-Match: {tag}\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT": 200,
    "If-Unmodified-Since: {date}": 200,
    "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:38 GMT": 200,
    "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT": 412,
    "If-Unmodified-Since: yesterday": 200,
    "If-None-Match: {tag}\r\nRange: bytes=0-1": 304,
    'If-None-Match: "a"\r\nRange: bytes=0-1': 206,
    "If-Range: {tag}": 200,
}


async def test_conditions_are_those_of_the_rfc(start_server: Any, path: Path) -> None:
    tag = tag_of(path)
    filled = {
        fields.format(tag=tag, bare=tag.strip('"'), date=MODIFIED_DATE): status
        for fields, status in CONDITIONS.items()
    }
    bodies = {200: DATA, 206: DATA[:2], 304: b"", 412: b""}
    async with await serve(start_server, path, headers={"Cache-Control": "no-cache"}) as wire:
        for fields, status in filled.items():
            answer = await ask(wire, fields)
            assert (answer.status, answer.body) == (status, bodies[status]), fields
            if status == 304:
                assert answer.headers["etag"] == tag
                assert answer.headers["cache-control"] == "no-cache"
                assert "content-type" not in answer.headers
            expected = status if status != 206 else 200
            answer = await ask(wire, fields, method="HEAD")
            assert answer.status == expected, fields
            # They are about GET and HEAD alone.
            answer = await ask(wire, fields, "Content-Length: 0", method="POST")
            assert (answer.status, answer.body) == (200, DATA), fields
            assert "etag" not in answer.headers


@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40))
def test_any_list_of_tags_has_ours_or_not(text: str) -> None:
    text = text.replace("\r", "").replace("\n", "")
    validators = Validators('"a"', None)
    headers = sockwave.Headers([("If-None-Match", text)])
    assert evaluate(headers, validators) in (200, 304)
    headers = sockwave.Headers([("If-None-Match", f'"a", {text}')])
    assert evaluate(headers, validators) == 304


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
