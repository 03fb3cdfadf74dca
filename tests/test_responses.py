"""What a response says in one call, what a request's body says, and the end of a response."""

import asyncio
import contextvars
import json
from typing import Any

import pytest
from asgi_apps import get, post
from conftest import ErrorLog, StartServer
from http_wire import Answer, receive_answer
from wire import Wire, case, wait_until

import sockwave


async def answered_by(start_server: StartServer, use: Any, request: bytes = b"") -> Answer:
    """Give what a listener of `request` answers; it gets the response, or the request first."""
    server = await start_server()
    server.on("request", use)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(request or get())
        return await receive_answer(wire)


# ---- response.json


async def test_json_is_sent_with_its_type_and_length(start_server: StartServer) -> None:
    value = {"é": [1, 2.5, None, True], "nested": {"a": "\u2028</script>"}}

    def use(request: sockwave.Request, response: sockwave.Response) -> Any:
        return response.json(value, status=201)

    answer = await answered_by(start_server, use)
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert json.loads(answer.body) == value
    assert "é".encode() in answer.body


async def test_json_goes_behind_a_head_that_is_set(start_server: StartServer) -> None:
    def use(request: sockwave.Request, response: sockwave.Response) -> None:
        response.write_head(404, {"Content-Type": "application/problem+json", "X-One": "1"})
        with pytest.raises(RuntimeError, match="status: expected none behind write_head"):
            response.json({}, status=200)
        response.json("no")
        with pytest.raises(RuntimeError, match="before the end"):
            response.json("twice")

    answer = await answered_by(start_server, use)
    assert (answer.status, answer.body) == (404, b'"no"')
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-one"] == "1"


async def test_value_that_is_no_json_raises_and_sends_nothing(start_server: StartServer) -> None:
    loop: list[Any] = []
    loop.append(loop)

    def use(request: sockwave.Request, response: sockwave.Response) -> None:
        for value in ({1, 2}, object(), float("nan"), [float("inf")], "\ud800", loop):
            with pytest.raises((TypeError, ValueError), match="expected"):
                response.json(value)
        with pytest.raises(ValueError, match="status: expected 200 to 599"):
            response.json({}, status=101)
        response.json({"still": "here"})

    answer = await answered_by(start_server, use)
    assert (answer.status, answer.body) == (200, b'{"still":"here"}')


# ---- response.redirect


async def test_redirect_sends_the_client_on(start_server: StartServer) -> None:
    server = await start_server()
    places = {
        "/login": "/login",
        "https://example.com/a?b=c#d": "https://example.com/a?b=c#d",
        "/é ü": "/%C3%A9%20%C3%BC",
        "/a%20b": "/a%20b",
        '/\\evil"<>': "/%5Cevil%22%3C%3E",
        "?page=2": "?page=2",
    }
    server.get("/", lambda request, response: response.redirect(request.params["to"]))
    server.get(
        "/{status}",
        lambda request, response: response.redirect("/", int(request.path_params["status"])),
    )
    from urllib.parse import quote

    async with await Wire.open(server.addresses[0]) as wire:
        for place, location in places.items():
            wire.write(get(f"/?to={quote(place, safe='')}"))
            answer = await receive_answer(wire)
            assert (answer.status, answer.headers["location"]) == (303, location)
            assert answer.headers["content-length"] == "0"
        for status in (301, 302, 303, 307, 308):
            wire.write(get(f"/{status}"))
            assert (await receive_answer(wire)).status == status


async def test_redirect_to_nowhere_raises(start_server: StartServer) -> None:
    def use(request: sockwave.Request, response: sockwave.Response) -> None:
        for place in ("", "/a\r\nSet-Cookie: a=b", "/\t", "/\x00", "/\ud800"):
            with case(place), pytest.raises(ValueError, match="location: expected"):
                response.redirect(place)
        for no_place in (None, b"/", 7):
            with pytest.raises(TypeError, match="location: expected str"):
                response.redirect(no_place)  # type: ignore[arg-type]
        for status in (200, 300, 304, 400):
            with pytest.raises(ValueError, match="status: expected one of 301"):
                response.redirect("/", status)
        with pytest.raises(TypeError, match="status: expected int"):
            response.redirect("/", True)
        response.redirect("/", status=307)
        with pytest.raises(RuntimeError):
            response.redirect("/again")

    answer = await answered_by(start_server, use)
    assert (answer.status, answer.headers["location"]) == (307, "/")


# ---- request.json


async def test_json_of_a_request_is_its_value(start_server: StartServer) -> None:
    server = await start_server()

    @server.post("/")
    async def answer(request: sockwave.Request) -> Any:
        value = await request.json()
        assert await request.json() == value
        return {"given": value}

    async with await Wire.open(server.addresses[0]) as wire:
        for body, value in {
            b'{"a": [1, "\xc3\xa9"]}': {"a": [1, "é"]},
            b"null": None,
            b"\xef\xbb\xbf[]": [],
            b'"\\ud83d\\ude00"': "😀",
            b" 1e3 ": 1000.0,
        }.items():
            with case(body):
                wire.write(post(body))
                assert json.loads((await receive_answer(wire)).body) == {"given": value}


async def test_body_that_is_no_json_is_400_by_itself(start_server: StartServer) -> None:
    server = await start_server()

    @server.post("/")
    async def answer(request: sockwave.Request) -> Any:
        return {"given": await request.json()}

    for body in (
        b"",
        b"{'a': 1}",
        b"[1,\n2,,]",
        b"[1] x",
        b"NaN",
        b"[-Infinity]",
        b'"\xff"',
        b'"a\x00"',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ):
        with case(body[:20]):
            async with await Wire.open(server.addresses[0]) as wire:
                wire.write(post(body))
                found = await receive_answer(wire)
                assert found.status == 400, found.body
                assert found.body.startswith(b"malformed JSON: ")
                assert found.body.isascii()


