"""A connection whose messages threads take."""

from _thread import start_new_thread
from collections import deque
from contextvars import copy_context
from time import monotonic

from libc.math cimport INFINITY

from sockwave.core.limits.counters cimport NO_LIMIT, QUEUE_COUNT, QUEUE_SIZE
from sockwave.core.protocol.frames cimport NO_VIOLATION, TOO_SLOW, Violation
from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.session.closing cimport CONNECTED, ENDED, closed_error
from sockwave.core.session.delivery_queue cimport DeliveryQueue, TopicQueue
from sockwave.core.session.flow_control cimport (
    FAILS_LATER, HELD, INBOX_FULL, KEYS_WANTED, UNHEARD, FlowControl,
)
from sockwave.core.session.inbox cimport Inbox
from sockwave.core.sync.shared_loop cimport Reading, current_thread_id, time_left

from sockwave.errors import SockwaveError

# A thread that finds keys ends when there was nothing to do for so long.
cdef double FINDER_REST_S = 1.0

# How long a thread may take to answer the messages that came before a violation.
cdef double ANSWER_S = 0.1


cdef double seconds_of(object timeout) except -2:
    """Return a timeout in seconds; -1: there is none. Raises TypeError or ValueError."""
    if timeout is None:
        return -1
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        given = type(timeout).__name__
        raise TypeError(f"timeout: expected seconds as int or float or None, given {given}")
    if not timeout >= 0:
        raise ValueError(f"timeout: expected 0 seconds or more, or None, given {timeout}")
    return -1 if timeout == INFINITY else timeout


cdef class AnswerWaiter:
    """What a thread waits for that asks the server something: done when the answer has come.

    It has what is used of a future. The thread that settles it holds the lock.
    """

    def __cinit__(self, ThreadSession session not None):
        self.session = session

    def done(self):
        """Tell whether the answer is there, or an error in its place."""
        return self.is_done

    def set_result(self, result):
        """Wake the thread."""
        self.is_done = True
        self.session.tell_watchers()

    def set_exception(self, error):
        """Wake the thread, which raises an error."""
        self.error = error
        self.is_done = True
        self.session.tell_watchers()


