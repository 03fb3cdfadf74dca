import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from certificates import client_context, server_context

import sockwave
from sockwave import testing

HERE = Path(__file__)


async def echo(conn: sockwave.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def wait_for_more(conn: sockwave.ClientConnection) -> None:
    await conn.receive()  # which never comes


def line_of(text: str) -> int:
    """Give the number of the first line that begins with a text."""
    lines = HERE.read_text("utf-8").splitlines()
    return next(at for at, line in enumerate(lines, 1) if line.strip().startswith(text))


def check_message(message: str) -> None:
    number = line_of("await conn.receive()  #")
    place = f"{HERE}:{number}, in wait_for_more: await conn.receive()  # which never comes"
    assert place in message
    assert "in echo: async for message in conn:" in message
    client, _, server = message.partition("the client has sent:")[2].partition(
        "the server has sent:"
    )
    assert [line.strip() for line in client.strip().splitlines()] == [
        "GET /chat HTTP/1.1",
        "text 'hello'",
        r"binary b'\x00\x01'",
    ]
    assert "text 'hello'" in server


async def talk_and_wait(
    conn: sockwave.ClientConnection, before: Callable[[], object] = int
) -> None:
    for message in ("hello", b"\0\1"):
        await conn.send(message)
        assert await conn.receive() == message
    before()
    await wait_for_more(conn)


async def wait_for_nothing(before: Callable[[], object]) -> None:
    before()
    await asyncio.Event().wait()


def put_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the loop's clock forward, past all timeouts: nobody is to wait for them."""
    loop = asyncio.get_running_loop()
    real_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_time() + 1000)


async def test_wait_that_would_hang_names_its_line_and_what_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(testing.Hang, match=r"not gone on within 60 s") as raised:
        async with testing.serve(echo, timeout=60) as url, sockwave.connect(f"{url}/chat") as conn:
            await talk_and_wait(conn, lambda: put_forward(monkeypatch))
    check_message(str(raised.value))


@testing.virtual_clock
async def test_the_same_under_the_virtual_clock() -> None:
    with pytest.raises(testing.Hang) as raised:
        async with testing.pair(echo, path="/chat", timeout=15) as (_, conn):
            await talk_and_wait(conn)
    check_message(str(raised.value))


def test_run_ends_what_waits_for_nothing() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(testing.Hang, match=r"await asyncio\.Event\(\)\.wait\(\)\nno connection"):
        testing.run(wait(), timeout=60)


async def test_block_that_is_cancelled_by_others_is_no_hang() -> None:
    async def serve() -> None:
        async with testing.serve(echo):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    task = asyncio.create_task(serve())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_task_goes_on_behind_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(testing.Hang):
        async with testing.serve(echo):
            await wait_for_nothing(lambda: put_forward(monkeypatch))
    async with asyncio.timeout(10):
        await asyncio.sleep(0)


@testing.virtual_clock
async def test_hang_that_the_test_swallows_is_none_the_less() -> None:
    async def swallow() -> None:
        async with testing.serve(echo, timeout=15):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with pytest.raises(testing.Hang, match="in swallow: await"):
        await swallow()
    await asyncio.sleep(1)


@testing.virtual_clock
async def test_test_that_goes_on_behind_its_hang_is_ended_again() -> None:
    async def go_on() -> None:
        async with testing.serve(echo, timeout=15):
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

    with pytest.raises(testing.Hang, match="in go_on: await"):
        await go_on()
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


def test_test_that_swallows_all_cancellations_ends_with_its_loop() -> None:
    async def go_on() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

    with pytest.raises(testing.Hang, match="in go_on: await"):
        testing.run(go_on())


def test_end_of_a_test_that_waits_for_nothing_is_ended() -> None:
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    with pytest.raises(testing.Hang):
        testing.run(wait())


@testing.virtual_clock
async def test_block_in_a_helper_of_the_test_is_watched() -> None:
    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        async with testing.serve(echo, timeout=15) as url:
            yield url

    with pytest.raises(testing.Hang, match="in test_block_in_a_helper"):
        async with serving():
            await asyncio.Event().wait()


@testing.virtual_clock
async def test_of_many_connections_the_first_are_shown() -> None:
    network = testing.Network()
    assert network.transcript == "no connection was opened"
    async with testing.serve(echo, network=network) as url:
        for _ in range(12):
            async with sockwave.connect(url):
                pass
    assert network.transcript.count("the client has sent:") == 10
    assert network.transcript.endswith("\n2 more connections")


