"""Section 1E of the record, row E6: peers whose packets stop, as when a cable is cut.

Such a peer acknowledges nothing and resets nothing: a socket filter that drops every segment plays
it, to which no privileges are needed. Pings and `write_timeout` are told of one by one in
tests/test_keepalive.py and tests/test_write_stall.py, whose peers' kernels still answer.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct

import pytest
from reference import CLOSE, PING, PONG
from wire import Wire

from attacks.conftest import Attack

# Linux's, which the socket module does not name; and BPF_RET | BPF_K, which gives its constant:
# how many bytes of a segment to keep.
SO_ATTACH_FILTER = 26
KEEP_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


def cut_off(wire: Wire) -> None:
    """Let nothing reach this socket any more, not even what its kernel would answer."""
    program = ctypes.create_string_buffer(KEEP_NOTHING)
    made = struct.pack("HL", 1, ctypes.addressof(program))
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, made)


async def live_on(wire: Wire) -> None:
    """Do as a browser does: answer pings."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while (frame := await wire.receive_frame()).opcode != CLOSE:
            if frame.opcode == PING:
                wire.write_frame(PONG, frame.payload)


@pytest.mark.parametrize("version", [8, 13])
async def test_peer_that_is_cut_off_is_noticed_by_its_silence(attack: Attack, version: int) -> None:
    # Bystanders answer no pings.
    async with attack(ping_interval=0.3, ping_timeout=0.3, bystanders=0) as victim:
        good = [await victim.connect(version=version) for _ in range(5)]
        living = [asyncio.create_task(live_on(wire)) for wire in good]
        for _ in range(20):
            cut_off(await victim.connect(version=version))
        assert [code for code, _ in await victim.closes(20)] == [1011] * 20
        # Who is there has been left alone, and nothing of the others is.
        assert (await victim.report()).connections == 5
        assert victim.descriptor_count() == victim.idle_descriptors + 5
        for task in living:
            task.cancel()


async def test_peer_of_a_draft_that_is_cut_off_is_noticed_by_the_kernel(attack: Attack) -> None:
    # Linux lets the time for the peer to acknowledge anything count here as well (RFC 5482).
    async with attack(
        ping_interval=1.0, ping_timeout=1.0, write_timeout=1.0, bystanders=0
    ) as victim:
        for _ in range(5):
            cut_off(await victim.connect_hixie(76))
        good = await victim.connect_hixie(76)
        assert [code for code, _ in await victim.closes(5)] == [1006] * 5
        good.write(b"\x00still here\xff")
        assert await good.receive(12) == b"\x00still here\xff"


async def test_peer_that_is_cut_off_with_data_on_the_way_is_noticed_without_pings(
    attack: Attack,
) -> None:
    options = {"ping_interval": None, "idle_timeout": None}
    async with attack(write_timeout=1.0, **options) as victim:
        for _ in range(20):
            wire = await victim.connect()
            cut_off(wire)
            # Its echo is in the kernel's hands: for the server there is nothing left to send.
            wire.send("echo")
        assert [code for code, _ in await victim.closes(20)] == [1006] * 20
        assert (await victim.report()).connections == 4
