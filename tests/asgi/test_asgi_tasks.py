"""The tasks of ASGI applications: each is a real one, and nothing of ours cancels it."""

import asyncio
import contextvars
import time
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from asgi_apps import Recorder, accept, answer, get, part, post, read_body, start
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import Wire, build_request, let_arrive, upgrade_headers, wait_until

import sockwave

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def ask(server: sockwave.Server, request: bytes = b"") -> bytes:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(request or get())
        found = await receive_answer(wire)
        assert found.status == 200, found.body
        return found.body


async def test_current_task_is_real_and_among_all_tasks(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        task.set_name("mine")
        task.print_stack(file=None if scope["path"] == "never" else Sink())
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        await answer(send, task.get_name().encode())

    server = await start_server(asgi=app, lifespan="off")
    assert await ask(server) == b"mine"


class Sink:
    def write(self, text: str) -> None: ...


async def test_tasks_of_two_requests_at_once_are_two(start_server: StartServer) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, b"ok")

    app = Recorder(app)
    server = await start_server(asgi=app)
    asking = [asyncio.ensure_future(ask(server)) for _ in range(5)]
    await wait_until(lambda: len(app.tasks) == 5)
    assert len(set(app.tasks)) == 5
    go_on.set()
    assert await asyncio.gather(*asking) == [b"ok"] * 5