cdef class ThreadSession(ClientConnection):
    """A client's connection on a shared loop."""

    def _share(self, SharedLoop shared):
        """Let threads use the connection, which has just been made."""
        self.shared = shared
        self.watchers = []
        # What nobody takes is kept: no listener could be added later.
        self.inbox = Inbox()
        self.inbox.is_wanted = True

    # ---- what the core tells

    cdef int queue(self, object message, size_t size) except -1:
        if self.conflate is not None:
            return self.queue_unplaced(message, size)
        self.queue_last(message, size)
        return 0 if self.reading is None else self.reading.ring()

    cdef bint may_be_streamed(self) except -1:
        return False

    cdef int may_send_again(self) except -1:
        if self.speaks():
            self.shared.loop.call_soon_threadsafe(self._go_on)
        return self.tell_watchers()

    cdef int entered(self, object state) except -1:
        ClientConnection.entered(self, state)
        return self.tell_watchers()

    cdef int ended(self) except -1:
        try:
            ClientConnection.ended(self)
        finally:
            if self.found_more is not None:
                self.found_more.ring()
            if self.reading is not None:
                self.reading.ring()
                if not self.receiver:
                    self.reading.end()
            if self.speaks():
                self.shared.loop.call_soon_threadsafe(self._finish)
            self.tell_watchers()
        return 0

    cdef int tell_watchers(self) except -1:
        """Wake the threads that wait for anything but messages."""
        cdef Reading watcher
        for watcher in self.watchers:
            watcher.ring()
        return 0

    # ---- a violation behind messages that the thread has yet to answer. A server sends both in one
    # segment: were the connection to fail when that is read, no answer could be sent.

    cdef int fail(self, Violation violation) except -1:
        if (
            self.state == CONNECTED and violation < TOO_SLOW and not self.speaks()
            and (self.is_answering or self.inbox.count or self.unplaced_count)
        ):
            return self.fail_later(violation)
        return ClientConnection.fail(self, violation)

    cdef int fail_later(self, Violation violation) except -1:
        """Read nothing more, and fail when the thread asks for the next message, or in `ANSWER_S`.
        """
        if self.violation == NO_VIOLATION:
            self.violation = violation
            FlowControl.forget_received(self)
            self.pause(FAILS_LATER, NO_LIMIT)
            self.shared.loop.call_later(ANSWER_S, self._fail_now)
        return 0

    def _fail_now(self):
        self.fail_now()

    cdef int fail_now(self) except -1:
        """Fail for the violation that has been found, if there is one."""
        cdef Violation violation = self.violation
        if violation == NO_VIOLATION:
            return 0
        self.violation = NO_VIOLATION
        self.resume(FAILS_LATER)
        return ClientConnection.fail(self, violation)

    cdef int read_messages(self, Span* given) except -1:
        if self.violation != NO_VIOLATION:
            return 0        # behind a violation, it is not known where the next frame begins
        return ClientConnection.read_messages(self, given)

    cdef int notify_eof(self) except -1:
        self.fail_now()
        return ClientConnection.notify_eof(self)

    cdef int notify_closed(self, object error) except -1:
        try:
            self.fail_now()
        finally:
            ClientConnection.notify_closed(self, error)
        return 0

    # ---- topics: what is said of them is heard by the loop's own thread alone. It is Python, in
    # which the handler of a signal could raise between any two steps.

    cdef bint speaks(self) noexcept:
        """Tell whether the connection speaks `sockwave.1`."""
        return self.inbox.commands is not None

    cdef int heard_message(self, object message, size_t size) except -1:
        if not self.speaks() or not self.unheard and (
            current_thread_id() == self.shared.own_id or self.shared.has_ended()
        ):
            return ClientConnection.heard_message(self, message, size)
        self.unheard.append(message)
        self.pause(UNHEARD, NO_LIMIT)       # so that one waits, and the others with their bytes
        self.shared.loop.call_soon_threadsafe(self._hear)
        return 0

    def _hear(self):
        """Hear what another thread has read."""
        while self.unheard:
            self.heard_command(self.unheard.popleft())
        self.resume(UNHEARD)

    def _go_on(self):
        """Say what has waited until the server has taken what was said before."""

    def _balance(self):
        """Read the socket, or not: see `Reception.balance`."""

    def _finish(self):
        """Note that all has been heard, and nothing more will be."""
        self.is_finished = True
        self.tell_watchers()

    def _hear_topics(self, commands, DeliveryQueue deliveries not None):
        """Call `commands(connection, message)` for each message of the server's; what the topics
        bring is in `deliveries`."""
        self._take_commands(commands)
        self.deliveries = deliveries
        self.unheard = deque()

    def _tell_change(self):
        """Wake the threads that wait for a delivery, or an answer."""
        self.tell_watchers()

    @property
    def _is_finished(self):
        """Whether all has been heard, and nothing more will be."""
        return self.is_finished

    def _take_of_topics(self, TopicQueue queue not None, str call, timeout):
        """Take what comes next of the topics; wait for it for at most `timeout` seconds. Raises
        TimeoutError, and ConnectionClosed if nothing comes."""
        cdef double seconds = seconds_of(timeout)
        self.check_may_wait(call)
        self.shared.enter()
        try:
            found = self.take_of_topics(
                queue, call, INFINITY if seconds < 0 else <double>monotonic() + seconds
            )
        finally:
            self.shared.leave()
        return found

    cdef object take_of_topics(self, TopicQueue queue, str call, double end):
        self.ask_to_balance()
        found = queue.take_next()
        if found is not None:
            return found
        if queue.taker:
            raise SockwaveError(
                f"{call}: expected one thread at a time that takes {queue.noun}, given a second one"
            )
        queue.taker = current_thread_id()
        try:
            while found is None:
                if self.is_finished:
                    raise closed_error(self)
                self.ask_to_balance()
                self.await_in_time(call, queue.noun, end)
                found = queue.take_next()
        finally:
            queue.taker = 0
        return found

    cdef int ask_to_balance(self) except -1:
        """Have the loop's own thread read again, once few deliveries will wait behind the one that
        is taken now. It is told first: what tells a loop of asyncio's is Python, and nothing may
        raise once the delivery has been taken."""
        cdef DeliveryQueue deliveries = self.deliveries
        if (
            self.pause_reasons & HELD
            and deliveries.count_behind() <= self.hub.queue_count // 4
            and deliveries.size_behind() <= <Py_ssize_t>self.hub.queue_size // 4
        ):
            self.shared.loop.call_soon_threadsafe(self._balance)
        return 0

    def _await_answer(self, str call, AnswerWaiter answer not None, timeout):
        """Wait until an answer is there, or none will come, for at most `timeout` seconds. Raises
        TimeoutError."""
        cdef double seconds = seconds_of(timeout)
        cdef double end = INFINITY if seconds < 0 else <double>monotonic() + seconds
        self.check_may_wait(call)
        self.shared.enter()
        try:
            while not (answer.is_done or self.is_finished):
                self.await_in_time(call, "an answer", end)
        finally:
            self.shared.leave()

    def _await_finish(self, str call):
        """Wait until all has been heard of a connection that has ended."""
        self.check_may_wait(call)
        self.shared.enter()
        try:
            while not self.is_finished:
                self.await_change(-1)
        finally:
            self.shared.leave()

    cdef int await_in_time(self, str call, str what, double end) except -1:
        """Wait until something may have changed. Raises TimeoutError."""
        cdef double left = time_left(end)
        if left == 0:
            raise TimeoutError(f"{call}: expected {what} within the timeout")
        return self.await_change(left)

    # ---- which thread may wait

    cdef bint may_wait(self) except -1:
        """Tell whether the calling thread, which holds the lock, may wait for the connection."""
        return self.shared.may_wait() and current_thread_id() != self.finder

    cdef int check_may_wait(self, str call) except -1:
        """Raise SockwaveError where the calling thread must not wait for the connection."""
        self.shared.check_may_wait(call)
        if current_thread_id() == self.finder:
            raise SockwaveError(
                f"{call}: expected a thread that may wait, given one in the connection's own "
                "`conflate`"
            )
        return 0

    # ---- keys of messages: the application's function is called without the lock

    def _conflate(self, key):
        """Keep only the newest message for each `key(message)`, of those that wait."""
        ClientConnection._conflate(self, key)
        self.unplaced = []
        self.key_context = copy_context()
        self.found_more = Reading.__new__(Reading, self.shared)

    cdef int queue_unplaced(self, object message, size_t size) except -1:
        """Have a thread find the key of a message: with the lock, the function would hold up all
        other connections, and could wait for a thread that waits for the lock."""
        self.unplaced.append((message, size, self.arrived_s))
        self.unplaced_count += 1
        self.unplaced_size += size
        if self.unplaced_size >= self.hub.queue_size:
            self.pause(KEYS_WANTED, QUEUE_SIZE)
        elif self.unplaced_count >= self.hub.queue_count:
            self.pause(KEYS_WANTED, QUEUE_COUNT)
        if self.is_finding:
            return self.found_more.ring()
        self.is_finding = True
        start_new_thread(self.key_context.copy().run, (self._find_keys,))
        return 0

    def _find_keys(self):
        """Find keys, and place their messages, as long as some come: what the thread does."""
        self.finder = current_thread_id()
        try:
            while self.find_keys():
                pass
        except SockwaveError:
            self.is_finding = False     # the interpreter ends

    cdef bint find_keys(self) except -1:
        """Find the keys of the messages that have come; return whether to go on."""
        cdef list batch
        self.shared.enter()
        try:
            if not self.unplaced and self.state != ENDED:
                self.found_more.wait(FINDER_REST_S)
            batch = self.unplaced
            self.unplaced = []
            if not batch:
                self.is_finding = False
                self.finder = 0
        finally:
            self.shared.leave()
        for message, size, arrived_s in batch:
            key = failure = None
            try:
                key = self.conflate(message)
                hash(key)
            except BaseException as error:
                failure = error
            if self.shared.hands_over():
                self.shared.call_there(self._place, (key, failure, message, size, arrived_s))
                continue
            self.shared.enter()
            try:
                self._place(key, failure, message, size, arrived_s)
            finally:
                self.shared.leave()
        return len(batch) > 0

    def _place(self, key, failure, message, size_t size, double arrived_s):
        """Have a message wait whose key is known."""
        cdef double latest_s = self.arrived_s
        self.unplaced_count -= 1
        self.unplaced_size -= size
        if failure is not None:
            self.failed(failure)
        else:
            self.arrived_s = arrived_s
            self.queue_by_key(key, message, size)
            self.arrived_s = latest_s
        if (
            self.unplaced_count <= self.hub.queue_count // 4
            and self.unplaced_size <= self.hub.queue_size // 4
        ):
            self.resume(KEYS_WANTED)
        if self.reading is not None:
            self.reading.ring()

    # ---- messages out

    cdef int send_now(self, object message, object compress) except -1:
        """Send a message: what is written is sent at once, as in a turn of the connection's own."""
        if not self.may_wait():
            return self.submit(message, compress, None, None)
        self.await_drain()      # what other threads have queued: all at once would be too much
        self.transport.take_cork()
        try:
            self.submit(message, compress, None, None)
        finally:
            self.transport.release_cork()
        return self.await_drain()

    cdef int send_there(self, object message, object compress) except -1:
        """Have the loop's own thread send a message; the caller does not hold the lock."""
        cdef bint may_wait = current_thread_id() != self.finder
        while True:
            if may_wait:
                self.await_drain_unlocked()
            if self.shared.call_there(self._submit, (message, compress, may_wait)):
                break
        return self.await_drain_unlocked() if may_wait else 0

    def _submit(self, message, compress, bint may_wait):
        """Queue a message; return False where it has to wait for what others have queued."""
        if may_wait and self.state == CONNECTED and self.is_behind():
            return False
        self.submit(message, compress, None, None)
        return True

    cdef bint is_behind(self) noexcept:
        """Tell whether more than the high-water mark waits for the server to take it."""
        return self.transport.backlog.size > self.transport.cork.marks.high_water

    cdef int await_drain_unlocked(self) except -1:
        """Wait as `await_drain` does; the caller does not hold the lock."""
        self.shared.enter()
        try:
            self.await_drain()
        finally:
            self.shared.leave()
        return 0

    cdef int await_drain(self) except -1:
        """Wait while more than the high-water mark waits for the server to take it."""
        while self.state == CONNECTED and self.is_behind():
            self.await_change(-1)
            if self.state != CONNECTED:
                raise closed_error(self)
        return 0

    # ---- messages in

    cdef object take_next(self, double seconds):
        """Take the next message; wait for it for at most so many seconds. Raises TimeoutError."""
        self.is_answering = False
        if not self.inbox.count:
            if self.receiver:
                raise SockwaveError(
                    "recv: expected one thread at a time that receives from a connection, given a "
                    "second one"
                )
            self.receiver = current_thread_id()
            try:
                self.await_message(INFINITY if seconds < 0 else <double>monotonic() + seconds)
            finally:
                self.receiver = 0
                if self.watchers and self.reading is not None:
                    self.reading.give_back()        # the loop reads what other threads wait for
                if self.state == ENDED and self.reading is not None:
                    self.reading.end()
        self.is_answering = True
        return self.take_placed()

    cdef object take_placed(self):
        """Take the message that is there. A loop of asyncio's reads again by its own thread: it is
        told first, as nothing may raise once the message has been taken."""
        if not self.shared.is_lent():
            return self.take_message()
        if self.pause_reasons & INBOX_FULL and self.inbox.count - 1 <= self.hub.queue_count // 4:
            self.shared.loop.call_soon_threadsafe(self._note_room)
        return self.inbox.take()

    def _note_room(self):
        self.note_room()

    cdef bint await_message(self, double end) except -1:
        """Wait until there is a message. Raises TimeoutError, and ConnectionClosed if none comes.
        """
        cdef double left
        if self.reading is None:
            # Topics are heard by the loop's own thread, so it reads.
            self.reading = (
                Reading.__new__(Reading, self.shared) if self.speaks()
                else self.shared.make_reading(self.transport)
            )
        while not self.inbox.count:
            if self.state == ENDED and not self.unplaced_count:
                self.inbox.is_told = True
                raise closed_error(self)
            if self.violation != NO_VIOLATION and not self.unplaced_count:
                self.shared.loop.call_soon_threadsafe(self._fail_now)
            left = time_left(end)
            self.reading.wait(left)
            if left == 0 and not self.inbox.count and (
                self.state != ENDED or self.unplaced_count
            ):
                raise TimeoutError("recv: expected a message within the timeout")
        return True

    # ---- all else that takes time

    def _ping(self, data):
        """Send a ping; return a future of its round trip, which wakes those who wait."""
        future = self.ping(data)
        future.add_done_callback(lambda _: self.tell_watchers())
        return future

    def _close(self, code, reason):
        self.close(code, reason)
        self.leave(code)

    cdef object await_future(self, object future):
        """Wait until a future of the loop is done; return its result."""
        while not future.done():
            self.await_change(-1)
        return future.result()

    cdef int await_end_now(self) except -1:
        """Wait until the connection has ended; when the interpreter ends, end it."""
        if self.state != ENDED and self.shared.has_ended():
            # Our Close has been written, and leaves with the FIN: nobody waits for the server's.
            self.transport.flush()
            return self.transport.close_with(None)
        while self.state != ENDED:
            self.await_change(-1)
        return 0

    cdef int await_change(self, double seconds) except -1:
        """Wait until something about the connection may have changed."""
        cdef Reading watcher = Reading.__new__(Reading, self.shared)
        if self.reading is not None and self.receiver in (0, current_thread_id()):
            # The loop reads what is waited for. That the receiver itself waits for anything else
            # is so in the handler of a signal, which has interrupted it.
            self.reading.give_back()
        self.watchers.append(watcher)
        try:
            watcher.wait(seconds)
        finally:
            self.watchers.remove(watcher)
        return 0
