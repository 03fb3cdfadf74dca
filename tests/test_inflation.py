"""What takes long is inflated in slices: others have their turn, and its connection waits."""

import asyncio
import zlib
from typing import Any

import pytest
import reference
from conftest import StartServer
from costly import BLOCKS, make_nothing
from reference import BINARY, CONTINUATION, INVALID_DATA, PING, PONG, RSV1, TEXT, Frame
from test_compression import EVERYTHING, FULL, MEBIBYTE, TAIL, Client, accept, library, some_json
from together import together
from wire import Wire, wait_until

import sockwave

__all__ = ["library"]

NAMES = [*BLOCKS, "stored"]
#: What costs most, of as many bytes as a message may have.
COSTLY = make_nothing("flat", MEBIBYTE - 100)
#: Rounds of somebody else's while that is inflated, at least; without slices there is one.
FEW = 5


@together
@pytest.mark.parametrize("name", NAMES)
def test_costly_messages_are_sound_and_make_what_they_say(name: str) -> None:
    for behind in (b"", b"hello"):
        payload = make_nothing(name, 10_000, behind=behind)
        assert 9_900 < len(payload) < 10_100
        inflater = zlib.decompressobj(-9)
        assert inflater.decompress(payload + TAIL) == behind
        assert not inflater.eof


async def send_all_but_the_end(client: Client, payload: bytes, opcode: int = BINARY) -> None:
    """Send a compressed message but for its last byte, and see that it has been read."""
    client.wire.write_frame(opcode, payload[:-1], fin=False, rsv=RSV1)
    await client.wire.wait_until_read()


def send_end(client: Client, payload: bytes) -> None:
    client.wire.write_frame(CONTINUATION, payload[-1:])


class Neighbour:
    """Somebody else, who has one message after the other sent back."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.rounds = 0
        self.task = asyncio.create_task(self._talk())

    @classmethod
    async def come(cls, server: sockwave.Server) -> "Neighbour":
        server.once("connection", lambda conn: conn.on("message", conn.send))
        return cls(await Wire.connect(server.addresses[0]))

    async def _talk(self) -> None:
        while True:
            self.wire.send("round")
            assert await self.wire.receive_message() == "round"
            self.rounds += 1

    async def talk_on(self) -> None:
        """Wait for a round that has not begun yet, or disturb the test."""
        before = self.rounds
        await wait_until(lambda: self.task.done() or self.rounds > before + 1, "another round")
        assert not self.task.done()

    async def leave(self) -> None:
        await self.talk_on()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.wire.close()


async def come_to_be_heard(
    server: sockwave.Server,
) -> tuple[Client, sockwave.Connection, list[Any]]:
    """Connect a client, and give what is heard of it as well."""
    client, conn = await accept(server)
    heard: list[Any] = []
    conn.on("message", heard.append)
    conn.on("close", lambda *_: heard.append("closed"))
    return client, conn, heard


async def begin_to_inflate(client: Client, neighbour: Neighbour, payload: bytes = COSTLY) -> None:
    """Have a costly message in the middle of being inflated."""
    await send_all_but_the_end(client, payload)
    send_end(client, payload)
    await neighbour.talk_on()


async def start_inflating(
    start_server: StartServer, **options: Any
) -> tuple[sockwave.Server, Neighbour, Client, sockwave.Connection, list[Any]]:
    """Start a server that is in the middle of inflating a costly message, beside a neighbour's."""
    server = await start_server(compression=EVERYTHING, **options)
    neighbour = await Neighbour.come(server)
    client, conn, heard = await come_to_be_heard(server)
    await begin_to_inflate(client, neighbour)
    return server, neighbour, client, conn, heard


# ---- others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_others_are_served_while_a_costly_message_is_inflated(
    start_server: StartServer, library: Any, compression: sockwave.Deflate
) -> None:
    server = await start_server(compression=compression)
    neighbour = await Neighbour.come(server)
    client, _, heard = await come_to_be_heard(server)
    await send_all_but_the_end(client, COSTLY)
    before = neighbour.rounds
    send_end(client, COSTLY)
    await wait_until(lambda: heard)
    assert heard == [b""]
    assert neighbour.rounds - before >= FEW
    await neighbour.leave()
    await client.wire.close()


