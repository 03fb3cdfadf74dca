"""WebSocket servers for Python: every version of the protocol, and HTTP on the same port."""

from importlib.metadata import version

from sockwave.close import CloseCode
from sockwave.core.session.connection import Connection
from sockwave.core.session.outgoing import OutgoingMessage
from sockwave.core.session.streams import IncomingMessage
from sockwave.deflate import Deflate
from sockwave.errors import ConnectionClosed, Refused, SockwaveError
from sockwave.handshake import Handshake
from sockwave.http import Headers, Request, RequestHead, Response
from sockwave.limits import Limits
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.server.server import Server
from sockwave.server.serving import create_server, serve
from sockwave.states import ReadyState
from sockwave.tls_info import TLSInfo

#: Node's name for it.
createServer = create_server  # noqa: N816

__version__ = version("sockwave")

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
    "serve",
]
