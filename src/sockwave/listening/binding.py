"""Listening sockets: bound in the call that asks for them, which raises if an address is in use."""

import contextlib
import errno
import math
import os
import socket
import stat
import sys
from collections.abc import Iterator
from typing import Any

from sockwave.core.io.transport import UNSENT_SIZE
from sockwave.paths import check_path

#: Connections that the kernel queues until they are accepted: enough for a burst of clients that
#: reconnect after a restart.
ACCEPT_QUEUE_COUNT = 4096

#: Ports that are tried for port 0, until one is free at all addresses of the host.
PORT_TRIES = 10

#: What a system says of an address family that it does not have, or has switched off.
FAMILY_IS_OFF = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

#: What a kernel says of an option that it does not have: gVisor, WSL, old ones.
OPTION_IS_UNKNOWN = {errno.ENOPROTOOPT, errno.EINVAL, errno.EOPNOTSUPP}

#: The kernel's timeout is longer than `write_timeout` by this ratio, and at least by so many
#: seconds: a peer that takes nothing of our backlog should hit `write_timeout`, which is counted.
USER_TIMEOUT_RATIO = 1.5
USER_TIMEOUT_SLACK_S = 2.0


def order_port(port: Any, host: Any) -> tuple[Any, Any]:
    """Return a port and a host in this order, where their types make plain that they came swapped.

    `listen` takes the port first, `serve` and asyncio the host.
    """
    is_port = isinstance(host, int) and not isinstance(host, bool)
    if is_port and (isinstance(port, str) or not port):
        return host, port or None
    return port, host


def bind_port(
    port: int, host: str | None, *, reuse_port: bool = False, backlog: int = ACCEPT_QUEUE_COUNT
) -> list[socket.socket]:
    """Listen on `port` of `host`, a name or an address; without one on all interfaces.

    "::" is all interfaces too, of IPv4 where the system has it. Port 0 picks one that is free
    at all addresses. With `reuse_port`, other processes that use the option too can bind the same
    port. `backlog` is how many connections the kernel queues.

    Raises OSError with the address in its message.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        hint = " (a host stands beside its port)" if isinstance(port, str) else ""
        raise ValueError(f"port: expected 0 to 65535, given {port!r}{hint}")
    if not isinstance(host, str | None):
        raise TypeError(f"host: expected a name, an address or None, given {host!r}")
    with naming_address(f"{host or '*'}:{port}"):
        found = find_addresses(port, host)
    tries = PORT_TRIES if port == 0 else 1
    while True:
        tries -= 1
        try:
            return bind_addresses(found, reuse_port, backlog)
        except OSError as error:
            # The port that the first address was given is in use at another one: any other will do.
            if error.errno != errno.EADDRINUSE or not tries:
                raise


def bind_addresses(
    found: list[tuple[bool, int, tuple[Any, ...]]], reuse_port: bool, backlog: int
) -> list[socket.socket]:
    """Listen on all addresses of a host, or on none; port 0 is what the first of them is given."""
    sockets: list[socket.socket] = []
    try:
        for is_needed, family, (name, number, *rest) in found:
            picked = sockets[0].getsockname()[1] if sockets else number
            try:
                sockets.append(bind_address(family, (name, picked, *rest), reuse_port, backlog))
            except OSError as error:
                # A system may list the addresses of a family that is off: one is enough then.
                if is_needed or not sockets or error.errno not in FAMILY_IS_OFF:
                    raise
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def find_addresses(port: int, host: str | None) -> list[tuple[bool, int, tuple[Any, ...]]]:
    """Return the addresses of a host, each with its family, and whether it has to be bound."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[tuple[bool, int, tuple[Any, ...]]] = [
        (bool(host), *one) for one in dict.fromkeys((one[0], one[4]) for one in found)
    ]
    if host and {address[0] for _, _, address in addresses} == {"::"}:
        # For most programs and systems "::" is IPv4 as well, by one socket for both. Here each
        # family has its own, so that IPv4 peers have IPv4 addresses.
        addresses.append((False, socket.AF_INET, ("0.0.0.0", port)))  # noqa: S104 - as was asked
    return addresses


def bind_address(
    family: int, address: tuple[object, ...], reuse_port: bool, backlog: int = ACCEPT_QUEUE_COUNT
) -> socket.socket:
    """Listen on one Internet address."""
    with naming_address(f"{address[0]}:{address[1]}"), new_socket(family) as sock:
        if reuse_port:
            share_port(sock)
        return _listen_on(sock, address, backlog)