async def test_others_are_served_while_many_short_costly_messages_are_inflated(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=EVERYTHING)
    neighbour = await Neighbour.come(server)
    client, _, heard = await come_to_be_heard(server)
    payload = make_nothing("flat", 4000)
    frame = reference.serialize(Frame(BINARY, payload, rsv=RSV1))
    client.wire.write(frame * 250)
    await wait_until(lambda: heard)
    before = neighbour.rounds
    await wait_until(lambda: len(heard) == 250)
    assert neighbour.rounds - before >= FEW
    await neighbour.leave()
    await client.wire.close()


async def test_others_are_served_while_many_inflate_what_is_costly(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=EVERYTHING)
    neighbour = await Neighbour.come(server)
    payload = make_nothing("flat", 100_000, behind=b"over")
    crowd = [await come_to_be_heard(server) for _ in range(10)]
    for client, _, _ in crowd:
        await send_all_but_the_end(client, payload)
    before = neighbour.rounds
    for client, _, _ in crowd:
        send_end(client, payload)
    await wait_until(lambda: all(heard for _, _, heard in crowd))
    assert [heard for _, _, heard in crowd] == 10 * [[b"over"]]
    assert neighbour.rounds - before >= FEW
    await neighbour.leave()
    for client, _, _ in crowd:
        await client.wire.close()


# ---- the connection itself --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_nothing_overtakes_a_costly_message_of_the_same_connection(
    start_server: StartServer, library: Any, compression: sockwave.Deflate
) -> None:
    server = await start_server(compression=compression)
    client, conn, heard = await come_to_be_heard(server)
    conn.on("ping", lambda data: heard.append(("ping", data)))
    costly = make_nothing("flat", 500_000, behind=b"costly")
    document = some_json(MEBIBYTE)
    client.wire.write_frame(TEXT, costly, rsv=RSV1)
    client.wire.send("plain")
    client.wire.write_frame(PING, b"ping")
    client.wire.write_frame(TEXT, costly, rsv=RSV1)
    client.send(document)
    client.send(document)
    client.wire.write_close()
    assert await client.wire.receive_pong() == b"ping"
    assert await client.wire.receive_close() == (1000, "")
    await wait_until(lambda: "closed" in heard)
    pong = ("ping", b"ping")
    assert heard == ["costly", "plain", pong, "costly", document, document, "closed"]
    await client.wire.close()


