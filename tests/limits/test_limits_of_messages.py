"""The limits of what a connection sends and takes, each at its value and one past it."""

import asyncio

import pytest
import reference
from conftest import StartServer
from reference import BINARY, CONTINUATION, PING, PONG, TEXT, Frame
from stories import Stories, Story, Telling, count_hits
from wire import Wire, connect_both, wait_until

import sockwave

STORIES = Stories()

# So slow that nothing is earned while a test runs, with the burst that goes with it.
RARE = 0.001


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_limit_holds_at_its_value_and_bites_one_past_it(
    story: Story, start_server: StartServer
) -> None:
    await story.play(start_server)


async def connect_hearing(server: sockwave.Server) -> tuple[Wire, list[int]]:
    """Connect, and give the sizes of the messages that the server hears."""
    sizes: list[int] = []
    wire, conn = await connect_both(server)
    conn.on("message", lambda message: sizes.append(len(message)))
    return wire, sizes


async def connect_draft(server: sockwave.Server) -> tuple[Wire, list[int], list[int]]:
    """Connect as a client of draft 76, and give the sizes of the messages that the server hears,
    and the code of the end."""
    sizes: list[int] = []
    codes: list[int] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: sizes.append(len(message)))
        conn.on("close", codes.append)

    return await Wire.connect_hixie(server.addresses[0], 76), sizes, codes


async def expect_close(wire: Wire) -> int:
    """Give the code of the close frame that is next."""
    return (await wire.receive_close())[0]


# ---- what is received ----------------------------------------------------------------------------


