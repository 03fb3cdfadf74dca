"""What may listen, and what becomes of what a listener returns."""

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
from compiled import compile_listeners
from conftest import BothEnds, ErrorLog, StartServer
from http_wire import receive_answer
from together import together
from wire import Wire, connect_both, wait_until

import sockwave

INTERNAL_ERROR = 1011


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> types.ModuleType:
    """Listeners that Cython has compiled."""
    return compile_listeners(tmp_path_factory.mktemp("compiled"))


# ---- what is awaited -----------------------------------------------------------------------------


class Awaited:
    """Something of the application's own that can be awaited."""

    def __init__(self, conn: sockwave.Connection, message: str) -> None:
        self.conn = conn
        self.message = message

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0).__await__()
        self.conn.send(f"ran: {self.message}")


class Answering:
    """An object that is called as an async function is."""

    def __init__(self, conn: sockwave.Connection) -> None:
        self.conn = conn

    async def __call__(self, message: str) -> None:
        await asyncio.sleep(0)
        await self.conn.send(f"ran: {message}")


async def answer(conn: sockwave.Connection, message: str) -> None:
    await asyncio.sleep(0)
    await conn.send(f"ran: {message}")


@types.coroutine
def answer_old(conn: sockwave.Connection, message: str) -> Generator[Any, None, None]:
    yield from asyncio.sleep(0).__await__()
    conn.send(f"ran: {message}")


def let_answer(conn: sockwave.Connection, message: str) -> Awaitable[None]:
    return answer(conn, message)


def let_a_task_answer(conn: sockwave.Connection, message: str) -> Awaitable[None]:
    return asyncio.get_running_loop().create_task(answer(conn, message))


def gather(conn: sockwave.Connection, message: str) -> Awaitable[Any]:
    return asyncio.gather(answer(conn, message))


LISTENERS: dict[str, Callable[[sockwave.Connection], Callable[..., object]]] = {
    "an object with an async __call__": Answering,
    "a partial of an async function": lambda conn: functools.partial(answer, conn),
    "a partial of a partial": lambda conn: functools.partial(functools.partial(answer), conn),
    "a lambda that gives a coroutine": lambda conn: lambda message: answer(conn, message),
    "a function that gives a coroutine": lambda conn: functools.partial(let_answer, conn),
    "a function that gives a task": lambda conn: functools.partial(let_a_task_answer, conn),
    "a function that gives a future": lambda conn: functools.partial(gather, conn),
    "a class of awaitables": lambda conn: functools.partial(Awaited, conn),
    "a marked generator": lambda conn: functools.partial(answer_old, conn),
}


@pytest.mark.parametrize("name", LISTENERS)
async def test_what_a_listener_returns_is_awaited_whatever_made_it(
    both_ends: BothEnds, name: str
) -> None:
    wire, conn = both_ends
    conn.on("message", LISTENERS[name](conn))
    wire.send("one")
    wire.send("two")
    answers = {await wire.receive_message(), await wire.receive_message()}
    assert answers == {"ran: one", "ran: two"}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.slow
async def test_async_function_that_cython_has_compiled_runs(
    both_ends: BothEnds, compiled: types.ModuleType, debug: bool
) -> None:
    asyncio.get_running_loop().set_debug(debug)
    wire, conn = both_ends
    heard: list[str] = []
    conn.on("message", functools.partial(compiled.listen, conn, heard))
    wire.send("hello")
    assert await wire.receive_message() == "compiled: hello"
    assert heard == ["hello", "waited"]


@pytest.mark.slow
async def test_compiled_listener_that_raises_closes_its_connection(
    both_ends: BothEnds, compiled: types.ModuleType, error_log: ErrorLog
) -> None:
    wire, conn = both_ends
    conn.on("message", compiled.fail)
    wire.send("hello")
    await wire.expect_failure(INTERNAL_ERROR)
    assert [str(error) for error in error_log.take()] == ["deliberate"]


async def test_compiled_listener_of_request_answers(
    start_server: StartServer, compiled: types.ModuleType
) -> None:
    server = await start_server()
    server.on("request", compiled.answer)
    wire = await Wire.open(server.addresses[0])
    wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await receive_answer(wire)).body == b"compiled"


async def test_compiled_handler_and_authorize_run(
    start_server: StartServer, compiled: types.ModuleType
) -> None:
    server = await start_server(authorize=compiled.authorize)
    server.handle_with(compiled.handle)
    wire, conn = await connect_both(server)
    assert conn.data == {"seen": True}
    wire.send("hello")
    assert await wire.receive_message() == "handled: hello"


async def test_future_that_a_listener_returns_is_waited_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    wire, conn = await connect_both(await start_server(max_tasks=1))
    futures: list[asyncio.Future[None]] = []

    @conn.on("message")
    def message() -> asyncio.Future[None]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    for _ in range(3):
        wire.send("x")
    await wait_until(lambda: len(futures) == 1)
    futures[0].set_result(None)
    await wait_until(lambda: len(futures) == 2)
    futures[1].set_exception(LookupError("deliberate"))
    await wire.expect_failure(INTERNAL_ERROR)
    assert [str(error) for error in error_log.take()] == ["deliberate"]


async def test_request_listener_may_return_what_can_be_awaited(start_server: StartServer) -> None:
    server = await start_server()

    async def respond(response: sockwave.Response) -> None:
        await asyncio.sleep(0)
        response.end("later")

    server.on("request", lambda request, response: asyncio.ensure_future(respond(response)))
    wire = await Wire.open(server.addresses[0])
    wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await receive_answer(wire)).body == b"later"


