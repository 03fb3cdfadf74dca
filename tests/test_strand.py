"""The task that calls share from turn to turn: each call finds it as new, or gets another."""

import asyncio
import contextvars
import gc
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from http_wire import receive_answer
from reference import TEXT, Frame, serialize
from wire import Wire, connect_both, wait_until

import sockwave

INTERNAL_ERROR = 1011
#: Turns in a row, each with one call: many of them find the task of the one before.
TURN_COUNT = 30

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

Act = Callable[[], Awaitable[object]]


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def park(wire: Wire, conn: sockwave.Connection) -> None:
    """Have a call end without having waited, so that its task is kept for the next."""

    async def message(message: str) -> None:
        await conn.send(message)

    conn.once("message", message)
    wire.send("parked")
    assert await wire.receive_message() == "parked"


async def begin(wire: Wire, conn: sockwave.Connection, act: Act) -> None:
    """Have a call begin in the task that is parked."""
    await park(wire, conn)

    async def message(message: str) -> None:
        await act()

    conn.once("message", message)
    wire.send("begin")


# ---- one task for many turns ---------------------------------------------------------------------


async def test_calls_of_successive_turns_share_a_task(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    names: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        names.append(this_task().get_name())
        await conn.send(message)

    for _ in range(TURN_COUNT):
        wire.send("x")
        assert await wire.receive_message() == "x"
    assert len(set(names)) < TURN_COUNT
    await wire.close()


async def test_a_task_that_is_not_used_ends(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    before = asyncio.all_tasks()
    await park(wire, conn)
    await wait_until(lambda: asyncio.all_tasks() <= before, "the end of the task")
    await wire.close()


async def test_a_task_that_is_parked_ends_with_its_server(start_server: StartServer) -> None:
    before = asyncio.all_tasks()
    server = await start_server()
    wire, conn = await connect_both(server)
    await park(wire, conn)
    await wire.close()
    await server.close()
    await wait_until(lambda: asyncio.all_tasks() <= before, "the end of the task")


def test_a_loop_may_end_with_a_task_that_is_parked(engine: str, error_log: ErrorLog) -> None:
    async def main() -> None:
        server = sockwave.create_server(engine=engine)
        server.listen(0, "127.0.0.1")
        await server.start()
        wire, conn = await connect_both(server)
        await park(wire, conn)
        await wire.close()
        await server.close()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert not error_log.records


# ---- what a call finds ---------------------------------------------------------------------------


async def set_name() -> None:
    this_task().set_name("named")


async def set_attribute() -> None:
    this_task().mark = 1  # type: ignore[attr-defined]


async def add_callback() -> None:
    this_task().add_done_callback(lambda task: None)


async def cancel_itself() -> None:
    this_task().cancel()


async def cancel_itself_and_repent() -> None:
    this_task().cancel()
    this_task().uncancel()


async def set_variable() -> None:
    variable.set("set")


async def wait_and_set_variable() -> None:
    await asyncio.sleep(0)
    variable.set("set")


@pytest.mark.parametrize(
    "act",
    [
        set_name,
        set_attribute,
        add_callback,
        cancel_itself,
        cancel_itself_and_repent,
        set_variable,
        wait_and_set_variable,
    ],
)
async def test_what_a_call_does_no_call_of_a_later_turn_sees(both_ends: BothEnds, act: Act) -> None:
    wire, conn = both_ends
    seen: list[tuple[str, bool, int, bool, str]] = []

    @conn.on("message")
    async def message(message: str) -> None:
        task = this_task()
        marks = hasattr(task, "mark"), task.cancelling(), bool(task._callbacks)  # type: ignore[attr-defined]
        seen.append((message, *marks, variable.get()))
        is_named = task.get_name() == "named"
        conn.send("named" if is_named else "unnamed")
        del task
        await act()

    for number in range(TURN_COUNT):
        wire.send(str(number))
        assert await wire.receive_message() == "unnamed"
    assert seen == [(str(number), False, 0, False, "unset") for number in range(TURN_COUNT)]
    await wire.close()


async def test_a_task_that_a_call_of_an_earlier_turn_has_kept_is_its_own(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    kept: list[asyncio.Task[Any]] = []

    @conn.on("message")
    async def message(message: str) -> str:
        if int(message) % 2:
            kept.append(this_task())
        conn.send(message)
        return message

    for number in range(TURN_COUNT):
        wire.send(str(number))
        assert await wire.receive_message() == str(number)
    assert [await task for task in kept] == [str(number) for number in range(1, TURN_COUNT, 2)]
    await wire.close()


# ---- what asyncio does for a task of its own -----------------------------------------------------


async def note(seen: list[str], waiting: Awaitable[object]) -> None:
    """Wait, and note what comes of it."""
    try:
        await waiting
        seen.append("went on")
    except asyncio.CancelledError as error:
        seen.append(f"cancelled {error}")
        raise
    finally:
        seen.append(f"cancelling {this_task().cancelling()}")


async def cancel_and_sleep(seen: list[str]) -> None:
    this_task().cancel("by itself")
    await note(seen, asyncio.sleep(0))


async def cancel_and_wait(seen: list[str]) -> None:
    this_task().cancel("by itself")
    await note(seen, asyncio.get_running_loop().create_future())


async def cancel_and_wait_for_a_task(seen: list[str]) -> None:
    this_task().cancel("by itself")
    await note(seen, asyncio.ensure_future(asyncio.sleep(3600)))


async def cancel_and_wait_for_what_cannot_be_cancelled(seen: list[str]) -> None:
    class Firm(asyncio.Future[None]):
        def cancel(self, msg: object = None) -> bool:
            return False

    firm = Firm()
    asyncio.get_running_loop().call_soon(firm.set_result, None)
    this_task().cancel("by itself")
    await note(seen, firm)


async def cancel_and_stay(seen: list[str]) -> None:
    this_task().cancel()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        this_task().uncancel()
    await note(seen, asyncio.sleep(0))


async def repent_and_sleep(seen: list[str]) -> None:
    this_task().cancel()
    this_task().uncancel()
    await note(seen, asyncio.sleep(0))


async def cancel_and_return(seen: list[str]) -> None:
    this_task().cancel()
    seen.append("returned")


async def cancel_in_a_later_turn(seen: list[str]) -> None:
    asyncio.get_running_loop().call_soon(this_task().cancel, "later")
    await note(seen, asyncio.sleep(3600))


async def be_late(seen: list[str]) -> None:
    try:
        async with asyncio.timeout(0):
            await note(seen, asyncio.sleep(3600))
    except TimeoutError:
        seen.append(f"late {this_task().cancelling()}")


async def lose_a_child(seen: list[str]) -> None:
    async def fail() -> None:
        raise LookupError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await note(seen, asyncio.sleep(3600))
    except* LookupError:
        seen.append(f"lost {this_task().cancelling()}")


@pytest.mark.parametrize(
    "act",
    [
        cancel_and_sleep,
        cancel_and_wait,
        cancel_and_wait_for_a_task,
        cancel_and_wait_for_what_cannot_be_cancelled,
        cancel_and_stay,
        repent_and_sleep,
        cancel_and_return,
        cancel_in_a_later_turn,
        be_late,
        lose_a_child,
    ],
)
async def test_a_call_in_a_parked_task_ends_as_a_task_of_asyncio_does(
    both_ends: BothEnds, act: Callable[[list[str]], Awaitable[None]]
) -> None:
    async def record(seen: list[str]) -> None:
        this_task().add_done_callback(lambda task: seen.append(f"done {task.cancelled()}"))
        await act(seen)

    wire, conn = both_ends
    expected: list[str] = []
    seen: list[str] = []
    await asyncio.wait([asyncio.ensure_future(record(expected))])
    await wait_until(lambda: any(line.startswith("done") for line in expected))
    await begin(wire, conn, lambda: record(seen))
    await wait_until(lambda: any(line.startswith("done") for line in seen))
    assert seen == expected
    await wire.close()


async def test_a_task_is_current_only_during_its_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    seen: list[object] = []
    tasks: list[asyncio.Task[Any]] = []

    async def act() -> None:
        tasks.append(this_task())
        asyncio.get_running_loop().call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        assert this_task() is tasks[0]
        assert tasks[0] in asyncio.all_tasks()
        seen.append("went on")

    await begin(wire, conn, act)
    await wait_until(lambda: len(seen) == 2)
    assert seen == [None, "went on"]
    await tasks[0]
    await wire.close()


async def test_an_error_of_a_call_in_a_parked_task_shows_where_it_was_raised(
    both_ends: BothEnds, error_log: ErrorLog
) -> None:
    wire, conn = both_ends

    async def fail_deliberately() -> None:
        raise LookupError("deliberate")

    await begin(wire, conn, fail_deliberately)
    await wire.expect_failure(INTERNAL_ERROR)
    (error,) = error_log.take()
    assert "fail_deliberately" in [
        frame.name for frame in traceback.extract_tb(error.__traceback__)
    ]
    await wire.close()


def test_a_call_in_a_parked_task_may_end_the_program(engine: str) -> None:
    async def main() -> None:
        server = sockwave.create_server(engine=engine)
        server.listen(0, "127.0.0.1")
        async with server:
            wire, conn = await connect_both(server)

            async def act() -> None:
                raise SystemExit(7)

            await begin(wire, conn, act)
            try:
                await asyncio.Event().wait()
            finally:
                conn.abort()

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 7


# ---- calls that wait, and their neighbours -------------------------------------------------------


async def test_a_call_that_waits_keeps_no_other_from_the_parked_task(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=None)
    wire, conn = await connect_both(server)
    release = asyncio.Event()
    names: dict[str, str] = {}
    ended: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        names[message] = this_task().get_name()
        if message.startswith("waits"):
            await release.wait()
            assert this_task().get_name() == names[message]
        ended.append(message)
        await conn.send(message)

    for number in range(TURN_COUNT):
        wire.send(f"waits {number}")
        wire.send(f"goes {number}")
        assert await wire.receive_message() == f"goes {number}"
    assert ended == [f"goes {number}" for number in range(TURN_COUNT)]
    waiting = [name for message, name in names.items() if message.startswith("waits")]
    assert len(set(waiting)) == TURN_COUNT
    release.set()
    await wait_until(lambda: len(ended) == 2 * TURN_COUNT)
    await wire.close()


async def test_calls_of_one_turn_begin_in_order_in_parked_tasks(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    seen: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        seen.append(message)
        if message in "369":
            await asyncio.sleep(0)

    await park(wire, conn)
    seen.clear()
    for _ in range(3):
        frames = [serialize(Frame(TEXT, number.encode())) for number in "123456789"]
        wire.write(b"".join(frames))
        await wait_until(lambda: len(seen) == 9)
        assert seen == list("123456789")
        seen.clear()
    await wire.close()


async def test_a_parked_task_that_is_cancelled_is_used_no_more(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    ran: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        ran.append(message)
        conn.send(message)

    before = asyncio.all_tasks()
    await park(wire, conn)
    assert await wire.receive_message() == "parked"  # of the other listener
    parked = asyncio.all_tasks() - before
    for task in parked:
        assert task.cancel()
    for text in ("1", "2", "3"):
        wire.send(text)
        assert await wire.receive_message() == text
    assert ran[1:] == ["1", "2", "3"]
    assert all(task.cancelled() for task in parked)
    await wire.close()


async def test_calls_that_wait_for_a_parked_task_end_when_all_tasks_are_cancelled(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    ran: list[str] = []

    async def message(message: str) -> None:
        ran.append(message)

    mine = asyncio.all_tasks()
    await park(wire, conn)
    conn.on("message", message)
    conn._emit_event("message", "1")
    conn._emit_event("message", "2")
    for task in asyncio.all_tasks() - mine:
        task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    conn._emit_event("message", "3")
    await wait_until(lambda: ran)
    assert ran == ["3"]
    await wire.close()


async def test_a_task_factory_set_later_makes_the_next_task(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    made: list[str] = []

    async def listener(message: str) -> None:
        await conn.send(message)

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    await park(wire, conn)
    conn.on("message", listener)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        wire.send("x")
        assert await wire.receive_message() == "x"
    finally:
        loop.set_task_factory(None)
    assert "listener" in made
    await wire.close()


async def test_calls_begin_although_the_loop_runs_within_a_task(both_ends: BothEnds) -> None:
    """As packages make it run that let a program wait for a coroutine from within another."""
    wire, conn = both_ends
    tasks: list[asyncio.Task[Any]] = []

    async def message(message: str) -> None:
        tasks.append(this_task())

    await park(wire, conn)
    conn.on("message", message)
    conn._emit_event("message", "1")
    conn._emit_event("message", "2")
    loop: Any = asyncio.get_running_loop()
    loop._run_once()
    assert not tasks
    await wait_until(lambda: len(tasks) == 2)
    assert this_task() not in tasks
    await wire.close()


# ---- requests ------------------------------------------------------------------------------------


async def test_pipelined_requests_find_the_task_and_the_variables_as_new(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = this_task()
        seen = f"{variable.get()} {hasattr(task, 'mark')} {task.cancelling()}"
        variable.set("set")
        number = int(scope["path"][1:])
        if number % 3 == 0:
            task.mark = 1  # type: ignore[attr-defined]
        if number % 5 == 0:
            await asyncio.sleep(0)
        del task
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{number} {seen}".encode()})

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(3):
            heads = [f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n" for number in range(40)]
            wire.write("".join(heads).encode())
            for number in range(40):
                assert (await receive_answer(wire)).body == f"{number} unset False 0".encode()


async def test_pipelined_requests_of_one_client_keep_no_other_waiting(
    start_server: StartServer,
) -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        order.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    server = await start_server(asgi=app, lifespan="off")
    flood = await Wire.open(server.addresses[0])
    other = await Wire.open(server.addresses[0])
    flood.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
    other.write(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await receive_answer(other)).body == b"x"
    assert order.count("/flood") < 5000
    for wire in (flood, other):
        await wire.close()