@STORIES.about("max_size", max_size=1000)
async def message_in_one_frame(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    wire.send(b"x" * 1000)
    await wait_until(lambda: sizes == [1000])
    yield None
    wire.write(reference.serialize_header(Frame(BINARY), 1001))
    yield await expect_close(wire)


@STORIES.about("max_size", max_size=1000)
async def message_in_fragments(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    for _ in range(2):
        wire.write_frame(BINARY, b"x" * 600, fin=False)
        if not sizes:
            wire.write_frame(CONTINUATION, b"x" * 400)
            await wait_until(lambda: sizes == [1000])
            yield None
    wire.write(reference.serialize_header(Frame(CONTINUATION), 401))
    yield await expect_close(wire)


@STORIES.about("max_size", max_size=1000)
async def text_of_a_draft(server: sockwave.Server) -> Telling:
    wire, sizes, _ = await connect_draft(server)
    wire.write(b"\x00" + b"x" * 1000 + b"\xff")
    await wait_until(lambda: sizes == [1000])
    yield None
    wire.write(b"\x00" + b"x" * 1001)
    assert await wire.receive(2) == b"\xff\x00"
    yield 1009


@STORIES.about("max_size", max_size=1000)
async def length_of_a_draft(server: sockwave.Server) -> Telling:
    wire, _, codes = await connect_draft(server)
    wire.write(b"\x80\x87\x68" + b"x" * 1000)  # 7 * 128 + 104
    await wire.receive_nothing()
    yield None
    wire.write(b"\x80\x87\x69")
    await wait_until(lambda: codes)
    yield codes[0]


@STORIES.about("fragment_count", fragment_count=5)
async def empty_fragments(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    wire.write_frame(TEXT, fin=False)
    for _ in range(3):
        wire.write_frame(CONTINUATION, fin=False)
    wire.write_frame(CONTINUATION)
    await wait_until(lambda: sizes == [0])
    yield None
    wire.write_frame(TEXT, fin=False)
    for _ in range(5):
        wire.write_frame(CONTINUATION, fin=False)
    yield await expect_close(wire)


@STORIES.about("fragment_count", fragment_count=5)
async def fragments_that_earn_more(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    wire.write_frame(BINARY, b"x" * 64, fin=False)
    for _ in range(5):
        wire.write_frame(CONTINUATION, fin=False)
    wire.write_frame(CONTINUATION)
    await wait_until(lambda: sizes == [64])
    yield None
    wire.write_frame(BINARY, b"x" * 63, fin=False)
    for _ in range(6):
        wire.write_frame(CONTINUATION, fin=False)
    yield await expect_close(wire)


@STORIES.about("message_rate", message_rate=2)
async def messages_at_once(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    message = reference.serialize(Frame(TEXT, b"!"))
    wire.write(message * 4)
    await wait_until(lambda: len(sizes) == 4)
    yield None
    wire.write(message * 4)
    code = await expect_close(wire)
    assert 4 <= len(sizes) < 8
    yield code


@STORIES.about("message_rate", message_rate=RARE)
async def second_message_where_they_are_rare(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    wire.write_frame(TEXT, b"a", fin=False)
    wire.write_frame(CONTINUATION, b"b", fin=False)
    wire.write_frame(CONTINUATION, b"c")
    await wait_until(lambda: sizes == [3])
    yield None
    wire.send("")
    yield await expect_close(wire)


@STORIES.about("message_rate", message_rate=RARE)
async def second_message_of_a_draft(server: sockwave.Server) -> Telling:
    wire = await Wire.connect_hixie(server.addresses[0], 76)
    wire.write(b"\x00first\xff")
    await wire.receive_nothing()
    yield None
    wire.write(b"\x00second\xff")
    assert await wire.receive(2) == b"\xff\x00"
    yield 1008


@STORIES.about("byte_rate", byte_rate=500, max_size=1000)
async def bytes_at_once(server: sockwave.Server) -> Telling:
    wire, sizes = await connect_hearing(server)
    wire.send(b"x" * 1000)
    await wait_until(lambda: sizes == [1000])
    yield None
    wire.send(b"x" * 1000)
    yield await expect_close(wire)


@STORIES.about("byte_rate", byte_rate=RARE * 1000, max_size=None)
async def bytes_of_a_stream(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    chunks = aiter(conn.stream())
    wire.write_frame(BINARY, b"x", fin=False)
    assert await anext(chunks) == b"x"
    wire.write_frame(CONTINUATION, b"y", fin=False)
    assert await anext(chunks) == b"y"
    yield None
    wire.write_frame(CONTINUATION, b"z" * 3, fin=False)
    code = await expect_close(wire)
    with pytest.raises(sockwave.ConnectionClosed):
        await anext(chunks)
    yield code


@STORIES.about("control_rate", control_rate=RARE, control_burst=5)
async def pings(server: sockwave.Server) -> Telling:
    wire, _ = await connect_both(server)
    for _ in range(5):
        wire.write_frame(PING, b"?")
    for _ in range(5):
        assert await wire.receive_pong() == b"?"
    yield None
    wire.write_frame(PING, b"!")
    yield await expect_close(wire)


@STORIES.about("control_rate", control_rate=RARE, control_burst=5)
async def pongs_that_answer_nothing(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    heard: list[bytes] = []
    conn.on("pong", heard.append)
    for _ in range(5):
        wire.write_frame(PONG, b"!")
    await wait_until(lambda: len(heard) == 5)
    yield None
    wire.write_frame(PONG, b"!")
    yield await expect_close(wire)


# ---- who has to wait for the application ---------------------------------------------------------


@STORIES.about("queue_count", queue_count=3)
async def messages_that_nobody_takes(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    conn._expect_handler()
    wire.send("1")
    wire.send("2")
    await wire.wait_until_read()
    yield None
    wire.send("3")
    wire.write_frame(PING, b"not read yet")
    await wait_until(lambda: server.limit_hits["queue_count"])
    await wire.receive_nothing()
    yield None
    assert [await conn.receive() for _ in range(3)] == ["1", "2", "3"]
    await wire.receive_pong()


@STORIES.about("queue_count", queue_count=3)
async def chunks_that_nobody_takes(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    _stream = conn.stream()
    wire.write_frame(BINARY, b"1", fin=False)
    wire.write_frame(CONTINUATION, b"2", fin=False)
    await wire.wait_until_read()
    yield None
    wire.write_frame(CONTINUATION, b"3", fin=False)
    await wait_until(lambda: server.limit_hits["queue_count"])
    yield None


@STORIES.about("queue_size", queue_size=1000)
async def bytes_that_nobody_takes(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    conn._expect_handler()
    wire.send(b"x" * 999)
    await wire.wait_until_read()
    yield None
    wire.send(b"x")
    await wait_until(lambda: server.limit_hits["queue_size"])
    yield None


@STORIES.about("listen_timeout", listen_timeout=0.4)
async def messages_that_nobody_listens_to(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    await wire.receive_nothing(0.5)
    wire.send("kept")
    await wire.wait_until_read()
    conn.once("message", lambda: None)
    await wire.wait_until_read()
    yield None
    wire.send("dropped")
    await wait_until(lambda: conn.dropped_count == 1)
    yield None


@STORIES.about("max_tasks", max_tasks=3)
async def tasks_that_take_their_time(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    release = asyncio.Event()

    @conn.on("message")
    async def message(message: str) -> None:
        await release.wait()

    wire.send("1")
    wire.send("2")
    await wire.wait_until_read()
    yield None
    wire.send("3")
    await wait_until(lambda: server.limit_hits["max_tasks"])
    yield None
    release.set()


@STORIES.about("finish_timeout", finish_timeout=0.3)
async def call_that_goes_on_when_its_connection_has_ended(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    ends: list[str] = []

    @conn.on("message")
    async def message(message: str) -> None:
        try:
            await asyncio.sleep(0 if message == "in time" else 3600)
        finally:
            ends.append(message)

    wire.send("in time")
    await wire.shake_close()
    await wait_until(lambda: ends == ["in time"])
    yield None
    wire, conn = await connect_both(server)
    conn.on("message", message)
    wire.send("late")
    await wire.shake_close()
    await wait_until(lambda: len(ends) == 2)
    yield None


@STORIES.about("max_finishing", max_finishing=2)
async def calls_that_go_on_when_their_connections_have_ended(server: sockwave.Server) -> Telling:
    ends: list[str] = []
    begun: list[str] = []
    release = asyncio.Event()

    async def message(message: str) -> None:
        begun.append(message)
        try:
            await release.wait()
        except asyncio.CancelledError:
            ends.append(message)
            raise

    server.on("connection", lambda conn: conn.on("message", message))
    for text in "123":
        if text == "3":
            yield None
        wire = await Wire.connect(server.addresses[0])
        wire.send(text)
        await wait_until(lambda text=text: text in begun)
        await wire.shake_close()
    await wait_until(lambda: ends == ["1"])
    yield None
    release.set()


# ---- what is sent --------------------------------------------------------------------------------


async def block(wire: Wire, conn: sockwave.Connection) -> None:
    """Let the peer read nothing more, until something waits for it."""
    wire.pause_reading()
    size = 0
    while not size or conn.backlog_size != size:
        size = conn.backlog_size
        if not size:
            conn.send(b"b" * 50_000)
        await asyncio.sleep(0.01)


@STORIES.about("high_water", high_water=10_000_000, max_backlog=None)
async def backlog_that_makes_send_wait(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    await block(wire, conn)
    conn.send(b"x" * (10_000_000 - conn.backlog_size - 10))
    assert conn.backlog_size == 10_000_000
    yield None
    waiting = asyncio.ensure_future(conn.send(b"x"))
    await wait_until(lambda: server.limit_hits["high_water"])
    assert not waiting.done()
    yield None
    conn.abort()
    await waiting


async def fill_backlog(server: sockwave.Server) -> tuple[Wire, sockwave.Connection]:
    """Connect a peer with a backlog that is full to the last byte."""
    wire, conn = await connect_both(server)
    await block(wire, conn)
    while conn.backlog_size < 250_000:
        conn.send(b"b" * 10_000)
    conn.send(b"x" * (300_000 - conn.backlog_size - 4))
    assert conn.backlog_size == 300_000
    assert conn.dropped_count == 0
    return wire, conn


@STORIES.about("max_backlog", besides=("high_water",), high_water=100_000, max_backlog=300_000)
async def message_that_closes(server: sockwave.Server) -> Telling:
    wire, conn = await fill_backlog(server)
    codes: list[int] = []
    conn.on("close", codes.append)
    yield None
    conn.send(b"")
    wire.resume_reading()
    code = (await wire.receive_frames_until_close())[-1].payload[:2]
    await wire.close()
    await wait_until(lambda: codes)
    assert codes == [int.from_bytes(code, "big")]
    yield codes[0]


@STORIES.about("close_timeout", close_timeout=0.4)
async def close_that_is_not_answered(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server)
    conn.close()
    assert await expect_close(wire) == 1000
    wire.write_close()
    await wire.receive_end()
    yield None
    wire, conn = await connect_both(server)
    conn.close()
    assert await expect_close(wire) == 1000
    await wire.receive_end()
    yield None


@pytest.mark.slow
async def test_rate_is_earned_again_as_time_goes_by(start_server: StartServer) -> None:
    server = await start_server(control_rate=20, control_burst=2)
    wire, _ = await connect_hearing(server)
    for _ in range(20):  # ten times what may come at once
        await wire.wait_until_read()
        await asyncio.sleep(0.06)
    assert count_hits(server) == {}


async def test_pongs_that_answer_us_are_free(start_server: StartServer) -> None:
    server = await start_server(control_rate=RARE, control_burst=3)
    wire, conn = await connect_both(server)
    pings = [asyncio.ensure_future(conn.ping(b"%d" % i)) for i in range(50)]
    for i in range(50):
        assert await wire.receive_ping() == b"%d" % i
        wire.write_frame(PONG, b"%d" % i)
    await asyncio.gather(*pings)
    for _ in range(3):  # the peer's own are left
        await wire.wait_until_read()
    assert count_hits(server) == {}
    wire.write_frame(PONG, b"0")  # and no answer is counted twice
    assert await expect_close(wire) == 1008
    assert count_hits(server) == {"control_rate": 1}


async def test_rates_are_each_connections_own(start_server: StartServer) -> None:
    server = await start_server(message_rate=RARE)
    wires = [await connect_hearing(server) for _ in range(5)]
    for wire, sizes in wires:
        wire.send("one each")
        await wait_until(lambda sizes=sizes: sizes == [8])
    assert count_hits(server) == {}


async def test_no_rate_is_counted_where_none_is_set(start_server: StartServer) -> None:
    server = await start_server(control_rate=None)
    wire, sizes = await connect_hearing(server)
    ping, message = (reference.serialize(Frame(opcode, b"!")) for opcode in (PONG, TEXT))
    wire.write((ping + message) * 5000)
    await wait_until(lambda: len(sizes) == 5000)
    assert count_hits(server) == {}


async def test_close_frames_and_messages_are_no_control_frames_that_count(
    start_server: StartServer,
) -> None:
    server = await start_server(control_rate=RARE, control_burst=1)
    wire, sizes = await connect_hearing(server)
    for _ in range(50):
        wire.send("!")
    await wire.wait_until_read()
    assert len(sizes) == 50
    await wire.shake_close()
    assert count_hits(server) == {}


async def test_violations_that_no_limit_asks_for_are_not_counted(start_server: StartServer) -> None:
    server = await start_server()
    wire = await Wire.connect(server.addresses[0])
    wire.write_frame(TEXT, b"\xff")
    await wire.expect_failure(1007)
    wire = await Wire.connect(server.addresses[0])
    wire.write_frame(3)
    await wire.expect_failure(1002)
    assert count_hits(server) == {}


async def test_message_that_is_dropped_is_counted(start_server: StartServer) -> None:
    server = await start_server(high_water=100_000, max_backlog=300_000, slow="drop_new")
    _, conn = await fill_backlog(server)
    assert server.limit_hits["max_backlog"] == 0
    conn.send(b"")
    assert conn.dropped_count == server.limit_hits["max_backlog"] == 1


@pytest.mark.parametrize("slow", ["drop_old", "conflate"])
async def test_each_message_that_others_make_room_for_is_counted(
    start_server: StartServer, slow: str
) -> None:
    server = await start_server(high_water=100_000, max_backlog=300_000, slow=slow)
    wire, conn = await connect_both(server)
    await block(wire, conn)
    key = {"key": "the same"} if slow == "conflate" else {}
    for _ in range(100):
        conn.send(b"x" * 10_000, **key)
    if slow == "conflate":  # one takes the place of the other: there is room for it
        assert conn.dropped_count >= 98
        assert server.limit_hits["max_backlog"] == 0
        for i in range(100):
            conn.send(b"x" * 10_000, key=i)
    assert server.limit_hits["max_backlog"] > 60
    assert conn.dropped_count >= server.limit_hits["max_backlog"]
