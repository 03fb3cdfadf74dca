"""Connected sockets, as those of `client.dialing` and `client.proxies`, for a thread that waits."""

import math
import os
import selectors
import socket
import threading
from collections import deque
from time import monotonic

from sockwave.client.dialing import (
    ATTEMPT_DELAY_S,
    AddressInfo,
    describe_failure,
    join_errors,
    order_addresses,
    read_literal,
    unix_address,
)
from sockwave.client.proxies import (
    PORTS,
    TunnelAnswer,
    socks_dialer,
    socks_error,
    split_proxy,
    tunnel_request,
)
from sockwave.client.uri import Uri
from sockwave.core.sync.shared_loop import Pause
from sockwave.errors import SockwaveError
from sockwave.listening.binding import set_tcp_options, set_user_timeout

#: No wait is longer: then it is waited again. A signal that comes just before a wait does not
#: interrupt it, and a thread that waits for sockets is not woken when its connector is closed.
LOOK_S = 1.0


class Deadline:
    """The time at which an attempt to connect is over: earlier where its `pause` is ended."""

    def __init__(self, seconds: float | None, pause: Pause) -> None:
        self._end = math.inf if seconds is None else monotonic() + seconds
        self._pause = pause

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return monotonic() >= self._end

    def left(self) -> float | None:
        """Return how many seconds are left; None: without limit.

        Raises TimeoutError, and SockwaveError where the attempt was ended.
        """
        if self._pause.has_ended:
            raise SockwaveError("connect: expected a connector that was not closed")
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("expected to be open in time (open_timeout)")
        return None if left == math.inf else left

    def next_wait(self) -> float:
        """Return for how many seconds to wait before the next look. Raises what `left` does."""
        left = self.left()
        return LOOK_S if left is None else min(left, LOOK_S)


def dial(host: str, port: int, write_timeout: float | None, deadline: Deadline) -> socket.socket:
    """Connect to a host, by whichever of its addresses answers first. Raises OSError."""
    found = read_literal(host, port) or _resolve(host, port, deadline)
    sock = _race(order_addresses(found), deadline)
    set_tcp_options(sock)
    set_user_timeout(sock, write_timeout)
    return sock


def dial_path(path: str | os.PathLike[str], deadline: Deadline) -> socket.socket:
    """Connect to a Unix socket. Raises TypeError, OSError."""
    return _race([unix_address(path)], deadline)


def dial_by_proxy(
    proxy: str, uri: Uri, write_timeout: float | None, deadline: Deadline
) -> socket.socket:
    """Connect to a URI's host and port by way of a proxy that speaks no TLS.

    Raises OSError, HandshakeError.
    """
    parts = split_proxy(proxy)
    if parts.scheme != "http":
        dialer = socks_dialer("python_socks.sync", proxy, parts)
        from python_socks import ProxyError, ProxyTimeoutError

        try:
            sock: socket.socket = dialer.connect(uri.host, uri.port, timeout=deadline.left())
        except ProxyTimeoutError:
            raise TimeoutError(f"{uri}: expected the proxy to connect in time") from None
        except ProxyError as error:
            raise socks_error(uri, error) from error
        sock.setblocking(False)
        return sock
    sock = dial(parts.hostname or "", parts.port or PORTS["http"], write_timeout, deadline)
    try:
        answer = TunnelAnswer()
        sock.settimeout(deadline.left())
        sock.sendall(tunnel_request(parts, uri))
        while not answer.is_whole:
            sock.settimeout(deadline.left())
            answer.feed(sock.recv(4096))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(host: str, port: int, deadline: Deadline) -> list[AddressInfo]:
    """Return the addresses of a host: by another thread, as the resolver cannot be interrupted."""
    found: list[list[AddressInfo] | BaseException] = []

    def ask() -> None:
        try:
            found.append(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except BaseException as error:  # such as the UnicodeError of a name that cannot be encoded
            found.append(error)

    thread = threading.Thread(target=ask, name="sockwave-resolver", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(deadline.next_wait())
    if isinstance(found[0], BaseException):
        raise found[0]
    if not found[0]:
        raise OSError(f"no address of {host} was found")
    return found[0]


def _race(addresses: list[AddressInfo], deadline: Deadline) -> socket.socket:
    """Return the first socket that is connected, of those to all the addresses.

    They are tried in order, each one after a delay or a failure. Raises OSError if all fail.
    """
    waiting = deque(addresses)
    errors: list[OSError] = []
    next_at = 0.0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting and (monotonic() >= next_at or not selector.get_map()):
                    _begin(selector, waiting.popleft(), errors)
                    next_at = monotonic() + ATTEMPT_DELAY_S
                wait = deadline.next_wait()
                if waiting:
                    wait = min(wait, max(next_at - monotonic(), 0))
                for key, _ in selector.select(wait) if selector.get_map() else ():
                    sock = _finish(selector, key, errors)
                    if sock is not None:
                        return sock
                    next_at = 0.0  # the next address at once
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise join_errors(errors)


def _begin(selector: selectors.BaseSelector, info: AddressInfo, errors: list[OSError]) -> None:
    """Begin to connect to one address."""
    family, kind, protocol, _, address = info
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        errors.append(describe_failure(error, address))
        return
    try:
        sock.setblocking(False)
        sock.connect(address)
    except (BlockingIOError, InterruptedError):
        pass
    except OSError as error:
        sock.close()
        errors.append(describe_failure(error, address))
        return
    selector.register(sock, selectors.EVENT_WRITE, address)


def _finish(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, errors: list[OSError]
) -> socket.socket | None:
    """Return the socket of an attempt that is over; None, and note the error, if it has failed."""
    sock = key.fileobj
    assert isinstance(sock, socket.socket)
    selector.unregister(sock)
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not number:
        return sock
    sock.close()
    errors.append(describe_failure(OSError(number, os.strerror(number)), key.data))
    return None
