"""Who cannot keep up: the cap of the backlog, and the policies for what would pass it."""

import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import reference
from conftest import StartServer
from costs import Costs
from reference import CLOSE, PING, TEXT, Frame
from wire import Wire, connect_both, measure_resident_size, wait_until

import sockwave

TRY_AGAIN_LATER = 1013

CAP = 200_000
FILLER = "f" * 50_000


async def jam(wire: Wire, conn: sockwave.Connection) -> int:
    """Let the client read nothing, and send until something has to wait; count the fillers."""
    wire.pause_reading()
    # Drafts have text alone.
    filler = FILLER if conn.version.startswith("draft") else FILLER.encode()
    for count in range(1, 1000):
        conn.send(filler, slow="close")
        await asyncio.sleep(0.002)
        if conn.backlog_size:
            return count
    raise AssertionError("the kernel takes everything")


@dataclass
class Jammed:
    """A server and a client of it that reads nothing, for whom something waits already."""

    server: sockwave.Server
    wire: Wire
    conn: sockwave.Connection
    filler_count: int

    async def read_on(self) -> list[str]:
        """Let the client read again, up to a text "end": give the texts between."""
        self.wire.resume_reading()
        for _ in range(self.filler_count):
            assert await self.wire.receive_message() == FILLER.encode()
        texts: list[str] = []
        while not texts or texts[-1] != "end":
            message = await self.wire.receive_message()
            assert isinstance(message, str)
            texts.append(message)
        return texts[:-1]

    async def read_all(self) -> list[str]:
        """Let the client read again, until nothing waits: give the texts."""
        # All the while: a stream from which nobody takes anything stops reading at its own limit.
        reading = asyncio.ensure_future(self.read_on())
        await wait_until(lambda: reading.done() or not self.conn.backlog_size)
        self.conn.send("end")
        return await reading


StartJammed = Callable[..., Awaitable[Jammed]]


@pytest.fixture
def start_jammed(start_server: StartServer) -> StartJammed:
    """`await start_jammed(**options)`: a server whose one client does not keep up."""

    async def start(**options: Any) -> Jammed:
        server = await start_server(**{"max_backlog": CAP, **options})
        wire, conn = await connect_both(server)
        return Jammed(server, wire, conn, await jam(wire, conn))

    return start


def numbered(number: int, size: int) -> str:
    """Give a text of `size` characters that begins with a number."""
    return f"{number:08}".ljust(size, ".")


def numbers(texts: list[str]) -> list[int]:
    return [int(text[:8]) for text in texts]


