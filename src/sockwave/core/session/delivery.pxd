"""How messages reach the application: by listeners, by `receive` and `async for`, by `stream`."""

from libc.stdint cimport uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.session.calls cimport EndWaiter
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.inbox cimport Inbox, InboxWaiter
from sockwave.core.protocol.reader cimport Found
from sockwave.core.session.session cimport Session
from sockwave.core.session.streams cimport Intake
from sockwave.core.io.writer cimport Writer

cdef class Deliverer(Session):
    """A session that hands its messages to the application: to listeners, or to tasks that ask."""
    cdef Hub hub
    cdef Inbox inbox            # None until a message finds no listener, or a task asks for one
    cdef object calls           # its own calls that have a task: see `own_calls`
    cdef list end_waiters       # of the tasks that wait for its end; None: there have been none
    cdef uint32_t call_count    # calls of its listeners that have not ended
    cdef uint32_t task_count    # calls of listeners of `message`, which count for `max_tasks`
    cdef uint32_t stuck_at      # the tick for a warning if none of these has ended; 0: none is due
    cdef flag is_hearing        # its listeners of `message` are being called
    cdef flag has_handler       # a task of `serve` will ask for messages
    cdef flag is_awaited        # a task that is none of its calls has waited for its end
    cdef flag is_unheard        # `listen_timeout` has passed: messages are dropped

    cdef int hand_message(self, object message, size_t size) except -1
    cdef int heard_command(self, object message) except -1
    cdef Intake intake(self)
    cdef int queue(self, object message, size_t size) except -1
    cdef bint has_taker(self) except -1
    cdef bint is_being_taken(self) except -1
    cdef int await_listener(self) except -1
    cdef int stop_keeping(self) except -1
    cdef int tasks_are_stuck(self) except -1
    cdef int ask_by(self, uint32_t tick) except -1
    # `is_stream`: the task takes the next message as a stream, so a listener added by `once` cannot
    # have that message.
    cdef int note_taker(self, bint is_stream) except -1
    cdef int note_room(self) except -1
    cdef bint awaits_message(self) except -1
    cdef InboxWaiter next_waiter(self)
    cdef object take_message(self)
    cdef bint is_drain(self, Writer writer, object awaitable) except -1
    cdef bint has_bound_calls(self) except -1
    cdef int cancel_calls(self, object spared) except -1
    cdef int was_told(self) except -1
    cdef EndWaiter await_end(self)
    cdef int tell_end(self) except -1
    cdef int end_delivery(self) except -1
