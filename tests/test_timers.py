"""The wheel's clock, and a server that is stopped for a while."""

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from commands import freeze
from conftest import ErrorLog, StartServer
from reference import CLOSE, PING, PONG
from wire import Wire, build_request, upgrade_headers, wait_until

from sockwave.core.io.engine import Engine
from sockwave.core.io.timers import TICK_S, Wheel

CLIENT_COUNT = 50

#: Of everything that a server waits for, in seconds; it is stopped for several times as long.
SHORT, STOPPED_S = 1.0, 3.0

SERVER = f"""
import sockwave

server = sockwave.create_server(
    engine="ENGINE", ping_interval={SHORT / 4}, ping_timeout={SHORT}, idle_timeout={SHORT},
    close_timeout={SHORT}, handshake_timeout={SHORT}, keep_alive_timeout={SHORT},
    body_timeout={SHORT}, write_timeout={SHORT},
)

@server.on("connection")
def connected(conn):
    conn.on("message", conn.send)

@server.on("listening")
def listening():
    print(server.addresses[0][1], flush=True)

server.listen(0, "127.0.0.1")
server.run()
"""


def test_clock_of_the_wheel_moves_with_that_of_the_loop() -> None:
    wheel = Wheel(1000.0)
    begin = wheel.now
    for number in range(1, 11):
        wheel.advance(1000.0 + number * TICK_S)
    assert wheel.now - begin == 10 * TICK_S


def test_look_that_comes_late_does_not_count() -> None:
    wheel = Wheel(1000.0)
    begin = wheel.now
    wheel.advance(1060.0)
    assert wheel.now == begin
    wheel.advance(1060.0 + TICK_S)
    assert abs(wheel.now - begin - TICK_S) < TICK_S / 100


def test_clock_that_jumps_back_moves_nothing() -> None:
    wheel = Wheel(1000.0)
    begin = wheel.now
    wheel.advance(500.0)
    assert wheel.now == begin
    wheel.advance(500.0 + TICK_S)
    assert wheel.now > begin


def test_time_passes_even_where_every_look_is_late() -> None:
    wheel = Wheel(1000.0)
    begin = wheel.now
    for number in range(1, 11):
        wheel.advance(1000.0 + number * 5.0)
    # Every second look, and a second for each.
    assert wheel.now - begin == 5.0


class Peer:
    """A client that answers pings by itself, and notes how it was closed."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.ping_count = 0
        self.messages: list[bytes] = []
        self.closes: list[bytes] = []

    async def run(self) -> None:
        """Answer until the end."""
        while not self.closes:
            frame = await self.wire.receive_frame()
            if frame.opcode == PING:
                self.wire.write_frame(PONG, frame.payload)
                self.ping_count += 1
            elif frame.opcode == CLOSE:
                self.closes.append(frame.payload)
            else:
                self.messages.append(frame.payload)


@pytest.mark.slow
async def test_server_that_was_stopped_ends_nobody_who_is_there(engine: str) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - it takes no longer than a fork
        [sys.executable, "-c", SERVER.replace("ENGINE", engine)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = "127.0.0.1", int(await asyncio.to_thread(process.stdout.readline))
            peers, tasks = [], []
            for _ in range(CLIENT_COUNT):
                peers.append(Peer(await Wire.connect(address)))
                tasks.append(asyncio.create_task(peers[-1].run()))
            await wait_until(lambda: all(peer.ping_count for peer in peers))
            late = await Wire.open(address)
            freeze(process.pid)
            late.write(build_request(upgrade_headers()))
            await asyncio.sleep(STOPPED_S)
            counts = [peer.ping_count for peer in peers]
            os.kill(process.pid, signal.SIGCONT)
            # Everybody goes through the next times too.
            await wait_until(
                lambda: all(
                    peer.ping_count > count + 2 or peer.closes
                    for peer, count in zip(peers, counts, strict=True)
                )
            )
            assert (await late.receive_head()).status == 101
            assert not [peer.closes for peer in peers if peer.closes]
            for peer in peers:
                peer.wire.send("still here")
            await wait_until(lambda: all(peer.messages == [b"still here"] for peer in peers))
            for task in tasks:
                task.cancel()
            await Wire.close_all()
        finally:
            process.kill()


@pytest.mark.parametrize("is_promised", [True, False])
async def test_tick_that_the_loop_loses_is_made_up_for(
    start_server: StartServer,
    error_log: ErrorLog,
    monkeypatch: pytest.MonkeyPatch,
    is_promised: bool,
) -> None:
    """For want of memory a loop cannot promise a call, or does not make it."""
    server = await start_server(handshake_timeout=SHORT)
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    count = 0

    def call_unless_lost(delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
        nonlocal count
        count += isinstance(getattr(callback, "__self__", None), Engine)
        if count != 3:
            return call_later(delay, callback, *arguments)
        count += 1
        if not is_promised:
            raise MemoryError
        return call_later(delay, lambda: None)

    monkeypatch.setattr(loop, "call_later", call_unless_lost)
    wire = await Wire.open(server.addresses[0])
    await wire.receive_end()
    assert count > 3
    errors = error_log.take()
    assert is_promised == (not errors)
    assert all(isinstance(error, MemoryError) for error in errors)
