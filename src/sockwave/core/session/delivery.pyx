"""How messages reach the application: by listeners, by `receive` and `async for`, by `stream`."""

from asyncio import current_task

from libc.stdint cimport UINT32_MAX

from sockwave.core.session.calls cimport OF_MESSAGE, OTHER, Call, EndWaiter
from sockwave.core.events.emitter cimport MESSAGE, call_listeners, is_heard_for_good
from sockwave.core.session.flow_control cimport INBOX_FULL, NOT_ASKED, TASKS_FULL
from sockwave.core.session.closing cimport CONNECTED, ENDED, closed_error
from sockwave.core.session.json_messages cimport add_json
from sockwave.core.session.own_calls cimport add_call, call_of, list_calls, remove_call
from sockwave.core.session.session cimport session_hooks
from sockwave.core.session.streams cimport IncomingMessage, check_limit
from sockwave.core.limits.counters cimport LISTEN_TIMEOUT, MAX_TASKS, QUEUE_COUNT, QUEUE_SIZE
from sockwave.core.io.timers cimport STALE_TICKS, tick_s, ticks_of

from sockwave.errors import SockwaveError
from sockwave.timeouts import within

# If tasks stop the reading and none of them ends for so long, in seconds, the operator is warned. A
# task that waits for a database may take seconds.
STUCK_S = 5.0

cdef uint32_t stuck_ticks = ticks_of(STUCK_S)


