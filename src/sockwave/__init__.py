"""WebSocket servers for Python: every version of the protocol, and HTTP on the same port.

    import sockwave

    server = sockwave.create_server()

    @server.on("connection")
    def connected(conn):
        conn.on("message", conn.send)

    server.listen(8000, "127.0.0.1")
    server.run()

Each name has a page of its own: help(sockwave.Server), help(sockwave.Server.listen).

To serve
    create_server     a server with these options; createServer is Node's name for it
    Server            listens, accepts, broadcasts, closes; its events
    serve             a server that runs a handler for each connection
    run               what `sockwave serve` does: an application by its name, with workers
    Limits            the limits among the options, and their defaults
    Deflate           how messages are compressed
A client
    Connection        one WebSocket: send, receive, close; its events
    IncomingMessage   a message that is received in pieces: conn.stream
    OutgoingMessage   a message that is sent in pieces: conn.stream_message
    ReadyState        the states of a connection
    CloseCode         why a connection was closed
    TLSInfo           what TLS has agreed on
    AcceptedSocket    what the event `stream` tells: nothing of it was read yet
To connect
    connect           opens a connection to a server, and comes back when it is lost
    ClientConnection  what it gives
    TopicConnection   the same with topics: subprotocol="sockwave.1"
    Backoff           how long it waits before it comes back
    HandshakeError    the server does not speak the protocol
    HandshakeRefused  the server has answered with an error status
    sync              the same for threads without asyncio: sockwave.sync.connect
Requests
    Request           a request to HTTP, with its body
    Response          its answer
    EventStream       an answer that goes on: server-sent events
    Form              the fields and files of a form: request.form
    UploadedFile      one of its files
    RequestHead       a request without a body: that of an opening handshake
    Headers           header fields, without regard to case
    Handshake         an opening handshake that may yet be refused
Topics
    Topic             who hears what: server.topic
    publish           publishes on the one server of this process
    Publisher         publishes from other processes
    Published         what became of a message
    Subscribed        from where on a connection hears a topic
    History           how much of a topic is kept
    Position          where a message stands
    Delivery          what an envelope makes a message of
    MemberChange      who comes or goes, in a topic with presence
    Health            how a server stands with its broker: server.health
    Member            who a client is in a topic
Errors
    SockwaveError     the base of all others
    ConnectionClosed  the connection has ended, or is not open yet
    InvalidJSON       a message is not the JSON that is expected
    Refused           answers a request or a handshake with an error status
"""

from sys import _getframe
from typing import TYPE_CHECKING

from sockwave.close import CloseCode
from sockwave.core.http.event_stream import EventStream
from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.session.connection import Connection
from sockwave.core.session.outgoing import OutgoingMessage
from sockwave.core.session.streams import IncomingMessage
from sockwave.deflate import Deflate
from sockwave.deliveries import Delivery, MemberChange, Position, Published, Subscribed
from sockwave.errors import ConnectionClosed, InvalidJSON, Refused, SockwaveError
from sockwave.forms import Form, UploadedFile
from sockwave.handshake import Handshake
from sockwave.http import Headers, Request, RequestHead, Response
from sockwave.launch.service import run
from sockwave.limits import Limits
from sockwave.runtime.accepted_socket import AcceptedSocket
from sockwave.server.server import Server
from sockwave.server.serving import create_server, publish, serve
from sockwave.states import ReadyState
from sockwave.tls_info import TLSInfo
from sockwave.topics.commands import Member
from sockwave.topics.handle import Topic
from sockwave.topics.health import Health
from sockwave.topics.publisher import Publisher
from sockwave.topics.settings import History

#: Node's name for it.
createServer = create_server  # noqa: N816

__version__: str

__all__ = [
    "AcceptedSocket",
    "Backoff",
    "ClientConnection",
    "CloseCode",
    "Connection",
    "ConnectionClosed",
    "Deflate",
    "Delivery",
    "EventStream",
    "Form",
    "Handshake",
    "HandshakeError",
    "HandshakeRefused",
    "Headers",
    "Health",
    "History",
    "IncomingMessage",
    "InvalidJSON",
    "Limits",
    "Member",
    "MemberChange",
    "OutgoingMessage",
    "Position",
    "Published",
    "Publisher",
    "ReadyState",
    "Refused",
    "Request",
    "RequestHead",
    "Response",
    "Server",
    "SockwaveError",
    "Subscribed",
    "TLSInfo",
    "Topic",
    "TopicConnection",
    "UploadedFile",
    "__version__",
    "connect",
    "createServer",
    "create_server",
    "publish",
    "run",
    "serve",
    "sync",
]

if TYPE_CHECKING:
    from sockwave import sync
    from sockwave.client.backoff import Backoff
    from sockwave.client.connecting import connect
    from sockwave.client.errors import HandshakeError, HandshakeRefused
    from sockwave.client.topics.connection import TopicConnection
else:  # for which every name would be there, and `__all__` is as above

    class _PublicNames(list):
        """The public names, of which `help(sockwave)` takes none for itself.

        It would print a page for each of them, 2,500 lines together, behind the docstring, which
        has them all.
        """

        def __contains__(self, name: object) -> bool:
            is_help = _getframe(1).f_globals.get("__name__") == "pydoc"
            return not is_help and super().__contains__(name)

    __all__ = _PublicNames(__all__)  # noqa: PLE0605 - a list, to which all else holds

    # Where the names of a client are: without their rooms, an import takes a tenth less.
    _CLIENT_ROOMS = {
        "Backoff": "sockwave.client.backoff",
        "HandshakeError": "sockwave.client.errors",
        "HandshakeRefused": "sockwave.client.errors",
        "TopicConnection": "sockwave.client.topics.connection",
        "connect": "sockwave.client.connecting",
    }

    def __getattr__(name: str) -> object:
        """Give what is not there before it is asked for.

        `__version__` takes as long as half of the imports, few programs use `sync`, and a server
        needs no client.
        """
        from importlib import import_module

        if name == "__version__":
            from importlib.metadata import version

            return version("sockwave")
        if name == "sync":
            return import_module("sockwave.sync")
        if name in _CLIENT_ROOMS:
            found = globals()[name] = getattr(import_module(_CLIENT_ROOMS[name]), name)
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Tell of what comes when it is asked for, too: a prompt completes names by this."""
        return sorted({*globals(), *__all__})
