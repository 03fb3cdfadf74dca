"""One opening handshake, from the request to the open connection or the refusal."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import TypeAlias

from sockwave import deflate, handshake
from sockwave.core.io.transport import Transport
from sockwave.core.session.connection import Connection
from sockwave.core.session.hub import Hub
from sockwave.errors import Refused
from sockwave.handshake.refusal import Refusal
from sockwave.http import serialize_response
from sockwave.limits import OverLimit
from sockwave.log import peers
from sockwave.options import Options
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead
from sockwave.runtime.admission import Admission
from sockwave.states import ReadyState

#: A function of the application's, and whether it takes the handshake.
Hook: TypeAlias = tuple[Callable[..., object], int]


class Openings:
    """The handshakes under way of one server, and what all of them need."""

    def __init__(
        self,
        options: Options,
        hub: Hub,
        admission: Admission,
        *,
        client_of: Callable[[RequestHead, Transport], Client],
        listeners: Callable[[], list[Hook]],
        report: Callable[[BaseException, Connection | None], None],
    ) -> None:
        self.options = options
        self.hub = hub
        self.admission = admission
        #: Tells whose request it is; raises Refused where a proxy's word makes no sense.
        self.client_of = client_of
        #: The listeners of `handshake`.
        self.listeners = listeners
        #: Tells of an error in the application.
        self.report = report
        self.under_way: set[Opening] = set()

    def connections(self) -> Iterator[Connection]:
        """Give the connections that these handshakes may open."""
        return (opening.connection for opening in self.under_way)

    def begin(self, transport: Transport, head: RequestHead, rest: bytes) -> None:
        """Begin a handshake; `rest` is what came behind its request."""
        Opening(self, transport, head).begin(rest)


class Opening:
    """What stands beside a connection until it is open.

    The protocol's own rules come first, then the last eight bytes of a draft-76 client, then what
    the application says.
    """

    __slots__ = (
        "agreement",
        "client",
        "connection",
        "head",
        "key3",
        "openings",
        "subprotocol",
        "task",
        "transport",
        "version",
    )

    connection: Connection
    #: None until they have been told.
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
        self.task: asyncio.Task[None] | None = None

    def begin(self, rest: bytes) -> None:
        """Judge the request; `rest` came behind it, and is kept unread until then."""
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
            self.subprotocol = handshake.choose_subprotocol(self.head, options.subprotocol)
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
        self.connection = Connection(self.openings.hub, self.transport, version, self.head.raw)
        self.connection._adopt(kept)
        self.openings.under_way.add(self)
        self.connection._begin(self, rest)
        if version == "draft76":
            self.openings.admission.await_peer(self.transport, self)
            self.connection._enter(ReadyState.WAITING)
            self.more_received()
        else:
            self.decide()

    def decide(self) -> None:
        """Ask the application, where it wants to be asked."""
        self.openings.admission.end_handshake(self.transport)
        self.connection._enter(ReadyState.HANDSHAKING)
        if self.transport.is_closing:
            return
        hooks = self.openings.listeners()
        if self.openings.options.authorize is not None:
            hooks.insert(0, (self.openings.options.authorize, 1))
        if hooks:
            self.transport.pause_reading()
            self.openings.admission.await_decision(self.transport)
            version = self.connection.version
            offer = handshake.Handshake(self.head, self.connection, version, self.subprotocol)
            create_task = self.openings.hub.engine.loop.create_task
            self.task = self.connection._run(create_task, self.ask(hooks, offer))
        else:
            self.accept(())

    async def ask(self, hooks: list[Hook], offer: handshake.Handshake) -> None:
        """Let each hook see the handshake, in their order."""
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
            # Cancelled, by whoever: nothing else would answer. Who has done so already has closed.
            if not self.transport.is_closing:
                self.refuse(Refused(503, "the handshake was not decided\n"))
            raise
        else:
            self.subprotocol = offer.subprotocol
            self.connection._inherit()
            try:
                self.accept(offer.headers)
            except BaseException:
                self.transport.abort()
                raise

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
        self.connection._open(answer, self.subprotocol)

    def refuse(self, refused: Refused, hook: object = None) -> None:
        """Answer with another status; what came behind the request is never read.

        `hook` is the function of the application's that asks for it, if one does.
        """
        is_answered = not self.transport.is_closing
        self.openings.admission.end_handshake(self.transport)
        if isinstance(refused, OverLimit):
            self.openings.hub.engine.limit_counters.count_by_name(refused.limit)
        self.transport.write(serialize_response(refused.status, refused.headers, refused.body))
        self.transport.close()
        if is_answered and peers.is_on(logging.INFO):
            self.log(refused, hook)

    def log(self, refused: Refused, hook: object) -> None:
        """Tell the operator why: the client is told little, and its page is told nothing."""
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
        # The status belongs to the format: who floods with one kind hides no other.
        who = "the handshake of %s is refused" if hook is None else "the application refuses %s"
        peers.info(f"{who} with {refused.status}: %s", self.transport, detail)

    def dismiss(self, refused: OverLimit) -> None:
        """Make room for somebody else's handshake, while the last eight bytes do not come."""
        self.refuse(refused)

    def give_up(self) -> None:
        """Refuse, because the server closes."""
        if self.task is not None:
            self.task.cancel()
        self.refuse(Refused(503, "the server is going away\n"))

    def fail(self, error: BaseException, connection: Connection | None) -> None:
        """Answer for an application that could not."""
        self.refuse(Refused(500, "internal server error\n"))
        self.openings.report(error, connection)

    # ---- what the connection tells

    def more_received(self) -> None:
        """Look for the last eight bytes of a draft-76 handshake."""
        if self.version == "draft76" and self.key3 is None:
            self.key3 = self.connection._take(handshake.KEY3_SIZE)
            if self.key3 is not None:
                self.decide()

    def deadline_passed(self) -> None:
        """End a handshake that took too long: the client's fault, or the application's."""
        if self.task is None:
            self.refuse(OverLimit("handshake_timeout", 408, "the handshake took too long\n"))
        else:
            self.task.cancel()
            sentence = "the handshake was not decided in time\n"
            self.refuse(OverLimit("handshake_timeout", 503, sentence))

    def connection_lost(self) -> None:
        """Stop: there is nobody left to answer."""
        self.openings.under_way.discard(self)
        self.openings.admission.end_handshake(self.transport)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
