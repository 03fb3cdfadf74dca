"""What becomes of messages, calls and handlers when their connection ends."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from certificates import server_context
from conftest import BothEnds, ErrorLog, StartServer
from reference import CLOSE, PING, TEXT, Frame, close_payload, serialize
from tls_wire import TlsWire
from together import together
from wire import Wire, connect_both, wait_until

import sockwave

INTERNAL_ERROR = 1011
TEXTS = ["1", "2", "3", "4", "5"]


def in_one_packet(*messages: str, close: bool = False) -> bytes:
    """Give messages, and a close frame behind them."""
    data = b"".join(serialize(Frame(TEXT, message.encode())) for message in messages)
    return data + (serialize(Frame(CLOSE, close_payload(1000))) if close else b"")


async def end_by_close(wire: Wire) -> None:
    wire.write(in_one_packet(*TEXTS, close=True))


async def end_by_fin(wire: Wire) -> None:
    wire.write(in_one_packet(*TEXTS))
    wire.write_eof()


async def end_by_violation(wire: Wire) -> None:
    wire.write(in_one_packet(*TEXTS) + b"\xff\xff")


ENDS = [end_by_close, end_by_fin, end_by_violation]


class Handled:
    """A listener that takes its time, and notes what it has come to the end of."""

    def __init__(self, conn: sockwave.Connection) -> None:
        self.texts: list[str] = []
        self.begun: list[str] = []
        self.failed: list[str] = []
        self.running_count = self.most_running = 0
        self.events: list[str] = []
        self.conn = conn
        self.go_on = asyncio.Event()
        conn.on("message", self.listen)
        conn.on("close", lambda code: self.events.append(f"close {code}"))

    async def listen(self, message: str) -> None:
        self.begun.append(message)
        self.running_count += 1
        self.most_running = max(self.most_running, self.running_count)
        await self.go_on.wait()
        await asyncio.sleep(0.005)
        self.running_count -= 1
        try:
            self.conn.send("answer")
        except sockwave.ConnectionClosed:
            self.failed.append(message)
        self.texts.append(message)


# ---- messages before the end ---------------------------------------------------------------------


@together
@pytest.mark.parametrize("max_tasks", [16, 1, None])
@pytest.mark.parametrize("end", ENDS)
async def test_messages_before_the_end_are_handled_to_theirs(
    start_server: StartServer, end: Callable[[Wire], Awaitable[None]], max_tasks: int | None
) -> None:
    server = await start_server(max_tasks=max_tasks)
    wire, conn = await connect_both(server)
    handled = Handled(conn)
    at_once = 1 if max_tasks == 1 else 5
    await end(wire)
    await wait_until(lambda: len(handled.begun) == at_once)
    handled.go_on.set()
    await wait_until(lambda: len(handled.texts) == 5)
    assert handled.texts == TEXTS
    assert handled.most_running == at_once
    if end is end_by_violation:
        await wire.close()  # which the server waits for
    await wait_until(lambda: len(handled.events) == 1)
    assert server.limit_hits["finish_timeout"] == 0
    await wire.close()


@pytest.mark.parametrize("max_tasks", [16, 1, 2])
async def test_messages_of_a_client_that_vanishes_are_handled_to_their_end(
    start_server: StartServer, max_tasks: int
) -> None:
    server = await start_server(max_tasks=max_tasks)
    wire, conn = await connect_both(server)
    handled = Handled(conn)
    wire.write(in_one_packet(*TEXTS))
    await wait_until(lambda: len(handled.begun) == min(max_tasks, 5))
    wire.reset()
    # On a socket that is not read, the other engine sees a reset when it writes.
    with contextlib.suppress(sockwave.ConnectionClosed):
        for _ in range(20):
            conn.send("are you there?")
            await asyncio.sleep(0.005)
    handled.go_on.set()
    await wait_until(lambda: len(handled.texts) == 5)
    assert handled.texts == TEXTS
    assert handled.most_running == min(max_tasks, 5)
    await wait_until(lambda: handled.events)
    assert handled.events == ["close 1006"]
    assert handled.failed
    assert conn.ready_state == sockwave.ReadyState.CLOSED
    assert len(server.connections) == 0


async def test_a_close_frame_behind_messages_that_wait_tells_how_it_ended(
    start_server: StartServer,
) -> None:
    server = await start_server(max_tasks=1)
    wire, conn = await connect_both(server)
    handled = Handled(conn)
    wire.write(in_one_packet(*TEXTS, close=True) + in_one_packet("behind"))
    await wait_until(lambda: handled.begun)
    wire.reset()
    with contextlib.suppress(sockwave.ConnectionClosed):
        for _ in range(20):
            conn.send("are you there?")
            await asyncio.sleep(0.005)
    handled.go_on.set()
    await wait_until(lambda: handled.events)
    await wait_until(lambda: len(handled.texts) == 5)
    assert handled.events == ["close 1000"]
    assert handled.begun == TEXTS


@pytest.mark.parametrize("act", ["close", "abort"])
async def test_calls_that_run_or_wait_go_on_when_the_application_ends_the_connection(
    both_ends: BothEnds, act: str
) -> None:
    wire, conn = both_ends
    handled = Handled(conn)
    wire.write(in_one_packet(*TEXTS))
    await wait_until(lambda: len(handled.begun) == 5)
    getattr(conn, act)()
    if act == "close":
        await wire.receive_close()
        wire.write_close(1000)
    await wait_until(lambda: handled.events)
    handled.go_on.set()
    await wait_until(lambda: len(handled.texts) == 5)
    assert handled.failed == TEXTS
    await wire.close()


@pytest.mark.parametrize("draft", [75, 76])
async def test_messages_of_a_draft_before_its_end_are_handled(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(max_tasks=1)
    kept: list[Handled] = []
    server.on("connection", lambda conn: kept.append(Handled(conn)))
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    data = b"".join(b"\x00" + text.encode() + b"\xff" for text in TEXTS)
    wire.write(data + (b"\xff\x00" if draft == 76 else b""))
    await wait_until(lambda: kept[0].begun)
    wire.write_eof()
    kept[0].go_on.set()
    await wait_until(lambda: kept[0].events)
    await wait_until(lambda: len(kept[0].texts) == 5)
    assert kept[0].texts == TEXTS
    assert kept[0].events == ["close 1005"]
    await wire.close()


async def test_messages_of_tls_before_the_end_are_handled(engine: str, error_log: ErrorLog) -> None:
    server = sockwave.create_server(engine=engine, max_tasks=1)
    server.listen(0, "127.0.0.1", ssl=server_context())
    kept: list[Handled] = []
    server.on("connection", lambda conn: kept.append(Handled(conn)))
    async with server:
        wire = await TlsWire.connect(server.addresses[0])
        wire.write(in_one_packet(*TEXTS))
        await wait_until(lambda: kept and kept[0].begun)
        wire.wire.reset()
        kept[0].go_on.set()
        await wait_until(lambda: len(kept[0].texts) == 5)
        assert kept[0].texts == TEXTS
        await wait_until(lambda: kept[0].events)


@together
@pytest.mark.parametrize("way", ["async for", "receive"])
@pytest.mark.parametrize("vanishes", [False, True])
async def test_a_handler_is_given_all_messages_that_came(
    engine: str, error_log: ErrorLog, way: str, vanishes: bool
) -> None:
    handled: list[str | bytes] = []
    ends: list[str] = []
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def handle(message: str | bytes) -> None:
        begun.set()
        await go_on.wait()
        await asyncio.sleep(0.005)
        handled.append(message)

    async def handler(conn: sockwave.Connection) -> None:
        try:
            if way == "async for":
                async for message in conn:
                    await handle(message)
            else:
                with contextlib.suppress(sockwave.ConnectionClosed):
                    while True:
                        await handle(await conn.receive())
            await asyncio.sleep(0.005)
            ends.append("told")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine, queue_count=2) as server:
        wire, conn = await connect_both(server)
        wire.write(in_one_packet(*TEXTS, close=not vanishes))
        await begun.wait()
        if vanishes:
            wire.reset()
            with contextlib.suppress(sockwave.ConnectionClosed):
                for _ in range(20):
                    conn.send("are you there?")
                    await asyncio.sleep(0.005)
        go_on.set()
        await wait_until(lambda: ends)
        assert handled == TEXTS
        assert ends == ["told"]
        await wire.close()


async def test_a_handler_that_begins_after_the_end_is_given_what_came(
    engine: str, error_log: ErrorLog
) -> None:
    handled: list[str | bytes] = []

    async def handler(conn: sockwave.Connection) -> None:
        await asyncio.sleep(0.02)
        async for message in conn:
            handled.append(message)  # noqa: PERF401 - each by itself, so that it is seen at once

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine) as server:
        wire = await Wire.connect(server.addresses[0], behind=in_one_packet(*TEXTS, close=True))
        await wait_until(lambda: len(handled) == 5)
        await wire.close()


async def test_chunks_of_messages_before_the_end_are_given(
    engine: str, error_log: ErrorLog
) -> None:
    handled: list[str] = []

    async def handler(conn: sockwave.Connection) -> None:
        for _ in TEXTS:
            text = "".join([str(chunk) async for chunk in conn.stream()])
            await asyncio.sleep(0.005)
            handled.append(text)

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine, queue_count=2) as server:
        wire = await Wire.connect(server.addresses[0])
        wire.write(in_one_packet(*TEXTS, close=True))
        await wait_until(lambda: len(handled) == 5)
        assert handled == TEXTS
        await wire.close()


# ---- how long ------------------------------------------------------------------------------------


async def test_what_does_not_end_in_time_is_cancelled_counted_and_logged(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(finish_timeout=0.2)
    wire, conn = await connect_both(server)
    ends: list[str] = []

    async def wait_for_ever(*arguments: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    conn.on("message", wait_for_ever)
    conn.on("close", wait_for_ever)
    with caplog.at_level(logging.WARNING, "sockwave.peers"):
        wire.write(in_one_packet("1", close=True))
        await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)
        assert ends == []
        await wait_until(lambda: len(ends) == 2)
    assert server.limit_hits["finish_timeout"] == 2
    assert [record.getMessage().count("was not handled within 0.2 s") for record in caplog.records]
    await wire.close()


async def test_messages_that_nobody_takes_in_time_are_dropped_and_the_connection_ends(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(max_tasks=1, finish_timeout=0.2)
    wire, conn = await connect_both(server)
    handled = Handled(conn)
    wire.write(in_one_packet(*TEXTS))
    await wait_until(lambda: handled.begun)
    wire.reset()
    with contextlib.suppress(sockwave.ConnectionClosed):
        while True:
            conn.send("are you there?")
            await asyncio.sleep(0.005)
    await wait_until(lambda: handled.events)
    assert handled.begun == ["1"]
    assert server.limit_hits["finish_timeout"] == 1
    assert len(server.connections) == 0


async def test_a_handler_that_asks_for_no_more_is_cancelled_in_time(
    engine: str, error_log: ErrorLog
) -> None:
    ends: list[str] = []
    taken = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        await conn.receive()
        taken.set()
        try:
            await asyncio.Queue[str]().get()
        finally:
            ends.append("cancelled")

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine, finish_timeout=0.2) as server:
        wire = await Wire.connect(server.addresses[0])
        wire.send("hello")
        await taken.wait()
        await wire.shake_close()
        await wait_until(lambda: ends)
        assert server.limit_hits["finish_timeout"] == 0
        await wire.close()


async def test_the_oldest_call_makes_room_for_one_too_many(start_server: StartServer) -> None:
    server = await start_server(max_finishing=2)
    ends: list[str] = []
    begun: list[str] = []
    go_on = asyncio.Event()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        async def message(message: str) -> None:
            begun.append(message)
            try:
                await go_on.wait()
                ends.append(f"{message} done")
            except asyncio.CancelledError:
                ends.append(f"{message} cancelled")
                raise

    for text in "123":
        wire = await Wire.connect(server.addresses[0])
        wire.send(text)
        await wait_until(lambda text=text: text in begun)
        await wire.shake_close()
        await wire.close()
    await wait_until(lambda: ends)
    assert ends == ["1 cancelled"]
    assert server.limit_hits["max_finishing"] == 1
    go_on.set()
    await wait_until(lambda: len(ends) == 3)


# ---- who ends with the connection ----------------------------------------------------------------


async def test_a_handler_that_waits_for_something_else_is_cancelled_when_its_client_goes(
    engine: str, error_log: ErrorLog
) -> None:
    ends: list[tuple[str, int]] = []
    begun = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.set()
        try:
            await asyncio.Queue[str]().get()
        except asyncio.CancelledError:
            ends.append(("cancelled", task.cancelling()))
            await asyncio.sleep(0.05)
            ends.append(("cleaned up", task.cancelling()))
            raise

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine) as server:
        wire = await Wire.connect(server.addresses[0])
        await begun.wait()
        wire.reset()
        await wait_until(lambda: len(ends) == 2)
        assert ends == [("cancelled", 1), ("cleaned up", 1)]


@pytest.mark.parametrize("event", ["ping", "readyStateChange", "connection"])
async def test_other_listeners_are_cancelled_when_the_client_goes(
    start_server: StartServer, event: str
) -> None:
    server = await start_server()
    ends: list[str] = []
    begun = asyncio.Event()

    async def listener(argument: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    if event == "connection":
        server.on("connection", listener)
    wire, conn = await connect_both(server)
    if event == "ping":
        conn.on("ping", listener)
        wire.write_frame(PING, b"")
    elif event == "readyStateChange":
        conn.once(event, listener)
        conn._emit_event(event, sockwave.ReadyState.CONNECTED)
    await begun.wait()
    wire.reset()
    await wait_until(lambda: ends)


async def test_a_handler_may_go_on_when_its_client_goes(engine: str, error_log: ErrorLog) -> None:
    ends: list[str] = []
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        begun.set()
        await go_on.wait()
        ends.append("done")

    async with sockwave.serve(
        handler, "127.0.0.1", 0, engine=engine, cancel_on_close=False, finish_timeout=0.05
    ) as server:
        wire, conn = await connect_both(server)
        await begun.wait()
        wire.reset()
        await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)
        await asyncio.sleep(0.2)
        assert ends == []
        closing = server.close()
        go_on.set()
        await closing
        assert ends == ["done"]


async def read(conn: sockwave.Connection) -> None:
    async for _ in conn:
        pass


async def read_and_clean_up(conn: sockwave.Connection) -> None:
    async for _ in conn:
        pass
    await asyncio.sleep(0.02)
    conn.data["clean"] = True


async def receive(conn: sockwave.Connection) -> None:
    while True:
        await conn.receive()


async def write(conn: sockwave.Connection) -> None:
    while True:
        await asyncio.sleep(0.001)
        await conn.send("tick")


async def wait_for_queue(conn: sockwave.Connection) -> None:
    await asyncio.Queue[str]().get()


async def fail_then(conn: sockwave.Connection) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise LookupError("deliberate")


GROUPS: list[tuple[Callable[[sockwave.Connection], Any], ...]] = [
    (read, write),
    (receive, write),
    (receive, wait_for_queue),
    (read, wait_for_queue),
    (read_and_clean_up, wait_for_queue),
    (write, write, wait_for_queue),
]


@together
@pytest.mark.parametrize("kind", ["handler", "connection", "message"])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: "-".join(f.__name__ for f in group))
async def test_a_group_of_tasks_ends_quietly_with_its_client(
    start_server: StartServer, group: tuple[Callable[[sockwave.Connection], Any], ...], kind: str
) -> None:
    # A call of `message` has its time, whatever it waits for; the others need none of it.
    server = await start_server(finish_timeout=0.2 if kind == "message" else 60.0)
    ends: list[object] = []
    begun = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        begun.set()
        try:
            async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
                for i, part in enumerate(group):
                    (inner if i else outer).create_task(part(conn))
        finally:
            ends.append(conn)

    if kind == "handler":
        server.handle_with(handler)
    elif kind == "connection":
        server.on("connection", handler)
    wire, conn = await connect_both(server)
    if kind == "message":

        async def message(_: str) -> None:
            await handler(conn)

        conn.once("message", message)
        wire.send("go")
    await begun.wait()
    wire.reset()
    await wait_until(lambda: ends)
    if read_and_clean_up in group and kind != "message":
        assert conn.data == {"clean": True}


@pytest.mark.parametrize("kind", ["handler", "connection"])
async def test_another_error_in_a_group_is_reported_alone(
    start_server: StartServer, error_log: ErrorLog, kind: str
) -> None:
    server = await start_server()

    async def handler(conn: sockwave.Connection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(receive(conn))
            group.create_task(fail_then(conn))
            await asyncio.sleep(0)

    if kind == "handler":
        server.handle_with(handler)
    else:
        server.on("connection", handler)
    wire, _ = await connect_both(server)
    await asyncio.sleep(0.05)
    wire.reset()
    await wait_until(lambda: error_log.records)
    (error,) = error_log.take()
    assert isinstance(error, ExceptionGroup)
    assert [repr(leaf) for leaf in error.exceptions] == ["LookupError('deliberate')"]


async def test_that_another_client_has_gone_is_an_error_of_a_listener(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    """It fails in the middle of what it does for its own client, who is still there."""
    server = await start_server()
    wire, conn = await connect_both(server)
    other_wire, other = await connect_both(server)
    other_wire.reset()
    await wait_until(lambda: other.ready_state == sockwave.ReadyState.CLOSED)

    @conn.on("message")
    async def message(message: str) -> None:
        await asyncio.sleep(0)
        other.send(message)

    wire.send("hello")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [type(error) for error in error_log.take()] == [sockwave.ConnectionClosed]
    await wire.close()


async def test_a_timeout_and_a_cancellation_of_its_own_keep_their_meaning_in_a_handler(
    engine: str, error_log: ErrorLog
) -> None:
    seen: list[str] = []

    async def handler(conn: sockwave.Connection) -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timed out")
        try:
            async with asyncio.timeout(60):
                seen.append("waits")
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timed out again")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with sockwave.serve(handler, "127.0.0.1", 0, engine=engine) as server:
        wire = await Wire.connect(server.addresses[0])
        await wait_until(lambda: "waits" in seen)
        wire.reset()
        await wait_until(lambda: "cancelled" in seen)
        assert seen == ["timed out", "waits", "cancelled"]


# ---- the end of the server -----------------------------------------------------------------------


async def test_the_server_ends_after_the_calls_that_handle_something(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    handled = Handled(conn)
    order: list[str] = []

    @conn.on("close")
    async def closed() -> None:
        await asyncio.sleep(0.02)
        order.append("conn")

    server.on("close", lambda: order.append("server"))
    wire.write(in_one_packet(*TEXTS, close=True))
    await wait_until(lambda: len(handled.begun) == 5)
    closing = server.close()
    await wire.close()
    await asyncio.sleep(0.05)
    assert not asyncio.ensure_future(closing).done()
    handled.go_on.set()
    await closing
    assert handled.texts == TEXTS
    assert order == ["conn", "server"]


async def test_calls_and_handlers_are_cancelled_at_the_end_of_drain(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ends: list[str] = []

    async def wait_for_ever(what: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append(what)

    async def handler(conn: sockwave.Connection) -> None:
        await wait_for_ever("handler")

    server.handle_with(handler, cancel_on_close=False)
    wire, conn = await connect_both(server)

    async def message(message: str) -> None:
        await wait_for_ever(message)

    conn.on("message", message)
    wire.send("message")
    await wire.wait_until_read()
    await server.close(drain=0.1)
    assert sorted(ends) == ["handler", "message"]
    await wire.close()


async def test_a_call_that_does_not_let_itself_be_cancelled_does_not_keep_the_server(
    start_server: StartServer,
) -> None:
    server = await start_server()
    release = asyncio.Event()
    wire, conn = await connect_both(server)

    @conn.on("message")
    async def message(message: str) -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    wire.send("message")
    await wire.wait_until_read()
    await server.close(drain=0)
    release.set()
    await wire.close()


@pytest.mark.parametrize("first", [True, False])
async def test_a_call_may_wait_for_the_end_of_the_server(
    start_server: StartServer, first: bool
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    ends: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        if not first:
            await asyncio.sleep(0)
        await server.close(jitter=0)
        ends.append("closed")

    wire.send("close")
    await wire.receive_close()
    wire.write_close(1001)
    await wait_until(lambda: ends)
    await wire.close()


@pytest.mark.parametrize("what", ["message", "close", "server"])
def test_nothing_pending_is_lost_when_run_ends(engine: str, what: str) -> None:
    ends: list[str] = []
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    wires: list[Wire] = []

    async def finish(*arguments: object) -> None:
        await asyncio.sleep(0.05)
        ends.append(what)

    if what == "server":
        server.on("close", finish)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if what != "server":
            conn.on(what, finish)

    @server.on("listening")
    async def listening() -> None:
        wire = await Wire.connect(server.addresses[0])
        wires.append(wire)
        wire.write(in_one_packet("1", close=True))
        await wire.receive_close()
        await wire.close()
        os.kill(os.getpid(), signal.SIGTERM)

    assert threading.current_thread() is threading.main_thread()
    server.run()
    assert ends == [what]
