"""Requests that the application does not answer, or not to the end: each gets an answer."""

import asyncio
import gc
import sys
import threading
from typing import Any

import pytest
from certificates import server_context
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from tls_wire import TlsWire
from wire import PATIENCE_S, Wire, connect_both, wait_until

import sockwave


def get(target: str = "/", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def take_reason(error_log: ErrorLog) -> str:
    """Give the one error that was logged."""
    await wait_until(lambda: error_log.records)
    (error,) = error_log.take()
    assert isinstance(error, sockwave.SockwaveError)
    return str(error)


async def expect_no_answer(
    start_server: StartServer, error_log: ErrorLog, listener: Any, reason: str, **options: Any
) -> None:
    """Ask what is not answered, with HEAD too, and with a request behind that is."""
    server = await start_server(**options)

    @server.on("request")
    def others(req: sockwave.Request, res: sockwave.Response) -> Any:
        if req.path == "/":
            res.end("here")
            return None
        return listener(req, res)

    async with await Wire.open(server.addresses[0]) as wire:
        for method in ("GET", "HEAD"):
            wire.write(get("/silent?secret=1", method) + get())
            answer = await receive_answer(wire, method=method)
            assert answer.status == 500
            assert "connection" not in answer.headers
            assert answer.headers["content-length"] == "22"
            assert answer.body == (b"internal server error\n" if method == "GET" else b"")
            assert (await receive_answer(wire)).body == b"here"
            said = await take_reason(error_log)
            assert said.startswith(f"no answer to {method} /silent: ")
            assert reason in said


# ---- what a listener returns or raises


async def test_async_listener_that_returns_without_an_answer_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    kept: list[sockwave.Response] = []

    async def listener(req: sockwave.Request, res: sockwave.Response) -> None:
        kept.append(res)
        await asyncio.sleep(0)

    await expect_no_answer(start_server, error_log, listener, "returned without ending")
    with pytest.raises(RuntimeError, match="before the end"):
        kept[0].end("late")


async def test_listener_that_is_cancelled_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def listener(req: sockwave.Request, res: sockwave.Response) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.Event().wait()

    await expect_no_answer(start_server, error_log, listener, "was cancelled")


async def test_listener_that_raises_cancelled_error_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def listener(req: sockwave.Request, res: sockwave.Response) -> None:
        raise asyncio.CancelledError

    await expect_no_answer(start_server, error_log, listener, "was cancelled")


async def test_plain_listener_that_raises_cancelled_error_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    def listener(req: sockwave.Request, res: sockwave.Response) -> None:
        raise asyncio.CancelledError

    await expect_no_answer(start_server, error_log, listener, "raised CancelledError")


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_listener_that_raises_a_base_exception_is_answered_for(
    start_server: StartServer, error_log: ErrorLog, is_async: bool
) -> None:
    class Odd(BaseException):
        pass

    def plain(req: sockwave.Request, res: sockwave.Response) -> None:
        raise Odd

    async def asynchronous(req: sockwave.Request, res: sockwave.Response) -> None:
        raise Odd

    server = await start_server()
    server.on("request", asynchronous if is_async else plain)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).status == 500
        await wait_until(lambda: error_log.records)
        assert [type(error) for error in error_log.take()] == [Odd]


