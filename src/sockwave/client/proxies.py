"""Proxies between a client and its server: HTTP CONNECT (RFC 9110, 9.3.6), and SOCKS5."""

import asyncio
import contextlib
import socket
import ssl
from base64 import b64encode
from importlib import import_module
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sockwave.client.dialing import dial
from sockwave.client.errors import HandshakeError, HandshakeRefused
from sockwave.client.options import default_context
from sockwave.client.uri import Uri
from sockwave.core.http.headers import Headers
from sockwave.errors import SockwaveError

#: A URL; True: the one that the environment names, if any; False: none.
ProxyOption: TypeAlias = str | bool

_SCHEMES = ("http", "https", "socks5", "socks5h")
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

# The most that is read of the answer to CONNECT.
_HEAD_SIZE = 32 * 1024

# So much is passed on at once between the two ends of a tunnel in TLS.
_RELAYED_SIZE = 64 * 1024

# The tasks that do so; a loop refers to its tasks but weakly.
_relays: set[asyncio.Task[None]] = set()


def check_proxy(proxy: ProxyOption) -> ProxyOption:
    """Return the option; raise TypeError or ValueError unless it is a URL of a proxy or a bool."""
    if isinstance(proxy, bool):
        return proxy
    if not isinstance(proxy, str):
        raise TypeError(f"proxy: expected str or bool, given {type(proxy).__name__}")
    split_proxy(proxy)
    return proxy


def find_proxy(option: ProxyOption, uri: Uri) -> str | None:
    """Return the URL of the proxy for a URI; None: there is none.

    The environment names it as for HTTP: `http_proxy` for ws, `https_proxy` for wss, else
    `all_proxy`, and `no_proxy` lists hosts that need none. This host needs none either: a proxy
    that is asked for 127.0.0.1 or localhost takes itself for it.
    """
    if isinstance(option, str):
        return option
    if not option or _is_loopback(uri.host):
        return None
    # Not at the top: it brings half of the standard library.
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    if not proxies or proxy_bypass(uri.host):
        return None
    return proxies.get("https" if uri.is_secure else "http", proxies.get("all"))


def _is_loopback(host: str) -> bool:
    """Tell whether a host is this one: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


async def dial_by_proxy(
    proxy: str, uri: Uri, write_timeout: float | None, context: ssl.SSLContext | None
) -> socket.socket:
    """Connect to a URI's host and port by way of a proxy. Raises OSError, HandshakeError.

    `context` is for a proxy that speaks TLS; None: the default one.
    """
    parts = split_proxy(proxy)
    if parts.scheme.startswith("socks"):
        return await _dial_by_socks(proxy, parts, uri)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    sock = await dial(host, port, write_timeout)
    if parts.scheme == "https":
        return await _tunnel_in_tls(sock, parts, uri, context or default_context())
    try:
        await _ask_to_connect(sock, parts, uri)
    except BaseException:
        sock.close()
        raise
    return sock


def split_proxy(proxy: str) -> SplitResult:
    """Return the parts of a proxy's URL; ValueError."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        expected = ", ".join(f"{scheme}://HOST:PORT" for scheme in _SCHEMES)
        # Not the URL itself, which may hold a password.
        raise ValueError(f"proxy: expected {expected}, given {parts.scheme}://{parts.hostname}")
    _port = parts.port  # raises ValueError for one out of range
    return parts


