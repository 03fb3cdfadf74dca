"""The frames of a client, and those of its server: RFC 6455, sections 5.1, 5.3 and 7.1.1."""

import asyncio
import os

import pytest
import reference
from raw_servers import RawPeer, raw_server
from reference import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame
from wire import case, wait_until

import sockwave

SIZES = [0, 1, 125, 126, 127, 4096, 8178, 8192, 65535, 65536, 200_000]


async def end_in_order(peer: RawPeer) -> None:
    """Answer the client's close frame, and hang up."""
    assert (await peer.receive_frame()).opcode == CLOSE
    peer.write_frame(CLOSE, b"\x03\xe8")


async def test_all_frames_are_masked_each_with_another_mask(engine: str) -> None:
    payloads = [os.urandom(size) for size in SIZES]

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        for payload in payloads:
            assert await peer.receive_frame() == Frame(BINARY, payload)
        for number in range(2000):
            assert await peer.receive_text() == str(number)
        assert (await peer.receive_frame()).opcode == PING
        peer.write_frame(PING, b"and you?")
        assert await peer.receive_frame() == Frame(PONG, b"and you?")
        peer.write_frame(PONG, b"there?")
        parts = [await peer.receive_frame() for _ in range(3)]
        assert [(one.opcode, one.payload, one.fin) for one in parts] == [
            (TEXT, b"begin", False),
            (CONTINUATION, b"end", False),
            (CONTINUATION, b"", True),
        ]
        await end_in_order(peer)
        # Four random bytes each: two of two thousand are the same once in two thousand runs.
        assert len(set(peer.masks)) >= len(peer.masks) - 2
        assert b"\0\0\0\0" not in peer.masks

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
        for payload in payloads:
            await conn.send(payload)
        for number in range(2000):
            conn.send(str(number))
        assert await conn.ping(b"there?") > 0
        async with conn.stream_message("text") as out:
            await out.write("begin")
            await out.write("end")


def frame(opcode: int, payload: bytes = b"", *, mask: bytes | None = None, **options: int) -> bytes:
    return reference.serialize(Frame(opcode, payload, **options), mask)  # type: ignore[arg-type]


MASK = b"\x01\x02\x03\x04"

WRONG_FRAMES = {
    "masked, short": (frame(TEXT, b"hi", mask=MASK), 1002),
    "masked, empty": (frame(TEXT, mask=MASK), 1002),
    "masked, with 16 bits of length": (frame(BINARY, b"x" * 200, mask=MASK), 1002),
    "masked, with 64 bits of length": (frame(BINARY, b"x" * 70_000, mask=MASK), 1002),
    "masked ping": (frame(PING, b"x", mask=MASK), 1002),
    "masked close": (frame(CLOSE, b"\x03\xe8", mask=MASK), 1002),
    "masked behind another": (frame(PING) + frame(PING, mask=MASK), 1002),
    "masked ping behind a fragment": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"", mask=MASK),
        1002,
    ),
    "masked continuation": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", mask=MASK),
        1002,
    ),
    "masked long continuation": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b" * 200, mask=MASK, fin=False),
        1002,
    ),
    "reserved bits": (frame(TEXT, b"a", rsv=4), 1002),
    "unknown opcode": (frame(3), 1002),
    "unknown control frame": (frame(11), 1002),
    "long ping": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message in a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "length of 16 bits that fits 7": (b"\x81\x7e\x00\x7d" + b"x" * 125, 1002),
    "length of 64 bits that fits 16": (b"\x81\x7f" + (65535).to_bytes(8, "big"), 1002),
    "length with the top bit": (b"\x81\x7f\x80" + bytes(7), 1002),
    "not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "not UTF-8, longer": (frame(TEXT, b"x" * 200 + b"\xc0\x80"), 1007),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with 1006": (frame(CLOSE, b"\x03\xee"), 1002),
    "close with a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "too large": (b"\x82\x7f" + (2**20 + 1).to_bytes(8, "big"), 1009),
    "too large, 16 bits": (b"\x82\x7f" + (2**62).to_bytes(8, "big"), 1009),
}


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
async def test_wrong_frames_of_a_server_fail_the_connection(engine: str, slowly: bool) -> None:
    for name, (raw, code) in WRONG_FRAMES.items():

        async def serve(peer: RawPeer, raw: bytes = raw, code: int = code) -> None:
            await peer.open()
            if slowly:
                for byte in raw[:300]:
                    peer.write(bytes([byte]))
                    await asyncio.sleep(0)
            else:
                peer.write(raw)
            found = await peer.receive_frame()
            while found.opcode != CLOSE:
                assert found.opcode == PONG
                found = await peer.receive_frame()
            assert reference.parse_close(found.payload)[1] == code
            assert await peer.receive_end() == b""

        if slowly and len(raw) > 300:
            continue
        with case(name):
            async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
                _messages = [message async for message in conn]
            assert conn.close_code == code