async def test_message_behind_a_costly_one_may_refer_to_what_that_became(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=FULL)
    client, _, heard = await come_to_be_heard(server)
    for number in range(3):
        # What the client's own compressor knows of is `word`; the server has heard it as costly.
        word = some_json(3000, seed=number)
        client.send(word)
        client.wire.write_frame(
            BINARY, make_nothing("flat", 200_000, behind=word.encode()), rsv=RSV1
        )
        packer = zlib.compressobj(
            9, zlib.DEFLATED, -client.client_bits, 9, zlib.Z_DEFAULT_STRATEGY, word.encode()
        )
        again = packer.compress(word.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(again) < 100
        client.wire.write_frame(TEXT, again.removesuffix(TAIL), rsv=RSV1)
        client.compressor = None
        await wait_until(lambda: len(heard) == 3)
        assert heard == [word, word.encode(), word]
        heard.clear()
    await client.wire.close()


@pytest.mark.parametrize("size", [1, 100, 4093, 4096, 4097, 60_000])
async def test_costly_message_in_fragments_is_heard_whole(
    start_server: StartServer, library: Any, size: int
) -> None:
    server = await start_server(compression=EVERYTHING, max_size=MEBIBYTE)
    client, _, heard = await come_to_be_heard(server)
    payload = make_nothing("flat", 30 * size if size < 4000 else 200_000, behind=b"whole")
    for place in range(0, len(payload), size):
        client.wire.write_frame(
            CONTINUATION if place else TEXT,
            payload[place : place + size],
            fin=place + size >= len(payload),
            rsv=0 if place else RSV1,
        )
    await wait_until(lambda: heard)
    assert heard == ["whole"]
    await client.wire.close()


@pytest.mark.slow
async def test_client_that_does_not_read_is_not_heard_on_until_it_does(
    start_server: StartServer,
) -> None:
    _, neighbour, client, conn, heard = await start_inflating(
        start_server, max_backlog=64 * MEBIBYTE
    )
    client.wire.pause_reading()
    client.send("behind it")
    conn.send(bytes(32 * MEBIBYTE), compress=False)
    for _ in range(100):  # more turns than the rest would take
        await neighbour.talk_on()
    assert heard == []
    client.wire.resume_reading()
    assert await client.receive() == bytes(32 * MEBIBYTE)
    await wait_until(lambda: len(heard) == 2)
    assert heard == [b"", "behind it"]
    await neighbour.leave()
    await client.wire.close()


async def test_corrupt_end_of_a_costly_message_fails_its_connection(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=EVERYTHING)
    neighbour = await Neighbour.come(server)
    client, _, heard = await come_to_be_heard(server)
    client.wire.write_frame(BINARY, COSTLY[:-1] + b"\xff", rsv=RSV1)
    client.send("behind it")
    await client.wire.expect_failure(INVALID_DATA)
    await client.wire.close()
    await wait_until(lambda: heard)
    assert heard == ["closed"]
    await neighbour.leave()


# ---- its end ----------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("way", ["close", "abort", "vanish", "shed"])
async def test_connection_may_end_in_the_middle_of_a_costly_message(
    start_server: StartServer, way: str
) -> None:
    server, neighbour, client, conn, heard = await start_inflating(start_server)
    client.send("behind it")
    assert heard == []
    if way == "close":
        conn.close(4000, "enough")
        assert await client.wire.receive_close() == (4000, "enough")
        client.wire.write_close(4000)
    elif way == "abort":
        conn.abort()
    elif way == "shed":
        server._host.hub.shed(conn)
        await client.wire.receive_close()
        await client.wire.close()
    else:
        client.wire.reset()
    await wait_until(lambda: "closed" in heard)
    # Of a socket that is not read, the asyncio engine hears of a reset at the next write only.
    assert heard == ["closed"] or (way == "vanish" and heard[-1] == "closed")
    await wait_until(lambda: len(server.connections) == 1)
    await neighbour.leave()
    await client.wire.close()


async def test_what_is_being_inflated_counts_among_what_is_held(
    start_server: StartServer,
) -> None:
    server, neighbour, client, conn, heard = await start_inflating(start_server)
    held = {holder: size for size, holder in server._host.hub.measure_each()}
    assert held[conn] >= len(COSTLY)
    await wait_until(lambda: heard)
    await neighbour.talk_on()
    held = {holder: size for size, holder in server._host.hub.measure_each()}
    assert held.get(conn, 0) == 0
    await neighbour.leave()
    await client.wire.close()


async def test_server_that_closes_does_not_wait_for_what_is_being_inflated(
    start_server: StartServer,
) -> None:
    server, neighbour, client, _, heard = await start_inflating(start_server)
    neighbour.task.cancel()
    closing = asyncio.ensure_future(server.close())
    assert (await client.wire.receive_close())[0] == 1001
    client.wire.write_close(1001)
    await neighbour.wire.close()
    await closing
    assert heard == ["closed"]


# ---- how else a message is taken --------------------------------------------------------------


async def test_costly_message_is_taken_as_a_stream(start_server: StartServer, library: Any) -> None:
    server = await start_server(compression=EVERYTHING)
    client, conn = await accept(server)
    for opcode, behind, chunks in (
        (TEXT, b"hello", ["hello"]),
        (BINARY, b"", []),
        (BINARY, b"hello", [b"hello"]),
    ):
        client.wire.write_frame(opcode, make_nothing("flat", 300_000, behind=behind), rsv=RSV1)
        client.send("next")
        assert [chunk async for chunk in conn.stream()] == chunks
        assert await conn.receive() == "next"
    await client.wire.close()


async def test_stream_that_is_asked_for_in_the_middle_of_a_costly_message_gets_it(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=EVERYTHING)
    neighbour = await Neighbour.come(server)
    client, conn = await accept(server)
    payload = make_nothing("flat", MEBIBYTE - 1000, behind=b"costly")
    await begin_to_inflate(client, neighbour, payload)
    client.wire.send("plain")
    assert [chunk async for chunk in conn.stream()] == [b"costly"]
    assert [chunk async for chunk in conn.stream()] == ["plain"]
    await neighbour.leave()
    await client.wire.close()


@pytest.mark.slow
async def test_client_that_answers_pings_outlives_its_own_costly_message(
    start_server: StartServer,
) -> None:
    server = await start_server(
        compression=EVERYTHING, max_size=6 * MEBIBYTE, ping_interval=0.1, ping_timeout=0.4
    )
    client, _, heard = await come_to_be_heard(server)
    client.wire.write_frame(BINARY, make_nothing("flat", 6 * MEBIBYTE - 100), rsv=RSV1)
    while not heard:
        frame = await client.wire.receive_frame()
        assert frame.opcode == PING
        client.wire.write_frame(PONG, frame.payload)
    assert heard == [b""]
    await client.wire.close()
