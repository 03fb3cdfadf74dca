"""Messages as JSON: sent, heard, received; and what becomes of those that are none."""

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any

import msgspec
import pydantic
import pytest
from conftest import BothEnds, ErrorLog, StartServer
from wire import Wire, case, connect_both, let_arrive, wait_until

import sockwave
from sockwave.log import peers


class Move(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Step:
    x: int
    y: int = 0


class Jump(pydantic.BaseModel):
    x: int
    y: int = 0


MOVES = [Move, Step, Jump]
# Texts that are no JSON, or that no value of Python can stand for.
NO_JSON = [
    *("", "{", "[1,]", "NaN", "-Infinity", "1e999", "'a'", "\ufeff1", "1 2", "[" * 100_000),
    *('"\\ud800"', '{"a\\udfff": 1}', b"\xff", b"\xfe\xff\x001"),
]


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line be omitted for those of an earlier test."""
    monkeypatch.setattr(peers, "_periods", {})


# ---- sending


async def test_value_is_sent_as_one_short_text(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    await conn.send_json({"name": "Zoë", "n": [1, 2.5, True, None], "t": (1,)})
    assert await wire.receive_message() == '{"name":"Zoë","n":[1,2.5,true,null],"t":[1]}'
    for model in MOVES:
        await conn.send_json([model(x=1)])
        assert await wire.receive_message() == '[{"x":1,"y":0}]'


@pytest.mark.parametrize("draft", [75, 76])
async def test_value_is_sent_to_a_draft(draft: int, start_server: StartServer) -> None:
    server = await start_server()
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    await wait_until(lambda: accepted)
    accepted[0].send_json({"a": 1})
    assert await wire.receive(9) == b'\x00{"a":1}\xff'


async def test_value_that_json_cannot_say_raises_and_sends_nothing(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    itself: list[Any] = []
    itself.append(itself)
    endless: list[Any] = []
    for _ in range(100_000):
        endless = [endless]
    for value, error in [
        (object(), TypeError),
        ({"a": object()}, TypeError),
        ({(1, 2): 1}, TypeError),
        (float("nan"), ValueError),
        ([None, float("inf")], ValueError),
        (itself, ValueError),
        (endless, ValueError),
        ("\ud800", ValueError),
    ]:
        with case(type(value)), pytest.raises(error):
            conn.send_json(value)
    with pytest.raises(TypeError, match=r"^a value for JSON: expected dict, .*, given object$"):
        conn.send_json(object())
    conn.send_json("after")
    assert await wire.receive_message() == '"after"'
    while endless:
        endless = endless[0]


async def test_ended_connection_takes_no_value(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    await wire.shake_close()
    await wait_until(lambda: conn.ready_state is sockwave.ReadyState.CLOSED)
    with pytest.raises(sockwave.ConnectionClosed):
        conn.send_json({})


async def test_value_is_broadcast_to_all_and_to_all_others(start_server: StartServer) -> None:
    server = await start_server()
    ends = [await connect_both(server) for _ in range(3)]
    assert server.broadcast_json({"all": 1}) == 3
    assert ends[0][1].broadcast_json({"others": 2}) == 2
    assert ends[0][1].broadcast_json("key", slow="conflate", key="k") == 2
    server.broadcast_json("end")
    for i, (wire, _) in enumerate(ends):
        expected = ['{"all":1}', '{"others":2}', '"key"', '"end"']
        got = [await wire.receive_message() for _ in range(4 if i else 2)]
        assert got == (expected if i else [expected[0], expected[-1]])
    with pytest.raises(ValueError, match="expected one that JSON can say"):
        server.broadcast_json(float("nan"))


# ---- listeners


async def test_listeners_of_json_get_values_in_order(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    calls: list[Any] = []
    conn.on("json", lambda value: calls.append(("first", value)))

    @conn.on("json")
    async def second(value: Any) -> None:
        await asyncio.sleep(0)
        calls.append(("second", value))

    conn.on("message", lambda message: calls.append(("message", message)))
    conn.on("json", lambda: calls.append(("nothing",)))
    wire.send('{"a": [1, null]}')
    await wait_until(lambda: len(calls) == 4)
    value = {"a": [1, None]}
    assert calls[:3] == [("first", value), ("nothing",), ("message", '{"a": [1, null]}')]
    assert calls[3] == ("second", value)
    wire.send(b'"of bytes"')  # of a client that encodes by a library that gives bytes
    await wait_until(lambda: len(calls) == 8)
    assert ("first", "of bytes") in calls


async def test_listeners_of_json_come_and_go(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    calls: list[Any] = []

    def listener(value: Any) -> None:
        calls.append(value)

    assert conn.listeners("json") == []
    conn.on("json", listener)
    conn.once("json", calls.append)
    conn.on("json", listener)
    assert conn.listeners("json") == [listener, calls.append, listener]
    assert conn.listeners("message") == []
    wire.send("1")
    await wait_until(lambda: calls == [1, 1, 1])
    assert conn.listeners("json") == [listener, listener]
    conn.off("json", listener)
    conn.off("json", print)
    wire.send("2")
    await wait_until(lambda: calls == [1, 1, 1, 2])
    conn.off("json", listener)
    assert conn.listeners("json") == []
    conn.off("json", listener)
    # Nothing takes messages any more, so a task may.
    wire.send("3")
    assert await conn.receive() == "3"
    conn.once("json", listener)
    wire.send("4")
    wire.send("5")
    await wait_until(lambda: calls == [1, 1, 1, 2, 4])
    assert await conn.receive() == "5"


async def test_once_hears_the_next_value_and_the_rest_is_received(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    calls: list[Any] = []
    conn.once("json", calls.append)
    conn.once("json", calls.append)
    wire.send("1")
    wire.send("2")
    assert await conn.receive_json() == 2
    assert calls == [1, 1]


async def test_listener_of_json_takes_what_came_before_it(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.send("1")
    wire.send("2")
    await let_arrive()
    calls: list[Any] = []
    conn.on("json", calls.append)
    await wait_until(lambda: calls == [1, 2])


async def test_values_have_one_taker(both_ends: BothEnds) -> None:
    _, conn = both_ends
    conn.on("json", print)
    for call in (conn.receive, conn.receive_json, lambda: anext(conn.json())):
        with pytest.raises(sockwave.SockwaveError, match="without a listener of 'message' or"):
            await call()
    conn.off("json", print)
    waiting = asyncio.ensure_future(conn.receive_json())
    await asyncio.sleep(0)
    with pytest.raises(sockwave.SockwaveError, match="a listener of 'json': expected"):
        conn.on("json", print)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def test_listener_of_json_that_raises_is_an_error(
    both_ends: BothEnds, error_log: ErrorLog
) -> None:
    wire, conn = both_ends

    @conn.on("json")
    def listener(value: Any) -> None:
        raise KeyError(value)

    wire.send('"k"')
    await wire.expect_failure(1011)
    assert [error.args for error in error_log.take()] == [("k",)]


async def test_generator_is_no_listener_of_json(both_ends: BothEnds) -> None:
    _, conn = both_ends
    with pytest.raises(TypeError, match="listener of 'json': expected a function"):
        conn.on("json", lambda: (yield))
    with pytest.raises(TypeError, match="'json' has 1"):
        conn.on("json", lambda first, second: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a listener of 'json' must be callable"):
        conn.on("json", 5)  # type: ignore[call-overload]
    assert conn.listeners("json") == []


async def test_reading_pauses_while_calls_of_json_run(start_server: StartServer) -> None:
    server = await start_server(max_tasks=2)
    wire, conn = await connect_both(server)
    begun: list[int] = []
    may_end = asyncio.Event()

    @conn.on("json")
    async def listener(value: int) -> None:
        begun.append(value)
        await may_end.wait()

    for i in range(5):
        wire.send(str(i))
        await let_arrive()
    assert begun == [0, 1]
    may_end.set()
    await wait_until(lambda: begun == [0, 1, 2, 3, 4])


# ---- receiving


async def test_values_are_iterated_over_until_the_end(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.send('{"n": 1}')
    wire.send("[2]")
    wire.write_close(1000)
    assert [value async for value in conn.json()] == [{"n": 1}, [2]]
    with pytest.raises(sockwave.ConnectionClosed):
        await conn.receive_json()


async def test_value_is_waited_for_no_longer_than_asked(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    with pytest.raises(TimeoutError):
        await conn.receive_json(0.01)
    wire.send("7")
    assert await conn.receive_json(timeout=30) == 7


# ---- types


@pytest.mark.parametrize("model", MOVES)
async def test_messages_are_read_as_a_type(model: Any, start_server: StartServer) -> None:
    server = await start_server(json_type=model)
    wire, conn = await connect_both(server)
    moves: list[Any] = []
    conn.on("json", moves.append)
    wire.send('{"x": 1}')
    await wait_until(lambda: moves == [model(x=1)])
    wire.send('{"x": "one"}')
    await wire.expect_failure(1007)
    wire, conn = await connect_both(server)
    wire.send('{"x": 2, "y": 3}')
    assert await conn.receive_json() == model(x=2, y=3)
    wire.send("[1, 2]")
    assert await conn.receive_json(json_type=list[int]) == [1, 2]
    wire.send('{"x": 4}')
    async for move in conn.json(json_type=model):
        assert move == model(x=4)
        break


async def test_adapter_of_pydantic_reads_one_of_several_models(start_server: StartServer) -> None:
    class Stop(pydantic.BaseModel):
        stop: bool

    server = await start_server(json_type=pydantic.TypeAdapter(Jump | Stop))
    wire, conn = await connect_both(server)
    wire.send('{"stop": true}')
    wire.send('{"x": 1}')
    assert [await conn.receive_json(), await conn.receive_json()] == [Stop(stop=True), Jump(x=1)]


@pytest.mark.parametrize("wrong", [5, "Move", lambda: None])
def test_what_is_no_type_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^json_type: expected a msgspec.Struct, a dataclass"):
        sockwave.create_server(json_type=wrong)


# ---- what is no JSON


@pytest.mark.parametrize("way", ["listener", "async for", "receive_json"])
async def test_message_that_is_no_json_ends_its_connection_with_1007(
    way: str, start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave.peers")
    server = await start_server()
    values: list[Any] = []

    async def iterate(conn: sockwave.Connection) -> None:
        values.extend([value async for value in conn.json()])

    async def receive(conn: sockwave.Connection) -> None:
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            values.append(await conn.receive_json())
        assert caught.value.code == 1007

    async def check(text: str | bytes) -> None:
        wire, conn = await connect_both(server)
        ended: list[int] = []
        task = None
        if way == "listener":
            conn.on("json", values.append)
        else:
            task = asyncio.ensure_future((iterate if way == "async for" else receive)(conn))
            await asyncio.sleep(0)
        conn.on("close", ended.append)
        wire.send(text)
        wire.send("1")  # behind it nothing is read
        assert await wire.receive_close() == (1007, "not the JSON that is expected")
        wire.write_close(1007)
        await wait_until(lambda: ended == [1007])
        if task is not None:
            await task

    for text in NO_JSON:
        with case(text[:20]):
            await check(text)
    assert values == []
    assert caplog.records[0].getMessage().startswith("127.0.0.1:")


@pytest.mark.parametrize("way", ["listener", "async for"])
async def test_message_that_is_no_json_goes_to_error_where_that_is_chosen(
    way: str, start_server: StartServer
) -> None:
    server = await start_server(invalid_json="error", json_type=Move)
    errors: list[tuple[BaseException, object]] = []
    server.on("error", lambda error, conn: errors.append((error, conn)))
    wire, conn = await connect_both(server)
    moves: list[Move] = []

    async def iterate() -> None:
        async for move in conn.json():
            moves.append(move)  # noqa: PERF401 - looked at before the loop has ended

    if way == "listener":
        conn.on("json", moves.append)
    else:
        task = asyncio.ensure_future(iterate())
        await asyncio.sleep(0)
    wire.send("{\n\x1b[31m")
    wire.send('{"y": 1}')
    wire.send('{"x": 1}')
    await wait_until(lambda: moves)
    assert moves == [Move(1)]
    assert [found for _, found in errors] == [conn, conn]
    for error, _ in errors:
        assert isinstance(error, sockwave.InvalidJSON)
        assert str(error).isprintable()
    assert [error.message for error, _ in errors] == ["{\n\x1b[31m", '{"y": 1}']  # type: ignore[attr-defined]
    assert "expected JSON" in str(errors[0][0])
    await wire.shake_close()
    if way != "listener":
        await task


async def test_flood_of_no_json_does_not_flood_the_log(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(invalid_json="error")
    wire, conn = await connect_both(server)
    values: list[Any] = []
    conn.on("json", values.append)
    for _ in range(100):
        wire.send("no\r\nJSON")
    wire.send("1")
    await wait_until(lambda: values == [1])
    lines = [record for record in caplog.records if record.name == "sockwave.peers"]
    assert len(lines) == 10
    assert all(record.getMessage().isprintable() for record in lines)
    assert lines[0].connection_id == conn.id  # type: ignore[attr-defined]


async def test_validator_of_the_application_that_fails_is_an_error_of_its_own(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    class Broken(pydantic.BaseModel):
        x: int

        @pydantic.field_validator("x")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("broken")

    server = await start_server(json_type=Broken)
    wire, conn = await connect_both(server)
    conn.on("json", print)
    wire.send('{"x": 1}')
    await wire.expect_failure(1011)
    assert [type(error) for error in error_log.take()] == [KeyError]