async def test_what_send_returns_costs_no_task(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    seen: list[set[asyncio.Task[Any]]] = []
    conn.on("message", conn.send)
    conn.on("message", lambda: seen.append(asyncio.all_tasks()))
    before = asyncio.all_tasks()
    for _ in range(5):
        wire.send("x")
        assert await wire.receive_message() == "x"
    assert all(tasks == before for tasks in seen)


async def test_listener_may_return_the_servers_end(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    conn.on("message", lambda: server.close(drain=None))
    wire.send("stop")
    assert await wire.receive_close() == (1001, "")
    wire.write_close(1001)
    await server.close()


# ---- what cannot listen --------------------------------------------------------------------------


async def generate_async(message: object = None) -> AsyncIterator[object]:
    yield message


def generate(message: object = None) -> Iterator[object]:
    yield message


class Generating:
    """An object that is called as a generator is."""

    async def __call__(self, message: object = None) -> AsyncIterator[object]:
        yield message

    def generate(self, message: object = None) -> Iterator[object]:
        yield message


GENERATORS: dict[str, Any] = {
    "an async generator": generate_async,
    "a generator": generate,
    "a partial of one": functools.partial(generate_async, None),
    "an object that is called as one": Generating(),
    "a method": Generating().generate,
}


@pytest.mark.parametrize("method", ["on", "once", "add_listener", "addListener"])
@pytest.mark.parametrize("name", GENERATORS)
async def test_what_would_not_run_is_refused_when_it_is_added(
    both_ends: BothEnds, start_server: StartServer, name: str, method: str
) -> None:
    server = await start_server()
    for emitter, event in ((server, "request"), (both_ends[1], "message")):
        expected = f"listener of '{event}': expected a function or an async function, given an? "
        with pytest.raises(TypeError, match=expected):
            getattr(emitter, method)(event, GENERATORS[name])
        with pytest.raises(TypeError, match=expected):
            getattr(emitter, method)(event)(GENERATORS[name])
        assert emitter.listeners(event) == []


@pytest.mark.parametrize("listener", [None, 5, "listener", answer])
async def test_what_cannot_be_called_is_refused_when_it_is_added(
    both_ends: BothEnds, start_server: StartServer, listener: Any
) -> None:
    given = answer(both_ends[1], "") if listener is answer else listener
    for emitter, event in ((await start_server(), "connection"), (both_ends[1], "message")):
        for add in (emitter.on, emitter.once):
            with pytest.raises(TypeError, match=f"listener of '{event}' must be callable, not "):
                add(event, given)
    if listener is answer:
        given.close()


async def test_compiled_generators_are_refused(
    both_ends: BothEnds, compiled: types.ModuleType
) -> None:
    _, conn = both_ends
    for function in (compiled.generate, compiled.generate_async):
        with pytest.raises(TypeError, match="listener of 'message': expected a function"):
            conn.on("message", function)


@pytest.mark.parametrize("function", [generate, generate_async])
async def test_generator_that_a_listener_returns_is_an_error(
    both_ends: BothEnds, error_log: ErrorLog, function: Any
) -> None:
    wire, conn = both_ends
    conn.on("message", lambda message: (None, function(message))[1])
    wire.send("x")
    await wire.expect_failure(INTERNAL_ERROR)
    (error,) = error_log.take()
    assert isinstance(error, TypeError)
    assert "expected to be given nothing, or what can be awaited, given a generator" in str(error)


async def test_decorator_without_an_event_is_refused(
    both_ends: BothEnds, start_server: StartServer
) -> None:
    server = await start_server()

    def listener() -> None:
        pass

    for emitter in (server, both_ends[1]):
        for method in ("on", "once", "add_listener", "addListener"):
            with pytest.raises(TypeError, match=r"event: expected its name, .* given <function"):
                getattr(emitter, method)(listener)
        for method in ("off", "remove_listener", "removeListener"):
            with pytest.raises(TypeError, match=r"event: expected its name, .* given <function"):
                getattr(emitter, method)(listener, listener)
        with pytest.raises(TypeError, match=r"event: expected its name, .* given 5"):
            emitter.listeners(5)  # type: ignore[arg-type]


@together
@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("option", ["authorize", "origin", "subprotocol"])
def test_option_that_would_not_run_is_refused(option: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"{option}: expected a function or an async function"):
        sockwave.create_server(**{option: GENERATORS[name]})


@pytest.mark.parametrize("option", ["origin", "subprotocol"])
def test_option_that_has_to_answer_at_once_is_refused_as_async(
    option: str, compiled: types.ModuleType
) -> None:
    class Asking:
        async def __call__(self, *_: object) -> bool:
            return True

    for function in (answer, functools.partial(answer), Asking(), compiled.authorize):
        with pytest.raises(TypeError, match=f"{option}: expected a plain function, given an async"):
            sockwave.create_server(**{option: function})


@pytest.mark.parametrize("name", GENERATORS)
def test_handler_that_would_not_run_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="handler: expected an async function of one connection"):
        sockwave.serve(GENERATORS[name])


async def test_plain_value_that_a_listener_returns_is_nothing_to_wait_for(
    both_ends: BothEnds,
) -> None:
    wire, conn = both_ends
    heard: list[str] = []
    for value in (5, "text", b"bytes", [1], iter(()), map(str, ()), object(), 1.5, True):
        conn.on("message", lambda value=value: value)
    conn.on("message", heard.append)
    wire.send("x")
    await wait_until(lambda: heard == ["x"])
