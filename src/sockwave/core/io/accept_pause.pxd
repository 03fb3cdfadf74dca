"""The times in which nobody can be accepted."""

cdef class AcceptPause:
    """Has accepting tried again, and tells the log when it becomes impossible and possible."""
    cdef object loop
    cdef bint is_short          # of descriptors or memory, so that nobody can be accepted
    cdef object recovery        # the handle of the time after which that is over; None: not yet

    cdef int begin(self, object reason, object again, object listener) except -1
    cdef int can_accept(self) except -1
    cdef int stop(self) except -1
