"""Requests by HTTP/1.0, most of which are the health checks of load balancers (RFC 9112, 3.2)."""

from typing import Any

import pytest
from conftest import StartServer
from http_wire import receive_answer, receive_refusal
from wire import Wire, build_request, upgrade_headers

import sockwave

# What nginx and HAProxy ask a server, and a client from before Host.
PROBES = {
    "nginx": b"GET /health HTTP/1.0\r\nConnection: close\r\n\r\n",
    "HAProxy": b"OPTIONS / HTTP/1.0\r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.0\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.0\r\n\r\n",
    "absolute": b"GET http://example.com/ HTTP/1.0\r\n\r\n",
    "body": b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"origin": "same-origin"},
    {"origin": ["https://example.com"]},
    {"trusted_proxies": "127.0.0.1", "trust_forwarded_host": True},
    {"max_connections_per_address": 10},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_probe_without_a_host_is_answered(
    start_server: StartServer, options: dict[str, Any]
) -> None:
    server = await start_server(**options)
    asked = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        asked.append(req.method)
        assert "host" not in req.headers
        assert req.http_version == "1.0"
        res.end(b"well " + await req.body())

    for slowly in (False, True):
        for name, probe in PROBES.items():
            async with await Wire.open(server.addresses[0]) as wire:
                if slowly:
                    await wire.write_slowly(probe)
                else:
                    wire.write(probe)
                method = probe.split()[0].decode()
                answer = await receive_answer(wire, method=method)
                assert answer.status == 200, name
                assert answer.headers["connection"] == "close"
                assert answer.body == {"HEAD": b"", "POST": b"well hi"}.get(method, b"well ")
                await wire.receive_end()
    assert len(asked) == 2 * len(PROBES)


async def test_probe_without_a_host_is_answered_behind_proxies_that_tell_its_port(
    start_server: StartServer,
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1", trust_forwarded_host=True)
    clients = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        clients.append((req.remote_address[0], req.is_secure))
        res.end()

    for fields in (
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n",
        "Forwarded: for=192.0.2.7;proto=https\r\n",
    ):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(f"GET / HTTP/1.0\r\n{fields}\r\n".encode())
            assert (await receive_answer(wire)).status == 200
    assert clients == [("192.0.2.7", True)] * 2


async def test_probe_may_keep_its_connection(start_server: StartServer) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("well"))
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(2):
            wire.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = await receive_answer(wire)
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_probe_is_answered_where_nobody_listens(start_server: StartServer) -> None:
    server = await start_server()
    for probe in PROBES.values():
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(probe)
            answer = await receive_answer(wire, method=probe.split()[0].decode())
            assert answer.status == 426
            await wire.receive_end()


async def test_host_that_is_there_has_to_be_one(start_server: StartServer) -> None:
    # RFC 9112, 3.2: 400 "to any request message that contains [...] a Host header field with an
    # invalid field value", whatever its version.
    server = await start_server()
    for host in ("", ":80", "a:b:c", "[::1"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            await receive_refusal(wire, 400)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_handshake_without_a_host_is_refused(
    start_server: StartServer, options: dict[str, Any]
) -> None:
    server = await start_server(**options)
    headers = upgrade_headers()
    del headers["Host"]
    raw = build_request({**headers, "Origin": "https://example.com"})
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(raw.replace(b"HTTP/1.1", version))
            await receive_refusal(wire, 400)
