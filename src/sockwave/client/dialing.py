"""Connected sockets: names resolved, and addresses tried as RFC 8305 (happy eyeballs) says."""

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from sockwave.listening.binding import prepare_given, set_tcp_options, set_user_timeout
from sockwave.paths import check_path

# RFC 8305, 5: "The recommended value for a default delay is 250 milliseconds": then the next
# address is tried beside the ones that have not answered.
ATTEMPT_DELAY_S = 0.25

#: What `loop.getaddrinfo` gives: family, type, protocol, name, address.
AddressInfo = tuple[Any, ...]

#: Connects to (host, port), or to the path of a Unix socket. Raises OSError.
Dial: TypeAlias = Callable[[tuple[str, int] | str], Awaitable[Any]]

#: How to connect in loops whose network is not the system's, as those of `sockwave.testing`; what
#: such a function returns is for `loop.create_connection`.
dials: "WeakKeyDictionary[asyncio.AbstractEventLoop, Dial]" = WeakKeyDictionary()


async def dial(host: str, port: int, write_timeout: float | None) -> socket.socket:
    """Connect to a host, by whichever of its addresses answers first. Raises OSError."""
    found = read_literal(host, port)
    if not found:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not found:
        raise OSError(f"no address of {host} was found")
    sock = await _race(order_addresses(found))
    set_tcp_options(sock)
    set_user_timeout(sock, write_timeout)
    return sock


def unix_address(path: str | os.PathLike[str]) -> AddressInfo:
    """Return the address of a Unix socket. Raises TypeError, OSError."""
    check_path("path", path)
    if not hasattr(socket, "AF_UNIX"):  # pragma: no cover - Python has none on Windows
        raise OSError(f"cannot connect to {path}: no Unix sockets on this system")
    return (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", os.fspath(path))


async def dial_path(path: str | os.PathLike[str]) -> socket.socket:
    """Connect to a Unix socket. Raises TypeError, OSError."""
    return await _connect(unix_address(path))


def adopt(sock: socket.socket, write_timeout: float | None) -> socket.socket:
    """Take a socket that was connected elsewhere. Raises TypeError or ValueError for another."""
    if prepare_given(sock):
        set_user_timeout(sock, write_timeout)
    return sock


def read_literal(host: str, port: int) -> list[AddressInfo]:
    """Return the address that a host is, if it is one: to ask the resolver takes a thread."""
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, socket.SOCK_STREAM, 0, "", (host, port, *rest))]
    return []


def order_addresses(found: list[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses so that families take turns, beginning with the resolver's first.

    RFC 8305, 4: "the client SHOULD … interleave address families".
    """
    first = found[0][0]
    same = [one for one in found if one[0] == first]
    others = [one for one in found if one[0] != first]
    pairs = itertools.zip_longest(same, others)
    return [one for pair in pairs for one in pair if one is not None]


async def _race(addresses: list[AddressInfo]) -> socket.socket:
    """Return the first socket that is connected, of those to all the addresses.

    They are tried in order, each one after a delay or a failure. Raises OSError if all fail.
    """
    waiting = iter(addresses)
    attempts: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    is_left = True
    try:
        while True:
            if (info := next(waiting, None)) is not None:
                attempts.add(asyncio.ensure_future(_connect(info)))
            else:
                is_left = False
            if not attempts:
                raise join_errors(errors)
            done, attempts = await asyncio.wait(
                attempts,
                timeout=ATTEMPT_DELAY_S if is_left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            winner = _choose(done, errors)
            if winner is not None:
                return winner
    finally:
        for task in attempts:
            task.cancel()
            task.add_done_callback(_discard)


def _choose(done: set[asyncio.Task[socket.socket]], errors: list[OSError]) -> socket.socket | None:
    """Return the socket of one attempt that has succeeded; close others, and note errors."""
    winner = None
    for task in done:
        error = task.exception()
        if isinstance(error, OSError):
            errors.append(error)
        elif winner is None:
            winner = task.result()
        else:
            task.result().close()
    return winner


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that has come too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def join_errors(errors: list[OSError]) -> OSError:
    """Return one error for those of all addresses."""
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    return OSError(f"all addresses failed: {'; '.join(map(str, errors))}")


async def _connect(info: AddressInfo) -> socket.socket:
    """Connect to one address. Raises OSError, with the address in it."""
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:
        sock.close()
        raise describe_failure(error, address) from None
    except BaseException:
        sock.close()
        raise
    return sock


def describe_failure(error: OSError, address: Any) -> OSError:
    """Return the error of an attempt with the address in it."""
    place = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    what = os.strerror(error.errno) if error.errno else str(error)
    return OSError(error.errno, f"cannot connect to {place}: {what}")
