"""A connection whose messages threads take."""

from sockwave.core.protocol.frames cimport Violation
from sockwave.core.session.client_connection cimport ClientConnection
from sockwave.core.session.delivery_queue cimport DeliveryQueue, TopicQueue
from sockwave.core.sync.shared_loop cimport Reading, SharedLoop

cdef double seconds_of(object timeout) except -2

cdef class ThreadSession

cdef class AnswerWaiter:
    """What a thread waits for that asks the server something."""
    cdef ThreadSession session
    cdef readonly object error  # what the thread raises; None: the answer is there
    cdef bint is_done

cdef class ThreadSession(ClientConnection):
    """A client's connection on a shared loop. The caller of its methods holds the loop's lock."""
    cdef readonly SharedLoop shared
    cdef Reading reading        # how the thread that receives waits; None: none has received yet
    cdef list watchers          # Readings of the threads that wait for anything else
    cdef unsigned long receiver  # the thread that is in `take_next`; 0: none
    cdef bint is_answering      # it has taken a message, and not asked for the next one yet
    cdef Violation violation    # found behind a message that may yet be answered
    # With topics:
    cdef DeliveryQueue deliveries    # what they have brought
    cdef object unheard         # a deque of what is said, and was read by another thread
    cdef bint is_finished       # all has been heard, and nothing more will be
    # With `conflate`: (message, size, when it has come) of those whose keys are not known yet.
    cdef list unplaced
    cdef size_t unplaced_size
    cdef Py_ssize_t unplaced_count  # with those whose keys are being found
    cdef object key_context     # the context in which the connection was opened
    cdef unsigned long finder   # the thread that finds keys; 0: it does not run
    cdef bint is_finding        # it runs, or is about to
    cdef Reading found_more     # how it waits

    cdef bint speaks(self) noexcept
    cdef int fail_later(self, Violation violation) except -1
    cdef int fail_now(self) except -1
    cdef object take_of_topics(self, TopicQueue queue, str call, double end)
    cdef int ask_to_balance(self) except -1
    cdef int await_in_time(self, str call, str what, double end) except -1
    cdef bint may_wait(self) except -1
    cdef int check_may_wait(self, str call) except -1
    cdef int queue_unplaced(self, object message, size_t size) except -1
    cdef bint find_keys(self) except -1
    cdef int send_there(self, object message, object compress) except -1
    cdef int send_now(self, object message, object compress) except -1
    cdef int await_drain(self) except -1
    cdef int await_drain_unlocked(self) except -1
    cdef bint is_behind(self) noexcept
    cdef object take_placed(self)
    cdef object take_next(self, double seconds)
    cdef bint await_message(self, double end) except -1
    cdef object await_future(self, object future)
    cdef int await_end_now(self) except -1
    cdef int await_change(self, double seconds) except -1
    cdef int tell_watchers(self) except -1
