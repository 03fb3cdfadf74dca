"""Tasks that wait until something has changed."""

from libc.stdint cimport uint32_t

cdef class Waiting:
    """Any number of tasks that look again when they are woken."""
    cdef list futures           # of the tasks that wait
    cdef uint32_t told_count    # how often one was told that all is over

    cpdef object wake(self)
    cpdef bint is_pressed(self)