# ---- the options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"slow": "drop"},
            ValueError,
            "slow: expected one of 'close', 'drop_new', 'drop_old', 'conflate', given 'drop'",
        ),
        ({"slow": 7}, TypeError, "slow: expected str, given int"),
        (
            {"key": "a"},
            ValueError,
            "key: expected with slow='conflate' alone, given with 'close'",
        ),
        (
            {"slow": "drop_old", "key": "a"},
            ValueError,
            "key: expected with slow='conflate' alone, given with 'drop_old'",
        ),
        (
            {"slow": "conflate", "key": []},
            TypeError,
            "key: expected something hashable, given list",
        ),
    ],
)
async def test_a_wrong_policy_raises_and_sends_nothing(
    start_server: StartServer,
    options: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    calls: list[Callable[..., object]] = [conn.send, conn.write, conn.broadcast, server.broadcast]
    for call in calls:
        with pytest.raises(error) as caught:
            call("x", **options)
        assert str(caught.value) == sentence
    await wire.receive_nothing()


@pytest.mark.parametrize(("value", "error"), [("x", ValueError), (None, TypeError)])
def test_a_wrong_option_raises(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="slow: expected"):
        sockwave.create_server(slow=value)


# ---- each policy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by_call", [False, True])
async def test_close_fails_the_peer_when_the_cap_would_be_passed(
    start_jammed: StartJammed, by_call: bool
) -> None:
    jammed = await start_jammed(slow="drop_new" if by_call else "close")
    conn = jammed.conn
    options: dict[str, Any] = {"slow": "close"} if by_call else {}
    conn.send("x" * (CAP - conn.backlog_size - 10), **options)  # to the last byte
    assert conn.ready_state == sockwave.ReadyState.CONNECTED
    assert conn.backlog_size == CAP
    conn.send("", **options)
    with pytest.raises(sockwave.ConnectionClosed) as caught:
        conn.send("z")
    assert caught.value.code == TRY_AGAIN_LATER
    assert conn.dropped_count == jammed.server.dropped_count == 0
    jammed.wire.resume_reading()
    *_, last = await jammed.wire.receive_frames_until_close()
    assert reference.parse_close(last.payload)[1] == TRY_AGAIN_LATER


def send_past_the_cap(jammed: Jammed, size: int, options: dict[str, Any]) -> tuple[int, int]:
    """Send twice as much as may wait; give how many messages that was, and how many were dropped,
    of which some were, and not all."""
    conn = jammed.conn
    count = 2 * CAP // size
    for i in range(count):
        conn.send(numbered(i, size), **options)
        assert conn.backlog_size <= CAP
    dropped = conn.dropped_count
    assert 0 < dropped < count
    assert jammed.server.dropped_count == dropped
    return count, dropped


@pytest.mark.parametrize("by_call", [False, True])
@pytest.mark.parametrize("size", [20, 9_000])
async def test_drop_new_drops_what_does_not_fit_and_counts_it(
    start_jammed: StartJammed, size: int, by_call: bool
) -> None:
    jammed = await start_jammed(slow="close" if by_call else "drop_new")
    count, dropped = send_past_the_cap(jammed, size, {"slow": "drop_new"} if by_call else {})
    assert numbers(await jammed.read_all()) == list(range(count - dropped))


@pytest.mark.parametrize("by_call", [False, True])
@pytest.mark.parametrize("size", [20, 9_000])
async def test_drop_old_keeps_the_newest_in_their_order(
    start_jammed: StartJammed, size: int, by_call: bool
) -> None:
    jammed = await start_jammed(slow="close" if by_call else "drop_old")
    conn = jammed.conn
    count, _ = send_past_the_cap(jammed, size, {"slow": "drop_old"} if by_call else {})
    # A small message counts for what it costs.
    room = CAP if size > 128 else CAP // 128 * size
    assert conn.backlog_size > room - size - 4, "more was dropped than had to be"
    conn.send("end", slow="drop_old")
    got = numbers(await jammed.read_on())
    assert got[-1] == count - 1
    assert got == list(range(count - len(got), count))
    assert conn.dropped_count == count - len(got)


async def test_drop_old_does_so_for_what_one_listener_sends_in_one_go(
    start_server: StartServer,
) -> None:
    server = await start_server(max_backlog=CAP, slow="drop_old")
    wire, conn = await connect_both(server, receive_buffer_size=4096)
    count = 300_000

    @conn.on("message")
    def message(message: str) -> None:
        for i in range(count):
            conn.send(numbered(i, 20))

    wire.send("go")
    wire.pause_reading()
    await wait_until(lambda: conn.dropped_count)
    conn.send("end")
    got = numbers(await Jammed(server, wire, conn, 0).read_on())
    assert got[-1] == count - 1
    assert got == sorted(set(got))
    assert len(got) == count + 1 - conn.dropped_count or len(got) == count - conn.dropped_count


async def test_what_was_sent_to_be_kept_is_not_dropped_for_something_newer(
    start_jammed: StartJammed,
) -> None:
    jammed = await start_jammed()
    conn = jammed.conn
    kept = []
    for i in range(4_000):
        if i % 100 == 0:
            kept.append(i)
            conn.send(numbered(i, 100))
        else:
            conn.send(numbered(i, 100), slow="drop_old")
    conn.send("end", slow="drop_old")
    got = numbers(await jammed.read_on())
    assert conn.dropped_count == 4_000 - len(got) > 1_000
    assert got == sorted(got)
    assert [i for i in got if i % 100 == 0] == kept
    expendable = [i for i in got if i % 100]
    assert expendable == [i for i in range(expendable[0], 4_000) if i % 100]


async def test_where_nothing_may_be_dropped_drop_old_drops_its_own(
    start_jammed: StartJammed,
) -> None:
    jammed = await start_jammed()
    conn = jammed.conn
    conn.send("k" * (CAP - conn.backlog_size - 10))
    conn.send("lost", slow="drop_old")
    conn.send("lost", slow="conflate", key="k")
    assert conn.dropped_count == 2
    assert conn.backlog_size == CAP
    (text,) = await jammed.read_all()
    assert set(text) == {"k"}


async def test_conflate_keeps_the_newest_of_each_key_in_the_place_of_the_oldest(
    start_jammed: StartJammed,
) -> None:
    jammed = await start_jammed()
    conn = jammed.conn
    conn.send("first", slow="conflate", key="other")
    for i in range(1_000):
        for key in ("a", "b", None, 7):
            conn.send(f"{key}{i}", slow="conflate", key=key)
        if i == 500:
            conn.send("between")
    conn.send("c", slow="conflate", key="c")
    assert conn.dropped_count == 4 * 999
    assert jammed.server.dropped_count == 4 * 999
    conn.send("end")
    texts = await jammed.read_on()
    assert texts == ["first", "a999", "b999", "None999", "7999", "between", "c"]


async def test_conflate_drops_nothing_for_who_keeps_up(start_server: StartServer) -> None:
    server = await start_server(slow="conflate")
    wire, conn = await connect_both(server)
    for i in range(500):
        conn.send(f"{i}", key="k")
    for i in range(500):
        assert await wire.receive_message() == f"{i}"
    assert conn.dropped_count == 0


async def test_conflate_of_growing_messages_stays_under_the_cap(
    start_jammed: StartJammed,
) -> None:
    jammed = await start_jammed(slow="conflate")
    conn = jammed.conn
    newest: dict[int, str] = {}
    sent = 0
    for i in range(3_000):
        key = i % 50
        newest[key] = numbered(i, 8 + 10 * i % 20_000)
        conn.send(newest[key], key=key)
        sent += 1
        assert conn.backlog_size <= CAP
    conn.send("end", key="end")
    texts = await jammed.read_on()
    assert len(texts) == sent - conn.dropped_count
    assert set(texts) <= set(newest.values())
    assert texts[-1] == newest[2_999 % 50] or newest[2_999 % 50] in texts


async def test_many_keys_are_not_remembered_for_ever(start_jammed: StartJammed) -> None:
    jammed = await start_jammed(slow="conflate")
    conn = jammed.conn

    class Key:
        alive = 0

        def __init__(self) -> None:
            Key.alive += 1

        def __del__(self) -> None:
            Key.alive -= 1

    for i in range(20_000):
        conn.send(numbered(i, 1_000), key=Key())
    assert Key.alive < 1_000
    conn.send("end", slow="drop_old")
    got = numbers(await jammed.read_on())
    assert got == list(range(20_000 - len(got), 20_000))
    await wait_until(lambda: Key.alive == 0)


@pytest.mark.parametrize("where", ["queue", "jammed queue", "behind a stream"])
@pytest.mark.parametrize("act", ["abort", "close", "raise"])
async def test_key_may_do_anything_while_it_is_compared(
    start_server: StartServer, where: str, act: str
) -> None:
    server = await start_server(max_backlog=CAP, slow="conflate", close_timeout=0.1)
    wire, conn = await connect_both(server)

    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            if act == "raise":
                raise ZeroDivisionError
            getattr(conn, act)()
            return True

    def send_both() -> None:
        conn.send("first", key=Key())
        try:
            conn.send("second", key=Key())
        except (ZeroDivisionError, sockwave.ConnectionClosed):
            return
        assert act != "raise"

    if where == "jammed queue":
        await jam(wire, conn)
    if where != "behind a stream":
        send_both()
    else:
        with contextlib.suppress(sockwave.ConnectionClosed):
            async with conn.stream_message("text") as out:
                out.write("begun")
                send_both()
    # Whatever became of this one, the server goes on.
    conn.abort()
    other, other_conn = await connect_both(server)
    other_conn.send("hello", key="k")
    assert await other.receive_message() == "hello"


# ---- what is never dropped -----------------------------------------------------------------------


async def test_control_frames_are_not_dropped_and_stay_in_their_order(
    start_jammed: StartJammed,
) -> None:
    jammed = await start_jammed(slow="drop_old")
    conn = jammed.conn
    pings = []
    for i in range(5_000):
        conn.send(numbered(i, 100))
        if i % 500 == 0:
            pings.append(conn.ping(f"{i}"))
    conn.close(1001, "bye")
    jammed.wire.resume_reading()
    frames = await jammed.wire.receive_frames_until_close()
    assert [frame.payload for frame in frames if frame.opcode == PING] == [
        f"{i}".encode() for i in range(0, 5_000, 500)
    ]
    assert frames[-1] == Frame(CLOSE, reference.close_payload(1001, "bye"))
    got = [int(frame.payload[:8]) for frame in frames if frame.opcode == TEXT]
    assert got == list(range(5_000 - len(got), 5_000))
    assert conn.dropped_count > 2_000
    await jammed.wire.close()
    for ping in pings:
        with pytest.raises(sockwave.ConnectionClosed):
            await ping


@pytest.mark.parametrize("seed", range(4))
async def test_random_policies_leave_a_stream_of_whole_messages(
    start_jammed: StartJammed, seed: int
) -> None:
    # Whatever is dropped, frames stay whole: the wire's reader fails on anything else.
    jammed = await start_jammed(max_backlog=100_000)
    conn = jammed.conn
    choice = random.Random(seed)
    kept: list[int] = []
    last: dict[int, int] = {}
    for i in range(3_000):
        policy = choice.choice(["close", "drop_new", *["drop_old", "conflate"] * 4])
        size = choice.choice([8, 50, 130, 3_000, 9_000])
        if policy == "close":
            kept.append(i)
            conn.send(numbered(i, 40))
        elif policy == "conflate":
            key = choice.randrange(5)
            last[key] = i
            conn.send(numbered(i, size), slow=policy, key=key)
        else:
            conn.send(numbered(i, 40 if policy == "drop_new" else size), slow=policy)
        assert conn.backlog_size <= 100_000
        if i == 1_500:
            jammed.wire.resume_reading()
            await asyncio.sleep(0.01)
            jammed.wire.pause_reading()
    got = numbers(await jammed.read_all())
    assert len(got) == len(set(got))
    assert set(kept) <= set(got)
    assert [i for i in got if i in kept] == kept


@pytest.mark.parametrize("slow", ["drop_new", "drop_old", "conflate"])
async def test_a_draft_client_is_held_to_the_same_policies(
    start_server: StartServer, slow: str
) -> None:
    server = await start_server(max_backlog=CAP, slow=slow)
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.connect_hixie(server.addresses[0], 76)
    await wait_until(lambda: accepted)
    (conn,) = accepted
    filler_count = await jam(wire, conn)
    for i in range(1_000):
        assert server.broadcast(numbered(i, 1_000)) <= 1
    dropped = conn.dropped_count
    assert dropped > 500
    wire.resume_reading()
    await wait_until(lambda: conn.backlog_size == 0)
    conn.close()
    wire.write(b"\xff\x00")
    data = await wire.receive_rest()
    *frames, _, end = data.split(b"\xff")
    assert end == b"\x00"
    got = [int(frame[1:9]) for frame in frames[filler_count:]]
    assert all(frame[:1] == b"\0" for frame in frames)
    assert len(got) == 1_000 - dropped
    assert got == (
        list(range(len(got))) if slow == "drop_new" else list(range(1_000 - len(got), 1_000))
    )


# ---- broadcasts ----------------------------------------------------------------------------------


async def test_a_broadcast_counts_those_whom_it_was_queued_for(start_server: StartServer) -> None:
    server = await start_server(max_backlog=CAP)
    slow, conn = await connect_both(server)
    quick, _ = await connect_both(server)
    await jam(slow, conn)
    conn.send("x" * (CAP - conn.backlog_size - 10))
    assert server.broadcast("not for all", slow="drop_new") == 1
    assert await quick.receive_message() == "not for all"
    assert conn.broadcast("for the others", slow="drop_old") == 1
    assert conn.dropped_count == server.dropped_count == 1
    assert server.broadcast("the last for one", slow="close") == 1
    with pytest.raises(sockwave.ConnectionClosed):
        conn.send("gone")


async def test_a_server_that_does_not_run_has_dropped_nothing(engine: str) -> None:
    assert sockwave.create_server(engine=engine).dropped_count == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
@pytest.mark.parametrize("slow", ["close", "drop_new", "drop_old", "conflate"])
@pytest.mark.measures
@pytest.mark.alone
async def test_a_broadcast_costs_no_more_for_those_who_never_read(
    start_server: StartServer, slow: str
) -> None:
    # The small version of benchmarks/slow.py. Twice the receivers' own share is far from what two
    # of 32 may cost, and near enough to see it where one of them costs a copy, or a search.
    cap, size = 256 * 1024, 16 * 1024

    async def measure(stuck_count: int) -> float:
        """Give the median of the CPU seconds of a broadcast."""
        server = await start_server(max_backlog=cap, slow=slow, close_timeout=30)
        quick = [await Wire.connect(server.addresses[0]) for _ in range(30)]
        stuck = []
        for _ in range(stuck_count):
            wire, conn = await connect_both(server)
            await jam(wire, conn)
            stuck.append((wire, conn))
        before = measure_resident_size()
        times = []
        for i in range(50):
            message = i.to_bytes(4, "big") * (size // 4)
            start = time.thread_time()
            server.broadcast(message)
            times.append(time.thread_time() - start)
            for wire in quick:
                assert await wire.receive_message() == message
            assert all(conn.backlog_size <= cap + 128 for _, conn in stuck)
        assert measure_resident_size() - before < stuck_count * cap + 8 * 2**20
        for wire in [*quick, *(wire for wire, _ in stuck)]:
            wire.writer.transport.abort()
        await wait_until(lambda: not server.connections)
        await Wire.close_all()
        return statistics.median(times)

    costs = Costs(factor=2)
    while costs.are_in_doubt:
        costs.take(await measure(0), await measure(2))
    assert costs.ratio < 2
