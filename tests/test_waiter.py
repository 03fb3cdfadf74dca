"""Tasks that wait for messages: who is woken, in which order, and what becomes of who is not."""

import asyncio
import contextvars
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from conftest import BothEnds, ErrorLog, StartServer
from reference import PING, TEXT, Frame, serialize
from wire import connect_both, wait_until

import sockwave
from sockwave.core.events.waiter import WakeQueue

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def serialize_all(*messages: str) -> bytes:
    return b"".join(serialize(Frame(TEXT, message.encode())) for message in messages)


async def start_waiting(
    *coroutines: Coroutine[Any, Any, str | bytes],
) -> list[asyncio.Task[str | bytes]]:
    """Let tasks run until each waits."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


async def test_who_has_waited_longest_is_woken_first(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    woken: list[int] = []

    async def take(number: int) -> str | bytes:
        message = await conn.receive()
        woken.append(number)
        return message

    tasks = await start_waiting(*(take(i) for i in range(5)))
    wire.write(serialize_all(*"abcde"))
    assert await asyncio.gather(*tasks) == list("abcde")
    assert woken == [0, 1, 2, 3, 4]
    await wire.close()


async def test_a_task_that_is_cancelled_when_it_has_been_woken_leaves_the_message_to_the_next(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    first, second = await start_waiting(conn.receive(), conn.receive())

    @conn.on("ping")
    def ping() -> None:  # in the turn that wakes the first, before the one in which it would run
        first.cancel()

    wire.write(serialize_all("a") + serialize(Frame(PING, b"")))
    assert await asyncio.wait_for(second, 5) == "a"
    assert first.cancelled()
    await wire.close()


async def test_a_task_that_is_cancelled_while_it_waits_is_out_of_the_line(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    first, second = await start_waiting(conn.receive(), conn.receive())
    assert first.cancel("told to")
    with pytest.raises(asyncio.CancelledError) as caught:
        await first
    assert caught.value.args == ("told to",)
    wire.send("a")
    assert await asyncio.wait_for(second, 5) == "a"
    await wire.close()


async def test_a_task_may_catch_its_cancellation_and_wait_again(both_ends: BothEnds) -> None:
    wire, conn = both_ends

    async def insist() -> str | bytes:
        try:
            return await conn.receive()
        except asyncio.CancelledError:
            return await conn.receive()

    (task,) = await start_waiting(insist())
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    await wire.close()


async def test_a_coroutine_that_is_closed_while_it_waits_is_out_of_the_line(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    abandoned = conn.receive()
    abandoned.send(None)
    (task,) = await start_waiting(conn.receive())
    abandoned.close()
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    await wire.close()


async def test_waiting_in_vain_leaves_nobody_in_the_line(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await conn.receive(timeout=0.001)
    wire.write(serialize_all("a", "b"))
    assert await conn.receive(timeout=5) == "a"
    assert await asyncio.wait_for(conn.receive(), 5) == "b"
    await wire.close()


async def test_each_task_goes_on_in_its_own_context(both_ends: BothEnds) -> None:
    wire, conn = both_ends

    async def take(name: str) -> str | bytes:
        variable.set(name)
        message = await conn.receive()
        assert variable.get() == name
        variable.set("changed")
        assert asyncio.current_task() in tasks
        return message

    tasks = await start_waiting(take("x"), take("y"))
    wire.write(serialize_all("a", "b"))
    assert await asyncio.gather(*tasks) == ["a", "b"]
    assert variable.get() == "unset"
    await wire.close()


async def test_what_anext_gives_can_be_a_task(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    task = asyncio.ensure_future(anext(conn))
    await asyncio.sleep(0)
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    await wire.close()


async def test_messages_keep_their_order_however_many_wait(start_server: StartServer) -> None:
    server = await start_server(queue_count=50)
    wire, conn = await connect_both(server)
    taken: list[str | bytes] = []
    written = 0
    for count in (1, 3, 7, 2, 50, 1, 120, 5):
        wire.write(serialize_all(*(str(written + i) for i in range(count))))
        written += count
        taken += [await asyncio.wait_for(conn.receive(), 5) for _ in range(max(1, count - 2))]
    while len(taken) < written:
        taken.append(await asyncio.wait_for(conn.receive(), 5))
    assert taken == [str(i) for i in range(written)]
    await wire.close()


async def test_all_who_wait_hear_of_the_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    tasks = await start_waiting(*(conn.receive() for _ in range(3)))
    await wire.shake_close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [sockwave.ConnectionClosed] * 3
    await wire.close()


class Onlooker:
    """Awaits a coroutine for the task, and is called as well when what it waits for is done."""

    def __init__(self, *callbacks: Callable[[Any], object]) -> None:
        self.callbacks = callbacks
        self.seen: list[Any] = []

    @types.coroutine
    def look_at(
        self, coroutine: Coroutine[Any, Any, str | bytes]
    ) -> Generator[Any, Any, str | bytes]:
        while True:
            try:
                waited = coroutine.send(None)
            except StopIteration as stop:
                result: str | bytes = stop.value
                return result
            self.seen.append(waited)
            for callback in self.callbacks:
                waited.add_done_callback(callback)
            yield waited

    async def receive(self, conn: sockwave.Connection) -> str | bytes:
        return await self.look_at(conn.receive())


async def test_others_may_be_called_beside_the_task_that_waits(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    called: list[tuple[str, Any]] = []
    seen_values: list[str] = []

    def call(waited: Any) -> None:
        called.append(("call", waited))
        seen_values.append(variable.get())

    variable.set("the test's")
    builtin: list[Any] = []
    onlooker = Onlooker(call, builtin.append)
    (task,) = await start_waiting(onlooker.receive(conn))
    (waited,) = onlooker.seen
    assert asyncio.isfuture(waited)
    assert not waited.done()
    with pytest.raises(asyncio.InvalidStateError):
        waited.exception()
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    assert called == [("call", waited)]
    assert builtin == [waited]
    assert seen_values == ["the test's"]
    assert waited.done()
    assert waited.exception() is None
    await wire.close()


async def test_other_that_fails_does_not_keep_the_task_from_going_on(
    both_ends: BothEnds, error_log: ErrorLog
) -> None:
    wire, conn = both_ends
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: failures.append(context.get("exception"))
    )

    def fail(waited: Any) -> None:
        raise RuntimeError("deliberate")

    (task,) = await start_waiting(Onlooker(fail).receive(conn))
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    assert [str(failure) for failure in failures] == ["deliberate"]
    asyncio.get_running_loop().set_exception_handler(None)
    await wire.close()


async def test_other_that_was_taken_away_is_not_called(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    called: list[Any] = []
    onlooker = Onlooker(called.append, called.append)
    (task,) = await start_waiting(onlooker.receive(conn))
    assert onlooker.seen[0].remove_done_callback(called.append) == 2
    assert onlooker.seen[0].remove_done_callback(called.append) == 0
    wire.send("a")
    assert await asyncio.wait_for(task, 5) == "a"
    assert not called
    await wire.close()


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("is_promised", [True, False])
async def test_who_waits_is_woken_although_the_loop_has_lost_the_call(
    both_ends: BothEnds,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    is_promised: bool,
    has_ended: bool,
) -> None:
    """For want of memory a loop cannot promise a call, or does not make it."""
    wire, conn = both_ends
    tasks = await start_waiting(conn.receive(), conn.receive())
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon
    lost: list[object] = []

    def call_unless_lost(callback: Any, *arguments: Any, context: Any = None) -> asyncio.Handle:
        if lost or not isinstance(getattr(callback, "__self__", None), WakeQueue):
            return call_soon(callback, *arguments, context=context)
        lost.append(callback)
        if not is_promised:
            raise MemoryError
        return call_soon(lambda: None)

    monkeypatch.setattr(loop, "call_soon", call_unless_lost)
    if has_ended:
        conn.abort()
    else:
        wire.write(serialize_all("a", "b"))
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    # What has come in a turn of the engine's is told at its end, without a call of the loop.
    assert bool(lost) == (has_ended or engine == "asyncio")
    if has_ended:
        assert [type(result) for result in results] == [sockwave.ConnectionClosed] * 2
    else:
        assert results == ["a", "b"]
    await wire.close()


async def test_a_listener_may_run_the_loop_until_a_task_has_gone_on(
    start_server: StartServer,
) -> None:
    """As packages let it that make a program wait for a coroutine from within a function."""
    server = await start_server()
    wire, conn = await connect_both(server)
    other_wire, other = await connect_both(server)
    loop: Any = asyncio.get_running_loop()
    (task,) = await start_waiting(other.receive())
    heard: list[str | bytes] = []

    @conn.on("message")
    def message(text: str | bytes) -> None:
        other_wire.send("b")
        while not task.done():
            loop._run_once()
        heard.append(text)

    wire.send("a")
    await wait_until(lambda: heard)
    assert await task == "b"
    await wire.close()
    await other_wire.close()


def test_who_ends_the_program_keeps_nobody_from_being_woken(engine: str) -> None:
    loop = asyncio.new_event_loop()
    server = sockwave.create_server(engine=engine)
    taken: list[str | bytes] = []

    async def begin() -> None:
        server.listen(0, "127.0.0.1")
        await server.__aenter__()
        wire, conn = await connect_both(server)

        async def leave() -> None:
            await conn.receive()
            raise SystemExit(7)

        async def take() -> None:
            taken.append(await conn.receive())

        tasks = [asyncio.create_task(leave()), asyncio.create_task(take())]
        await asyncio.sleep(0)
        wire.write(serialize_all("a", "b"))
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await wire.close()

    async def end() -> None:
        await wait_until(lambda: taken)
        await server.__aexit__(None, None, None)

    try:
        beginning = loop.create_task(begin())
        with pytest.raises(SystemExit):
            loop.run_until_complete(beginning)
        loop.run_until_complete(end())
        loop.run_until_complete(asyncio.wait([beginning]))
    finally:
        loop.close()
    assert taken == ["b"]
