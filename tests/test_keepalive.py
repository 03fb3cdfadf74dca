"""A connection's time: the pings that keep it alive (RFC 6455, 5.5.2), silence, and lifetime."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest
import reference
from conftest import StartServer
from kernel import find_accepted
from reference import PING, PONG, TEXT, Frame
from wire import Wire, build_request, connect_both, upgrade_headers, wait_until

import sockwave
from sockwave import testing

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel was asked for")

GOING_AWAY, INTERNAL_ERROR = 1001, 1011

#: The closing frame of draft 76.
CLOSING_76 = b"\xff\x00"

#: Times for the options: as short as the wheel's ticks allow to tell them apart.
SOON, LATER = 0.1, 0.4

#: So many intervals of SOON are longer than LATER and its looks together.
MANY = 8


async def keep(conn: sockwave.Connection) -> None:
    """Handle a connection that says nothing."""
    await conn.wait_closed()


async def answer(wire: Wire, count: int) -> None:
    """Answer so many pings, which must be the next frames."""
    for _ in range(count):
        wire.write_frame(PONG, await wire.receive_ping())


def note_end(conn: sockwave.Connection) -> list[tuple[int, str]]:
    """Give the list that the connection's end will stand in."""
    ends: list[tuple[int, str]] = []
    conn.on("close", lambda code, reason: ends.append((code, reason)))
    return ends


# ---- pings ---------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_who_answers_the_pings_stays_and_its_latency_is_known(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=LATER, idle_timeout=LATER)
    wire, conn = await connect_both(server)
    assert conn.latency is None
    await answer(wire, MANY)
    wire.send("here")
    assert await conn.receive() == "here"
    assert conn.latency is not None
    assert 0 < conn.latency < LATER
    await wire.shake_close()


async def test_who_does_not_answer_is_closed_with_1011(start_server: StartServer) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON)
    wire, conn = await connect_both(server)
    ends = note_end(conn)
    await wire.receive_ping()
    assert await wire.receive_close() == (INTERNAL_ERROR, "peer did not answer a ping in time")
    # Nobody is there to wait for: the socket is gone, and does not wait for the peer's end.
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert ends == [(INTERNAL_ERROR, "peer did not answer a ping in time")]


@pytest.mark.slow
async def test_second_ping_has_to_be_answered_too(start_server: StartServer) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON)
    wire, _ = await connect_both(server)
    await answer(wire, 2)
    await wire.receive_ping()
    assert (await wire.receive_close())[0] == INTERNAL_ERROR


@pytest.mark.slow
async def test_pong_with_another_payload_is_no_answer_but_shows_life(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=LATER)
    wire, conn = await connect_both(server)
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    payload = await wire.receive_ping()
    wire.write_frame(PONG, b"not " + payload)
    await wait_until(lambda: heard == [b"not " + payload])
    assert conn.latency is None
    assert (await wire.receive_close())[0] == INTERNAL_ERROR


@pytest.mark.slow
async def test_pong_may_wait_behind_a_frame_that_takes_its_time(start_server: StartServer) -> None:
    # 5.4: control frames may come between fragments, but never inside of a frame.
    server = await start_server(ping_interval=SOON, ping_timeout=SOON)
    wire, conn = await connect_both(server)
    frame = reference.serialize(Frame(TEXT, b"x" * 40))
    payload = await wire.receive_ping()
    for byte in frame:
        wire.write(bytes([byte]))
        await wire.receive_nothing(SOON / 4)
    assert await conn.receive() == "x" * 40
    wire.write_frame(PONG, payload)
    await answer(wire, 1)
    assert conn.latency is not None


async def test_half_a_frame_is_not_a_sign_of_life_for_ever(start_server: StartServer) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON)
    wire, _ = await connect_both(server)
    wire.write(reference.serialize(Frame(TEXT, b"x" * 40))[:-1])
    await wire.receive_ping()
    assert (await wire.receive_close())[0] == INTERNAL_ERROR


@pytest.mark.slow
async def test_pongs_that_the_application_keeps_from_being_read_are_not_missed(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON, queue_count=1)
    wire, conn = await connect_both(server)
    conn._expect_handler()
    wire.send("first")
    wire.send("second")
    for _ in range(MANY):  # its kernel acknowledges them, and it is asked again
        await wire.receive_ping()
    assert [await conn.receive(), await conn.receive()] == ["first", "second"]
    # From here on the peer is heard again, and has to say something.
    frames = await wire.receive_frames_until_close()
    assert reference.parse_close(frames[-1].payload)[1] == INTERNAL_ERROR