@testing.virtual_clock
async def test_compressed_and_fragmented_messages_are_read() -> None:
    network = testing.Network()
    deflate = sockwave.Deflate(threshold=0)
    server = sockwave.create_server(compression=deflate)
    server.handle_with(echo)
    async with testing.pair(server, network=network, compression=deflate) as (_, conn):
        await conn.send("wave " * 200)
        await conn.receive()
        link = network.links[0]
        link.to_server.inject(testing.frame(1, "a", fin=False) + testing.frame(0, "b"))
        assert await conn.receive() == "ab"
        lines = [line.strip() for line in link.transcript.splitlines()]
        assert any(line.startswith("text (compressed) 'wave wave") for line in lines)
        assert "text (more follows) 'a'" in lines
        assert "continuation 'b'" in lines


@testing.virtual_clock
async def test_compressed_messages_of_any_size_are_read_and_those_behind_them() -> None:
    network = testing.Network()
    deflate = sockwave.Deflate(threshold=0)
    server = sockwave.create_server(compression=deflate)
    server.handle_with(echo)
    async with testing.pair(server, network=network, compression=deflate) as (_, conn):
        sizes = (1023, 1024, 1025, 65535, 65536, 65537, 300_000)
        for size in sizes:
            for message in ("A" * size, f"behind {size}"):
                await conn.send(message)
                await conn.receive()
        lines = [line.strip() for line in network.transcript.splitlines()]
        for size in sizes:
            assert lines.count(f"text (compressed) '{'A' * 60}'... ({size} bytes)") == 2
            assert lines.count(f"text (compressed) 'behind {size}'") == 2


@testing.virtual_clock
async def test_compressed_messages_in_fragments_are_read_and_those_behind_them() -> None:
    network = testing.Network()
    deflate = sockwave.Deflate(threshold=0)
    server = sockwave.create_server(compression=deflate)
    server.handle_with(echo)
    async with testing.pair(server, network=network, compression=deflate) as (_, conn):
        packer = zlib.compressobj(wbits=-15)
        whole = packer.compress(b"wave " * 20) + packer.flush(zlib.Z_SYNC_FLUSH)
        whole = whole.removesuffix(b"\0\0\xff\xff")
        link = network.links[0]
        link.to_server.inject(testing.frame(1, whole[:4], fin=False, reserved=4))
        link.to_server.inject(testing.frame(9, "between") + testing.frame(0, whole[4:]))
        assert await conn.receive() == "wave " * 20
        packer = zlib.compressobj(wbits=-15)  # one message knows nothing of the other
        whole = packer.compress(b"wave again") + packer.flush(zlib.Z_SYNC_FLUSH)
        link.to_server.inject(testing.frame(1, whole[:-4], reserved=4))
        assert await conn.receive() == "wave again"
        assert "text (compressed) 'wave again'" in link.transcript
        assert "continuation (compressed)" in link.transcript
        assert "not to be inflated" not in link.transcript


@testing.virtual_clock
async def test_of_large_messages_and_of_much_a_part_is_shown() -> None:
    network = testing.Network()
    async with testing.pair(echo, network=network) as (_, conn):
        for number in range(30):
            await conn.send(f"message {number}")
            await conn.receive()
        await conn.send(bytes(1_000_000))
        await conn.receive()
        await conn.send("x" * 200)
        await conn.receive()
        for _ in range(3):
            await conn.ping()
        network.links[0].to_client.inject(b"\x81\x7e\x01")  # a part of a head
        lines = [line.strip() for line in network.transcript.splitlines()]
        assert sum(line.endswith("more before") for line in lines) == 2
        assert lines.count("3 pings and pongs") == 2
        assert "text 'message 29'" in lines
        assert "text 'message 10'" not in lines
        assert any(re.fullmatch(r"binary b'\S+'\.\.\. \(1000000 bytes\)", line) for line in lines)
        assert f"text '{'x' * 60}'... (200 bytes)" in lines
        assert any(line.startswith("a part, 3 bytes") for line in lines)


async def test_other_things_than_frames_are_told_of() -> None:
    network = testing.Network()
    server = sockwave.create_server()

    @server.get("/")
    def answer(request: sockwave.Request) -> str:
        return "hello\n"

    server.listen(0, "127.0.0.1")
    async with testing.serve(server, network=network) as url, httpx.AsyncClient() as client:
        await client.get(url.replace("ws", "http"))
        said = network.transcript
        assert "GET / HTTP/1.1" in said
        assert "HTTP/1.1 200 OK" in said
        assert "6 bytes of something else" in said
    secure = sockwave.create_server().listen(0, "127.0.0.1", ssl=server_context())
    network = testing.Network()
    async with (
        testing.serve(secure, network=network) as url,
        sockwave.connect(url, ssl=client_context()),
    ):
        assert network.transcript.count("bytes of something else") == 2


async def test_timeout_is_a_number_of_seconds() -> None:
    for wrong, error in ((0, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match="timeout: expected"):
            async with testing.serve(echo, timeout=wrong):  # type: ignore[arg-type]
                pass
