"""Clients that speak `sockwave.1`, whose server is killed: with its history, and without."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import find_port
from services import Service, needs_workers, serving_application
from wire import wait_until

import sockwave

pytestmark = needs_workers

APPLICATION = """
import os, sockwave
from sockwave import History

server = sockwave.create_server(subprotocol="sockwave.1", engine=os.environ["ENGINE"])
server.topic("kept/*", history=History(count=100_000, size=None))
server.on("publish", lambda conn, topic: True)
server.on("subscribe", lambda conn, topic: True)
server.on("connection", lambda conn: conn.on("message", lambda text: os.kill(os.getpid(), 9)))
"""

SOON = sockwave.Backoff(first=0.05, most=0.2)
LINE_COUNT = 200


@pytest.fixture
def run_server(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that runs the server, with workers or as one process."""
    monkeypatch.setenv("ENGINE", engine)

    def run(*arguments: str) -> contextlib.AbstractContextManager[Service]:
        return serving_application(tmp_path, *arguments, application=APPLICATION)

    return run


@pytest.mark.slow
async def test_a_worker_that_is_killed_loses_nothing(run_server: Any, engine: str) -> None:
    heard: list[str] = []
    connection_count = 0
    outcomes: list[Any] = []
    with run_server("--workers", "2") as service:
        service.wait_ready(2)
        uri = f"ws://127.0.0.1:{service.port}/"
        async for conn in sockwave.connect(
            uri, subprotocol="sockwave.1", engine=engine, backoff=SOON
        ):
            connection_count += 1
            conn.subscribe("kept/lines", since="0-0")
            with contextlib.suppress(sockwave.ConnectionClosed):
                while len(outcomes) < LINE_COUNT:
                    outcomes.append(conn.publish("kept/lines", str(len(outcomes))))
                    if len(outcomes) % 50 == 0:
                        conn.send("kill yourself")
                        break  # deliveries end with the connection, and have to be taken for that
            async for delivery in conn.deliveries():
                assert delivery.kind == "message"
                heard.append(delivery.message)
                if len(heard) == LINE_COUNT:
                    break
            if len(heard) == LINE_COUNT:
                await conn.close()  # or the server, which is told to end here, would wait for it
                break
    assert connection_count >= 5
    assert heard == [str(number) for number in range(LINE_COUNT)]


async def test_a_server_that_comes_back_without_its_history_is_told_of(
    run_server: Any, engine: str
) -> None:
    rounds = 0
    kinds: list[tuple[str, Any]] = []
    with contextlib.ExitStack() as stack:
        port = find_port()
        service = stack.enter_context(run_server("--port", str(port)))
        async for conn in sockwave.connect(
            f"ws://127.0.0.1:{port}/", subprotocol="sockwave.1", engine=engine, backoff=SOON
        ):
            rounds += 1
            subscribed = await conn.subscribe("kept/lines")
            if rounds == 1:
                await conn.publish("kept/lines", "lost with the server")
                assert (await conn.receive_delivery()).message == "lost with the server"
                os.kill(service.process.pid, signal.SIGKILL)
                await conn.wait_closed()
                # Another process, on the same port, with a log of its own.
                service = stack.enter_context(run_server("--port", str(port)))
                await asyncio.to_thread(service.wait_for, "running on")
                continue
            assert not subscribed.recovered
            await conn.publish("kept/lines", "of the new log")
            while not kinds or kinds[-1][0] != "message":
                delivery = await conn.receive_delivery()
                kinds.append((delivery.kind, delivery.message))
            await conn.close()
            break
    assert kinds == [("gap", None), ("message", "of the new log")]


async def test_messages_of_another_log_come_behind_the_gap(run_server: Any, engine: str) -> None:
    rounds = 0
    with contextlib.ExitStack() as stack:
        port = find_port()
        service = stack.enter_context(run_server("--port", str(port)))
        uri = f"ws://127.0.0.1:{port}/"
        options: dict[str, Any] = {"subprotocol": "sockwave.1", "engine": engine}
        async for conn in sockwave.connect(uri, backoff=SOON, **options):
            rounds += 1
            if rounds == 1:
                await conn.subscribe("kept/lines")
                await conn.publish("kept/lines", "lost with the server")
                first = await conn.receive_delivery()
                os.kill(service.process.pid, signal.SIGKILL)
                await conn.wait_closed()
                service = stack.enter_context(run_server("--port", str(port)))
                await asyncio.to_thread(service.wait_for, "running on")
                async with sockwave.connect(uri, **options) as other:
                    for text in ("one", "two"):
                        await other.publish("kept/lines", text)
                continue
            await wait_until(lambda conn=conn: conn.topics == ["kept/lines"])  # type: ignore[misc]
            heard = [await conn.receive_delivery() for _ in range(3)]
            await conn.close()
            break
    assert [(one.kind, one.message) for one in heard] == [
        ("gap", None),
        ("message", "one"),
        ("message", "two"),
    ]
    assert first.position.epoch != heard[0].position.epoch == heard[1].position.epoch
    assert [one.position.offset for one in heard] == [0, 1, 2]
