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

    Requests are answered in order: the next one is parsed once the answer before it is finished,
    and its bytes wait until then.
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
        """How many bytes are held: input that is not parsed, and answers not yet received."""
        body_size = 0 if self._exchange is None else self._exchange.held_size
        return len(self._input) + body_size + self.transport.backlog_size

    # ---- called by the transport ----

    def data_received(self, data: bytes) -> None:
        """Add bytes from the client to the input, and parse what is complete."""
        if self._phase is Phase.OPEN:
            self._input += data
            self._advance()

    def eof_received(self) -> None:
        """Answer the requests that are complete: the client may still be reading."""
        if self._phase is Phase.OPEN:
            self._eof = True
            if self._exchange is not None and not self._exchange.is_received:
                self._refuse(Refused(400, "the body ended early\n"))
            else:
                self._update_flow()

    def deadline_passed(self) -> None:
        """End a connection, or an exchange, that has taken too long."""
        if self._phase in (Phase.UPGRADED, Phase.ENDED):
            return
        exchange = self._exchange
        if self._phase is Phase.DRAINING or self._deadline.wait in (Wait.EXCHANGE, Wait.ANSWER):
            if exchange is not None and exchange.awaits_body and not self._paused:
                self._refuse(OverLimit("body_timeout", 408, "the body took too long\n"))
                return
            if exchange is None or not exchange.awaits_answer:
                self._deadline.change(Wait.EXCHANGE)
            elif self._deadline.is_answer_overdue():
                self.application.limit_counters.count_by_name("answer_timeout")
                timeout = self.limits.answer_timeout
                exchange.give_up(f"it took longer than answer_timeout, {timeout:g} s")
                return
            if self._deadline.has_stalled(half_closed=self._eof):
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

    # ---- called by the server ----

    def close(self) -> None:
        """End the connection: at once, or after the present answer."""
        self._closing = True
        if self._phase is Phase.OPEN and self._exchange is None:
            self._end()

    # ---- called by an exchange ----

    def client_of(self, head: RequestHead) -> Client:
        """Return the client of a request."""
        return self.application.client_of(head, self.transport)

    def is_last(self) -> bool:
        """Tell whether the connection ends with the present exchange."""
        return self._closing or (self._eof and not self._input)

    def response_finished(self, *, close: bool) -> None:
        """Begin the next request, or end; but first wait for a body that the application reads."""
        self._closing = self._closing or close
        if self._closing and self._exchange is not None and not self._exchange.is_read:
            self._end()
        else:
            self._advance()

    def resume(self) -> None:
        """Resume reading, if it has been paused."""
        if self._paused:
            self._update_flow()

    def expect_body(self) -> None:
        """Set a new deadline for the next bytes of the body."""
        self._deadline.begin(Wait.EXCHANGE)

    def report_unanswered(self, request: Request, reason: str) -> None:
        """Report a request that the application does not answer."""
        self.application.report_unanswered(request, reason)

    # ---- requests ----

    def _advance(self) -> None:
        """Parse requests from the input, as far as possible; at most a few in one turn."""
        if self._advancing:
            return
        if self._postponed:
            self._update_flow()
            return
        self._advancing = True
        try:
            for _ in range(self.limits.pipelined_count):
                if not self._step():
                    break
            else:
                self._postponed = True
                self.loop.call_soon(self._continue_postponed)
        except Refused as refused:
            self._refuse(refused)
        finally:
            self._advancing = False
        self._update_flow()

    def _step(self) -> bool:
        """Finish the present exchange, and begin the next; False if that has to wait."""
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
            self.track_task(self.loop.create_task(self._continue_drained()))
            return False
        raw = self._scanner.cut(self._input)
        if raw is None:
            return False
        self.application.admission.end_handshake(self.transport)
        head = parse_head(raw, self.limits)
        if not wants_websocket(head):
            self._begin(head)
        elif self._eof:
            # The client has closed its side: a WebSocket would have to end at once.
            peers.info("the handshake of %s is not answered: its side has ended", self.transport)
            self._end()
        else:
            self._upgrade(head)
        return True

    def _continue_postponed(self) -> None:
        """Continue with requests that were postponed."""
        self._postponed = False
        if self._phase is Phase.OPEN:
            self._advance()

    async def _continue_drained(self) -> None:
        """Continue once the client has received most of the answers to its earlier requests."""
        await self.transport.drained()
        self._continue_postponed()

    def _begin(self, head: RequestHead) -> None:
        """Have the application answer one request; raises Refused."""
        # Before the application is called: the answer may be complete when it returns.
        self._deadline.change(Wait.EXCHANGE)
        self._exchange = exchange = Exchange(self, head)
        exchange.receive(self._input)
        response = exchange.make_response()
        try:
            self.application.handle_request(exchange.request, response)
        except Exception as error:
            response._fail(error)
            self._report("a request was not handled", error)

    def _upgrade(self, head: RequestHead) -> None:
        """Hand the transport over for a WebSocket."""
        rest = bytes(self._input)
        self._deadline.change(Wait.HEAD)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._enter(Phase.UPGRADED)
        try:
            self.application.handle_upgrade(self.transport, head, rest)
        except Exception as error:
            self.transport.close()
            self._report("an upgrade was not handled", error)

    def _refuse(self, refused: Refused) -> None:
        """Answer the request that is being read with an error, and end; read nothing behind it."""
        if isinstance(refused, OverLimit):
            self.application.limit_counters.count_by_name(refused.limit)
        exchange = self._exchange
        is_owed = exchange is None or not exchange.is_answered
        if is_owed and exchange is not None and exchange.is_begun:
            self.abort()
            return
        if is_owed:
            status, headers, body = refused.status, refused.headers, refused.body
            to_head = self._scanner.has_method_head
            self.write(serialize_response(status, headers, body, to_head=to_head))
        # Else the body is refused after the answer was complete, and cannot be answered again.
        self._end()
        # Logged, as the request may have been an opening handshake: its head was not parsed.
        if exchange is None and peers.is_on(logging.INFO):
            line = f"a request of %s is refused with {refused.status}: %s"
            peers.info(line, self.transport, refused.body.decode(errors="replace").strip())

    # ---- flow and time ----

    def _update_flow(self) -> None:
        """Pause or resume reading, and set the deadline for what is being waited for."""
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
        """Tell whether only the application is waited for: the client has no more to send."""
        exchange = self._exchange
        return (
            exchange is not None and exchange.awaits_answer and (full or not exchange.awaits_body)
        )

    def _is_full(self) -> bool:
        """Tell whether reading has to pause: enough of a body, or enough requests, are waiting."""
        if self._exchange is not None and not self._exchange.is_received:
            return self._exchange.is_full
        if len(self._input) >= self.limits.header_block_size:
            return True
        return self._input.count(b"\r\n\r\n") >= self.limits.pipelined_count

    def _enter(self, phase: Phase) -> None:
        super()._enter(phase)
        if self._exchange is not None:
            self._exchange.fail()
            self._exchange = None

    def _report(self, sentence: str, error: Exception) -> None:
        """Report an error that the application has raised to the loop's exception handler."""
        self.loop.call_exception_handler({"message": sentence, "exception": error})
