"""Lifespans of ASGI applications: startup, state, shutdown, and what goes wrong in them."""

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from asgi_apps import Recorder, accept, answer, get
from commands import running
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import Wire, let_arrive, wait_until

import sockwave


class Living:
    """An application with a lifespan, that keeps what happens in it."""

    def __init__(self, name: str = "app", events: list[str] | None = None) -> None:
        self.name = name
        self.events = [] if events is None else events
        self.states: list[dict[str, Any]] = []
        self.tasks: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.states.append(scope["state"])
            scope["state"]["own"] = scope["path"]
            await answer(send, self.name.encode())
        elif scope["type"] == "websocket":
            self.states.append(scope["state"])
            await accept(receive, send)
            await receive()
        else:
            await self.live(scope, receive, send)

    async def live(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["asgi"]["version"] == "3.0"
        assert await receive() == {"type": "lifespan.startup"}
        self.tasks.append(asyncio.current_task())
        scope["state"]["name"] = self.name
        scope["state"]["shared"] = []
        await asyncio.sleep(0)
        self.events.append(f"{self.name} started")
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        assert asyncio.current_task() is self.tasks[0]
        await asyncio.sleep(0)
        self.events.append(f"{self.name} stopped")
        await send({"type": "lifespan.shutdown.complete"})


def make_server(engine: str, app: Any, **options: Any) -> sockwave.Server:
    return sockwave.create_server(engine=engine, asgi=app, **options).listen(0, "127.0.0.1")


async def test_startup_comes_before_all_clients_and_shutdown_behind_them(
    engine: str, error_log: ErrorLog
) -> None:
    app = Living()
    server = make_server(engine, app)
    server.on("listening", lambda: app.events.append("listening"))
    server.on("close", lambda: app.events.append("close"))
    async with server:
        assert app.events == ["app started", "listening"]
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get())
            await receive_answer(wire)
    assert app.events == ["app started", "listening", "app stopped", "close"]


async def test_lifespan_runs_once_however_often_the_server_is_started(
    engine: str, error_log: ErrorLog
) -> None:
    app = Living()
    server = make_server(engine, app)
    await asyncio.gather(server.start(), server.start(), server.start())
    await server.start()
    serving = asyncio.ensure_future(server.serve_forever())
    await let_arrive()
    await asyncio.gather(server.close(), server.close())
    await serving
    assert app.events == ["app started", "app stopped"]


async def test_each_scope_has_a_shallow_copy_of_the_state(engine: str, error_log: ErrorLog) -> None:
    app = Living()
    server = make_server(engine, app)
    async with server:
        async with await Wire.open(server.addresses[0]) as wire:
            for target in ("/1", "/2"):
                wire.write(get(target))
                await receive_answer(wire)
        async with await Wire.connect(server.addresses[0]):
            pass
    assert [state.get("own") for state in app.states] == ["/1", "/2", None]
    assert {state["name"] for state in app.states} == {"app"}
    assert len({id(state["shared"]) for state in app.states}) == 1


async def test_mounted_applications_live_too_each_callable_once(
    engine: str, error_log: ErrorLog
) -> None:
    events: list[str] = []
    one, two, rest = (Living(name, events) for name in ("one", "two", "rest"))
    server = make_server(engine, rest)
    server.mount("/one", one).mount("/two", two).mount("/again", one)
    async with server, await Wire.open(server.addresses[0]) as wire:
        for target in ("/one", "/again/x", "/two", "/"):
            wire.write(get(target))
            await receive_answer(wire)
    assert events == [f"{name} started" for name in ("rest", "one", "two")] + [
        f"{name} stopped" for name in ("two", "one", "rest")
    ]
    assert [state["own"] for state in one.states] == ["/one", "/again/x"]