async def test_pings_can_be_off(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, ping_timeout=SOON)
    wire, _ = await connect_both(server)
    await wire.receive_nothing(4 * SOON)


@pytest.mark.slow
async def test_pings_need_no_answer_where_nobody_waits_for_one(start_server: StartServer) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=None)
    wire, conn = await connect_both(server)
    for _ in range(3):
        await wire.receive_ping()
    wire.write_frame(PONG, await wire.receive_ping())
    await wait_until(lambda: conn.latency is not None)


@pytest.mark.slow
@testing.virtual_clock
async def test_those_who_come_together_are_not_pinged_together() -> None:
    loop = asyncio.get_running_loop()
    async with testing.serve(keep) as url:

        async def time_ping() -> float:
            async with sockwave.connect(url, ping_interval=None) as conn:
                pinged = loop.create_future()
                conn.on("ping", lambda _: pinged.done() or pinged.set_result(None))
                await pinged
                return loop.time()

        at = loop.time()
        times = [when - at for when in await asyncio.gather(*(time_ping() for _ in range(100)))]
    # Of 20 s, a tenth to either side, and a tick or two.
    assert min(times) > 17.5
    assert max(times) < 22.5
    assert max(times) - min(times) > 2


async def test_pings_of_the_server_are_not_the_application_s_to_hear_of(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON)
    wire, conn = await connect_both(server)
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    await answer(wire, 3)
    trip = conn.ping(b"mine")
    while (payload := await wire.receive_ping()) != b"mine":
        wire.write_frame(PONG, payload)
    wire.write_frame(PONG, b"mine")
    assert await trip == conn.latency
    assert heard == [b"mine"]


async def test_pong_to_a_later_ping_of_the_application_answers_ours_too(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON)
    wire, conn = await connect_both(server)
    for _ in range(3):
        await wire.receive_ping()
        trip = conn.ping(b"mine")
        assert await wire.receive_ping() == b"mine"
        wire.write_frame(PONG, b"mine")
        await trip


@pytest.mark.slow
async def test_ping_may_come_between_the_pieces_of_a_streamed_message(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=LATER)
    wire, conn = await connect_both(server)
    async with conn.stream_message("text") as out:
        await out.write("a")
        assert (await wire.receive_fragment()).payload == b"a"
        await answer(wire, MANY)
        await out.write("b")
    assert (await wire.receive_fragment()).payload == b"b"


# ---- silence -------------------------------------------------------------------------------------


async def test_who_says_nothing_for_too_long_is_closed_with_1001(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=SOON)
    wire, _ = await connect_both(server)
    assert await wire.receive_close() == (GOING_AWAY, "nothing has been said for too long")
    wire.write_close(GOING_AWAY)
    await wire.receive_end()


async def test_who_does_not_answer_that_close_is_dropped(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=SOON, close_timeout=SOON)
    wire, conn = await connect_both(server)
    ends = note_end(conn)
    assert (await wire.receive_close())[0] == GOING_AWAY
    await wire.receive_end()
    await wait_until(lambda: ends)
    assert ends[0][0] == 1006


@pytest.mark.slow
async def test_whatever_the_peer_sends_breaks_the_silence(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=LATER)
    server.on("connection", lambda conn: conn.on("message", lambda: None))

    async def talk(opcode: int) -> None:
        wire = await Wire.connect(server.addresses[0])
        for _ in range(MANY):
            wire.write_frame(opcode, b"x")
            if opcode == PING:
                assert await wire.receive_pong() == b"x"
            await wire.receive_nothing(SOON)
        assert (await wire.receive_close())[0] == GOING_AWAY

    await asyncio.gather(talk(TEXT), talk(PING), talk(PONG))


@pytest.mark.slow
async def test_message_to_the_peer_breaks_the_silence_too(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=LATER)
    wire, conn = await connect_both(server)
    for number in range(MANY):
        if number % 2:
            conn.send("x")
        else:
            server.broadcast("x")
        assert await wire.receive_message() == "x"
        await wire.receive_nothing(SOON)
    assert (await wire.receive_close())[0] == GOING_AWAY


async def test_silence_can_be_allowed(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=None, max_lifetime=None)
    wire, _ = await connect_both(server)
    await wire.receive_nothing(LATER)


