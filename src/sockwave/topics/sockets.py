"""Unix sockets between the processes of one host: who is at the other end, and how to come back."""

import os
import socket
import struct

from sockwave.waits import FullJitter

# struct ucred of SO_PEERCRED: pid, uid, gid.
_CREDENTIALS = struct.Struct("=iII")

# The supervisor has another sequencer within milliseconds; not all come back at once.
_FIRST_WAIT_S = 0.005
_LONGEST_WAIT_S = 1.0


def identify_peer(sock: socket.socket) -> tuple[int, bool]:
    """Return the process at the other end of a Unix socket, and whether it may be there.

    Its user is ours, or root. Where the system does not tell who it is, the process is 0, and the
    permissions of the socket and its directory have decided.
    """
    if not hasattr(socket, "SO_PEERCRED"):  # pragma: no cover - Linux has it
        return 0, True
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return pid, uid in (os.geteuid(), 0)


def connect(path: str) -> socket.socket:
    """Connect to a sequencer, at once or not at all.

    Raises OSError; PermissionError if what listens there runs as another user than us, or root.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
        pid, is_allowed = identify_peer(sock)
        if not is_allowed:
            raise PermissionError(
                f"expected a sequencer of user {os.geteuid()}, given one of another, pid {pid}"
            )
    except BaseException:
        sock.close()
        raise
    return sock


def make_waits() -> FullJitter:
    """Return how long to wait before the next attempts to reach a sequencer."""
    return FullJitter(_FIRST_WAIT_S, _LONGEST_WAIT_S)
