"""Forms that pages send: the URL Standard, section 5.1, and RFC 7578."""

import sys
from typing import Any

import pytest
from asgi_apps import post
from conftest import ErrorLog, StartServer
from http_wire import Answer, receive_answer
from wire import Wire, case

import sockwave

URLENCODED = ("Content-Type", "application/x-www-form-urlencoded")
MULTIPART = ("Content-Type", "multipart/form-data; boundary=limit")


async def serve_form(start_server: StartServer, **arguments: Any) -> sockwave.Server:
    """Start a server that says what a form holds."""
    server = await start_server()

    @server.post("/")
    async def answer(request: sockwave.Request) -> Any:
        form = await request.form(**arguments)
        assert (await request.body()) is not None
        return {
            "fields": {name: form.get_all(name) for name in form},
            "files": {
                name: [[one.filename, one.content_type, one.content.decode()] for one in files]
                for name, files in form.files.items()
            },
        }

    return server


async def send(server: sockwave.Server, body: bytes, *headers: tuple[str, str]) -> Answer:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(post(body, headers=headers))
        return await receive_answer(wire)


async def fields_of(server: sockwave.Server, body: bytes, *headers: tuple[str, str]) -> Any:
    import json

    answer = await send(server, body, *headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def part(disposition: str, content: str, *lines: str) -> str:
    head = "\r\n".join((f"Content-Disposition: {disposition}", *lines))
    return f"--limit\r\n{head}\r\n\r\n{content}\r\n"


def whole(*parts: str) -> bytes:
    return ("".join(parts) + "--limit--\r\n").encode()


# ---- urlencoded


async def test_urlencoded_fields_are_decoded(start_server: StartServer) -> None:
    server = await serve_form(start_server)
    for body, fields in {
        b"": {},
        b"a=1": {"a": ["1"]},
        b"a=1&b=&c&a=2": {"a": ["1", "2"], "b": [""], "c": [""]},
        b"name=J%C3%BCrgen+M%26M": {"name": ["Jürgen M&M"]},
        "ü=ä".encode(): {"ü": ["ä"]},
        b"a=%FF": {"a": ["\ufffd"]},
        b"a%3Db=c%3Dd=e;f": {"a=b": ["c=d=e;f"]},
        b"&&a=1&": {"a": ["1"]},
    }.items():
        with case(body):
            assert (await fields_of(server, body, URLENCODED))["fields"] == fields
    typed = ("Content-Type", "Application/X-WWW-Form-Urlencoded ; charset=UTF-8")
    assert (await fields_of(server, b"a=1", typed))["fields"] == {"a": ["1"]}


async def test_form_is_a_mapping_of_last_values(start_server: StartServer) -> None:
    server = await start_server()

    @server.post("/")
    async def answer(request: sockwave.Request) -> Any:
        form = await request.form()
        assert isinstance(form, sockwave.Form)
        assert (form["a"], form.get("b"), form.get("c", "d")) == ("2", None, "d")
        assert (len(form), dict(form), form.get_all("b")) == (1, {"a": "2"}, [])
        assert form.files == {}
        return repr(form)

    found = await send(server, b"a=1&a=2", URLENCODED)
    assert found.body == b"Form({'a': ['1', '2']}, {})"


@pytest.mark.parametrize("header", [URLENCODED, MULTIPART])
async def test_number_of_fields_is_bounded(start_server: StartServer, header: Any) -> None:
    def body(count: int) -> bytes:
        if header is URLENCODED:
            return b"&".join(b"a=1" for _ in range(count))
        return whole(*[part('form-data; name="a"', "1") for _ in range(count)])

    server = await serve_form(start_server, field_count=5)
    assert len((await fields_of(server, body(5), header))["fields"]["a"]) == 5
    answer = await send(server, body(6), header)
    assert (answer.status, answer.body) == (413, b"expected a form of at most 5 fields\n")
    server = await serve_form(start_server)
    assert len((await fields_of(server, body(1000), header))["fields"]["a"]) == 1000
    assert (await send(server, body(1001), header)).status == 413


async def test_what_is_no_form_is_refused_before_it_is_read(start_server: StartServer) -> None:
    server = await serve_form(start_server)
    for headers in ((), (("Content-Type", "application/json"),), (("Content-Type", "text/plain"),)):
        answer = await send(server, b"a=1", *headers)
        assert answer.status == 415
        assert "multipart/form-data" in answer.headers["accept"]
    assert (await send(server, b"a=\xff", URLENCODED)).status == 400
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        assert (await receive_answer(wire)).status == 415


async def test_field_count_is_checked(start_server: StartServer, error_log: ErrorLog) -> None:
    for wrong, error in ((0, ValueError), ("5", TypeError), (True, TypeError)):
        server = await serve_form(start_server, field_count=wrong)
        assert (await send(server, b"a=1", URLENCODED)).status == 500
        (found,) = error_log.take()
        assert type(found) is error
        assert "field_count: expected" in str(found)


# ---- multipart


async def test_multipart_has_fields_and_files(start_server: StartServer) -> None:
    server = await serve_form(start_server)
    body = whole(
        part('form-data; name="text"', "é\r\n--limi"),
        part('form-data; name="text"', ""),
        part(
            'form-data; name="photo"; filename="../../a é.txt"', "one\n", "Content-Type: text/html"
        ),
        part('form-data; name="photo"; filename="b"', "two"),
        part('form-data; name="none"; filename=""', "", "Content-Type: application/octet-stream"),
        part('form-data; name="é"; X=1', "x", "X-Other: y"),
    )
    assert await fields_of(server, body, MULTIPART) == {
        "fields": {"text": ["é\r\n--limi", ""], "é": ["x"]},
        "files": {
            "photo": [["../../a é.txt", "text/html", "one\n"], ["b", "text/plain", "two"]],
            "none": [["", "application/octet-stream", ""]],
        },
    }


async def test_multipart_in_pieces_is_the_same(start_server: StartServer) -> None:
    server = await serve_form(start_server)
    body = whole(part('form-data; name="a"; filename="b"', "x\r\n--limitless"))
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_slowly(post(body, headers=(MULTIPART,)))
        assert b'["b","text/plain","x\\r\\n--limitless"]' in (await receive_answer(wire)).body


async def test_malformed_multipart_is_400(start_server: StartServer) -> None:
    server = await serve_form(start_server)
    good = whole(part('form-data; name="a"', "1"))
    for body, header in (
        (b"", MULTIPART),
        (b"nothing", MULTIPART),
        (good[:-4], MULTIPART),
        (good[:30], MULTIPART),
        (whole(part("form-data", "1")), MULTIPART),
        (whole(part('attachment; name="a"', "1")), MULTIPART),
        (whole("--limit\r\n\r\n1\r\n"), MULTIPART),
        (whole("--limit\r\na b: c\r\n\r\n1\r\n"), MULTIPART),
        (whole(part('form-data; name="a"', "1", f"X-Long: {'x' * 9000}")), MULTIPART),
        (good, ("Content-Type", "multipart/form-data")),
        (good, ("Content-Type", "multipart/form-data; boundary=")),
        (good, ("Content-Type", f"multipart/form-data; boundary={'b' * 71}")),
        (good, ("Content-Type", "multipart/form-data; boundary=other")),
    ):
        with case((body[:60], header)):
            answer = await send(server, body, header)
            assert answer.status == 400, answer.body
            assert answer.body.startswith(b"malformed form: ")


async def test_file_of_a_form_says_what_it_is() -> None:
    file = sockwave.UploadedFile("a.txt", "text/plain", b"abc")
    assert repr(file) == "<UploadedFile 'a.txt' of 3 bytes>"


async def test_without_python_multipart_an_error_names_the_extra(
    start_server: StartServer, error_log: ErrorLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    server = await serve_form(start_server)
    assert (await fields_of(server, b"a=1", URLENCODED))["fields"] == {"a": ["1"]}
    assert (await send(server, whole(), MULTIPART)).status == 500
    (error,) = error_log.take()
    assert isinstance(error, ImportError)
    assert "pip install sockwave[forms]" in str(error)
