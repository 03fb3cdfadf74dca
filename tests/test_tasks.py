"""Tasks of a connection: those that stop its reading and stand still, those that do not count."""

import asyncio
import contextvars
import functools
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from wire import Wire, connect_both, wait_until

import sockwave


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the operator was warned of, so far."""

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    told: list[str] = []
    handler = Warnings(logging.WARNING)
    logger = logging.getLogger("sockwave")
    logger.addHandler(handler)
    yield told
    logger.removeHandler(handler)


@pytest.fixture
async def fast_clock() -> AsyncIterator[None]:
    """A loop's clock that is ten times as fast, until all else of the test has ended: what takes
    seconds by it, and nothing but the application happens in, is over sooner."""
    loop: Any = asyncio.get_running_loop()
    begin, time, select = loop.time(), loop.time, loop._selector.select
    loop.time = lambda: begin + (time() - begin) * 10
    loop._selector.select = lambda timeout=None: select(timeout and timeout / 10)
    yield
    del loop.time, loop._selector.select


class Listener:
    """Waits for what never comes."""

    def __init__(self) -> None:
        self.count = 0

    async def wait_for_ever(self, message: str) -> None:
        self.count += 1
        await asyncio.get_running_loop().create_future()

    async def wait_partly(self, part: int, message: str) -> None:
        await self.wait_for_ever(message)

    async def __call__(self, message: str) -> None:
        await self.wait_for_ever(message)


# ---- tasks that stand still ----------------------------------------------------------------------


@pytest.mark.slow
async def test_calls_that_wait_for_the_next_message_are_told_of_once(
    fast_clock: None, start_server: StartServer, warnings: list[str]
) -> None:
    server = await start_server(max_tasks=2)
    nexts: list[asyncio.Future[str]] = []

    async def ask_back(message: str) -> None:
        nexts.append(asyncio.get_running_loop().create_future())
        await nexts[-1]  # the next message, which nobody reads

    for _ in range(2):
        wire, conn = await connect_both(server)
        conn.on("message", ask_back)
        for number in range(3):
            wire.send(str(number))
    # Another one's come to a standstill behind these: by then these have been told of.
    wire, conn = await connect_both(server)
    conn.on("message", Listener().wait_for_ever)
    for number in range(3):
        wire.send(str(number))
    await wait_until(lambda: any("wait_for_ever" in line for line in warnings))
    line, _ = warnings
    code = ask_back.__code__
    assert f"ask_back ({code.co_filename}:{code.co_firstlineno})" in line
    assert "2 calls" in line
    for advice in ("max_tasks", "conn.create_task", "async for"):
        assert advice in line
    assert len(nexts) == 4


@pytest.mark.slow
async def test_whatever_listens_is_named(
    fast_clock: None, start_server: StartServer, warnings: list[str]
) -> None:
    server = await start_server(max_tasks=1)
    listener = Listener()
    forms: dict[str, Any] = {
        "wait_for_ever": listener.wait_for_ever,
        "Listener object": listener,
        "wait_partly": functools.partial(listener.wait_partly, 1),
    }
    for form in forms.values():
        wire, conn = await connect_both(server)
        conn.on("message", form)
        wire.send("1")
    await wait_until(lambda: len(warnings) == 3)
    for name in forms:
        assert sum(name in line and __file__ in line for line in warnings) == 1


@pytest.mark.slow
async def test_calls_that_are_merely_busy_are_not_told_of(
    fast_clock: None, start_server: StartServer, warnings: list[str]
) -> None:
    server = await start_server(max_tasks=2)
    busy, busy_conn = await connect_both(server)
    stuck, stuck_conn = await connect_both(server)

    async def work(message: str) -> None:
        await asyncio.sleep(2)

    stuck_conn.on("message", Listener().wait_for_ever)
    for number in range(2):
        stuck.send(str(number))
    busy_conn.on("message", work)
    for number in range(8):
        busy.send(str(number))
    await wait_until(lambda: warnings and server.limit_hits["max_tasks"] > 3)
    assert len(warnings) == 1
    assert "wait_for_ever" in warnings[0]


# ---- tasks that do not count ---------------------------------------------------------------------


async def test_a_task_of_the_connection_does_not_stop_the_reading(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    waiting: list[asyncio.Future[str]] = []
    done: list[str] = []

    async def ask_back() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        done.append(await future)

    @conn.on("message")
    async def message(message: str) -> None:
        if message == "answer":
            waiting.pop().set_result(message)
        else:
            conn.create_task(ask_back())

    for _ in range(20):
        wire.send("question")
    await wait_until(lambda: len(waiting) == 20)
    for _ in range(20):
        wire.send("answer")
    await wait_until(lambda: len(done) == 20)


async def test_a_task_of_the_connection_is_an_ordinary_one(both_ends: BothEnds) -> None:
    _wire, conn = both_ends
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def work() -> str:
        return variable.get()

    context = contextvars.copy_context()
    context.run(variable.set, "given")
    task = conn.create_task(work(), name="worker", context=context)
    assert isinstance(task, asyncio.Task)
    assert task.get_name() == "worker"
    assert await task == "given"
    assert await conn.create_task(work()) == "none"


@pytest.mark.parametrize("how", ["close", "reset", "abort"])
async def test_a_task_of_the_connection_is_cancelled_when_it_goes(
    both_ends: BothEnds, how: str
) -> None:
    wire, conn = both_ends
    task = conn.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    if how == "close":
        await wire.shake_close()
    elif how == "reset":
        wire.reset()
    else:
        conn.abort()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_a_task_of_the_connection_may_receive_to_its_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    got: list[str | bytes] = []

    async def talk() -> str:
        async for message in conn:
            got.append(message)
            await asyncio.sleep(0)
        return "ended"

    task = conn.create_task(talk())
    for number in range(5):
        wire.send(str(number))
    await wire.shake_close()
    assert await asyncio.wait_for(task, 5) == "ended"
    assert got == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_what_a_task_of_the_connection_raises_goes_to_error(
    start_server: StartServer, is_awaited: bool
) -> None:
    server = await start_server()
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    wire, conn = await connect_both(server)

    async def fail() -> None:
        raise ValueError("of the task")

    task = conn.create_task(fail())
    if is_awaited:
        with pytest.raises(ValueError, match="of the task"):
            await task
    assert (await wire.receive_close())[0] == 1011
    await wait_until(lambda: errors)
    assert [(str(error), where) for error, where in errors] == [("of the task", conn)]


async def test_a_departed_client_is_no_error_of_a_task(
    both_ends: BothEnds, error_log: ErrorLog
) -> None:
    wire, conn = both_ends

    async def receive() -> None:
        await conn.receive()

    task = conn.create_task(receive())
    await asyncio.sleep(0)
    wire.reset()
    await asyncio.wait([task], timeout=5)
    assert isinstance(task.exception(), sockwave.ConnectionClosed)
    await asyncio.sleep(0)
    assert not error_log.records


async def test_what_is_no_coroutine_is_refused(both_ends: BothEnds) -> None:
    _, conn = both_ends

    async def work() -> None:
        raise AssertionError("expected not to be begun")

    with pytest.raises(TypeError, match="expected a coroutine, given function"):
        conn.create_task(work)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a coroutine, given Future"):
        conn.create_task(asyncio.get_running_loop().create_future())  # type: ignore[arg-type]


async def test_no_task_is_made_for_a_connection_that_has_ended(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    await wire.shake_close()
    await wait_until(lambda: conn.close_code is not None)
    work = asyncio.sleep(0)
    with pytest.raises(sockwave.ConnectionClosed):
        conn.create_task(work)
    with pytest.raises(RuntimeError):  # it is closed: nobody warns that it was never awaited
        await work


async def test_the_example_of_the_page_answers_more_questions_than_tasks(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire: Wire
    wire, conn = await connect_both(server)
    answers: dict[str, asyncio.Future[str]] = {}

    async def ask(topic: str) -> None:
        number = str(len(answers))
        answers[number] = asyncio.get_running_loop().create_future()
        conn.send(f"{number} what about {topic}?")
        conn.send(f"so it is {await answers[number]}")

    @conn.on("message")
    def message(message: str) -> None:
        number, _, text = message.partition(" ")
        if number in answers:
            answers[number].set_result(text)
        else:
            conn.create_task(ask(message))

    count = 40
    for _ in range(count):
        wire.send("weather")
    questions = [str(await wire.receive_message()) for _ in range(count)]
    for question in reversed(questions):
        wire.send(f"{question.partition(' ')[0]} fine")
    assert {await wire.receive_message() for _ in range(count)} == {"so it is fine"}
