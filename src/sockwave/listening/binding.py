"""Listening sockets: bound at once, so that an address in use is said where it was asked for."""

import contextlib
import errno
import math
import os
import socket
import stat
import sys
from collections.abc import Iterator

from sockwave.core.io.transport import UNSENT_SIZE
from sockwave.paths import check_path

#: Connections that the kernel holds until they are accepted: a burst of clients that come back
#: after a restart.
ACCEPT_QUEUE_COUNT = 4096

#: By how much the kernel has more patience than `write_timeout`, in seconds at least so many:
#: whoever takes nothing of what waits here is to be ended here, where it is counted.
USER_TIMEOUT_RATIO = 1.5
USER_TIMEOUT_SLACK_S = 2.0


def bind_port(port: int, host: str | None, *, reuse_port: bool = False) -> list[socket.socket]:
    """Listen on `port` of `host`, a name or an address; without one on all interfaces.

    Port 0 picks one, the same for all addresses. With `reuse_port`, others that ask for the same
    can have it too.

    Raises OSError with the address in its message.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise ValueError(f"port: expected 0 to 65535, given {port!r}")
    with say_address(f"{host or '*'}:{port}"):
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    sockets: list[socket.socket] = []
    try:
        for family, (name, number, *rest) in dict.fromkeys((one[0], one[4]) for one in found):
            picked = sockets[0].getsockname()[1] if sockets else number
            try:
                sockets.append(bind_address(family, (name, picked, *rest), reuse_port))
            except OSError as error:
                # A system may know of IPv6 without having it: one family is enough then.
                if host or not sockets or error.errno != errno.EADDRNOTAVAIL:
                    raise
    except BaseException:
        for made in sockets:
            made.close()
        raise
    return sockets


def bind_address(family: int, address: tuple[object, ...], reuse_port: bool) -> socket.socket:
    """Listen on one Internet address."""
    with say_address(f"{address[0]}:{address[1]}"), new_socket(family) as made:
        if sys.platform != "win32":  # pragma: no branch - the other one is Windows
            # On Windows the option means something else: to take over an address that is in use.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            share_port(made)
        set_carriage(made)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(ACCEPT_QUEUE_COUNT)
    return made


def share_port(sock: socket.socket) -> None:
    """Let sockets of other processes, which ask for the same, be bound to this one's port.

    Raises OSError where the system has no such thing, as Windows has not.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError(errno.ENOPROTOOPT, "no SO_REUSEPORT on this system, for reuse_port")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def bind_path(path: str | os.PathLike[str], mode: int | None) -> socket.socket:
    """Listen on a Unix socket; one that a server left behind is replaced, one in use is not.

    `mode` are its permissions; without it they are as the process's umask says.
    """
    check_path("path", path)
    path = os.fspath(path)
    if mode is not None and not (type(mode) is int and 0 <= mode <= 0o777):
        raise ValueError(f"mode: expected permissions such as 0o660, given {mode!r}")
    if not hasattr(socket, "AF_UNIX"):  # pragma: no cover - Python has none on Windows
        raise OSError(
            errno.EAFNOSUPPORT, f"cannot listen on {path}: no Unix sockets on this system"
        )
    with say_address(path), new_socket(socket.AF_UNIX) as made:
        if is_abandoned(path):
            os.unlink(path)
        made.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # in time: nobody can connect until we listen
        made.listen(ACCEPT_QUEUE_COUNT)
    return made


def remove_path(made: socket.socket) -> None:
    """Remove the name of a Unix socket that `bind_path` has made."""
    with contextlib.suppress(OSError):
        os.unlink(made.getsockname())


def refuse_all(made: socket.socket) -> None:
    """Let nobody connect to a listening socket any more, whoever else holds its descriptor.

    That is a process that was forked without a word to Python: any other has let go of it.
    """
    if hasattr(os, "fork"):
        with contextlib.suppress(OSError):  # not every system can
            made.shutdown(socket.SHUT_RDWR)


def adopt(sock: socket.socket) -> socket.socket:
    """Listen on a socket that was made and bound elsewhere."""
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock: expected a socket.socket, given {type(sock).__name__}")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"sock: expected a stream socket, given {sock!r}")
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        set_carriage(sock)
    sock.listen(ACCEPT_QUEUE_COUNT)
    return sock


def set_carriage(sock: socket.socket) -> None:
    """Say how TCP is to carry what is written; accepted connections inherit it.

    Small messages leave at once: what belongs together is gathered by us. And of what a peer does
    not take, the kernel holds little: it would hold megabytes for each, out of the memory that TCP
    has in all, and once that is short it drops what comes from anybody.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # pragma: no branch - Windows lacks it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_SIZE)


def set_user_timeout(sock: socket.socket, write_timeout: float | None) -> None:
    """Let the kernel end a connection whose peer acknowledges nothing (RFC 5482).

    That is what `write_timeout` does not see, where the kernel has taken everything. Accepted
    connections inherit it from their listening socket. Linux alone has the option.
    """
    if write_timeout is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        longest_ms = 2**31 - 1
        timeout = max(USER_TIMEOUT_RATIO * write_timeout, write_timeout + USER_TIMEOUT_SLACK_S)
        timeout_ms = min(math.ceil(1000 * timeout), longest_ms)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def is_abandoned(path: str) -> bool:
    """Tell whether `path` is a Unix socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def new_socket(family: int) -> Iterator[socket.socket]:
    """Make a stream socket that is closed again if what follows fails."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        yield made
    except BaseException:
        made.close()
        raise


@contextlib.contextmanager
def say_address(address: str) -> Iterator[None]:
    """Put the address into the message of an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {address}: {error.strerror or error}"
        ) from None
