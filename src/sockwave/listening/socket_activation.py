"""Listening sockets that a service manager has passed: systemd's sd_listen_fds(3), sd_notify(3)."""

import os
import socket
import stat

from sockwave.errors import SockwaveError

# sd_listen_fds(3): SD_LISTEN_FDS_START, the first after standard input, output and error.
_FIRST_DESCRIPTOR = 3

# Descriptors that a server of this process has taken: each belongs to the first that asks.
_taken: set[int] = set()


def take_inherited(name: str | None) -> list[socket.socket]:
    """Return the sockets that this process was started with: all, or those of one name.

    Each can be taken once. Raises SockwaveError when there are none, ValueError for one that is no
    listening stream socket.
    """
    names = _read_names()
    if not names:
        raise SockwaveError(
            "no sockets were passed to this process: expected LISTEN_FDS and LISTEN_PID in the "
            "environment, as a socket unit of systemd or systemd-socket-activate sets them"
        )
    chosen = [
        number for number, given in names.items() if name in (None, given) and number not in _taken
    ]
    if not chosen:
        wanted = "one more" if name is None else repr(name)
        raise SockwaveError(
            f"sockets passed to this process: expected {wanted}, given "
            f"{', '.join(map(repr, names.values()))}"
            f"{', all of them taken already' if name is None or name in names.values() else ''}"
        )
    for number in chosen:
        _check_listening(number)
    _taken.update(chosen)
    return [socket.socket(fileno=number) for number in chosen]


def _read_names() -> dict[int, str]:
    """Return the descriptors that were passed, with their names."""
    environment = os.environ
    # "If the variable is not set or does not match our own PID, the descriptors are another's."
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = environment.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit()):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    # sd_listen_fds_with_names(3): "unknown" where no name was given.
    return {
        number: names[i] if i < len(names) and names[i] else "unknown"
        for i, number in enumerate(numbers)
    }


def _check_listening(number: int) -> None:
    """Raise ValueError unless a descriptor is a listening stream socket; set close-on-exec."""
    problem = "a descriptor that is not open"
    try:
        os.set_inheritable(number, False)
        problem = "something else"
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            made = socket.socket(fileno=number)
            try:
                is_stream = made.type == socket.SOCK_STREAM
                if is_stream and made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return
                problem = "a socket that does not listen" if is_stream else "a socket for datagrams"
            finally:
                made.detach()
    except OSError:
        pass
    raise ValueError(f"descriptor {number}: expected a listening stream socket, given {problem}")


def notify(state: str) -> None:
    """Send a state such as "READY=1" to the service manager, if NOTIFY_SOCKET is set."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path or not hasattr(socket, "AF_UNIX"):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # the manager does not listen: go on, as sd_notify does