async def test_right_frames_of_a_server_are_read_however_they_come(engine: str) -> None:
    messages: list[str | bytes] = ["", "a", "ü" * 60, "x" * 126, b"\0" * 300, "y" * 65536, b""]

    def data_of(message: str | bytes) -> bytes:
        return message.encode() if isinstance(message, str) else message

    raw = b"".join(
        frame(TEXT if isinstance(message, str) else BINARY, data_of(message))
        + frame(PING, b"between")
        for message in messages
    )
    raw += (
        frame(TEXT, b"frag", fin=False) + frame(PONG) + frame(CONTINUATION, b"x" * 200, fin=False)
    )
    raw += frame(CONTINUATION, b"ment")
    expected = [*messages, "frag" + "x" * 200 + "ment"]
    for size in (1, 3, 1000, len(raw)):

        async def serve(peer: RawPeer, size: int = size) -> None:
            await peer.open()
            for start in range(0, len(raw), size if size > 3 else 700 + size):
                peer.write(raw[start : start + (size if size > 3 else 700 + size)])
                await peer.writer.drain()
                await asyncio.sleep(0)
            for _ in messages:
                assert await peer.receive_frame() == Frame(PONG, b"between")
            await end_in_order(peer)

        with case(size):
            async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
                assert [await conn.receive() for _ in expected] == expected


async def test_client_waits_for_the_server_to_hang_up(engine: str) -> None:
    """7.1.1: "when a client is instructed to [close] it SHOULD wait for a TCP Close"."""
    may_hang_up = asyncio.Event()

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        assert await peer.receive_close() == (1000, "")
        peer.write_frame(CLOSE, b"\x03\xe8")
        reading = asyncio.ensure_future(peer.reader.read(1))
        await may_hang_up.wait()
        assert not reading.done()
        peer.writer.close()
        await asyncio.wait([reading])

    async with raw_server(serve) as uri:
        conn = await sockwave.connect(uri, engine=engine)
        conn.close()
        code: list[int] = []
        conn.on("close", code.append)
        await asyncio.sleep(0.05)
        assert not code
        may_hang_up.set()
        await wait_until(lambda: code)
    assert code == [1000]


async def test_server_that_closes_is_answered_and_waited_for(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open()
        peer.write_frame(CLOSE, b"\x0f\xa0bye")
        assert (await peer.receive_close())[0] == 4000
        peer.writer.write_eof()
        assert await peer.receive_end() == b""

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
        with pytest.raises(sockwave.ConnectionClosed):
            await conn.receive()
    assert (conn.close_code, conn.close_reason) == (4000, "bye")


@pytest.mark.parametrize("answers", [False, True])
async def test_server_that_does_not_hang_up_is_left_in_time(engine: str, answers: bool) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open()
        assert await peer.receive_close() == (1000, "")
        if answers:
            peer.write_frame(CLOSE, b"\x03\xe8")
        await peer.receive_end()

    async with (
        raw_server(serve) as uri,
        sockwave.connect(uri, engine=engine, close_timeout=0.1) as conn,
    ):
        pass
    assert conn.close_code == (1000 if answers else 1006)


async def test_server_that_answers_no_ping_is_gone(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open()
        assert (await peer.receive_frame()).opcode == PING
        assert (await peer.receive_close())[0] == 1011
        await peer.receive_end()

    async with raw_server(serve) as uri:
        connector = sockwave.connect(uri, engine=engine, ping_interval=0.05, ping_timeout=0.05)
        async with connector as conn:
            with pytest.raises(sockwave.ConnectionClosed) as caught:
                await conn.receive()
    assert caught.value.code == 1011


async def test_slow_server_makes_send_wait(engine: str) -> None:
    goes_on = asyncio.Event()
    size = 4 * 2**20

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        await goes_on.wait()
        for number in range(size // 65536):
            assert await peer.receive_frame() == Frame(BINARY, bytes([number]) * 65536)
        await end_in_order(peer)

    async with raw_server(serve) as uri:
        connector = sockwave.connect(uri, engine=engine, max_backlog=8 * 2**20)
        async with connector as conn:
            for number in range(size // 65536):
                drained = conn.send(bytes([number]) * 65536)
            waiting = asyncio.ensure_future(_wait(drained))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            goes_on.set()
            await waiting


async def _wait(awaitable: object) -> None:
    await awaitable  # type: ignore[misc]