async def test_listener_may_catch_what_is_no_json(start_server: StartServer) -> None:
    server = await start_server()

    @server.post("/value")
    async def of_value(request: sockwave.Request) -> Any:
        try:
            return await request.json()
        except ValueError:
            return 422, "by value"

    @server.post("/refused")
    async def of_refused(request: sockwave.Request) -> Any:
        try:
            return await request.json()
        except sockwave.Refused as refused:
            return 422, f"by {refused.status}"

    async with await Wire.open(server.addresses[0]) as wire:
        for path, said in (("/value", b"by value"), ("/refused", b"by 400")):
            wire.write(post(b"{", path))
            answer = await receive_answer(wire)
            assert (answer.status, answer.body) == (422, said)


# ---- response.on("close")


async def test_close_is_heard_once_at_the_end_of_the_response(start_server: StartServer) -> None:
    heard: list[str] = []

    def use(request: sockwave.Request, response: sockwave.Response) -> None:
        assert response.on("close", lambda: heard.append("one")) is response

        @response.on("close")
        async def closed() -> None:
            await asyncio.sleep(0)
            heard.append("two")

        response.write("a")
        assert not heard
        response.end("b")
        assert not heard  # in the loop's next turn
        response.on("close", lambda: heard.append("late"))

    answer = await answered_by(start_server, use)
    assert answer.body == b"ab"
    await wait_until(lambda: len(heard) == 3)
    assert heard == ["one", "late", "two"]


@pytest.mark.parametrize("begins", [False, True])
async def test_close_is_heard_when_the_client_leaves(
    start_server: StartServer, begins: bool
) -> None:
    server = await start_server()
    heard: list[str] = []
    kept: list[sockwave.Response] = []

    @server.on("request")
    def listener(request: sockwave.Request, response: sockwave.Response) -> None:
        kept.append(response)
        response.on("close", lambda: heard.append("close"))
        if begins:
            response.write("x")

    wire = await Wire.open(server.addresses[0])
    wire.write(get())
    await wait_until(lambda: kept)
    assert not heard
    wire.reset()
    await wait_until(lambda: heard == ["close"])
    kept[0].on("close", lambda: heard.append("late"))
    await wait_until(lambda: heard == ["close", "late"])
    kept[0].end()
    assert heard == ["close", "late"]


async def test_close_is_heard_when_the_listener_fails(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    heard: list[str] = []

    @server.on("request")
    async def listener(request: sockwave.Request, response: sockwave.Response) -> None:
        response.on("close", lambda: heard.append(request.path))
        if request.path == "/begun":
            response.write("x")
        if request.path != "/silent":
            raise ZeroDivisionError

    for path in ("/failed", "/begun", "/silent"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get(path))
            await wire.receive_head()
            await wait_until(lambda path=path: path in heard)
            error_log.take()
    assert heard == ["/failed", "/begun", "/silent"]


async def test_listener_of_close_that_fails_is_reported_and_costs_nothing(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    @server.on("request")
    def listener(request: sockwave.Request, response: sockwave.Response) -> None:
        response.on("close", lambda: 1 / 0)

        @response.on("close")
        async def later() -> None:
            raise KeyError

        response.end("ok")

    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(get())
            assert (await receive_answer(wire)).body == b"ok"
            await wait_until(lambda: len(error_log.records) == 2)
            assert {type(error) for error in error_log.take()} == {ZeroDivisionError, KeyError}


async def test_listener_of_close_has_the_context_of_its_request(start_server: StartServer) -> None:
    server = await start_server()
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    heard: list[str] = []

    @server.on("request")
    def listener(request: sockwave.Request, response: sockwave.Response) -> None:
        who.set(request.path)
        response.on("close", lambda: heard.append(who.get()))
        response.end()

    async with await Wire.open(server.addresses[0]) as wire:
        for path in ("/a", "/b"):
            wire.write(get(path))
            await receive_answer(wire)
    await wait_until(lambda: heard == ["/a", "/b"])


async def test_listener_that_is_none_is_refused(start_server: StartServer) -> None:
    def use(request: sockwave.Request, response: sockwave.Response) -> None:
        with pytest.raises(ValueError, match="unknown event 'closed'; did you mean 'close'"):
            response.on("closed", print)
        with pytest.raises(ValueError, match="unknown event 'finish'"):
            response.on("finish")
        with pytest.raises(TypeError, match="takes 1 arguments, but 'close' has 0"):
            response.on("close", lambda code: None)  # type: ignore[arg-type, misc]
        with pytest.raises(TypeError, match="callable"):
            response.on("close", None)  # type: ignore[call-overload]
        response.end()

    assert (await answered_by(start_server, use)).status == 200


async def test_responses_belong_to_the_loops_thread(start_server: StartServer) -> None:
    async def use(request: sockwave.Request, response: sockwave.Response) -> None:
        for call in (
            lambda: response.json({}),
            lambda: response.redirect("/"),
            lambda: response.set_cookie("a", "b"),
            lambda: response.delete_cookie("a"),
            response.event_stream,
            lambda: response.on("close", print),
        ):
            with pytest.raises(sockwave.SockwaveError, match="call_threadsafe"):
                await asyncio.to_thread(call)
        response.end("ok")

    answer = await answered_by(start_server, use)
    assert (answer.status, answer.body) == (200, b"ok")
    assert "set-cookie" not in answer.headers
