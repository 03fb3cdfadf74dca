"""One HTTP/1.1 connection, until it ends or becomes a WebSocket: RFC 9112, section 9."""

import logging

from sockwave.core.io.transport import Transport
from sockwave.errors import Refused
from sockwave.http.application import Application
from sockwave.http.check import parse_head
from sockwave.http.deadline import Wait
from sockwave.http.exchange import Exchange
from sockwave.http.lifecycle import HttpLifecycle, Phase
from sockwave.http.request import Request
from sockwave.http.scanner import HeadScanner
from sockwave.http.semantics import wants_websocket
from sockwave.http.serialize import serialize_response
from sockwave.limits import OverLimit
from sockwave.log import peers
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class HttpConnection(HttpLifecycle):
    """The receiver of a transport from accept on.

    Requests are answered in order: the next one is begun when the answer before it is finished, and
    waits unparsed until then.
    """

    __slots__ = (
        "_advancing",
        "_closing",
        "_eof",
        "_exchange",
        "_paused",
        "_postponed",
        "_scanner",
    )

    def __init__(self, transport: Transport, application: Application) -> None:
        super().__init__(transport, application)
        self._scanner = HeadScanner(self.limits)
        self._exchange: Exchange | None = None
        self._advancing = False
        self._postponed = False
        self._paused = False
        self._closing = False
        self._eof = False

    @property
    def held_size(self) -> int:
        """How many bytes are held for the peer: its input, and answers that it has not taken."""
        body_size = 0 if self._exchange is None else self._exchange.held_size
        return len(self._input) + body_size + self.transport.backlog_size

    # ---- what the transport tells ----

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self._phase is Phase.OPEN:
            self._input += data
            self._advance()

    def eof_received(self) -> None:
        """Answer what has been asked whole: the peer may still be reading."""
        if self._phase is Phase.OPEN:
            self._eof = True
            if self._exchange is not None and not self._exchange.is_received:
                self._refuse(Refused(400, "the body ended early\n"))
            else:
                self._settle()

    def deadline_passed(self) -> None:
        """End a connection that has kept us waiting."""
        if self._phase in (Phase.UPGRADED, Phase.ENDED):
            return
        exchange = self._exchange
        if self._phase is Phase.DRAINING or self._deadline.wait in (Wait.EXCHANGE, Wait.ANSWER):
            if exchange is not None and exchange.awaits_body and not self._paused:
                self._refuse(OverLimit("body_timeout", 408, "the body took too long\n"))
                return
            if exchange is None or not exchange.awaits_answer:
                self._deadline.change(Wait.EXCHANGE)
            elif self._deadline.has_waited_for_answer():
                self.application.limit_counters.count_by_name("answer_timeout")
                timeout = self.limits.answer_timeout
                exchange.give_up(f"it took longer than answer_timeout, {timeout:g} s")
                return
            if self._deadline.is_over(half_closed=self._eof):
                self.application.limit_counters.count_by_name("body_timeout")
                self.abort()
        elif self._deadline.wait is Wait.HEAD and self._input:
            self._refuse(OverLimit("handshake_timeout", 408, "the request took too long\n"))
        else:
            is_new = self._deadline.wait is Wait.HEAD
            self.application.limit_counters.count_by_name(
                "handshake_timeout" if is_new else "keep_alive_timeout"
            )
            self._end()

    # ---- what the server asks for ----

    def close(self) -> None:
        """End the connection: at once, or with the answer that is being given."""
        self._closing = True
        if self._phase is Phase.OPEN and self._exchange is None:
            self._end()

    # ---- what an exchange asks for ----

    def client_of(self, head: RequestHead) -> Client:
        """Whom a request is from."""
        return self.application.client_of(head, self.transport)

    def is_last(self) -> bool:
        """Tell whether the connection ends with the present exchange."""
        return self._closing or (self._eof and not self._input)

    def go_on(self, *, close: bool) -> None:
        """Go on after a whole response, or end; but a body that somebody reads is waited for."""
        self._closing = self._closing or close
        if self._closing and self._exchange is not None and not self._exchange.is_read:
            self._end()
        else:
            self._advance()

    def resume(self) -> None:
        """Read on, if reading has been paused."""
        if self._paused:
            self._settle()

    def expect_body(self) -> None:
        """Begin to count the time that the peer takes for the next bytes of the body."""
        self._deadline.begin(Wait.EXCHANGE)

    def tell_unanswered(self, request: Request, reason: str) -> None:
        """Take note that the application does not answer a request."""
        self.application.unanswered(request, reason)

    # ---- requests ----

    def _advance(self) -> None:
        """Take from the input what can be taken now; at most a few requests in one turn."""
        if self._advancing:
            return
        if self._postponed:
            self._settle()
            return
        self._advancing = True
        try:
            for _ in range(self.limits.pipelined_count):
                if not self._step():
                    break
            else:
                self._postponed = True
                self.loop.call_soon(self._go_on_postponed)
        except Refused as refused:
            self._refuse(refused)
        finally:
            self._advancing = False
        self._settle()

    def _step(self) -> bool:
        """Begin the next request, after the rest of the one before; False if that has to wait."""
        if self._exchange is not None:
            self._exchange.receive(self._input)
            if not self._exchange.is_over:
                return False
            self._exchange = None
            if self._closing:
                self._end()
        if self._phase is not Phase.OPEN:
            return False
        if self._input and self.transport.backlog_size > self.limits.high_water:
            self._postponed = True
            self.hold(self.loop.create_task(self._go_on_drained()))
            return False
        raw = self._scanner.cut(self._input)
        if raw is None:
            return False
        self.application.admission.end_handshake(self.transport)
        head = parse_head(raw, self.limits)
        if not wants_websocket(head):
            self._begin(head)
        elif self._eof:
            # A conversation with half a connection would end as it begins.
            peers.info("the handshake of %s is not answered: its side has ended", self.transport)
            self._end()
        else:
            self._hand_over(head)
        return True

    def _go_on_postponed(self) -> None:
        """Go on with requests that have been left for later."""
        self._postponed = False
        if self._phase is Phase.OPEN:
            self._advance()

    async def _go_on_drained(self) -> None:
        """Go on when the peer has read the answers to its earlier requests."""
        await self.transport.drained()
        self._go_on_postponed()

    def _begin(self, head: RequestHead) -> None:
        """Have one request answered; raises Refused."""
        # It may be answered before anybody looks at the time again.
        self._deadline.change(Wait.EXCHANGE)
        self._exchange = exchange = Exchange(self, head)
        exchange.receive(self._input)
        response = exchange.make_response()
        try:
            self.application.handle_request(exchange.request, response)
        except Exception as error:
            response._fail(error)
            self._report("a request was not handled", error)

    def _hand_over(self, head: RequestHead) -> None:
        """Leave the transport to the application, for a WebSocket."""
        rest = bytes(self._input)
        self._deadline.change(Wait.HEAD)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._leave(Phase.UPGRADED)
        try:
            self.application.handle_upgrade(self.transport, head, rest)
        except Exception as error:
            self.transport.abort()
            self._report("an upgrade was not handled", error)

    def _refuse(self, refused: Refused) -> None:
        """Answer what is being read with an error, and end; nothing behind it is read."""
        if isinstance(refused, OverLimit):
            self.application.limit_counters.count_by_name(refused.limit)
        exchange = self._exchange
        is_owed = exchange is None or not exchange.is_answered
        if is_owed and exchange is not None and exchange.is_begun:
            self.abort()
            return
        if is_owed:
            answer = serialize_response(refused.status, refused.headers, refused.body)
            # RFC 9110, 9.3.2: "the server MUST NOT send content in the response" to HEAD.
            if exchange is not None and exchange.request.method == "HEAD":
                answer = answer[: len(answer) - len(refused.body)]
            self.write(answer)
        # Else a body went wrong behind its answer, and cannot be answered once more.
        self._end()
        # It cannot be known of all of them whether they would have upgraded.
        if exchange is None and peers.is_on(logging.INFO):
            line = f"a request of %s is refused with {refused.status}: %s"
            peers.info(line, self.transport, refused.body.decode(errors="replace").strip())

    # ---- flow and time ----

    def _settle(self) -> None:
        """Bring reading and the deadline in line with what is being waited for."""
        if self._phase is not Phase.OPEN:
            return
        busy = self._exchange is not None or self._postponed
        if self._eof and not busy:
            self._end()
            return
        full = busy and self._is_full()
        if busy:
            self._deadline.change(Wait.ANSWER if self._awaits_answer(full) else Wait.EXCHANGE)
        elif self._input:
            self._deadline.change(Wait.HEAD)
        elif self._deadline.wait in (Wait.EXCHANGE, Wait.ANSWER):
            self._deadline.begin(Wait.NEXT)
        if full and not self._paused:
            self.transport.pause_reading()
            if self._exchange is None or self._exchange.is_received:
                self.application.limit_counters.count_by_name("pipelined_count")
        elif self._paused and not full:
            self.transport.resume_reading()
        self._paused = full

    def _awaits_answer(self, full: bool) -> bool:
        """Tell whether the application has to go on: the peer can, or need, send nothing more."""
        exchange = self._exchange
        return (
            exchange is not None and exchange.awaits_answer and (full or not exchange.awaits_body)
        )

    def _is_full(self) -> bool:
        """Tell whether enough has arrived that nobody has taken yet: of a body, or of requests."""
        if self._exchange is not None and not self._exchange.is_received:
            return self._exchange.is_full
        if len(self._input) >= self.limits.header_block_size:
            return True
        return self._input.count(b"\r\n\r\n") >= self.limits.pipelined_count

    def _leave(self, phase: Phase) -> None:
        super()._leave(phase)
        if self._exchange is not None:
            self._exchange.fail()
            self._exchange = None

    def _report(self, sentence: str, error: Exception) -> None:
        """Tell the loop of an error that the application has let through."""
        self.loop.call_exception_handler({"message": sentence, "exception": error})
