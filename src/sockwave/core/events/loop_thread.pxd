"""Which thread a server's loop runs in: most calls may be made in that thread only."""

cdef extern from "Python.h":
    unsigned long current_thread_id "PyThread_get_thread_ident" () noexcept nogil

cdef class LoopThread:
    """The thread of one loop."""
    cdef object loop
    cdef unsigned long id       # 0: there is no loop, and any thread may call
    cdef bint is_abandoned      # in a forked child, where the loop does not run

    # Made once in each public call. In the right thread it is two loads and a comparison.
    cdef inline int check(self, str call) except -1:
        """Raise SockwaveError in any other thread; `call` is what the application called, for the
        message."""
        if self.id != current_thread_id() and self.id:
            return self.check_again(call)
        return 0

    cdef bint may_call(self) except -1
    cdef int check_again(self, str call) except -1
    cdef int follow(self) noexcept
