"""A client that sends faster than the application works: what is bounded; nothing is lost."""

import asyncio
from typing import Any

import pytest
from conftest import BothEnds, StartServer
from reference import PING, TEXT, Frame, serialize
from together import together
from wire import connect_both, connect_receiving, let_arrive, settle, wait_until

import sockwave

INTERNAL = 1011


class Worker:
    """An asynchronous listener whose tasks end when they are told to."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.running: dict[int, asyncio.Event] = {}
        self.most = 0

    async def work(self, message: str) -> None:
        number = int(message)
        self.started.append(number)
        self.running[number] = asyncio.Event()
        self.most = max(self.most, len(self.running))
        try:
            await self.running[number].wait()
        finally:
            del self.running[number]

    def end(self, number: int) -> None:
        self.running[number].set()


# ---- tasks ---------------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("max_tasks", [1, 3, 16])
@pytest.mark.parametrize("how", ["batch", "bytewise"])
async def test_so_many_tasks_run_and_no_more(
    start_server: StartServer, max_tasks: int, how: str
) -> None:
    server = await start_server(max_tasks=max_tasks)
    wire, conn = await connect_both(server)
    worker = Worker()
    conn.on("message", worker.work)
    count = 3 * max_tasks + 1
    data = b"".join(serialize(Frame(TEXT, f"{i}".encode())) for i in range(count))
    writing = asyncio.ensure_future(
        wire.write_slowly(data) if how == "bytewise" else asyncio.sleep(0)
    )
    if how == "batch":
        wire.write(data)
    for ended in range(count):
        await wait_until(lambda ended=ended: len(worker.started) >= min(ended + max_tasks, count))
        await let_arrive(1)
        assert len(worker.running) == min(max_tasks, count - ended)
        worker.end(ended)
        await wait_until(lambda ended=ended: ended not in worker.running)
    await writing
    await let_arrive()
    assert worker.started == list(range(count)), "lost, or out of order"
    assert worker.most == max_tasks
    await wire.close()


async def test_sixteen_is_the_default(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    worker = Worker()
    conn.on("message", worker.work)
    for i in range(100):
        wire.send(f"{i}")
    assert await settle(lambda: len(worker.started)) == 16
    await wire.close()
    await wait_until(lambda: conn.close_code is None or not worker.running)


async def test_none_lifts_the_bound(start_server: StartServer) -> None:
    server = await start_server(max_tasks=None, finish_timeout=0.1)
    wire, conn = await connect_both(server)
    worker = Worker()
    conn.on("message", worker.work)
    for i in range(500):
        wire.send(f"{i}")
    await wait_until(lambda: len(worker.running) == 500)
    await wire.close()
    await wait_until(lambda: not worker.running)


@pytest.mark.slow
async def test_a_flood_of_small_messages_is_worked_off_in_order(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=2)
    wire, conn = await connect_both(server)
    seen: list[int] = []
    running = 0

    @conn.on("message")
    async def message(message: str) -> None:
        nonlocal running
        running += 1
        assert running <= 2
        seen.append(int(message))
        await asyncio.sleep(0)
        running -= 1

    count = 20_000
    wire.write(b"".join(serialize(Frame(TEXT, f"{i}".encode())) for i in range(count)))
    await wait_until(lambda: len(seen) == count)
    assert seen == list(range(count))
    await wire.close()


async def test_the_socket_is_not_read_while_all_tasks_are_at_work(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    worker = Worker()
    conn.on("message", worker.work)
    wire.send("0")
    await wait_until(lambda: worker.running)
    wire.write_frame(PING, b"later")
    await wire.receive_nothing()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:  # it never stops
            wire.write_frame(PING, b"x" * 125)
            wire.write(serialize(Frame(TEXT, b"1" * 60_000)))
            await wire.drain()
            await asyncio.sleep(0)
            sent += 1

    flooding = asyncio.ensure_future(flood())
    await settle(lambda: sent)  # which ends only if the flood does
    assert len(worker.started) == 1
    flooding.cancel()
    wire.writer.transport.abort()


async def test_tasks_that_fail_or_are_cancelled_make_room(
    start_server: StartServer, error_log: Any
) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    tasks: list[asyncio.Task[Any]] = []

    @conn.on("message")
    async def message(message: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        if message == "fail":
            raise LookupError
        await asyncio.sleep(30)

    wire.send("wait")
    wire.send("wait")
    wire.send("fail")
    wire.send("never heard")
    await wait_until(lambda: len(tasks) == 1)
    tasks[0].cancel()
    await wait_until(lambda: len(tasks) == 2)
    tasks[1].cancel()
    assert (await wire.receive_close())[0] == INTERNAL
    wire.write_close(INTERNAL)
    await wire.receive_end()
    assert len(tasks) == 3
    assert [type(error) for error in error_log.take()] == [LookupError]
    await wire.close()


async def test_closing_in_a_full_house_still_hears_the_answer(start_server: StartServer) -> None:
    server = await start_server(max_tasks=1, finish_timeout=0.1)
    wire, conn = await connect_both(server)
    worker = Worker()
    conn.on("message", worker.work)
    for i in range(5):
        wire.send(f"{i}")
    await wait_until(lambda: worker.running)
    conn.close(4001)
    assert (await wire.receive_close())[0] == 4001
    wire.write_close(4001)
    await wire.receive_end()
    assert worker.started == [0]
    await wait_until(lambda: not worker.running)
    await wire.close()


async def test_other_events_are_not_bounded(start_server: StartServer) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    pings: list[bytes] = []

    @conn.on("ping")
    async def ping(data: bytes) -> None:
        pings.append(data)
        await asyncio.sleep(30)

    for i in range(50):
        wire.write_frame(PING, f"{i}".encode())
        assert await wire.receive_pong() == f"{i}".encode()
    await wait_until(lambda: len(pings) == 50)
    await wire.close()


async def test_plain_listeners_are_not_bounded(start_server: StartServer) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    heard: list[str | bytes] = []
    conn.on("message", heard.append)
    for i in range(1_000):
        wire.send(f"{i}")
    await wait_until(lambda: len(heard) == 1_000)
    await wire.close()


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError)]
)
def test_a_wrong_bound_raises(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_tasks: expected"):
        sockwave.create_server(max_tasks=value)


# ---- the queue of `receive` ----------------------------------------------------------------------


@together
@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"queue_count": 4}, 10, 4),
        ({"queue_size": 1_000}, 100, 10),
        ({"queue_size": 1_001}, 100, 11),
        ({"queue_size": 1_000}, 5_000, 1),
    ],
)
async def test_the_queue_is_bounded_in_messages_and_in_bytes(
    start_server: StartServer, options: dict[str, int], size: int, expected: int
) -> None:
    server = await start_server(**options)
    wire, conn = await connect_receiving(server)
    for i in range(3 * expected):
        wire.send(f"{i:010}".ljust(size))
        # Answered as long as the socket is read.
        wire.write_frame(PING, f"{i}".encode())
    for i in range(expected - 1):
        assert await wire.receive_pong() == f"{i}".encode()
    await wire.receive_nothing()
    for i in range(3 * expected):
        assert int(await conn.receive(timeout=5)) == i
    await wire.close()


async def test_reading_resumes_well_below_the_mark(start_server: StartServer) -> None:
    server = await start_server(queue_count=8)
    wire, conn = await connect_receiving(server)
    for i in range(8):
        wire.send(f"{i}")
    wire.write_frame(PING)
    await wire.receive_nothing()
    for i in range(5):
        assert await conn.receive() == f"{i}"
    await wire.receive_nothing()
    assert await conn.receive() == "5"  # a quarter is left
    assert await wire.receive_pong() == b""
    await wire.close()