async def test_application_that_knows_no_lifespan_goes_without(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave")

    async def raises(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await answer(send, b"ok")

    async def asks_first(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await answer(send, body + b"ok")

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")

    async def returns(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send, b"ok")

    for app in (raises, asks_first, answers, returns):
        server = await start_server(asgi=app)
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get())
            assert (await receive_answer(wire)).body == b"ok"
    lines = [one for one in caplog.records if "has no lifespan" in one.getMessage()]
    assert [one.levelname for one in lines] == ["INFO", "WARNING", "INFO", "INFO"]


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
async def test_application_that_raises_for_a_lifespan_is_told_of_in_one_line(
    start_server: StartServer, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, "sockwave")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError("no such scope:\nlifespan")

    await start_server(asgi=app)
    told, *more = [one for one in caplog.records if one.name == "sockwave"]
    assert told.levelno == logging.INFO
    assert "has no lifespan" in told.getMessage()
    assert told.getMessage().endswith(": it raised NotImplementedError: no such scope:\\nlifespan")
    assert told.exc_info is None
    assert [one.levelno for one in more if one.exc_info] == (
        [logging.DEBUG] if level == logging.DEBUG else []
    )


async def test_lifespan_that_is_required_must_be_known(engine: str, error_log: ErrorLog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    with pytest.raises(AssertionError):
        await make_server(engine, app, lifespan="on").start()

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    with pytest.raises(sockwave.SockwaveError, match=r"expected lifespan\.startup\.complete"):
        await make_server(engine, silent, lifespan="on").start()


async def test_lifespan_that_is_off_is_not_told_of(start_server: StartServer) -> None:
    app = Living()
    server = await start_server(asgi=app, lifespan="off")
    await server.close()
    assert app.events == []


async def test_startup_that_fails_ends_the_server_with_the_error(
    engine: str, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            raise ZeroDivisionError("no database")
        except ZeroDivisionError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    events: list[str] = []
    server = make_server(engine, Living("first", events))
    server.mount("/x", app)
    address = server.addresses[0]
    server.on("close", lambda: events.append("close"))
    starts = await asyncio.gather(server.start(), server.start(), return_exceptions=True)
    assert [str(error) for error in starts] == ["no database", "no database"]
    assert events == ["first started", "first stopped", "close"]
    with pytest.raises(ConnectionError):
        await Wire.open(address)


async def test_startup_that_says_no_more_than_that_it_failed(
    engine: str, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no luck"})

    with pytest.raises(sockwave.SockwaveError, match="no luck"):
        await make_server(engine, app).start()


def test_startup_that_fails_ends_the_process_with_its_traceback() -> None:
    program = """
import sockwave

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": ""})
    raise ZeroDivisionError("no database")

server = sockwave.create_server(asgi=app)
server.listen(0, "127.0.0.1")
server.run()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.strip().endswith("ZeroDivisionError: no database")


async def test_server_may_be_closed_during_a_startup(engine: str, error_log: ErrorLog) -> None:
    began = asyncio.Event()
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    server = make_server(engine, app)
    starting = asyncio.ensure_future(server.start())
    await began.wait()
    await server.close()
    await starting
    assert ended == ["cancelled"]


async def test_start_that_is_cancelled_ends_the_server(engine: str, error_log: ErrorLog) -> None:
    began = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    server = make_server(engine, app)
    starting = asyncio.ensure_future(server.start())
    await began.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await server.close()


@pytest.mark.parametrize("kind", ["failed", "raises", "late"])
async def test_shutdown_that_fails_is_reported(engine: str, error_log: ErrorLog, kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if kind == "failed":
            await send({"type": "lifespan.shutdown.failed", "message": "stuck"})
        elif kind == "late":
            await asyncio.Event().wait()
        else:
            raise ZeroDivisionError

    async with make_server(engine, app, finish_timeout=0.2):
        pass
    errors = [str(error) or type(error).__name__ for error in error_log.take()]
    assert len(errors) == (kind != "late")
    if kind == "failed":
        assert errors[0].endswith("failed: stuck")


async def test_lifespan_that_raises_while_the_server_runs_is_reported(
    engine: str, error_log: ErrorLog
) -> None:
    fail = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send, b"ok")
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await fail.wait()
        raise ZeroDivisionError

    async with make_server(engine, app) as server:
        fail.set()
        await wait_until(lambda: error_log.records)
        assert [type(error) for error in error_log.take()] == [ZeroDivisionError]
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get())
            assert (await receive_answer(wire)).body == b"ok"


@pytest.mark.parametrize("kind", ["lifespan.shutdown.complete", "http.response.start"])
async def test_wrong_message_in_a_lifespan_raises(
    engine: str, error_log: ErrorLog, kind: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(RuntimeError, match="lifespan: expected"):
            await send({"type": kind})
        await send({"type": "lifespan.startup.complete"})
        with pytest.raises(RuntimeError, match="lifespan: expected"):
            await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        with pytest.raises(RuntimeError, match="nothing more"):
            await send({"type": "lifespan.shutdown.complete"})

    async with make_server(engine, app):
        pass


# ---- the end of the server


async def test_end_of_the_server_waits_for_calls_that_outlive_their_response(
    engine: str, error_log: ErrorLog
) -> None:
    events: list[str] = []
    go_on = asyncio.Event()

    class App(Living):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            if scope["type"] == "http":
                await go_on.wait()
                events.append("background work")

    async with make_server(engine, App("app", events)) as server:
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get())
            await receive_answer(wire)
        closing = server.close()
        await let_arrive()
        assert events == ["app started"]
        go_on.set()
        await closing
    assert events == ["app started", "background work", "app stopped"]


async def test_calls_are_cancelled_when_the_drain_is_over(engine: str, error_log: ErrorLog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    recorder = Recorder(app)
    async with make_server(engine, recorder) as server:
        wire = await Wire.open(server.addresses[0])
        wire.write(get())
        await wait_until(lambda: recorder.tasks)
        await server.close(drain=0.1)
        assert recorder.tasks[0].cancelled()
        await wire.close()
    error_log.take()


async def test_application_may_close_the_server_and_wait_for_that(
    engine: str, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"bye")
        await server.close()
        done.append(True)

    done: list[bool] = []
    server = make_server(engine, app, lifespan="off")
    await server.start()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"bye"
    await server.close(drain=None)
    await wait_until(lambda: done)


def test_server_with_an_application_runs_and_ends_by_a_signal() -> None:
    program = """
import sockwave

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

server = sockwave.create_server(asgi=app)
server.listen(8000, "127.0.0.1")
server.run()
"""
    with running(program, status=(0,)):
        pass
