"""WebSocket servers for Python: every version of the protocol, and HTTP on the same port."""

from typing import TYPE_CHECKING

from sockwave.close import CloseCode
from sockwave.core.session.connection import Connection
from sockwave.core.session.outgoing import OutgoingMessage
from sockwave.core.session.streams import IncomingMessage
from sockwave.deflate import Deflate
from sockwave.errors import ConnectionClosed, Refused, SockwaveError
from sockwave.handshake import Handshake
from sockwave.http import Headers, Request, RequestHead, Response
from sockwave.launch.service import run
from sockwave.limits import Limits
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.server.server import Server
from sockwave.server.serving import create_server, serve
from sockwave.states import ReadyState
from sockwave.tls_info import TLSInfo

#: Node's name for it.
createServer = create_server  # noqa: N816

__version__: str

__all__ = [
    "AcceptedSocket",
    "CloseCode",
    "Connection",
    "ConnectionClosed",
    "Deflate",
    "Handshake",
    "Headers",
    "IncomingMessage",
    "Limits",
    "OutgoingMessage",
    "ReadyState",
    "Refused",
    "Request",
    "RequestHead",
    "Response",
    "Server",
    "SockwaveError",
    "TLSInfo",
    "__version__",
    "createServer",
    "create_server",
    "run",
    "serve",
]

if not TYPE_CHECKING:  # for which every name would be there

    def __getattr__(name: str) -> str:
        """Look `__version__` up when it is asked for: it takes as long as half of the imports."""
        if name == "__version__":
            from importlib.metadata import version

            return version("sockwave")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
