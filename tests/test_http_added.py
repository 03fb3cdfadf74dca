"""What the server adds to its answers, and logs of them: `response_headers`, `access_log`, …"""

import logging
from typing import Any

import pytest
from conftest import StartServer
from http_wire import Answer, receive_answer
from wire import Wire, build_request, upgrade_headers

import sockwave

GET = b"GET /a?b=%22 HTTP/1.1\r\nHost: a\r\n\r\n"


async def ask(server: sockwave.Server, raw: bytes = GET) -> Answer:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(raw)
        return await receive_answer(wire)


def answer(request: sockwave.Request, response: sockwave.Response) -> None:
    response.end("hello")


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": [(b"server", b"its own")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_headers_of_the_option_are_in_each_answer(start_server: StartServer) -> None:
    added = [("X-Frame-Options", "DENY"), ("Server", "mine")]
    server = await start_server(response_headers=added, server_header=True)
    server.on("request", answer)
    for raw, status in ((GET, 200), (b"GET / HTTP/1.1\r\n\r\n", 400)):
        headers = (await ask(server, raw)).head.raw.lower()
        assert headers.startswith(b"http/1.1 %d" % status)
        assert headers.count(b"x-frame-options: deny\r\n") == 1
        assert headers.count(b"server: ") == headers.count(b"server: mine\r\n") == 1


async def test_headers_of_the_option_are_in_refusals_of_every_kind(
    start_server: StartServer,
) -> None:
    added = [("X-Frame-Options", "DENY")]
    server = await start_server(response_headers=added, origin="https://a.example")

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        raise sockwave.Refused(403, "no\n", {"X-Frame-Options": "its own"})

    head = (await ask(server)).head.raw.lower()
    assert head.count(b"x-frame-options: ") == head.count(b"x-frame-options: its own\r\n") == 1
    stranger = build_request({**upgrade_headers(), "Origin": "https://b.example"})
    refused = await ask(server, stranger)
    assert (refused.status, refused.headers["x-frame-options"]) == (403, "DENY")

    full = await start_server(response_headers=added, max_connections=1)
    async with await Wire.open(full.addresses[0]):
        rejected = await ask(full)
        assert (rejected.status, rejected.headers["x-frame-options"]) == (503, "DENY")


async def test_headers_that_the_application_gives_come_first(start_server: StartServer) -> None:
    server = await start_server(
        response_headers=[("X-Frame-Options", "DENY")],
        server_header=True,
        asgi=application,
        lifespan="off",
    )

    head = (await ask(server)).head.raw.lower()
    assert head.count(b"server: ") == head.count(b"server: its own\r\n") == 1

    server.on("request", lambda req, res: res.write_head(200, {"x-frame-options": "a"}).end())
    head = (await ask(server)).head.raw.lower()
    assert head.count(b"x-frame-options: ") == head.count(b"x-frame-options: a\r\n") == 1
    assert b"server: sockwave\r\n" in head


async def test_server_says_its_name_and_the_date_as_it_is_told(start_server: StartServer) -> None:
    for options, names in (
        ({}, {"date"}),
        ({"date_header": False}, set()),
        ({"server_header": True}, {"date", "server"}),
    ):
        server = await start_server(**options)
        server.on("request", answer)
        assert (await ask(server)).headers.keys() & {"date", "server"} == names


async def test_each_answered_request_is_logged(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave.access")
    server = await start_server(access_log=True, asgi=application, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(GET)
            await receive_answer(wire)
        host, port = wire.writer.get_extra_info("sockname")[:2]
    assert caplog.messages == 2 * [f'{host}:{port} - "GET /a?b=%22 HTTP/1.1" 201']


async def test_nothing_is_logged_without_the_option(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave.access")
    server = await start_server()
    server.on("request", answer)
    await ask(server)
    assert not caplog.messages
