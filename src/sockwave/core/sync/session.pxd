"""A connection whose messages threads take."""

from sockwave.core.session.client_connection cimport ClientConnection
from sockwave.core.sync.shared_loop cimport Reading, SharedLoop

cdef class ThreadSession(ClientConnection):
    """A client's connection on a shared loop. The caller of its methods holds the loop's lock."""
    cdef readonly SharedLoop shared
    cdef Reading reading        # how the thread that receives waits; None: none has received yet
    cdef list watchers          # Readings of the threads that wait for anything else
    cdef unsigned long receiver  # the thread that is in `take_next`; 0: none

    cdef int send_now(self, object message, object compress) except -1
    cdef int await_drain(self) except -1
    cdef object take_next(self, double seconds)
    cdef bint await_message(self, double end) except -1
    cdef object await_future(self, object future)
    cdef int await_end_now(self) except -1
    cdef int await_change(self, double seconds) except -1
    cdef int tell_watchers(self) except -1
