"""Transports in memory, as protocols of asyncio's see them."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

import sockwave
from sockwave import testing


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line back, in capitals, and FIN behind the client's."""
    async for line in reader:
        writer.writelines([line.upper(), b"\n"])
        await writer.drain()
    writer.close()


@testing.virtual_clock
async def test_streams_talk_and_end_by_ports_and_by_paths() -> None:
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    named = await asyncio.start_unix_server(shout, "/run/shout")
    assert server.is_serving()
    assert server.get_loop() is asyncio.get_running_loop()
    port = server.sockets[0].getsockname()[1]
    for opening in (
        asyncio.open_connection("localhost", port),
        asyncio.open_unix_connection("/run/shout"),
    ):
        reader, writer = await opening
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        assert writer.can_write_eof()
        writer.write_eof()
        writer.write(b"ignored\n")
        assert await reader.read() == b"\n"
        writer.close()
        await writer.wait_closed()
    for one in (server, named):
        async with one:
            pass
        assert not one.is_serving()
    with pytest.raises(ConnectionRefusedError, match="cannot connect to /run/shout"):
        await asyncio.open_unix_connection("/run/shout")


@testing.virtual_clock
async def test_server_serves_forever_until_it_is_cancelled() -> None:
    server = await asyncio.start_server(shout, "127.0.0.1", 8000)
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert not server.is_serving()
    server.close()


class Recorder(asyncio.Protocol):
    def __init__(self, *, keeps_open: bool = False) -> None:
        self.events: list[Any] = []
        self.keeps_open = keeps_open
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("end")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append(type(error))


async def connect_both(**options: bool) -> tuple[Recorder, Recorder]:
    """Connect two protocols, the first of which is the server's."""
    loop = asyncio.get_running_loop()
    accepted = Recorder(**options)
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
    _, own = await loop.create_connection(
        lambda: Recorder(**options), "127.0.0.1", server.sockets[0].getsockname()[1]
    )
    await asyncio.sleep(0)
    server.close()
    return accepted, own


@testing.virtual_clock
async def test_reader_that_pauses_makes_the_writer_pause() -> None:
    one, other = await connect_both()
    one.transport.pause_reading()
    assert not one.transport.is_reading()
    other.transport.write(bytes(100_000))
    assert other.events == ["pause"]
    assert other.transport.get_write_buffer_size() == 100_000 - 65536
    assert other.transport.get_write_buffer_limits() == (0, 0)
    await asyncio.sleep(1)
    assert one.events == []
    one.transport.resume_reading()
    await asyncio.sleep(1)
    assert sum(map(len, one.events)) == 100_000
    assert other.events == ["pause", "resume"]
    assert other.transport.get_write_buffer_size() == 0


@testing.virtual_clock
async def test_reader_that_pauses_sees_no_end_but_a_reset() -> None:
    one, other = await connect_both()
    one.transport.pause_reading()
    other.transport.close()
    await asyncio.sleep(1)
    assert one.events == []
    one.transport.resume_reading()
    await asyncio.sleep(1)
    assert one.events == ["end", type(None)]
    one, other = await connect_both()
    one.transport.pause_reading()
    other.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"")
    other.transport.abort()
    await asyncio.sleep(1)
    assert one.events == [ConnectionResetError]


@testing.virtual_clock
async def test_bytes_for_a_closed_end_are_answered_by_a_reset() -> None:
    one, other = await connect_both(keeps_open=True)
    one.transport.close()
    await asyncio.sleep(1)
    assert one.events == [type(None)]
    assert other.events == ["end"]
    other.transport.write(b"too late")
    await asyncio.sleep(1)
    assert other.events == ["end", ConnectionResetError]
    assert other.transport.is_closing()


@testing.virtual_clock
async def test_protocol_can_be_replaced() -> None:
    one, other = await connect_both()
    assert one.transport.get_protocol() is one
    later = Recorder()
    one.transport.set_protocol(later)
    other.transport.write(b"hello")
    other.transport.close()
    await asyncio.sleep(1)
    assert (one.events, later.events) == ([], [b"hello", "end", type(None)])


@testing.virtual_clock
async def test_abort_of_a_connection_resets_it() -> None:
    async def reset(conn: sockwave.Connection) -> None:
        await conn.receive()
        conn.abort()

    async with testing.serve(reset) as url, sockwave.connect(url) as conn:
        conn.send("now")
        await conn.wait_closed()
        assert conn.close_code == 1006


@testing.virtual_clock
async def test_error_of_a_protocol_is_its_callers() -> None:
    class Broken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    with pytest.raises(ZeroDivisionError):
        await loop.create_connection(Broken, "x", server.sockets[0].getsockname()[1])
    server.close()


@testing.virtual_clock
async def test_what_needs_a_real_socket_is_refused() -> None:
    loop: Any = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for refused in (
        loop.sock_accept(None),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol),
        loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, ssl=True),
        loop.create_connection(asyncio.Protocol, sock=object()),
        loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context),
    ):
        with pytest.raises(RuntimeError, match="the network is in memory: expected"):
            await refused
