"""Deliveries of topics that wait for a client's application."""

cdef class Entry:
    """A delivery, or a position alone, which is known once all before it has been taken."""
    cdef object subscription    # whose it is: its `since` is where the application has come to
    cdef object position        # … which this is then; None: not known
    cdef bint is_placed         # whether it is noted there
    cdef readonly object delivery       # None: a position alone
    cdef Py_ssize_t size        # of its message, and what it takes besides, in bytes

cdef class TopicQueue:
    """What topics have brought, until the application takes it."""
    cdef unsigned long taker    # the thread that waits for it; 0: none
    cdef readonly str noun      # what it has, for errors

    cdef object take_next(self)         # None: nothing is there

cdef class DeliveryQueue(TopicQueue):
    """The deliveries of one connection, in order."""
    cdef object entries         # a deque of Entry
    cdef readonly Py_ssize_t size       # of all that wait, in bytes

    cdef Py_ssize_t count_behind(self) except -1
    cdef Py_ssize_t size_behind(self) except -1
    cdef int note_taken(self, Entry entry) except -1