cdef class Deliverer(Session):
    """A session that hands its messages to the application: to listeners, or to tasks that ask."""

    # ---- messages for listeners

    cdef int heard_message(self, object message, size_t size) except -1:
        cdef Inbox inbox = self.inbox
        if inbox is not None and inbox.commands is not None:
            return self.heard_command(message)
        return self.hand_message(message, size)

    cdef int hand_message(self, object message, size_t size) except -1:
        """Hand a message to the application."""
        cdef Inbox inbox = self.inbox
        cdef int heard
        if inbox is not None:
            if inbox.intake is not None and inbox.intake.queue:
                return inbox.intake.take_whole(message, size)
            if inbox.count and self.hears(MESSAGE):
                self._hand_over()
                if inbox.count:
                    return self.queue(message, size)    # behind the earlier messages, in order
        self.is_hearing = True
        heard = call_listeners(
            self.listener, self.only_code, self, &session_hooks, MESSAGE, message, None
        )
        self.is_hearing = False
        return 0 if heard else self.queue(message, size)

    cdef int heard_command(self, object message) except -1:
        """Carry out what a client says that speaks `sockwave.1`. A coroutine counts as a call of a
        listener: too many that wait pause the reading."""
        cdef object coroutine = None
        entered = self.enter_context()
        try:
            coroutine = self.inbox.commands(self, message)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.failed(error)
        finally:
            self.leave_context(entered)
        if coroutine is not None:
            self.hub.calls.start(coroutine, self, OF_MESSAGE)
        return 0

    def _take_commands(self, commands):
        """Call `commands(connection, message)` for each message, in place of the application."""
        if self.inbox is None:
            self.inbox = Inbox()
        self.inbox.commands = commands

    def _hand_message(self, message):
        """Hand a message to the application that has come inside a command."""
        self.hand_message(message, len(message))

    cdef int add(self, object event, object listener, bint once) except -1:
        cdef bint is_for_json = event == "json"
        cdef bint is_for_messages = is_for_json or event == "message"
        if is_for_messages and self.is_being_taken():
            raise SockwaveError(
                f"a listener of {event!r}: expected a connection whose messages nobody else takes, "
                "given one that `receive`, `async for` or `stream` has begun to take them of"
            )
        if is_for_json:
            add_json(self, self.hub, listener, once)
        else:
            Session.add(self, event, listener, once)
        if is_for_messages:
            self.is_unheard = False
            self.resume(NOT_ASKED)
            if self.inbox is not None:
                self.inbox.due = 0
                if self.inbox.count:
                    self.hub.engine.loop.call_soon(self._hand_over)
        return 0

    cdef bint is_being_taken(self) except -1:
        """Tell whether a task waits for a message, or the handler has begun to take messages: then
        no listener can have them."""
        cdef Inbox inbox = self.inbox
        return inbox is not None and (
            inbox.has_receiver()
            or self.has_handler and inbox.is_wanted
            or inbox.intake is not None and inbox.intake.is_expected()
        )

    def _hand_over(self):
        """Hand the messages that wait to a listener that was added late, as far as `max_tasks`
        lets its tasks run."""
        cdef Inbox inbox = self.inbox
        if inbox is None:
            return              # `listen_timeout` has passed meanwhile
        while inbox.count and self.hears(MESSAGE) and (
            self.state != CONNECTED and not self.reads_rest or not self.pause_reasons & TASKS_FULL
        ):
            self.is_hearing = True
            self.emit_in_context(MESSAGE, inbox.take(), None)
            self.is_hearing = False
        if not inbox.count:
            self.resume(INBOX_FULL)
            if self.reads_rest and self.is_gone:
                self.go_on_later()      # the connection's end has waited for these messages
        else:
            self.await_listener()

    cdef bint keeps_for_listener(self) except -1:
        return self.inbox is not None and self.inbox.count > 0 and self.hears(MESSAGE)

    cdef int heard_piece(self, int opcode, const Found* found) except -1:
        return self.inbox.intake.take_piece(opcode, found)

    cdef bint may_be_streamed(self) except -1:
        """Tell whether a message that is larger than `max_size` can wait until the application asks
        for it: by `stream`, which can take it in pieces, or by `receive`, which cannot have it."""
        cdef Inbox inbox = self.inbox
        if self.state != CONNECTED or self.is_unheard or self.hears(MESSAGE) or (
            not self.has_taker()
        ) or inbox is not None and inbox.commands is not None:
            return False
        if inbox is None:
            inbox = self.inbox = Inbox()
        if inbox.is_awaited() or inbox.intake is not None and inbox.intake.queue:
            return False
        self.await_listener()
        return True

    # ---- messages that wait for a task to ask

    cdef Intake intake(self):
        """Return the messages that are taken as streams; None until there has been one."""
        return None if self.inbox is None else self.inbox.intake

    cdef int queue(self, object message, size_t size) except -1:
        """Keep a message for a task or a listener; drop it if `listen_timeout` has passed without
        any."""
        cdef Inbox inbox = self.inbox
        if self.is_unheard:
            return self.dropped(1)
        if inbox is None:
            inbox = self.inbox = Inbox()
        inbox.put(message, size)
        if inbox.count >= self.hub.queue_count or inbox.size >= self.hub.queue_size:
            self.pause(
                INBOX_FULL, QUEUE_COUNT if inbox.count >= self.hub.queue_count else QUEUE_SIZE
            )
        return self.await_listener()

    cdef int await_listener(self) except -1:
        """Start `listen_timeout`, where messages wait and the application has not begun to take
        them."""
        cdef Inbox inbox = self.inbox
        if inbox.due or not self.hub.listen_ticks or inbox.is_listened_to() or (
            self.state != CONNECTED or self.hears(MESSAGE)
        ):
            return 0
        inbox.due = self.hub.engine.wheel.tick + self.hub.listen_ticks + STALE_TICKS
        return self.ask_by(inbox.due)

    cdef int ask_by(self, uint32_t tick) except -1:
        """Have `notify_deadline` called at a tick, or before."""
        return self.transport.ask_for(min(self.transport.asked or UINT32_MAX, tick))

    cdef int stop_keeping(self) except -1:
        """`listen_timeout` has passed: read on, and drop messages until a listener is added or a
        task asks for one."""
        cdef Inbox inbox = self.inbox
        cdef Py_ssize_t count = inbox.count
        inbox.due = 0
        self.is_unheard = True
        self.hub.engine.limit_counters.count(LISTEN_TIMEOUT)
        inbox.forget()
        if inbox.intake is None and inbox.commands is None:
            self.inbox = None       # where the application only sends, it must cost no memory
        self.dropped(count)
        self.hub.host.warn_no_listener(self)
        self.resume(INBOX_FULL)
        return self.resume(NOT_ASKED)

    cdef size_t held_size(self) except? 0:
        cdef size_t size = Session.held_size(self)
        cdef Intake intake = self.intake()
        if self.inbox is not None:
            size += self.inbox.size
        if intake is not None:
            size += intake.size
        return size

    cdef int forget_received(self) except -1:
        cdef Intake intake = self.intake()
        if self.inbox is not None:
            self.inbox.forget()
        if intake is not None:
            intake.forget()
        return Session.forget_received(self)

    cdef bint has_taker(self) except -1:
        """Tell whether a task of the application takes messages, or may be about to."""
        return self.has_handler or self.call_count > 0 or self.inbox is not None and (
            self.inbox.is_awaited() or self.inbox.is_wanted
        )

    cdef int note_taker(self, bint is_stream) except -1:
        """Note that the running task takes messages. Raises SockwaveError where they go to a
        listener. A listener added by `once` hears the next message, and the task gets the rest."""
        if self.hears(MESSAGE) and self.state != ENDED:
            if is_stream or is_heard_for_good(self.listener, self.only_code, MESSAGE):
                raise SockwaveError(
                    "`receive`, `async for` and `stream`: expected a connection without a listener "
                    "of 'message' or 'json', which gets all messages, given one that has one"
                )
            self._hand_over()
        self.is_unheard = False
        if self.inbox is None:
            self.inbox = Inbox()
        self.inbox.due = 0
        if self.inbox.is_wanted and (self.has_handler or not self.call_count):
            self.inbox.consumer = None
            return 0                # the task is none of those that end with the connection
        self.hub.calls.keep_task(self)
        self.inbox.consumer = current_task(self.hub.engine.loop)
        if self.has_handler or self.find_call(self.inbox.consumer) is None:
            # A task of the application's own, whose end we do not see. The application may use a
            # new one for each message.
            self.inbox.is_wanted = True
        return 0

    cdef int note_room(self) except -1:
        """Resume reading when the inbox is down to a quarter of its limits."""
        if (
            self.inbox.count <= self.hub.queue_count // 4
            and self.inbox.size <= self.hub.queue_size // 4
        ):
            return self.resume(INBOX_FULL)
        return 0

    # ---- the tasks of listeners

    cdef int keep_call(self, object call) except -1:
        self.calls = add_call(self.calls, call)
        return 0

    cdef int forget_call(self, object call) except -1:
        self.calls = remove_call(self.calls, call)
        if self.state == ENDED and not self.has_bound_calls():
            self.hub.calls.forget(self)
        return 0

    cdef object find_call(self, object task):
        return call_of(self.calls, task)

    def _tasks(self):
        """Return the tasks of the connection's calls."""
        return [(<Call>call).task for call in list_calls(self.calls)]

    cdef bint is_settled(self, object result) except -1:
        if self.is_drain(self.transport, result):
            return True
        return self.queued_behind is not None and self.is_drain(self.queued_behind, result)

    cdef bint is_drain(self, Writer writer, object awaitable) except -1:
        """Tell whether a listener's result is the awaitable that the latest `send` returned. No
        task has to wait for it, as the peer is not read before its backlog has drained."""
        return bool(writer.waiters) and writer.waiters[-1] is awaitable

    cdef int started(self, object coroutine) except -1:
        return self.hub.calls.start(coroutine, self, OF_MESSAGE if self.is_hearing else OTHER)

    cdef int call_started(self, bint is_own, bint is_message) except -1:
        self.call_count += is_own
        if is_message:
            self.task_count += 1
            if self.task_count >= <size_t>self.hub.max_tasks:
                if self.state == CONNECTED and not self.pause_reasons & TASKS_FULL:
                    self.stuck_at = self.hub.engine.wheel.tick + stuck_ticks
                    self.ask_by(self.stuck_at)
                return self.pause(TASKS_FULL, MAX_TASKS)
        return 0

    cdef int call_ended(self, bint is_own, bint is_message) except -1:
        self.call_count -= is_own
        self.task_count -= is_message
        if self.pause_reasons:
            if is_message and self.pause_reasons & TASKS_FULL:
                self.stuck_at = 0
                self.resume(TASKS_FULL)
                if self.inbox is not None and self.inbox.count:
                    self.hub.engine.loop.call_soon(self._hand_over)
            if not self.has_taker():        # the last task that might have asked for it has ended
                self.resume(NOT_ASKED)
        return 0

    cdef int note_end_of(self, object task) except -1:
        """Note that a task of this connection has ended; it may be the one that took the messages.
        """
        if self.inbox is not None and self.inbox.consumer is task:
            self.inbox.consumer = None
            if self.inbox.count:
                self.await_listener()
        return 0

    cdef int tasks_are_stuck(self) except -1:
        """Warn the operator that nothing goes on: reading waits for tasks, and none of them ends.
        """
        self.stuck_at = 0
        self.hub.host.warn_tasks_stalled(self, self.task_count, stuck_ticks * tick_s)
        return 0

    cdef int end_delivery(self) except -1:
        """Tell the tasks that no more messages will come, and let the calls outlive the connection.
        """
        cdef Call call
        for call in list_calls(self.calls):
            if not call.outlives:
                call.outlive()
        if self.inbox is not None:
            self.inbox.end()
        self.tell_end()
        return self.end_calls()

    cdef bint has_bound_calls(self) except -1:
        """Tell whether there are tasks of calls that end with the connection."""
        cdef Call call
        for call in list_calls(self.calls):
            if not call.is_message:
                return True
        return False

    cdef bint has_left(self) except -1:
        # A task that has taken a message may still be at work on it, and hears of the end when it
        # asks for the next one.
        cdef Inbox inbox = self.inbox
        if self.is_awaited:         # one of the calls may wait for the task that has waited
            return True
        if inbox is None or inbox.is_told:
            return False
        if inbox.count or inbox.is_wanted:
            return True
        return inbox.consumer is not None and not inbox.consumer.done()

    cdef int end_calls(self) except -1:
        """Cancel the calls that end with the connection, if no message is left for them."""
        if not self.has_bound_calls():
            # Of messages that were handed over behind the end, nothing is left to see to.
            return self.hub.calls.forget(self) if self.is_gone else 0
        if self.has_left():
            return self.hub.calls.watch(self)
        return self.cancel_calls(self.inbox.consumer if self.inbox is not None else None)

    cdef int cancel_calls(self, object spared) except -1:
        """Cancel the calls that end with the connection, except those whose tasks have just been
        told of the end: they may finish their work."""
        cdef Call call
        cdef bint is_spared = False
        for call in list_calls(self.calls):
            if call.is_message:
                continue
            if call.is_told or call.task is spared:
                is_spared = True
            else:
                call.cancel()
        return self.hub.calls.watch(self) if is_spared else self.hub.calls.forget(self)

    cdef int was_told(self) except -1:
        """Note that the running task has been told that no more messages will come."""
        cdef object task
        if not self.inbox.is_told and self.state == ENDED:
            self.inbox.is_told = True
            task = self.inbox.consumer = current_task(self.hub.engine.loop)
            if self.calls is not None and task is not None and (
                type(self.calls) is dict or (<Call>self.calls).task is not task
            ):
                # The task may have been started by one of the calls that end now: these are
                # cancelled when the task is done.
                task.add_done_callback(self._receiver_done)
        return 0

    def _receiver_done(self, _):
        self.cancel_calls(None)

    cdef bint end_in_time(self) except -1:
        """Wait no longer for the application to take the messages that are left. Returns whether
        messages are lost by that."""
        cdef Call call
        cdef bint is_loss = self.reads_rest
        if self.reads_rest:
            self.forget_received()
            self.pause_reasons = 0
            self.end_rest()
            for call in list_calls(self.calls):
                if call.is_message:
                    self.hub.calls.forget(call)
                    call.cancel()
        elif self.inbox is not None and self.inbox.count and not self.inbox.is_told:
            is_loss = self.inbox.is_wanted or self.inbox.consumer is not None
        if self.state == ENDED:
            self.is_awaited = False
            for call in list_calls(self.calls):
                call.is_told = False
            self.cancel_calls(None)
        return is_loss

    # ---- tasks that wait for the end

    cdef EndWaiter await_end(self):
        """Return what the running task awaits until the connection has ended."""
        cdef EndWaiter waiter = EndWaiter.__new__(EndWaiter)
        self.hub.calls.keep_task(self)
        waiter.wake_queue = self.hub.engine.wake_queue
        waiter.call = self.find_call(current_task(self.hub.engine.loop))
        if self.end_waiters is None:
            self.end_waiters = []
        self.end_waiters.append(waiter)
        return waiter

    cdef int tell_end(self) except -1:
        """Wake the tasks that wait for the end. Their calls are not cancelled by it: they have been
        told, as tasks have that receive."""
        cdef EndWaiter waiter
        while self.end_waiters:
            waiter = self.end_waiters[len(self.end_waiters) - 1]
            waiter.wake()
            if waiter.call is None:
                self.is_awaited = True
            else:
                waiter.call.is_told = True
            self.end_waiters.pop()      # only now: where memory lacked, it is woken later
        return 0

    async def wait_closed(self):
        """Wait until the connection has ended, behind its event `close`; this ends nothing itself.

        The end does not cancel the listener, handler or task that waits: it may go on for
        `finish_timeout`. `await conn.close()` closes the connection and waits.
        """
        cdef EndWaiter waiter
        self.hub.thread.check("conn.wait_closed")
        if self.state == ENDED:
            return
        waiter = self.await_end()
        try:
            await waiter
        finally:
            if waiter in self.end_waiters:      # the wait has been cancelled
                self.end_waiters.remove(waiter)

    cdef int rest_begins(self) except -1:
        self.hub.calls.watch(self)
        return self.hub.calls.bind()

    cdef int rest_ends(self) except -1:
        return self.hub.calls.unbind()

    # ---- what the application uses

    def stream(self, *, max_size=None):
        """Take the next message as a stream: `async for chunk in conn.stream()`.

        It is the oldest message that no task has been given, whether it has begun to arrive or not;
        tasks that wait in `receive` do not get it. The chunks come as they arrive: bytes, or str of
        a text message, as `is_text` of the returned object tells. Several streams may be asked for:
        each is one message, in order. Leaving the loop early discards the rest of the message.

        The chunks that wait to be taken are bounded by the options `max_size` and `queue_size`, in
        bytes, and `queue_count`, in chunks; at the bound the socket is not read. The whole message
        is bounded by the argument `max_size`, in bytes (None: no bound): beyond it, the connection
        fails with 1009. A compressed message (RFC 7692) comes as one chunk, and is bounded by the
        option `max_size`.

        The loop raises ConnectionClosed when the connection ends before the message does. Raises
        SockwaveError while there is a listener of `message`, TypeError or ValueError for a wrong
        `max_size`. Serves RFC 6455, section 5.4.
        """
        cdef size_t limit
        cdef size_t held_size
        cdef Inbox inbox
        self.hub.thread.check("conn.stream")
        limit = check_limit(max_size)
        self.note_taker(True)
        inbox = self.inbox
        if inbox.intake is None:
            held_size = min(self.hub.max_size, self.hub.queue_size)
            inbox.intake = Intake(self, held_size, self.hub.queue_count, self.hub.max_size)
            if self.state == ENDED:
                inbox.intake.end(closed_error(self))
        if inbox.count:
            held_size = inbox.size
            message = inbox.take()
            incoming = inbox.intake.turn_into(limit, message, held_size - inbox.size)
            self.note_room()
        else:
            incoming = inbox.intake.expect(limit)
            self.resume(NOT_ASKED)
        return IncomingMessage(incoming)

    def _expect_handler(self):
        """Keep messages for a handler's task, which will ask for them."""
        self.has_handler = True

    async def receive(self, timeout=None):
        """Receive the next message; wait for it at most `timeout` seconds (None: without limit).

        Raises TimeoutError after `timeout`, ConnectionClosed when no message is left and none will
        come, SockwaveError while there is a listener of `message`, which gets all messages.
        """
        self.hub.thread.check("conn.receive")
        if timeout is not None:
            return await within(timeout, self.receive())
        self.note_taker(False)
        while self.awaits_message():
            await self.next_waiter()
        if not self.inbox.count:
            self.was_told()
            raise closed_error(self)
        return self.take_message()

    cdef bint awaits_message(self) except -1:
        return not self.inbox.count and self.state != ENDED

    cdef InboxWaiter next_waiter(self):
        """Return what the running task awaits until it is its turn to look for a message."""
        cdef InboxWaiter turn = self.inbox.wait(self.hub.engine.wake_queue)
        self.resume(NOT_ASKED)
        return turn

    cdef object take_message(self):
        message = self.inbox.take()
        self.note_room()
        if self.state == ENDED and self.calls is not None:
            self.hub.calls.watch(self)      # each message gets its own `finish_timeout`
        return message

    def __aiter__(self):
        return self

    async def __anext__(self):
        # This does not call `receive`: it would cost one more coroutine for each message.
        self.hub.thread.check("async for message in conn")
        self.note_taker(False)
        while self.awaits_message():
            await self.next_waiter()
        if not self.inbox.count:
            self.was_told()
            raise StopAsyncIteration
        return self.take_message()
