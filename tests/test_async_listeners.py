"""Listeners that are coroutines: a task for each call, which ends with its connection."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from reference import INTERNAL_ERROR
from wire import (
    Wire,
    connect_both,
    wait_until,
)

import sockwave


async def test_async_listener_becomes_a_task_for_each_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    running: list[str] = []
    release = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        running.append(message)
        await release.wait()
        await conn.send(f"done {message}")

    for text in ("a", "b", "c"):
        wire.send(text)
    await wait_until(lambda: len(running) == 3)
    assert running == ["a", "b", "c"]
    gc.collect()  # nobody but the connection holds the tasks
    release.set()
    assert [await wire.receive_message() for _ in range(3)] == ["done a", "done b", "done c"]
    await wire.close()


async def test_async_listener_is_cancelled_some_time_after_its_connection_has_gone(
    start_server: StartServer,
) -> None:
    wire, conn = await connect_both(await start_server(finish_timeout=0.1))
    ends: list[str] = []
    started = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    wire.send("go")
    await asyncio.wait_for(started.wait(), 5)
    await wire.close()
    await wait_until(lambda: ends)
    assert ends == ["cancelled"]


async def test_async_close_listener_runs_to_its_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    ends: list[int] = []

    @conn.on("close")
    async def closed(code: int) -> None:
        await asyncio.sleep(0.02)
        ends.append(code)

    await wire.shake_close()
    await wire.close()
    await wait_until(lambda: ends)
    assert ends == [1000]


async def test_async_listener_that_raises_is_an_error_like_any_other(
    start_server: StartServer,
) -> None:
    server = await start_server()
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    wire, conn = await connect_both(server)

    @conn.on("message")
    async def message(message: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError(message)

    wire.send("deliberate")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [(str(error), culprit) for error, culprit in errors] == [("deliberate", conn)]
    await wire.close()


async def test_async_connection_listener_that_raises_costs_its_connection(
    start_server: StartServer,
) -> None:
    server = await start_server()
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    accepted: list[sockwave.Connection] = []

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        accepted.append(conn)
        async for _ in conn:
            raise RuntimeError("deliberate")

    wire = await Wire.connect(server.addresses[0])
    wire.send("go")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [(str(error), culprit) for error, culprit in errors] == [("deliberate", accepted[0])]
    await wire.close()


async def test_handler_of_serve_that_raises_costs_its_connection(
    engine: str, error_log: ErrorLog
) -> None:
    async def handler(conn: sockwave.Connection) -> None:
        if await conn.receive() == "raise":
            raise RuntimeError("deliberate")

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine) as server:
        for word, code in (("raise", INTERNAL_ERROR), ("return", 1000), ("raise", INTERNAL_ERROR)):
            wire = await Wire.connect(server.addresses[0])
            wire.send(word)
            await wire.expect_failure(code)
            await wire.close()
    assert [str(error) for error in error_log.take()] == ["deliberate"] * 2


async def generate(conn: sockwave.Connection) -> AsyncIterator[None]:
    yield


async def take_two(conn: sockwave.Connection, other: object) -> None:
    pass


@pytest.mark.parametrize("handler", [5, "handler", generate, take_two, asyncio.Event])
def test_handler_of_serve_that_cannot_take_a_connection_is_refused_at_once(handler: Any) -> None:
    with pytest.raises(TypeError, match="expected an async function of one connection, given"):
        sockwave.serve(handler)
