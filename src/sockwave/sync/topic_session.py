"""A connection of threads that speaks `sockwave.1`, as the loop's own thread sees it."""

from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from sockwave.client.topics.dialogue import Dialogue
from sockwave.client.topics.outcome import Reply, closed
from sockwave.client.topics.state import TopicState
from sockwave.client.topics.subprotocol import NAME
from sockwave.core.http.headers import Headers
from sockwave.core.io.transport import Transport
from sockwave.core.session.hub import Hub
from sockwave.core.sync.session import AnswerWaiter, ThreadSession
from sockwave.deliveries import Published

Answer = TypeVar("Answer")


class TopicSession(ThreadSession):
    """A client's connection on a shared loop, with topics.

    All that is said and heard of them is said and heard by the loop's own thread, which other ones
    have make their calls: `call`.
    """

    __slots__ = ("_dialogue",)

    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        version: str,
        head: bytes,
        response_headers: Headers,
        state: TopicState,
    ) -> None:
        super().__init__(hub, transport, version, head, response_headers)
        self._dialogue = Dialogue(self, state, monotonic)

    # ---- its life

    def _open(self, answer: bytes, subprotocol: str | None, route: Any = None) -> None:
        """Have the loop's thread enter what the client had subscribed to, before it hears more."""
        speaks = self._dialogue.speaks = subprotocol == NAME
        if speaks:
            self._hear_topics(TopicSession._heard, self._dialogue.reception.queue)
        super()._open(answer, subprotocol, route)
        if speaks:
            self.shared.loop.call_soon_threadsafe(self._begin_topics)

    def _begin_topics(self) -> None:
        if self.is_open:
            self._dialogue.begin()

    def _heard(self, message: str | bytes) -> None:
        self._dialogue.hear(message)  # there are no listeners, for which something is to be awaited

    def _close(self, code: int, reason: str) -> None:
        if self._dialogue.speaks:
            self._dialogue.reception.leave()
        super()._close(code, reason)

    def _finish(self) -> None:
        self._dialogue.end()
        super()._finish()

    # ---- what other threads call

    def _call(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Have the loop's own thread call a function."""
        return self.shared.call_own(function, *arguments)

    def _wait_for(self, reply: Reply[Any], call: str, timeout: float | None) -> None:
        """Wait in this thread until an answer is there.

        Raises TimeoutError after `timeout` seconds, ConnectionClosed where it does not come by this
        connection.
        """
        waiter = AnswerWaiter(self)
        try:
            self._call(self._begin_wait, reply, waiter)
            self._await_answer(call, waiter, timeout)
        finally:
            self._call(reply.remove_waiter, waiter)
        if waiter.error is not None:
            raise waiter.error
        if not waiter.done():
            raise closed(self)

    def _begin_wait(self, reply: Reply[Any], waiter: AnswerWaiter) -> None:
        if reply.is_known:
            waiter.set_result(None)
        else:
            reply.add_waiter(waiter)

    # ---- what its parts call: see `Speaker`

    @property
    def _has_gone(self) -> bool:
        return self._is_finished

    def _say(self, command: str) -> None:
        self._submit(command, None, False)

    def _say_in_turn(self, command: str) -> bool:
        self._say(command)
        return self.backlog_size <= self._dialogue.state.limits.high_water

    def _go_on(self) -> None:
        self._dialogue.go_on()

    def _balance(self) -> None:
        self._dialogue.reception.balance()

    def _tell_delivery(self) -> None:
        self._tell_change()

    def _report(self, log: Callable[..., None], text: str, *arguments: object) -> None:
        self.shared.report_later(log, text, *arguments)

    def _expect(self) -> "Outcome[Any]":
        return Outcome(self)

    def _expect_published(self, id: str) -> "Publishing[Published]":
        return Publishing(self, id)

    def _note_awaited(self, reply: Reply[Any], *, is_awaited: bool) -> None:
        self._dialogue.reception.note_awaited(reply, is_awaited=is_awaited)


class Outcome(Reply[Answer]):
    """What becomes of a command: `result` waits for the server's answer."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the server's answer, at most `timeout` seconds (None: without limit).

        It need not be called, and may be called again, and from several threads.

        Raises SockwaveError where the server refuses, ConnectionClosed where the connection ends
        before the answer, TimeoutError after `timeout`, after which the answer may still come.
        """
        self._wait("result", timeout)
        return self.read()

    def _wait(self, call: str, timeout: float | None) -> None:
        session = self._connection
        if self._is_known:
            return
        if session is None:
            raise closed(None)
        assert isinstance(session, TopicSession)
        session._wait_for(self, call, timeout)


class Publishing(Outcome[Answer]):
    """What becomes of a message that is published; `id` is what it is called."""

    __slots__ = ("id",)

    def __init__(self, session: TopicSession | None, id: str) -> None:
        super().__init__(session)
        #: What the message is called: a second one with it is not published.
        self.id = id