async def test_no_limit_of_calls_that_outlive_a_connection_is_one_of_requests(
    start_server: StartServer,
) -> None:
    go_on, is_late = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, b"ok")

    app = Recorder(app)
    server = await start_server(asgi=app, lifespan="off", finish_timeout=0.2, max_finishing=1)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        async def outlive(message: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                is_late.set()

    asking = [asyncio.ensure_future(ask(server)) for _ in range(3)]
    await wait_until(lambda: len(app.tasks) == 3)
    # Its time begins behind theirs, and is over.
    async with await Wire.connect(server.addresses[0]) as wire:
        wire.send(b"hello")
    await is_late.wait()
    await let_arrive()
    go_on.set()
    assert await asyncio.gather(*asking) == [b"ok"] * 3


async def test_timeouts_end_what_waits_and_nothing_else(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        with anyio.move_on_after(0.01) as scope_of_time:
            await receive()
        assert scope_of_time.cancelled_caught
        await answer(send, b"ok")
        assert await asyncio.wait_for(receive(), 10) == {"type": "http.disconnect"}

    app = Recorder(app)
    server = await start_server(asgi=app)
    assert await ask(server, post(b"x")) == b"ok"
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_body_survives_a_receive_that_was_given_up(start_server: StartServer) -> None:
    waited = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        waited.set()
        await answer(send, await read_body(receive))

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        request = post(b"hello")
        wire.write(request[:-5])
        await waited.wait()
        wire.write(request[-5:])
        assert (await receive_answer(wire)).body == b"hello"


async def test_messages_survive_a_receive_that_was_given_up(start_server: StartServer) -> None:
    waited = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        with anyio.move_on_after(0.01):
            await receive()
        waited.set()
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    await waited.wait()
    wire.send("hello")
    assert await wire.receive_message() == "hello"


async def test_task_groups_and_cancel_scopes_of_anyio_work(start_server: StartServer) -> None:
    """As Starlette does it: one task streams, another one waits for the client to go."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await start(send)
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                assert (await receive())["type"] == "http.disconnect"
                gone.append(True)
                group.cancel_scope.cancel()

            group.start_soon(listen)
            if scope["path"] == "/endless":
                await part(send, b"first")
                await anyio.sleep_forever()
            for one in (b"1", b"2"):
                await anyio.lowlevel.checkpoint()
                await part(send, one)
            group.cancel_scope.cancel()
        await part(send, b"3", more_body=False)

    gone: list[bool] = []
    app = Recorder(app)
    server = await start_server(asgi=app)
    assert await ask(server) == b"123"
    assert not app.errors
    assert not gone
    wire = await Wire.open(server.addresses[0])
    wire.write(get("/endless"))
    await wire.receive_head()
    wire.reset()
    await wait_until(lambda: app.ended == 2)
    assert gone
    await wire.close()


async def test_context_variables_are_those_of_one_request(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = variable.get()
        variable.set(scope["path"])
        await asyncio.sleep(0)
        await answer(send, f"{before} {variable.get()}".encode())

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1") + get("/2") + get("/3"))
        for number in range(1, 4):
            assert (await receive_answer(wire)).body == f"unset /{number}".encode()
    assert variable.get() == "unset"


async def test_context_of_a_websocket_is_that_of_its_hooks(start_server: StartServer) -> None:
    async def authorize(handshake: sockwave.Handshake) -> None:
        variable.set(f"user {handshake.request.path}")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "text": variable.get()})
        variable.set("other")

    server = await start_server(asgi=app, lifespan="off", authorize=authorize)
    for target in ("/1", "/2"):
        wire = await Wire.connect(server.addresses[0], target=target)
        assert await wire.receive_message() == f"user {target}"


async def test_work_in_threads_leaves_the_loop_free(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        one = await anyio.to_thread.run_sync(lambda: time.sleep(0.01) or b"anyio")
        other = await asyncio.to_thread(lambda: b" asyncio")
        await answer(send, one + other)

    server = await start_server(asgi=app, lifespan="off")
    assert await ask(server) == b"anyio asyncio"


async def test_work_behind_the_response_goes_on_without_the_client(
    start_server: StartServer,
) -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["path"].encode())
        if scope["path"] == "/work":
            await go_on.wait()
            done.set()

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        # The next request does not wait for it.
        wire.write(get("/work") + get("/next"))
        assert (await receive_answer(wire)).body == b"/work"
        assert (await receive_answer(wire)).body == b"/next"
        wire.reset()
    await let_arrive()
    go_on.set()
    await asyncio.wait_for(done.wait(), 30)


async def test_slow_client_does_not_hold_up_the_work_behind_the_response(
    start_server: StartServer,
) -> None:
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * (8 << 20))
        done.set()

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0], receive_buffer_size=4096) as wire:
        wire.pause_reading()
        wire.write(get())
        await asyncio.wait_for(done.wait(), 30)
        wire.resume_reading()
        assert len((await receive_answer(wire)).body) == 8 << 20


async def test_task_that_is_cancelled_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if scope["path"] == "/begun":
            await start(send)
            await part(send, b"begun")
        await receive()

    app = Recorder(app)
    server = await start_server(asgi=app)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: app.tasks)
        await let_arrive()
        app.tasks.pop().cancel()
        assert (await receive_answer(wire)).status == 500
        assert "its application was cancelled" in str(error_log.take()[0])
        wire.write(get("/begun"))
        await wire.receive_head()
        app.tasks.pop().cancel()
        await wait_until(error_log.take)
        assert await wire.receive(10) == b"5\r\nbegun\r\n"
        await wire.receive_end()


async def test_task_of_a_websocket_that_is_cancelled_ends_it(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/accepts":
            await accept(receive, send)
        await asyncio.Event().wait()

    app = Recorder(app)
    server = await start_server(asgi=app)
    wire = await Wire.connect(server.addresses[0], target="/accepts")
    app.tasks.pop().cancel()
    assert (await wire.receive_close())[0] == 1011
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(upgrade_headers()))
        await wait_until(lambda: app.tasks)
        app.tasks.pop().cancel()
        assert (await receive_answer(wire)).status == 500


async def test_task_that_is_cancelled_before_its_first_step_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    loop = asyncio.get_running_loop()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if coroutine.__qualname__.startswith(("HttpCall", "WebSocketCall")):
            task.cancel()
        return task

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"never")

    server = await start_server(asgi=app, lifespan="off")
    loop.set_task_factory(factory)
    try:
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get())
            assert (await receive_answer(wire)).status == 500
        error_log.take()
    finally:
        loop.set_task_factory(None)


async def test_application_that_never_suspends_does_not_keep_the_loop_from_others(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/deaf":
            # It asks again and again, and never looks at what it is told.
            while not others:
                await receive()
        await answer(send, b"ok")

    others: list[bytes] = []
    app = Recorder(app)
    server = await start_server(asgi=app)
    deaf = await Wire.open(server.addresses[0])
    deaf.write(get("/deaf"))
    await wait_until(lambda: app.scopes)
    deaf.reset()
    await let_arrive()
    flood = await Wire.open(server.addresses[0])
    flood.write(get() * 2000)
    others.append(await ask(server))
    await wait_until(lambda: app.ended > 1)
    for wire in (deaf, flood):
        await wire.close()


async def test_task_factory_of_the_application_sees_each_call(start_server: StartServer) -> None:
    seen: list[Any] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        seen.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")

    server = await start_server(asgi=app, lifespan="off")
    asyncio.get_running_loop().set_task_factory(factory)
    try:
        await ask(server)
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert any("HttpCall" in coroutine.__qualname__ for coroutine in seen)
