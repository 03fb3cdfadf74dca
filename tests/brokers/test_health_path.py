"""What a load balancer is told: `health_path`, and `sockwave serve --health-path`."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from http_wire import Answer, receive_answer
from services import serving_application
from valkey_server import deafening, needs_valkey, running_valkey, until
from wire import Wire

import sockwave


async def ask_health(address: Any, path: str = "/health", method: str = "GET") -> Answer:
    wire = await Wire.open(address)
    wire.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = await receive_answer(wire, method=method)
    await wire.close()
    return answer


async def test_a_server_without_a_broker_is_well(start_server: StartServer) -> None:
    server = await start_server(health_path="/health", asgi=answer_all)
    answer = await ask_health(server.addresses[0])
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.body) == server.health()._asdict()
    assert (await ask_health(server.addresses[0], method="HEAD")).status == 200
    assert (await ask_health(server.addresses[0], method="POST")).status == 405
    assert (await ask_health(server.addresses[0], "/healthy")).status == 418


async def answer_all(scope: Any, receive: Any, send: Any) -> None:
    """Be an application that takes all paths."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 418})
        await send({"type": "http.response.body"})


@pytest.mark.slow
@needs_valkey
@pytest.mark.parametrize("is_red", [False, True])
async def test_a_deaf_host_is_red_and_one_without_its_broker_only_if_asked(
    start_server: StartServer, tmp_path: Path, is_red: bool
) -> None:
    with running_valkey(tmp_path) as valkey:
        async with deafening(valkey) as (url, swallow):
            server = await start_server(
                broker=url, health_path="/health", red_when_broker_down=is_red
            )

            async def ask_until(status: str) -> int:
                await until(lambda: server.health().status == status)
                answer = await ask_health(server.addresses[0])
                assert json.loads(answer.body)["status"] == status
                return answer.status

            assert await ask_until("ok") == 200
            swallow(True)
            assert await ask_until("deaf") == 503
            swallow(False)
            assert await ask_until("ok") == 200
            valkey.kill()
            assert await ask_until("degraded") == (503 if is_red else 200)
            await server.close(drain=1.0)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"health_path": "health"}, ValueError, "expected a path, such as '/health', given 'heal"),
        ({"health_path": "/{name}"}, ValueError, "expected a path"),
        ({"health_path": 1}, TypeError, "expected str or None, given int"),
        ({"red_when_broker_down": 1}, TypeError, "red_when_broker_down: expected"),
    ],
)
def test_a_health_path_is_one_path(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        sockwave.create_server(**options)


async def test_an_application_that_is_served_has_a_health_path(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--health-path", "/up") as service:
        answer = await ask_health(("127.0.0.1", service.port), "/up")
        assert (answer.status, json.loads(answer.body)["status"]) == (200, "ok")
