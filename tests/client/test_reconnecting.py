"""`async for conn in sockwave.connect(uri)`: which ends are followed by another connection."""

import asyncio
import gc
import math
from collections.abc import AsyncIterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from commands import find_port
from raw_servers import RawPeer, answer, raw_server
from reference import CLOSE, close_payload
from wire import case, count_descriptors, wait_until

import sockwave
from sockwave import testing
from sockwave.client.backoff import (
    Waits,
    is_final_code,
    is_final_error,
    read_hint,
    read_retry_after,
)


async def hear_all(conns: AsyncIterable[sockwave.Connection], seen: list[object]) -> None:
    """Take each connection, and all of its messages."""
    async for conn in conns:
        seen.append(conn)
        _messages = [message async for message in conn]


SOON = sockwave.Backoff(first=0.001, most=0.002)


async def test_another_connection_comes_after_each_end(engine: str) -> None:
    ends = iter(range(4))

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        number = next(ends)
        if number == 1:  # vanishes
            peer.writer.transport.abort()
        elif number == 2:  # is asked to close
            assert await peer.receive_close() == (1000, "")
            peer.write_frame(CLOSE, b"\x03\xe8")
        else:
            peer.write_frame(CLOSE, close_payload(1012, "restart"))
            await peer.receive_close()

    codes = []
    async with raw_server(serve) as uri:
        conns = sockwave.connect(uri, engine=engine, backoff=SOON, close_timeout=1)
        async for conn in conns:
            if len(codes) == 2:
                conn.close()
            _messages = [message async for message in conn]
            await wait_until(lambda conn=conn: conn.close_code is not None)  # type: ignore[misc]
            codes.append(conn.close_code)
            if len(codes) == 4:
                break
    assert codes == [1012, 1006, 1000, 1012]


async def test_body_that_is_done_closes_its_connection(engine: str) -> None:
    told = []

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        told.append(await peer.receive_close())
        peer.write_frame(CLOSE, b"\x03\xe8")

    async with raw_server(serve) as uri:
        count = 0
        async for _conn in sockwave.connect(uri, engine=engine, backoff=SOON):
            count += 1
            if count == 3:
                break
        await wait_until(lambda: len(told) == 3)
    # The last one was left by `break`.
    assert told == [(1000, ""), (1000, ""), (1001, "")]


async def test_nobody_listens_and_then_somebody_does(engine: str) -> None:
    port = find_port()

    async def run() -> str:
        async for conn in sockwave.connect(f"ws://127.0.0.1:{port}", engine=engine, backoff=SOON):
            conn.send("back")
            return str(await conn.receive())
        raise AssertionError("the loop has ended")

    running = asyncio.ensure_future(run())
    await asyncio.sleep(0.01)
    again = sockwave.create_server(engine=engine)
    again.on("connection", lambda conn: conn.on("message", conn.send))
    again.listen(port, "127.0.0.1")
    async with again:
        assert await running == "back"
    gc.collect()


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4499])
async def test_codes_that_end_it(engine: str, code: int) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open()
        peer.write_frame(CLOSE, close_payload(code, "never again"))
        await peer.receive_close()

    seen: list[object] = []
    async with raw_server(serve) as uri:
        conns = sockwave.connect(uri, engine=engine, backoff=SOON)
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            await hear_all(conns, seen)
    assert len(seen) == 1
    assert (caught.value.code, caught.value.reason) == (code, "never again")


def test_codes_that_do_not_end_it() -> None:
    final = {1002, 1003, *range(1007, 1011), *range(4400, 4500)}
    assert {code for code in range(1000, 5000) if is_final_code(code)} == final


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 426, 499])
async def test_statuses_that_end_it(engine: str, status: int) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer(f"{status} No", {"Content-Length": "0"}))

    async with raw_server(serve) as uri:
        with pytest.raises(sockwave.HandshakeRefused) as caught:
            async for _conn in sockwave.connect(uri, engine=engine, backoff=SOON):
                pass
    assert caught.value.status == status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_statuses_that_do_not_end_it(engine: str, status: int) -> None:
    count = 0

    async def serve(peer: RawPeer) -> None:
        nonlocal count
        count += 1
        if count == 3:
            await peer.open()
            await peer.receive_close()
            peer.write_frame(CLOSE, b"\x03\xe8")
        else:
            await peer.receive_head()
            peer.write(answer(f"{status} Later", {"Content-Length": "0"}))

    async with raw_server(serve) as uri:
        async for _conn in sockwave.connect(uri, engine=engine, backoff=SOON):
            break
    await wait_until(lambda: count == 3)


def test_errors_that_end_it() -> None:
    assert is_final_error(ValueError())
    assert not is_final_error(ConnectionRefusedError())
    assert not is_final_error(TimeoutError())
    assert not is_final_error(sockwave.HandshakeError("x"))
    assert is_final_error(sockwave.HandshakeRefused(301, sockwave.Headers(), b""))


