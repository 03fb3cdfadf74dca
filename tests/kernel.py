"""What the kernel knows of sockets, of this process and of others (Linux alone)."""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from wire import Wire


@contextlib.contextmanager
def find_accepted(wire: Wire) -> Iterator[socket.socket]:
    """Give the server's end of a client's connection, for as long as the block lasts."""
    address = wire.writer.get_extra_info("sockname")
    with contextlib.ExitStack() as stack:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if not str(Path("/proc/self/fd", name).readlink()).startswith("socket:"):
                    continue
                one = stack.enter_context(socket.socket(fileno=os.dup(int(name))))
                if one.getpeername() == address:
                    yield one
                    return
    raise AssertionError(f"no socket of this process has the peer {address}")


#: ioctl_list(2), tcp(7): bytes that have not left yet.
SIOCOUTQNSD = 0x894B


def measure_unsent(sock: socket.socket) -> int:
    """Give the bytes that the kernel has taken, and not sent."""
    answer = fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4))
    return int(struct.unpack("i", answer)[0])


def measure_unread(wire: Wire) -> int | None:
    """Give the bytes that the server's end of a client's connection holds, and has not read; None
    where there is no such end (proc_net_tcp(5))."""
    port = wire.writer.get_extra_info("sockname")[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, _, queues, *_ = line.split()
        if remote == f"0100007F:{port:04X}":
            return int(queues.partition(":")[2], 16)
    return None