async def _ask_to_connect(sock: socket.socket, parts: SplitResult, uri: Uri) -> None:
    """Ask a proxy for a tunnel."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, tunnel_request(parts, uri))
    answer = TunnelAnswer()
    while not answer.is_whole:
        answer.feed(await loop.sock_recv(sock, 4096))


async def _tunnel_in_tls(
    sock: socket.socket, parts: SplitResult, uri: Uri, context: ssl.SSLContext
) -> socket.socket:
    """Open a tunnel by a proxy that speaks TLS, and return a socket that leads into it.

    Transports own their sockets, and what goes through the tunnel may be in TLS itself. So the
    transport gets one end of a pair, and two tasks pass on what comes at the other.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=parts.hostname
        )
        undo.callback(writer.transport.abort)
        writer.write(tunnel_request(parts, uri))
        answer = TunnelAnswer()
        while not answer.is_whole:
            answer.feed(await reader.read(4096))
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        undo.callback(theirs.close)
        ours.setblocking(False)
        own_reader, own_writer = await asyncio.open_connection(sock=theirs)
        undo.pop_all()
    for relay in (_relay(reader, own_writer), _relay(own_reader, writer)):
        task = asyncio.ensure_future(relay)
        _relays.add(task)
        task.add_done_callback(_relays.discard)
    return ours


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until there are no more."""
    try:
        with contextlib.suppress(OSError):  # either end has gone, which ends the other
            while data := await reader.read(_RELAYED_SIZE):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


def tunnel_request(parts: SplitResult, uri: Uri) -> bytes:
    """Return the request for a tunnel to the server of a URI."""
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    lines = [f"CONNECT {host}:{uri.port} HTTP/1.1", f"Host: {host}:{uri.port}"]
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class TunnelAnswer:
    """The answer to a request for a tunnel: bytes in, until `is_whole`."""

    def __init__(self) -> None:
        self._raw = b""
        self.is_whole = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; HandshakeError, HandshakeRefused unless the tunnel is open."""
        self._raw += data
        self.is_whole = b"\r\n\r\n" in self._raw
        if self.is_whole:
            _check_tunnel(self._raw)
        elif not data or len(self._raw) > _HEAD_SIZE:
            given = self._raw[:100]
            raise HandshakeError(f"proxy: expected an answer to CONNECT, given {given!r}")


class _Head:
    """Collects the header fields of an answer."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1")))


def _check_tunnel(raw: bytes) -> None:
    """Raise HandshakeError unless the answer to CONNECT opens a tunnel, and nothing follows it."""
    head_raw, _, rest = raw.partition(b"\r\n\r\n")
    head = _Head()
    parser = HttpResponseParser(head)
    try:
        parser.feed_data(head_raw + b"\r\n\r\n")
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        raise HandshakeError(f"proxy: expected an answer to CONNECT, given {raw[:100]!r}") from None
    status = parser.get_status_code()
    if not 200 <= status < 300:
        raise HandshakeRefused(status, Headers(head.pairs), rest, by="the proxy")
    # In a WebSocket and in TLS it is the client that speaks first.
    if rest:
        raise HandshakeError(f"proxy: expected nothing behind its answer, given {rest[:100]!r}")


async def _dial_by_socks(proxy: str, parts: SplitResult, uri: Uri) -> socket.socket:
    """Connect by way of a SOCKS5 proxy, with the package python-socks."""
    dialer = socks_dialer("python_socks.async_.asyncio", proxy, parts)
    from python_socks import ProxyError

    try:
        found: socket.socket = await dialer.connect(uri.host, uri.port)
    except ProxyError as error:
        raise socks_error(uri, error) from error
    return found


def socks_dialer(module: str, proxy: str, parts: SplitResult) -> Any:
    """Return an object of python-socks that connects by way of a proxy; `module` has its class."""
    try:
        import_module("python_socks")
        kind = import_module(module).Proxy
    except ImportError:
        raise SockwaveError(
            "proxy: expected the package python-socks, for SOCKS: pip install 'sockwave[proxy]'"
        ) from None
    # socks5h: the proxy resolves the name.
    url = proxy.replace("socks5h://", "socks5://", 1)
    return kind.from_url(url, rdns=parts.scheme == "socks5h")


def socks_error(uri: Uri, error: Exception) -> OSError:
    """Return the error for a SOCKS5 proxy that does not connect."""
    return OSError(f"the proxy does not connect to {uri.host}:{uri.port}: {error}")
