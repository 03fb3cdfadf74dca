"""One opening handshake, from the request to the open connection or the refusal."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from sockwave import deflate, handshake
from sockwave.asgi.application import Application
from sockwave.asgi.websocket import WebSocketCall
from sockwave.core.http.request_head import RequestHead
from sockwave.core.io.transport import Transport
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.errors import Refused
from sockwave.handshake.refusal import Refusal
from sockwave.http.serialize import serialize_refusal
from sockwave.limits import OverLimit
from sockwave.log import peers
from sockwave.options import Options
from sockwave.proxy.forwarded import Client
from sockwave.runtime.admission import Admission
from sockwave.runtime.applications import Applications
from sockwave.runtime.routes import Routes, SocketRoute
from sockwave.states import ReadyState

#: A function of the application, and how many arguments it takes: the handshake, or none.
Hook: TypeAlias = tuple[Callable[..., object], int]


class Openings:
    """The opening handshakes under way of one server, and what all of them use."""

    def __init__(
        self,
        options: Options,
        hub: Hub,
        admission: Admission,
        applications: Applications,
        routes: Routes,
        *,
        client_of: Callable[[RequestHead, Transport], Client],
        listeners: Callable[[], list[Hook]],
        report: Callable[..., None],
        served: Callable[[], None],
    ) -> None:
        self.options = options
        self.hub = hub
        self.admission = admission
        self.applications = applications
        self.routes = routes
        #: Returns the client of a request; raises Refused if a proxy's headers are malformed.
        self.client_of = client_of
        #: Returns the listeners of `handshake`.
        self.listeners = listeners
        #: Reports an error of the application.
        self.report = report
        #: Takes note of a handshake that is answered by 101.
        self.served = served
        self.under_way: set[Opening] = set()

    def connections(self) -> Iterator[Connection]:
        """Return the connections that these handshakes may open."""
        return (opening.connection for opening in self.under_way)

    def begin(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Begin a handshake; `rest` is the bytes received behind its request."""
        Opening(self, transport, head).begin(rest)