def _listen_on(sock: socket.socket, address: tuple[object, ...], backlog: int) -> socket.socket:
    """Bind a new socket to an Internet address, and listen."""
    if sys.platform != "win32":  # pragma: no branch - the other one is Windows
        # On Windows the option means something else: to take over an address that is in use.
        set_option(sock, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    set_tcp_options(sock)
    if sock.family == socket.AF_INET6:
        set_option(sock, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.listen(backlog)
    return sock


def open_sibling(sock: socket.socket, backlog: int = ACCEPT_QUEUE_COUNT) -> socket.socket:
    """Listen once more on the address of a listening socket; both have SO_REUSEPORT then.

    Raises OSError, with the address in its message.
    """
    address = sock.getsockname()
    with naming_address(f"{address[0]}:{address[1]}"):
        share_port(sock)
        with new_socket(sock.family) as sibling:
            share_port(sibling)
            return _listen_on(sibling, address, backlog)


def share_port(sock: socket.socket) -> None:
    """Let other processes that do the same bind their sockets to this one's port.

    Raises OSError on systems without SO_REUSEPORT, such as Windows.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError(errno.ENOPROTOOPT, "no SO_REUSEPORT on this system, for reuse_port")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def bind_path(
    path: str | os.PathLike[str], mode: int | None, *, backlog: int = ACCEPT_QUEUE_COUNT
) -> socket.socket:
    """Listen on a Unix socket; a stale file of an earlier server is replaced, one in use is not.

    `mode` is the file's permissions; without it the process's umask decides. A path that begins
    with a zero byte is a name in Linux's abstract namespace (unix(7)): it is no file.
    """
    check_path("path", path)
    path = os.fspath(path)
    if path.startswith("\0"):
        return bind_abstract(path, mode, backlog)
    if mode is not None and not (type(mode) is int and 0 <= mode <= 0o777):
        raise ValueError(f"mode: expected permissions such as 0o660, given {mode!r}")
    if not hasattr(socket, "AF_UNIX"):  # pragma: no cover - Python has none on Windows
        raise OSError(
            errno.EAFNOSUPPORT, f"cannot listen on {path}: no Unix sockets on this system"
        )
    with naming_address(path), new_socket(socket.AF_UNIX) as sock:
        if is_stale(path):
            os.unlink(path)
        sock.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # early enough: no client can connect before `listen`
        sock.listen(backlog)
    return sock


def bind_abstract(path: str, mode: int | None, backlog: int) -> socket.socket:
    """Listen on a Unix socket in Linux's abstract namespace."""
    if mode is not None:
        raise ValueError(f"mode: expected with a file, not with the abstract name {path!r}")
    name = f"@{path[1:]}"  # as ss(8) and systemd write it
    if sys.platform != "linux":  # pragma: no cover
        raise OSError(errno.EAFNOSUPPORT, f"cannot listen on {name}: Linux alone has such sockets")
    with naming_address(name), new_socket(socket.AF_UNIX) as sock:
        sock.bind(os.fsencode(path))
        sock.listen(backlog)
    return sock


def remove_path(sock: socket.socket) -> None:
    """Remove the file of a Unix socket that `bind_path` has made."""
    name = sock.getsockname()
    if isinstance(name, str):  # else it is an abstract name
        with contextlib.suppress(OSError):
            os.unlink(name)


def stop_listening(sock: socket.socket) -> None:
    """Refuse new connections to a listening socket, even if another process has a copy of it.

    Such a process was forked without Python's knowledge: `forking` closes the copies of all others.
    """
    if hasattr(os, "fork"):
        with contextlib.suppress(OSError):  # not every system can
            sock.shutdown(socket.SHUT_RDWR)


def adopt(sock: socket.socket, *, listens: bool = False) -> socket.socket:
    """Listen on a socket that was made and bound elsewhere; `listens`: it does already."""
    prepare_given(sock)
    if not listens:
        sock.listen(ACCEPT_QUEUE_COUNT)
    return sock


def prepare_given(sock: socket.socket) -> bool:
    """Prepare a stream socket that the application has made; return whether it is one of TCP.

    Raises TypeError or ValueError for another.
    """
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock: expected a socket.socket, given {type(sock).__name__}")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"sock: expected a stream socket, given {sock!r}")
    sock.setblocking(False)
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
    if is_tcp:
        set_tcp_options(sock)
    return is_tcp


def set_tcp_options(sock: socket.socket) -> None:
    """Set TCP_NODELAY and TCP_NOTSENT_LOWAT; accepted connections inherit both.

    Small messages leave at once: the cork already gathers what is written together. The kernel
    holds little for a slow peer: otherwise it would hold megabytes for each, out of the memory that
    all of TCP has, and once that is short it drops segments from any peer.
    """
    set_option(sock, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # pragma: no branch - Windows lacks it
        set_option(sock, socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_SIZE)


def set_option(sock: socket.socket, level: int, option: int, value: int) -> None:
    """Set an option that makes a socket better, and is not needed: the kernel may lack it."""
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        if error.errno not in OPTION_IS_UNKNOWN:
            raise


def set_user_timeout(sock: socket.socket, write_timeout: float | None) -> None:
    """Let the kernel end a connection whose peer acknowledges nothing (RFC 5482).

    `write_timeout` does not see this if all bytes are in the kernel's send buffer. Accepted
    connections inherit the option from their listening socket. Only Linux has it.
    """
    if write_timeout is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        longest_ms = 2**31 - 1
        timeout = max(USER_TIMEOUT_RATIO * write_timeout, write_timeout + USER_TIMEOUT_SLACK_S)
        timeout_ms = min(math.ceil(1000 * timeout), longest_ms)
        set_option(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def is_stale(path: str) -> bool:
    """Tell whether `path` is the file of a Unix socket on which no process listens any more."""
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
    """Make a stream socket that is closed again if the body of the `with` raises."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        yield sock
    except BaseException:
        sock.close()
        raise


@contextlib.contextmanager
def naming_address(address: str) -> Iterator[None]:
    """Put the address into the message of an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {address}: {error.strerror or error}"
        ) from None
