"""The opening handshake of a client, from the request to the open connection."""

import asyncio

from sockwave.client.answer import AnswerReader, check_answer
from sockwave.client.errors import HandshakeError, HandshakeRefused
from sockwave.client.host import ClientHost
from sockwave.client.options import ClientOptions
from sockwave.client.request import OpeningRequest
from sockwave.client.topics.state import TopicState
from sockwave.core.http.headers import Headers
from sockwave.core.io.receiver import PyReceiver
from sockwave.core.io.transport import Transport
from sockwave.core.session.client_connection import ClientConnection
from sockwave.states import ReadyState


class Opening(PyReceiver):
    """One opening handshake: the receiver of its transport until the connection is open.

    `done` is a future, of the connection or of why there is none.
    """

    def __init__(
        self,
        host: ClientHost,
        transport: Transport,
        request: OpeningRequest,
        options: ClientOptions,
        topics: TopicState | None = None,
    ) -> None:
        self._host = host
        self._topics = topics
        self._transport = transport
        self._request = request
        self._options = options
        self._answer = AnswerReader(options.limits)
        self.done: asyncio.Future[ClientConnection] = host.loop.create_future()
        transport.receiver = self

    def send_request(self) -> None:
        """Send the request: the transport is connected, and TLS established."""
        self._transport.write(self._request.head + self._request.behind)

    def give_up(self) -> HandshakeRefused | None:
        """Drop the transport: the time is over. Returns the refusal, if its head has come."""
        self._transport.close()
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()  # it came too late for anybody to see it
        return self._refusal() if self._answer.status not in (0, 101) else None

    # ---- called by the transport

    def data_received(self, data: bytes) -> None:
        """Take the next bytes of the server's answer."""
        if self.done.done():
            return
        try:
            self._answer.feed(data)
            if self._answer.is_whole:
                self._decide()
        except HandshakeError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """Take note that nothing more comes, which ends a body of unknown length."""
        if self._answer.status in (0, 101):
            self._fail(HandshakeError("answer: expected one, given the end of the stream"))
        else:
            self._fail(self._refusal())

    def connection_lost(self, error: OSError | None = None) -> None:
        """Take note that the transport is gone."""
        self._fail(error or HandshakeError("answer: expected one, given the end of the stream"))

    # ---- the answer

    def _decide(self) -> None:
        answer = self._answer
        if answer.status != 101:
            self._fail(self._refusal())
            return
        options, expected = self._options, self._request.signature
        if len(answer.rest) < len(expected):
            return  # draft 76: more of it comes
        subprotocol, agreement = check_answer(answer, self._request, options)
        if answer.rest[: len(expected)] != expected:
            given = answer.rest[: len(expected)]
            raise HandshakeError(f"signature: expected {expected!r}, given {given!r}")
        connection = self._make_connection(answer.headers)
        connection._begin(self, answer.rest[len(expected) :])
        connection._enter(ReadyState.HANDSHAKING)
        if agreement is not None:
            connection._compress(agreement)
        if options.lag:
            connection._measure_lag(getattr(self._transport, "arrival", None))
        if options.conflate is not None:
            connection._conflate(options.conflate)
        connection._open(b"", subprotocol)
        self.done.set_result(connection)

    def _make_connection(self, headers: Headers) -> ClientConnection:
        version, head = self._options.version, self._request.head
        return self._host.make_connection(self._transport, version, head, headers, self._topics)

    def _refusal(self) -> HandshakeRefused:
        answer = self._answer
        return HandshakeRefused(answer.status, answer.headers, bytes(answer.body))

    def _fail(self, error: Exception) -> None:
        self._transport.close()
        if not self.done.done():
            self.done.set_exception(error)
            # Seen: an attempt that the handler of a signal has ended does not ask for it.
            self.done.exception()

    # ---- called by the connection, should the transport end before it is open

    def more_received(self) -> None:
        """Do nothing: the connection keeps what comes."""

    def deadline_passed(self) -> None:
        """Do nothing: `connect` has the only deadline."""
