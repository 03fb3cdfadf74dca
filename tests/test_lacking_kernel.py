"""Kernels that lack a socket option, such as gVisor's and WSL's: the server does without it.

A filter of system calls (seccomp(2)) makes this kernel one of them, for one process.
"""

import asyncio
import errno
import platform
import subprocess
import sys
from typing import Any

import pytest
from wire import Wire

# asm/unistd.h: setsockopt, getsockopt.
NUMBERS = {"x86_64": (54, 55), "aarch64": (208, 209)}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NUMBERS, reason="needs seccomp"
)

PROGRAM = """
import asyncio, ctypes, socket, struct, sys

def lack_options(answer, numbers):
    # seccomp(2), linux/filter.h: of sockets, there is no option but TCP_NODELAY, which asyncio
    # itself cannot do without, and those of SOL_SOCKET can be read.
    load, equal, give = 0x20, 0x15, 0x06
    refuse, allow = 0x00050000 | answer, 0x7FFF0000
    lines = [
        (load, 0, 0, 0),                        # which call
        (equal, 1, 0, numbers[0]),              # setsockopt: go on at 3
        (equal, 4, 7, numbers[1]),              # getsockopt: go on at 7, else allow
        (load, 0, 0, 24),                       # the level
        (equal, 0, 4, socket.IPPROTO_TCP),      # any other: refuse
        (load, 0, 0, 32),                       # the option
        (equal, 3, 2, socket.TCP_NODELAY),      # allow, or refuse
        (load, 0, 0, 24),                       # the level
        (equal, 0, 1, socket.IPPROTO_TCP),      # refuse, or allow
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(lines), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((38, 1, 0, 0, 0), (22, 2, program, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")

import sockwave

async def echo(conn):
    async for message in conn:
        await conn.send(message)

engine, answer, *numbers = sys.argv[1], *map(int, sys.argv[2:])
lack_options(answer, numbers)
with socket.socket() as one:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError as error:
        assert error.errno == answer
    else:
        raise SystemExit("the option is there")
server = sockwave.serve(echo, "127.0.0.1", 0, engine=engine)
print(server.addresses[0][1], flush=True)
server.run()
"""


@pytest.mark.parametrize("answer", [errno.ENOPROTOOPT, errno.EINVAL, errno.EOPNOTSUPP])
async def test_a_kernel_without_socket_options_is_served(engine: str, answer: int) -> None:
    numbers = map(str, (answer, *NUMBERS[platform.machine()]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PROGRAM, engine, *numbers),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await process.stdout.readline()
        if not line:
            pytest.fail((await process.communicate())[1].decode())
        address: Any = ("127.0.0.1", int(line))
        wire = await Wire.connect(address)
        # Of a draft, which has no pings, TCP is to probe the peer.
        draft = await Wire.connect_hixie(address, 76)
        wire.send("served")
        assert await wire.receive_message() == "served"
        draft.write(b"\x00served\xff")
        assert await draft.receive(8) == b"\x00served\xff"
        await Wire.close_all()
        process.terminate()
        assert (await process.communicate())[1] == b""
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