async def test_response_that_nobody_holds_is_answered_for_at_once(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    def listener(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200)

    await expect_no_answer(
        start_server, error_log, listener, "has dropped its response", answer_timeout=None
    )


async def test_response_that_is_kept_is_answered_for_when_it_is_dropped(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    kept: list[sockwave.Response] = []
    server.on("request", lambda req, res: kept.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/a") + get("/b"))
        await wait_until(lambda: kept)
        await wire.receive_nothing()
        kept.clear()
        assert (await receive_answer(wire)).status == 500
        assert "GET /a: the application has dropped its response" in await take_reason(error_log)
        await wait_until(lambda: kept)
        kept[0].end("b")
        assert (await receive_answer(wire)).body == b"b"


async def test_response_in_a_cycle_is_answered_for_when_garbage_is_collected(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    asked: list[str] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        cycle: list[Any] = [res]
        cycle.append(cycle)
        asked.append(req.path)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: asked)
        await asyncio.to_thread(gc.collect)  # in another thread, as garbage may be collected there
        assert (await receive_answer(wire)).status == 500
        assert "has dropped its response" in await take_reason(error_log)


async def test_response_that_a_thread_lets_go_of_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    may_end = threading.Event()
    kept: list[list[sockwave.Response]] = []

    def hold_on(held: list[sockwave.Response]) -> None:
        may_end.wait(PATIENCE_S)
        held.clear()

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        kept.append([res])
        threading.Thread(target=hold_on, args=(kept[0],)).start()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: kept)
        may_end.set()
        assert (await receive_answer(wire)).status == 500
        assert "has dropped its response" in await take_reason(error_log)


# ---- an answer that has begun


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_answer_that_does_not_end_is_cut_off(
    start_server: StartServer, error_log: ErrorLog, is_async: bool
) -> None:
    def plain(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write("half of ")

    async def asynchronous(req: sockwave.Request, res: sockwave.Response) -> None:
        await res.write("half of ")
        await asyncio.sleep(0)

    server = await start_server()
    server.on("request", asynchronous if is_async else plain)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/cut"))
        head = await wire.receive_head()
        assert head.headers["transfer-encoding"] == "chunked"
        rest = await wire.receive_rest()
        assert not rest.endswith(b"0\r\n\r\n")
        assert "GET /cut" in await take_reason(error_log)


async def test_file_that_is_not_awaited_ends_its_answer(
    start_server: StartServer, tmp_path: Any
) -> None:
    server = await start_server()
    (tmp_path / "big").write_bytes(bytes(1 << 20))

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.send_file(tmp_path / "big")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert len((await receive_answer(wire)).body) == 1 << 20


# ---- several listeners


async def test_an_answer_by_one_listener_is_enough(start_server: StartServer) -> None:
    server = await start_server()
    seen: list[str] = []
    may_answer = asyncio.Event()

    @server.on("request")
    async def note(req: sockwave.Request) -> None:
        seen.append(req.path)

    @server.on("request")
    def note_too(req: sockwave.Request) -> None:
        seen.append(req.path)

    @server.on("request")
    async def answer(req: sockwave.Request, res: sockwave.Response) -> None:
        await may_answer.wait()
        res.end("one")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: len(seen) == 2)
        await wire.receive_nothing()
        may_answer.set()
        assert (await receive_answer(wire)).body == b"one"


async def test_plain_listener_may_keep_what_an_async_one_does_not_answer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    kept: list[sockwave.Response] = []
    noted: list[str] = []

    @server.on("request")
    def keep(req: sockwave.Request, res: sockwave.Response) -> None:
        kept.append(res)

    @server.on("request")
    async def note(req: sockwave.Request) -> None:
        noted.append(req.path)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: noted)
        await wire.receive_nothing()
        kept.pop().end("kept")
        assert (await receive_answer(wire)).body == b"kept"


async def test_what_a_plain_listener_returns_does_not_end_its_answer(
    start_server: StartServer,
) -> None:
    """`write` gives something to wait for, which is no answer of its own."""
    server = await start_server()
    kept: list[sockwave.Response] = []

    @server.on("request")
    def keep(req: sockwave.Request, res: sockwave.Response) -> Any:
        kept.append(res)
        return asyncio.ensure_future(asyncio.sleep(0))

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: kept)
        await wire.receive_nothing()
        kept.pop().end("kept")
        assert (await receive_answer(wire)).body == b"kept"


# ---- answer_timeout


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_answer_that_takes_too_long_is_given_in_place_of_the_application(
    start_server: StartServer, error_log: ErrorLog, is_async: bool
) -> None:
    server = await start_server(answer_timeout=0.2)
    kept: list[sockwave.Response] = []
    ended: list[BaseException] = []

    def plain(req: sockwave.Request, res: sockwave.Response) -> None:
        kept.append(res)

    async def asynchronous(req: sockwave.Request, res: sockwave.Response) -> None:
        kept.append(res)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.append(error)
            raise

    server.on("request", asynchronous if is_async else plain)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/slow") + get("/next"))
        for path in ("/slow", "/next"):
            assert (await receive_answer(wire)).status == 500
            assert f"GET {path}: it took longer than answer_timeout" in await take_reason(error_log)
        assert server.limit_hits["answer_timeout"] == 2
        await wait_until(lambda: len(ended) == 2 * is_async)
        kept[0].end("late")  # dropped, as if the client were gone


async def test_answer_that_has_begun_may_take_its_time(start_server: StartServer) -> None:
    server = await start_server(answer_timeout=0.2, body_timeout=0.2)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await res.write("head")
        await asyncio.sleep(0.8)
        res.end("tail")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"headtail"


async def test_answer_is_waited_for_from_the_end_of_the_request(
    start_server: StartServer,
) -> None:
    server = await start_server(answer_timeout=0.4)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(await req.body())

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            await asyncio.sleep(0.07)
            wire.write(b"x")
        assert (await receive_answer(wire)).body == b"x" * 12