class Opening:
    """One opening handshake, which exists until its connection is open or refused.

    First come the rules of the protocol, then the last eight bytes of a draft-76 client, then
    the decision of the application.
    """

    __slots__ = (
        "agreement",
        "application",
        "call",
        "client",
        "connection",
        "head",
        "key3",
        "openings",
        "route",
        "subprotocol",
        "task",
        "transport",
        "version",
    )

    connection: Connection
    #: None until it has been determined, as is `version`.
    client: Client | None
    version: str | None

    def __init__(self, openings: Openings, transport: Transport, head: RequestHead) -> None:
        self.openings = openings
        self.transport = transport
        self.head = head
        self.client = None
        self.version = None
        self.key3: bytes | None = None
        self.subprotocol: str | None = None
        self.agreement: deflate.Agreement | None = None
        #: The ASGI application that takes the WebSocket, and its call; None: the server's own.
        self.application: Application | None = None
        #: What takes the connection in place of the listeners of `connection`.
        self.route: SocketRoute | None = None
        self.call: WebSocketCall | None = None
        self.task: asyncio.Task[None] | None = None

    def begin(self, rest: bytes) -> None:
        """Check the request; `rest`, received behind it, is read once the connection is open."""
        options, contexts = self.openings.options, self.openings.hub.engine.contexts
        contexts.enter()
        try:
            self.client = client = self.openings.client_of(self.head, self.transport)
            if client.address != self.transport.remote_address:
                self.transport.claim_address(*(client.address or ("", 0)))
                self.openings.admission.count_address(self.transport, client.address)
            self.transport.is_secure = client.is_secure
            self.version = version = handshake.identify(self.head, options.version)
            handshake.check(
                self.head,
                version,
                options.version,
                options.origin,
                secure=client.is_secure,
                host=client.host,
            )
            self.route = self.openings.routes.find_for_socket(self.head)
            if self.route is None:
                has_routes = self.openings.routes.sockets.count > 0
                applications = self.openings.applications
                self.application = applications.find_for_socket(self.head, has_routes)
            # An application chooses when it accepts.
            ours = options.subprotocol if self.application is None else ()
            self.subprotocol = handshake.choose_subprotocol(self.head, ours)
            # RFC 7692 is about the frames of RFC 6455; no client of the drafts offers it.
            if options.compression is not None and version == "rfc6455":
                offers = self.head.headers.get_all("sec-websocket-extensions")
                self.agreement = deflate.negotiate(offers, options.compression)
        except Refused as refused:
            self.refuse(refused)
            return
        except Exception as error:  # the application's own: an origin or subprotocol function
            self.fail(error, None)
            return
        finally:
            kept = contexts.leave()
        hub = self.openings.hub
        if self.application is not None:
            hub = self.openings.applications.hub
        self.connection = Connection(hub, self.transport, version, self.head.raw)
        self.connection._adopt(kept)
        if self.route is not None and self.head.path_params:
            self.connection._keep_request(self.head)
        self.openings.under_way.add(self)
        self.connection._begin(self, rest)
        if version == "draft76":
            self.openings.admission.await_client(self.transport, self)
            self.connection._enter(ReadyState.WAITING)
            self.more_received()
        else:
            self.decide()

    def decide(self) -> None:
        """Call the application's hooks, if it has any; else accept."""
        self.openings.admission.end_handshake(self.transport)
        self.connection._enter(ReadyState.HANDSHAKING)
        if self.transport.is_closing:
            return
        hooks = self.openings.listeners()
        if self.openings.options.authorize is not None:
            hooks.insert(0, (self.openings.options.authorize, 1))
        if hooks:
            self.transport.pause_reading()
            self.openings.admission.await_application(self.transport)
            version = self.connection.version
            offer = handshake.Handshake(self.head, self.connection, version, self.subprotocol)
            create_task = self.openings.hub.engine.loop.create_task
            self.task = self.connection._run(create_task, self.call_hooks(hooks, offer))
        else:
            self.proceed(())

    async def call_hooks(self, hooks: list[Hook], offer: handshake.Handshake) -> None:
        """Call each hook with the handshake, in order, until one refuses it; then answer."""
        hook: object = None
        try:
            for hook, count in hooks:
                verdict = hook(*(offer,)[:count])
                if inspect.isawaitable(verdict):
                    verdict = await verdict
                if verdict is False:
                    offer.refuse()
                if verdict is not None and verdict is not True:
                    raise TypeError(
                        f"a handshake hook: expected True, False or None, given {verdict!r}"
                    )
        except Refused as refused:
            self.refuse(refused, hook)
        except Exception as error:
            self.fail(error, self.connection)
        except BaseException:
            # Cancelled: nothing else would answer, unless the transport is closing already.
            if not self.transport.is_closing:
                self.refuse(Refused(503, "the handshake was not decided\n"))
            raise
        else:
            self.subprotocol = offer.subprotocol
            self.connection._inherit()
            try:
                self.proceed(offer.headers)
            except BaseException:
                self.transport.close()
                raise

    def proceed(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Accept, or ask the ASGI application: no hook has refused. They have added `headers`."""
        application = self.application
        if application is None:
            self.accept(headers)
        elif not self.transport.is_closing:
            self.transport.pause_reading()
            self.openings.admission.await_application(self.transport)
            applications = self.openings.applications
            self.call = WebSocketCall(application, self, headers, self.openings.report)
            self.connection._run(applications.begin, self.call)

    def accept(self, headers: tuple[tuple[str, str], ...]) -> None:
        """Answer with 101."""
        self.openings.admission.end_handshake(self.transport)
        if self.transport.is_closing:
            return
        if self.agreement is not None:
            headers = (("Sec-WebSocket-Extensions", self.agreement.answer), *headers)
            self.connection._compress(self.agreement)
        client = self.client
        assert client is not None
        answer = handshake.answer(
            self.head,
            self.connection.version,
            key3=self.key3,
            secure=client.is_secure,
            host=client.host,
            subprotocol=self.subprotocol,
            extra_headers=headers,
        )
        self.openings.under_way.discard(self)
        self.openings.served()
        self.connection._open(answer, self.subprotocol, self.route)

    def refuse(self, refused: Refused, hook: object = None) -> None:
        """Answer with an error status, and close; what came behind the request is never read.

        `hook` is the application's function that refused, None if none did.
        """
        is_answered = not self.transport.is_closing
        if self.call is not None:
            self.call.ended()
        self.openings.admission.end_handshake(self.transport)
        if isinstance(refused, OverLimit):
            self.openings.hub.engine.limit_counters.count_by_name(refused.limit)
        to_head = self.head.method == "HEAD"
        added = self.openings.options.added_headers
        self.transport.write(serialize_refusal(refused, added, to_head=to_head))
        self.transport.shutdown()
        if is_answered and peers.is_on(logging.INFO):
            self.log(refused, hook)

    def log(self, refused: Refused, hook: object) -> None:
        """Log the reason for the operator: the client gets a short one, and its page none."""
        client = self.client
        detail = Refusal(
            refused,
            self.head,
            self.openings.options.origin,
            version=self.version,
            secure=self.transport.is_secure,
            host=None if client is None else client.host,
            hook=hook,
        )
        # The status is part of the format, by which lines are limited: a flood of one kind of
        # refusal does not suppress the lines of others.
        subject = "the handshake of %s is refused" if hook is None else "the application refuses %s"
        line = f"{subject} with {refused.status}: %s"
        peers.info(line, self.transport, detail, path=self.head.path)

    def begin_answer(self, status: int, hook: object) -> None:
        """Let an ASGI application answer by a response of its own in place of the handshake."""
        self.openings.admission.end_handshake(self.transport)
        self.transport.set_deadline(None)
        if peers.is_on(logging.INFO) and status >= 300:
            self.log(Refused(status), hook)

    def write(self, data: bytes) -> Awaitable[None]:
        """Write a part of that response."""
        self.transport.write(data)
        return self.transport.drained()

    def end_answer(self) -> None:
        """Close the connection behind that response."""
        self.transport.shutdown()

    def dismiss(self, refused: OverLimit) -> None:
        """Refuse this handshake, whose last eight bytes have not come, to make room for another."""
        self.refuse(refused)

    def cancel(self) -> None:
        """Refuse the handshake, because the server closes."""
        if self.task is not None:
            self.task.cancel()
        self.refuse(Refused(503, "the server is going away\n"))

    def fail(self, error: BaseException, connection: Connection | None) -> None:
        """Answer with 500, and report an error of the application."""
        self.refuse(Refused(500, "internal server error\n"))
        self.openings.report(error, connection, self.head)

    # ---- called by the connection

    def more_received(self) -> None:
        """Read the last eight bytes of a draft-76 handshake, once they have arrived."""
        if self.version == "draft76" and self.key3 is None:
            self.key3 = self.connection._take(handshake.KEY3_SIZE)
            if self.key3 is not None:
                self.decide()

    def deadline_passed(self) -> None:
        """Refuse a handshake that took too long: the client (408), or the application (503)."""
        if self.task is None and self.call is None:
            self.refuse(OverLimit("handshake_timeout", 408, "the handshake took too long\n"))
        else:
            if self.task is not None:
                self.task.cancel()
            sentence = "the handshake was not decided in time\n"
            self.refuse(OverLimit("handshake_timeout", 503, sentence))

    def connection_lost(self) -> None:
        """Stop the handshake: the client has gone."""
        self.openings.under_way.discard(self)
        self.openings.admission.end_handshake(self.transport)
        if self.call is not None:
            self.call.ended()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
