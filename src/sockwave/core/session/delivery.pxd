"""How messages come to the application: by listeners, by `receive` and `async for`, by `stream`."""

from libc.stdint cimport uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.inbox cimport Inbox, InboxWaiter
from sockwave.core.protocol.reader cimport Found
from sockwave.core.session.session cimport Session
from sockwave.core.session.streams cimport Intake
from sockwave.core.io.writer cimport Writer

cdef class Deliverer(Session):
    """A session whose messages go to whoever of the application wants them."""
    cdef Hub hub
    cdef Inbox inbox            # None until a message has nobody to go to
    cdef object calls           # those of its own that have a task: a Call, or a dict by task
    cdef uint32_t call_count    # of its listeners' calls that have not ended
    cdef uint32_t task_count    # of the calls of listeners of `message`, which count as tasks
    cdef uint32_t stuck_at      # the tick at which none of them may still go on; 0: some have
    cdef flag is_hearing        # its listeners of `message` are being called
    cdef flag has_handler       # a task of `serve` will ask for messages
    cdef flag is_unheard        # nobody has listened in time: messages are dropped

    cdef Intake intake(self)
    cdef int queue(self, object message, size_t size) except -1
    cdef bint has_taker(self) except -1
    cdef bint is_being_taken(self) except -1
    cdef int await_listener(self) except -1
    cdef int stop_keeping(self) except -1
    cdef int tasks_are_stuck(self) except -1
    cdef int ask_by(self, uint32_t tick) except -1
    # `is_stream`: of the next message, which a listener that is to hear one more cannot have then.
    cdef int note_taker(self, bint is_stream) except -1
    cdef int note_room(self) except -1
    cdef bint awaits_message(self) except -1
    cdef InboxWaiter next_waiter(self)
    cdef object take_message(self)
    cdef bint is_drain(self, Writer writer, object awaitable) except -1
    cdef list list_calls(self)
    cdef bint has_bound_calls(self) except -1
    cdef int cancel_calls(self, object spared) except -1
    cdef int was_told(self) except -1
    cdef int end_delivery(self) except -1