# ---- lifetime ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_busiest_connection_ends_with_its_lifetime(start_server: StartServer) -> None:
    server = await start_server(max_lifetime=LATER)
    wire, conn = await connect_both(server)
    conn.on("message", conn.send)
    frames = []
    while not frames or frames[-1].opcode == TEXT:
        wire.send("still here")
        frames.append(await wire.receive_frame())
    assert reference.parse_close(frames[-1].payload)[1:] == (
        GOING_AWAY,
        "connection has lasted long enough",
    )
    assert len(frames) > 1


@testing.virtual_clock
async def test_lifetimes_vary_so_that_nobody_comes_back_together() -> None:
    loop = asyncio.get_running_loop()
    async with testing.serve(keep, max_lifetime=300, lifetime_jitter=0.5) as url:

        async def live() -> float:
            async with sockwave.connect(url) as conn:
                await conn.wait_closed()
                assert conn.close_code == GOING_AWAY
                return loop.time()

        at = loop.time()
        times = [when - at for when in await asyncio.gather(*(live() for _ in range(100)))]
    assert min(times) > 150
    assert max(times) < 451
    assert max(times) - min(times) > 150


# ---- the drafts, which have no ping --------------------------------------------------------------


@LINUX
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [20, 5, 4, 30_000]),  # which is what `write_timeout` has told the kernel
        ({"ping_interval": 7, "ping_timeout": 12}, [7, 3, 4, 19_000]),
    ],
    ids=["as it is", "sooner"],
)
@pytest.mark.parametrize("draft", [75, 76])
async def test_kernel_asks_the_peer_of_a_draft(
    start_server: StartServer, draft: int, options: dict[str, float], expected: list[int]
) -> None:
    server = await start_server(**options)
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    with find_accepted(wire) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        told = [
            accepted.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,  # in whose place Linux would not count the probes
            )
        ]
    assert told == expected


@LINUX
async def test_kernel_does_not_ask_who_can_be_pinged(start_server: StartServer) -> None:
    server = await start_server()
    wire = await Wire.connect(server.addresses[0])
    with find_accepted(wire) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.mark.parametrize("draft", [75, 76])
@pytest.mark.slow
async def test_quiet_draft_that_the_kernel_watches_is_left_alone(
    start_server: StartServer, draft: int
) -> None:
    server = await start_server(ping_interval=1, idle_timeout=SOON)
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    await wire.receive_nothing(4 * SOON)
    # But half a message is no way to be quiet.
    wire.write(b"\x00half")
    if draft == 76:
        assert await wire.receive(2) == CLOSING_76
        wire.write(b"\xff" + CLOSING_76)
    await wire.receive_end()


async def test_quiet_draft_that_nobody_watches_is_closed(start_server: StartServer) -> None:
    server = await start_server(ping_interval=None, idle_timeout=SOON)
    wire = await Wire.connect_hixie(server.addresses[0], 76)
    assert await wire.receive(2) == CLOSING_76
    wire.write(CLOSING_76)
    await wire.receive_end()


# ---- a server that was not there itself ----------------------------------------------------------


def talk_in_a_thread(address: tuple[str, int], on_ping: Callable[[], object]) -> threading.Thread:
    """Connect with a client that answers pings by itself, whatever the server's loop does."""

    def talk() -> None:
        with socket.create_connection(address) as sock, sock.makefile("rb") as stream:
            sock.sendall(build_request(upgrade_headers()))
            while stream.readline().strip():
                pass
            while (first := stream.read(2)) and first[0] & 0x0F == PING:
                sock.sendall(reference.serialize(Frame(PONG, stream.read(first[1]))))
                on_ping()

    thread = threading.Thread(target=talk)
    thread.start()
    return thread


@pytest.mark.slow
async def test_loop_that_was_blocked_reads_what_has_come_before_it_judges(
    start_server: StartServer,
) -> None:
    server = await start_server(ping_interval=SOON, ping_timeout=SOON, idle_timeout=LATER)
    loop = asyncio.get_running_loop()
    answered = asyncio.Semaphore(0)
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    thread = talk_in_a_thread(
        server.addresses[0], lambda: loop.call_soon_threadsafe(answered.release)
    )
    await answered.acquire()
    ends = note_end(accepted[0])
    for _ in range(2):
        time.sleep(2 * LATER)  # noqa: ASYNC251 - the application's fault that this is about
        async with asyncio.timeout(10):
            await answered.acquire()
    assert not ends
    accepted[0].close()
    await asyncio.to_thread(thread.join)
