"""The calls of asynchronous listeners: each is a task of its own, as far as anybody can tell."""

import asyncio
import contextvars
import gc
import inspect
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from reference import PING, TEXT, Frame, serialize
from wire import Wire, connect_both, wait_until

import sockwave

INTERNAL_ERROR = 1011
#: After so long, a task that has not begun is taken for lost: two seconds, and what a tick takes.
LOST_S = 2.5

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def send_together(wire: Wire, *messages: str) -> None:
    """Send messages in one write, so that one wake-up reads them all."""
    wire.write(b"".join(serialize(Frame(TEXT, message.encode())) for message in messages))


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def set_name() -> None:
    this_task().set_name("named")


async def set_attribute() -> None:
    this_task().mark = 1  # type: ignore[attr-defined]


async def cancel_itself() -> None:
    this_task().cancel()


async def cancel_itself_and_repent() -> None:
    this_task().cancel()
    this_task().uncancel()


async def wait() -> None:
    await asyncio.sleep(0)


class Recorder:
    """What the calls of a listener saw; the third of five does something that others can see."""

    def __init__(self, act: Callable[[], Awaitable[object]]) -> None:
        self.act = act
        self.seen: list[str] = []
        self.tasks: list[tuple[str, bool, int]] = []

    async def listen(self, message: str) -> None:
        task = this_task()
        self.seen.append(message)
        self.tasks.append((task.get_name(), hasattr(task, "mark"), task.cancelling()))
        if message == "3":
            await self.act()


# ---- the tasks -----------------------------------------------------------------------------------