HINTS = {
    "": 0,
    "retry=5": 5,
    "going away; retry=12": 12,
    "retry=1.5": 1,
    "retry=3, please": 3,
    "noretry=5": 0,
    "retry=x": 0,
    "retry=": 0,
    "retry=-1": 0,
    "retry=99999999999": 0,
}


def test_hints_in_close_reasons() -> None:
    for reason, seconds in HINTS.items():
        with case(reason):
            assert read_hint(reason) == seconds
    assert read_hint(None) == 0


def test_hints_in_retry_after() -> None:
    def hint(value: str) -> float:
        headers = sockwave.Headers([("Retry-After", value)])
        return read_retry_after(sockwave.HandshakeRefused(503, headers, b""))

    assert hint("120") == 120
    assert hint("") == hint("-1") == hint("soon") == hint("1.5") == hint("²") == 0
    now = datetime.now(UTC)
    assert 58 < hint(format_datetime(now + timedelta(seconds=60), usegmt=True)) <= 60
    assert hint(format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0
    assert read_retry_after(OSError()) == 0


@testing.virtual_clock
async def test_hint_is_waited_for() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def serve(peer: RawPeer) -> None:
        times.append(loop.time())
        if len(times) == 1:
            await peer.receive_head()
            peer.write(answer("503 Busy", {"Retry-After": "120", "Content-Length": "0"}))
        elif len(times) == 2:
            await peer.open()
            peer.write_frame(CLOSE, close_payload(1013, "busy; retry=30"))
            await peer.receive_close()
        else:
            await peer.receive_head()
            peer.write(answer("404 Not Found", {"Content-Length": "0"}))

    async with raw_server(serve) as uri:
        conns = sockwave.connect(uri, backoff=SOON)
        with pytest.raises(sockwave.HandshakeRefused):
            await hear_all(conns, [])
    assert times[1] - times[0] == pytest.approx(120, abs=0.5)
    assert times[2] - times[1] == pytest.approx(30, abs=0.5)


def test_waits_are_random_and_grow_to_the_limit() -> None:
    rows = []
    for _ in range(200):
        waits = Waits(sockwave.Backoff(first=1, most=10, factor=3))
        rows.append([waits.next() for _ in range(5)])
    for column, limit in zip(zip(*rows, strict=True), (1, 3, 9, 10, 10), strict=True):
        assert 0 <= min(column) < limit / 10
        assert limit * 0.9 < max(column) <= limit


def test_waits_begin_anew_after_a_connection_that_lasted() -> None:
    waits = Waits(sockwave.Backoff(first=0, most=8, factor=2))
    assert waits.next() == 0
    waits = Waits(sockwave.Backoff(first=1, most=8, factor=2))
    for _ in range(3):
        waits.next()
    waits.note_lifetime(5)  # the last limit was 8: not longer
    assert max(waits.next() for _ in range(100)) > 4
    waits.note_lifetime(9)
    assert waits.next() <= 1


def test_hint_is_the_least_and_at_most_a_day() -> None:
    waits = Waits(sockwave.Backoff(first=1, most=1))
    assert 5 <= waits.next(5) <= 6
    assert 86400 <= waits.next(math.inf) <= 86401


def test_settings_are_checked() -> None:
    for settings, kind, sentence in (
        ({"first": -1}, ValueError, "first: expected at least 0, given -1"),
        ({"most": math.inf}, ValueError, "most: expected at least 0, given inf"),
        ({"factor": 0.5}, ValueError, "factor: expected at least 1"),
        ({"first": 2, "most": 1}, ValueError, r"most: expected at least first \(2\), given 1"),
        ({"first": "1"}, TypeError, "first: expected int or float, given str"),
        ({"factor": True}, TypeError, "factor: expected int or float, given bool"),
    ):
        with case(settings), pytest.raises(kind, match=sentence):
            sockwave.Backoff(**settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"backoff: expected sockwave\.Backoff or None, given int"):
        sockwave.connect("ws://a", backoff=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sock: expected None"):
        aiter(sockwave.connect("ws://a", sock=object()))  # type: ignore[arg-type]


@pytest.mark.slow
async def test_client_comes_back_through_a_thousand_kills(engine: str) -> None:
    before = count_descriptors()
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.abort)

    await server.start()
    count = 0
    async for conn in sockwave.connect(
        f"ws://127.0.0.1:{server.addresses[0][1]}",
        engine=engine,
        backoff=sockwave.Backoff(first=0, most=0),
    ):
        conn.send("kill me")
        _messages = [message async for message in conn]
        count += 1
        if count == 1000:
            break
    await server.close()
    gc.collect()
    await wait_until(lambda: count_descriptors() <= before, "no descriptor is left")
    await wait_until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