async def test_body_that_nobody_reads_keeps_no_place_for_ever(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server(answer_timeout=0.3)
    kept: list[Any] = []
    server.on("request", lambda req, res: kept.append((req, res)))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        wire.write(bytes(1000000) + get("/next"))
        assert (await receive_answer(wire)).status == 500
        assert "POST /up: it took longer" in await take_reason(error_log)
        await wait_until(lambda: len(kept) == 2)
        kept[1][1].end("next")
        assert (await receive_answer(wire)).body == b"next"


@pytest.mark.slow
async def test_who_polls_long_writes_none(start_server: StartServer) -> None:
    server = await start_server(answer_timeout=None, body_timeout=0.2)
    kept: list[sockwave.Response] = []
    server.on("request", lambda req, res: kept.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wire.receive_nothing(1)
        kept.pop().end("news")
        assert (await receive_answer(wire)).body == b"news"


# ---- around it


async def test_unanswered_request_over_tls_is_answered_for(
    engine: str, error_log: ErrorLog
) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1", ssl=server_context())

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        pass

    async with server:
        tls = await TlsWire.open(server.addresses[0])
        for _ in range(2):
            tls.write(get("/tls"))
            assert (await tls.receive_head()).status == 500
            assert await tls.receive(22) == b"internal server error\n"
            assert "GET /tls" in await take_reason(error_log)
        await Wire.close_all()


async def test_unanswered_request_is_answered_for_while_the_server_ends(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    kept: list[sockwave.Response] = []
    server.on("request", lambda req, res: kept.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/last"))
        await wait_until(lambda: kept)
        ending = asyncio.ensure_future(server.close())
        await asyncio.sleep(0)
        kept.clear()
        answer = await receive_answer(wire)
        assert (answer.status, answer.headers["connection"]) == (500, "close")
        await wire.close()
        await ending
    assert "GET /last" in await take_reason(error_log)


async def test_path_of_a_request_forges_no_line_of_the_log(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    server.on("request", lambda req, res: None)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/%0d%0aERROR\\x0a'\"{}%s"))
        assert (await receive_answer(wire)).status == 500
    said = await take_reason(error_log)
    assert said.startswith("no answer to GET /%0d%0aERROR")
    assert said.isascii()
    assert said.isprintable()


async def test_error_listener_hears_of_an_unanswered_request(start_server: StartServer) -> None:
    server = await start_server()
    heard: list[Any] = []
    server.on("error", lambda error, conn: heard.append((str(error), conn)))
    server.on("request", lambda req, res: None)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/x"))
        assert (await receive_answer(wire)).status == 500
    assert heard == [("no answer to GET /x: the application has dropped its response", None)]


async def test_client_that_leaves_is_no_unanswered_request(start_server: StartServer) -> None:
    server = await start_server()
    asked: list[sockwave.Response] = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        asked.append(res)
        await asyncio.Event().wait()

    wire = await Wire.open(server.addresses[0])
    wire.write(get())
    await wait_until(lambda: asked)
    wire.reset()
    await wait_until(lambda: not server._host.engine.transport_count)
    asked.clear()
    gc.collect()
    _, conn = await connect_both(server)
    assert conn in server.connections


PROGRAM = """
import asyncio, socket, threading, sockwave
server = sockwave.create_server(engine={engine!r})
kept = []
@server.on("request")
def request(req, res):
    kept.append(res)
    {statement}
@server.on("listening")
def listening():
    def ask():
        with socket.create_connection(server.addresses[0]) as sock:
            sock.sendall({request!r})
            sock.recv(100)
    threading.Thread(target=ask, daemon=True).start()
server.listen(0, "127.0.0.1")
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(server.serve_forever())
except BaseException as error:
    print(type(error).__name__)
loop.close()
"""


async def run_program(engine: str, statement: str) -> tuple[bytes, bytes]:
    """Run a program whose listener keeps the response and does something, and give its output."""
    script = PROGRAM.format(engine=engine, statement=statement, request=get())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    return await process.communicate()


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit"])
async def test_what_ends_the_program_goes_through(engine: str, error: str) -> None:
    said, _ = await run_program(engine, f"raise {error}")
    assert said == f"{error}\n".encode()


async def test_response_that_outlives_its_loop_is_no_trouble(engine: str) -> None:
    """It is dropped where nothing can be told any more, at the end of the interpreter."""
    said, complaints = await run_program(engine, "asyncio.get_running_loop().stop()")
    assert said == b"RuntimeError\n"  # the loop stopped before the server did
    assert b"Response" not in complaints
    assert b"Traceback" not in complaints
