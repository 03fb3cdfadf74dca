"""Pauses in accepting, while there are no descriptors or no memory for another client."""

cdef class AcceptPause:
    """Schedules the next try to accept, and logs when accepting becomes impossible and possible."""
    cdef object loop
    cdef bint is_short          # no client can be accepted, for want of descriptors or memory
    cdef object recovery        # the handle of the call that ends that; None: none is due

    cdef int begin(self, object reason, object again, object listener) except -1
    cdef int can_accept(self) except -1
    cdef int stop(self) except -1