async def test_calls_begin_in_order_after_the_turn_that_read_their_messages(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    seen: list[tuple[str, str]] = []
    conn.on("message", lambda message: seen.append(("heard", message)))

    @conn.on("message")
    async def message(message: str) -> None:
        seen.append(("ran", message))

    send_together(wire, "1", "2", "3")
    await wait_until(lambda: len(seen) == 6)
    assert seen == [(what, number) for what in ("heard", "ran") for number in "123"]
    await wire.close()


@pytest.mark.parametrize(
    "act", [set_name, set_attribute, cancel_itself, cancel_itself_and_repent, wait]
)
async def test_what_a_call_does_to_its_task_no_other_call_sees(
    both_ends: BothEnds, act: Callable[[], Awaitable[object]]
) -> None:
    wire, conn = both_ends
    recorder = Recorder(act)
    conn.on("message", recorder.listen)
    send_together(wire, *"12345")
    await wait_until(lambda: len(recorder.seen) == 5)
    assert recorder.seen == list("12345")
    assert all(name != "named" for name, _, _ in recorder.tasks)
    assert not any(has_mark or cancelling for _, has_mark, cancelling in recorder.tasks)
    await wait_until(lambda: len(asyncio.all_tasks()) <= 2, "the end of the tasks")
    await wire.close()


async def test_a_task_that_is_kept_belongs_to_one_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    kept: list[asyncio.Task[Any]] = []

    @conn.on("message")
    async def message(message: str) -> str:
        kept.append(this_task())
        return message * 2

    send_together(wire, *"123")
    await wait_until(lambda: len(kept) == 3)
    assert len(set(kept)) == 3
    assert [await task for task in kept] == ["11", "22", "33"]
    await wire.close()


async def test_a_task_that_is_referred_to_weakly_belongs_to_one_call(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    kept: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
    found: list[object] = []

    @conn.on("message")
    async def message(message: str) -> None:
        found.append(kept.get(this_task()))
        kept[this_task()] = message

    send_together(wire, *"123")
    await wait_until(lambda: len(found) == 3)
    assert found == [None] * 3
    await wire.close()


async def test_a_callback_of_a_task_is_called_for_its_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    done: list[tuple[str, str]] = []

    @conn.on("message")
    async def message(message: str) -> str:
        this_task().add_done_callback(lambda task: done.append((message, task.result())))
        return message * 2

    send_together(wire, *"123")
    await wait_until(lambda: len(done) == 3)
    assert done == [("1", "11"), ("2", "22"), ("3", "33")]
    await wire.close()


async def test_a_kept_task_that_is_cancelled_later_cancels_its_call_alone(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    tasks: dict[str, asyncio.Task[Any]] = {}
    ends: list[str] = []
    release = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        tasks[message] = this_task()
        try:
            await release.wait()
            ends.append(f"{message} released")
        except asyncio.CancelledError as error:
            ends.append(f"{message} {error}")
            raise

    send_together(wire, *"123")
    await wait_until(lambda: len(tasks) == 3)
    tasks["2"].cancel("told to")
    await wait_until(lambda: ends)
    release.set()
    await wait_until(lambda: len(ends) == 3)
    assert ends == ["2 told to", "1 released", "3 released"]
    assert tasks["2"].cancelled()
    assert not tasks["1"].cancelled()
    await wire.close()


async def test_a_task_that_ended_long_ago_can_be_cancelled_in_vain(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    tasks: list[asyncio.Task[Any]] = []

    @conn.on("message")
    async def message(message: str) -> None:
        tasks.append(this_task())
        await conn.send(message)

    for text in ("a", "b"):
        wire.send(text)
        assert await wire.receive_message() == text
        await wait_until(tasks[-1].done)
        assert not tasks[-1].cancel()
    assert tasks[0] is not tasks[1]
    await wire.close()


async def test_a_task_shows_its_own_coroutine(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    tasks: list[asyncio.Task[Any]] = []

    @conn.on("message")
    async def waiting_listener(message: str) -> None:
        tasks.append(this_task())
        await asyncio.sleep(3600)

    send_together(wire, *"12")
    await wait_until(lambda: len(tasks) == 2)
    for task in tasks:
        assert "waiting_listener() running at" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["waiting_listener"]
        coroutine: Any = task.get_coro()
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    await wire.close()


async def test_all_calls_of_a_turn_begin_soon_where_each_waits(start_server: StartServer) -> None:
    """None has to wait for more than a turn of the loop because of those before it."""
    server = await start_server(max_tasks=None)
    wire, conn = await connect_both(server)
    loop = asyncio.get_running_loop()
    turn = 0
    begun: list[int] = []

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        if len(begun) < 50:
            loop.call_soon(count_turns)

    @conn.on("message")
    async def message(message: str) -> None:
        if not begun:
            count_turns()
        begun.append(turn)
        await asyncio.sleep(3600)

    send_together(wire, *map(str, range(50)))
    await wait_until(lambda: len(begun) == 50)
    assert begun[-1] - begun[0] <= 2
    await wire.close()


@pytest.mark.parametrize("waits", [True, False])
async def test_what_a_call_starts_waits_for_the_next_turn(both_ends: BothEnds, waits: bool) -> None:
    """A call that makes a listener run in its first step must not hold up the loop."""
    wire, conn = both_ends
    seen: list[str] = []

    @conn.on("drain")
    async def drained() -> None:
        seen.append("drained")
        if len(seen) < 20:
            conn._emit_event("drain")
            asyncio.get_running_loop().call_soon(seen.append, "turn")

    @conn.on("message")
    async def message(message: str) -> None:
        conn._emit_event("drain")
        seen.append(message)
        if waits:
            await asyncio.sleep(0)

    send_together(wire, "1", "2")
    await wait_until(lambda: len(seen) >= 20)
    assert seen[:4] == ["1", "2", "drained", "drained"]
    await wire.close()


# ---- contexts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", ["nowhere", "in between", "in the second"])
async def test_each_call_has_a_context_of_its_own(both_ends: BothEnds, waits: str) -> None:
    wire, conn = both_ends
    seen: list[tuple[str, str, str]] = []

    @conn.on("message")
    async def message(message: str) -> None:
        before = variable.get()
        variable.set(message)
        if waits == "in between" or (waits == "in the second" and message == "2"):
            await asyncio.sleep(0.01)
        seen.append((message, before, variable.get()))

    send_together(wire, *"123")
    await wait_until(lambda: len(seen) == 3)
    assert sorted(seen) == [(number, "unset", number) for number in "123"]
    await wire.close()


async def test_a_call_runs_in_a_copy_of_the_context_in_which_the_event_was_heard(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    seen: list[str] = []

    @conn.on("drain")
    async def drained() -> None:
        seen.append(variable.get())
        variable.set("changed")
        await asyncio.sleep(0)
        seen.append(variable.get())

    for value in ("a", "b"):
        token = variable.set(value)
        conn._emit_event("drain")
        variable.reset(token)
    await wait_until(lambda: len(seen) == 4)
    assert seen == ["a", "b", "changed", "changed"]
    assert variable.get() == "unset"
    await wire.close()


async def test_what_a_call_schedules_runs_in_its_context(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    seen: list[tuple[str, str]] = []

    async def child(message: str) -> None:
        seen.append((message, variable.get()))

    @conn.on("message")
    async def message(message: str) -> None:
        variable.set(message)
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append((message, variable.get())))
        this_task().add_done_callback(lambda _: seen.append((message, variable.get())))
        await asyncio.create_task(child(message))
        seen.append((message, variable.get()))

    send_together(wire, *"12")
    await wait_until(lambda: len(seen) == 8)
    assert sorted(seen) == [("1", "1")] * 4 + [("2", "2")] * 4
    await wire.close()


# ---- what asyncio offers -------------------------------------------------------------------------


async def test_timeouts_and_groups_work_in_a_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    seen: list[str] = []

    async def child(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    @conn.on("message")
    async def message(message: str) -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        except TimeoutError:
            seen.append("timed out")
        async with asyncio.TaskGroup() as group:
            group.create_task(child(f"{message}a"))
            group.create_task(child(f"{message}b"))
        async with asyncio.timeout(3600):
            await conn.send(message)
        seen.append("in time")

    send_together(wire, *"12")
    await wait_until(lambda: seen.count("in time") == 2)
    assert sorted(seen) == ["1a", "1b", "2a", "2b", "in time", "in time", "timed out", "timed out"]
    await wire.close()


async def test_a_timeout_that_has_passed_before_it_is_waited_for_costs_its_call_alone(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    seen: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        try:
            async with asyncio.timeout(-1 if message == "1" else None):
                await asyncio.sleep(0)
            seen.append(message)
        except TimeoutError:
            seen.append(f"{message} late")

    send_together(wire, *"123")
    await wait_until(lambda: len(seen) == 3)
    assert sorted(seen) == ["1 late", "2", "3"]
    await wire.close()


async def test_a_listener_may_receive_the_messages_behind_its_own(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    received: list[str | bytes] = []

    async def message(message: str) -> None:
        received.append(await conn.receive())
        received.append(await conn.receive())

    conn.once("message", message)
    send_together(wire, "go", "1", "2")
    await wait_until(lambda: len(received) == 2)
    assert received == ["1", "2"]
    await wire.close()


async def test_messages_are_kept_no_longer_for_a_listener_that_has_received_and_ended(
    start_server: StartServer,
) -> None:
    server = await start_server(queue_count=4, listen_timeout=0.1)
    wire, conn = await connect_both(server)
    received: list[str | bytes] = []

    async def message(message: str) -> None:
        received.append(await conn.receive())

    conn.once("message", message)
    send_together(wire, "go", "1")
    await wait_until(lambda: received)
    send_together(wire, *map(str, range(20)))
    wire.write_frame(PING, b"read")
    assert await wire.receive_pong() == b"read"
    assert server.limit_hits["listen_timeout"] == 1
    assert conn.dropped_count == 20
    await wire.close()


async def test_a_listener_that_receives_hears_of_the_end_and_is_not_cancelled(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    ends: list[str] = []
    has_begun = asyncio.Event()

    async def message(message: str) -> None:
        has_begun.set()
        try:
            await conn.receive()
        except sockwave.ConnectionClosed:
            ends.append("closed")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    conn.once("message", message)
    wire.send("go")
    await asyncio.wait_for(has_begun.wait(), 5)
    await wire.shake_close()
    await wait_until(lambda: ends)
    assert ends == ["closed"]
    await wire.close()


# ---- tasks made in another way -------------------------------------------------------------------


async def test_a_task_factory_makes_the_task_of_each_call(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    made: list[str] = []
    ran: list[str] = []

    async def listener(message: str) -> None:
        ran.append(message)

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    conn.on("message", listener)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        send_together(wire, *"123")
        await wait_until(lambda: len(ran) == 3)
    finally:
        loop.set_task_factory(None)
    assert made.count("listener") == 3
    await wire.close()


async def test_where_the_loop_is_debugged_each_call_has_a_task(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    names: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        names.append(this_task().get_name())

    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        send_together(wire, *"123")
        await wait_until(lambda: len(names) == 3)
    finally:
        loop.set_debug(False)
    assert len(set(names)) == 3
    await wire.close()


# ---- tasks that are lost -------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_call_whose_task_the_loop_has_lost_is_made_up_for(
    both_ends: BothEnds, error_log: ErrorLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, conn = both_ends
    loop = asyncio.get_running_loop()
    create_task = loop.create_task
    ran: list[str] = []
    lost: list[str] = []

    def lose_task(coroutine: Any) -> None:
        """Make a task whose first step is forgotten, as happens for want of memory."""
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon", lambda *_, **__: None)
            lost.append(create_task(coroutine).get_name())

    @conn.on("message")
    async def message(message: str) -> None:
        ran.append(message)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_task", lose_task)
        wire.send("1")
        await wait_until(lambda: lost)
    wire.send("2")
    await wire.wait_until_read()
    assert ran == []  # the second waits for the task that is to begin the first
    await asyncio.sleep(LOST_S)
    sent = ["1", "2"]
    while not ran:  # the time goes by ticks of the engine, which a busy machine makes late
        sent.append(str(len(sent) + 1))
        wire.send(sent[-1])
        await wire.wait_until_read()
        await asyncio.sleep(0.1)
    await wait_until(lambda: len(ran) == len(sent))
    assert ran == sent
    assert len(lost) == 1
    assert [record.getMessage().partition("\n")[0] for record in error_log.records] == [
        "Task was destroyed but it is pending!"
    ]
    error_log.records.clear()
    await wire.close()


# ---- held by the connection ----------------------------------------------------------------------


async def test_calls_that_handle_no_message_and_have_not_begun_when_the_connection_goes_are_closed(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    other_wire, other = await connect_both(server)
    ran: list[str] = []
    coroutines: list[Any] = []

    async def listener(message: str) -> None:
        ran.append(message)

    def start(message: str) -> Any:
        coroutines.append(listener(message))
        return coroutines[-1]

    conn.on("ping", start)
    other.on("ping", listener)
    other.send("x")  # the end of the turn, in which connections go, comes before the calls
    conn._emit_event("ping", "unbegun")
    other._emit_event("ping", "begun")
    conn.abort()
    await wait_until(lambda: ran)
    assert conn.ready_state == sockwave.ReadyState.CLOSED
    assert ran == ["begun"]
    assert inspect.getcoroutinestate(coroutines[0]) == inspect.CORO_CLOSED
    await wire.close()
    await other_wire.close()


async def test_calls_that_wait_are_cancelled_some_time_after_the_connection_has_gone(
    start_server: StartServer,
) -> None:
    wire, conn = await connect_both(await start_server(finish_timeout=0.1))
    ends: list[str] = []
    begun: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        begun.append(message)
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append(message)

    send_together(wire, *"123")
    await wait_until(lambda: len(begun) == 3)
    conn.abort()
    await wait_until(lambda: len(ends) == 3)
    await wire.close()


async def test_nothing_is_left_of_a_call_that_has_ended(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    kept: weakref.WeakSet[Any] = weakref.WeakSet()

    class Kept:
        pass

    @conn.on("message")
    async def message(message: str) -> None:
        local = Kept()
        kept.add(local)
        if message == "wait":
            await asyncio.sleep(0)
        await conn.send(message)

    for text in ("a", "wait", "b"):
        wire.send(text)
        assert await wire.receive_message() == text
    gc.collect()
    await wait_until(lambda: not kept)
    assert conn.ready_state == sockwave.ReadyState.CONNECTED
    await wire.close()


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [16, 17])
async def test_calls_that_have_not_begun_count_as_tasks(
    start_server: StartServer, count: int
) -> None:
    """At `max_tasks`, and one past it, in one write: nothing is lost, and it is kept."""
    server = await start_server()
    wire, conn = await connect_both(server)
    heard: list[str] = []
    begun_at: list[int] = []

    @conn.on("message")
    def note(message: str) -> None:
        heard.append(message)

    @conn.on("message")
    async def message(message: str) -> None:
        begun_at.append(len(heard))

    send_together(wire, *map(str, range(count)))
    await wait_until(lambda: len(begun_at) == count)
    assert heard == [str(i) for i in range(count)]
    assert begun_at == [16] * 16 + [17] * (count - 16)
    assert server.limit_hits["max_tasks"] == 1 + (count > 32)
    await wire.close()


async def test_many_calls_that_wait_in_turn_come_to_their_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    ends: list[int] = []
    begun: list[int] = []

    @conn.on("message")
    async def message(message: str) -> None:
        begun.append(int(message))
        for _ in range(int(message) % 3):
            await asyncio.sleep(0)
        ends.append(int(message))

    send_together(wire, *map(str, range(1_000)))
    await wait_until(lambda: len(ends) == 1_000)
    assert begun == list(range(1_000))
    assert sorted(ends) == begun
    await wire.close()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["first", "later"])
async def test_an_error_in_a_call_closes_its_connection_and_no_other(
    start_server: StartServer, error_log: ErrorLog, step: str
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    other_wire, other = await connect_both(server)
    ran: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        ran.append(message)
        if step == "later":
            await asyncio.sleep(0)
        if message == "2":
            raise LookupError(message)

    other.on("message", other.send)
    send_together(wire, *"123")
    await wire.expect_failure(INTERNAL_ERROR)
    assert ran == list("123")
    assert [repr(error) for error in error_log.take()] == ["LookupError('2')"]
    other_wire.send("still here")
    assert await other_wire.receive_message() == "still here"
    await wire.close()
    await other_wire.close()


async def test_an_error_is_told_when_no_task_runs(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    seen: list[tuple[str, object, object]] = []

    @server.on("error")
    def failed(error: Exception, conn: object) -> None:
        seen.append((str(error), conn, asyncio.current_task()))

    @conn.on("message")
    async def message(message: str) -> None:
        raise LookupError(message)

    wire.send("deliberate")
    await wire.expect_failure(INTERNAL_ERROR)
    assert seen == [("deliberate", conn, None)]
    await wire.close()


async def test_a_call_that_cancels_itself_is_no_error(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    ran: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        ran.append(message)
        if message == "1":
            raise asyncio.CancelledError
        if message == "2":
            this_task().cancel()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ran.append("cancelled")
                raise

    send_together(wire, *"123")
    await wait_until(lambda: len(ran) == 4)
    assert sorted(ran) == ["1", "2", "3", "cancelled"]
    wire.write_frame(PING, b"alive")
    assert await wire.receive_pong() == b"alive"
    await wire.close()


@pytest.mark.parametrize("step", ["first", "later"])
def test_a_call_may_end_the_program(engine: str, step: str) -> None:
    ran: list[str] = []

    async def main() -> None:
        server = sockwave.create_server(engine=engine)
        server.listen(0, "127.0.0.1")
        async with server:
            wire, conn = await connect_both(server)

            @conn.on("message")
            async def message(message: str) -> None:
                ran.append(message)
                if step == "later":
                    await asyncio.sleep(0)
                if message == "2":
                    raise SystemExit(7)

            send_together(wire, *"123")
            try:
                await asyncio.Event().wait()
            finally:
                conn.abort()

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 7
    assert ran[:2] == ["1", "2"]


def test_calls_that_have_not_begun_when_all_tasks_are_cancelled_do_not_run(engine: str) -> None:
    ran: list[str] = []
    coroutines: list[Any] = []

    async def listener(message: str) -> None:
        ran.append(message)

    def start(message: str) -> Any:
        coroutines.append(listener(message))
        return coroutines[-1]

    async def main() -> None:
        server = sockwave.create_server(engine=engine)
        server.listen(0, "127.0.0.1")
        async with server:
            wire, conn = await connect_both(server)
            conn.on("message", start)
            conn._emit_event("message", "1")
            conn._emit_event("message", "2")
            for task in asyncio.all_tasks() - {this_task()}:
                task.cancel()
            await asyncio.sleep(0)
            conn._emit_event("message", "3")
            await wait_until(lambda: ran)
            await wire.close()

    asyncio.run(main())
    assert ran == ["3"]
    assert [inspect.getcoroutinestate(coroutine) for coroutine in coroutines] == [
        inspect.CORO_CLOSED
    ] * 3
