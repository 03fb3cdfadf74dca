"""A load at a constant rate, whatever the server does (Linux)."""

from libc.stdint cimport uint64_t

from sockwave.loadgen.exchange cimport LoadClient
from sockwave.loadgen.load cimport Load

cdef class OpenLoad(Load):
    """A load whose messages leave when they are due, and not when replies have come."""
    cdef double rate            # messages in a second
    cdef double ramp_s          # seconds in which the rate rises to that
    cdef uint64_t start_ns      # when the first message is due
    cdef uint64_t due_count     # messages that were found due, and sent unless their client lags
    cdef uint64_t last_count    # as many become due at all; until `stop` there is no end
    cdef uint64_t first_counted      # number of the first message whose replies count
    cdef Py_ssize_t sender_count

    cdef uint64_t due_ns(self, uint64_t number) noexcept
    cdef uint64_t count_due(self, uint64_t ns) noexcept
    cdef uint64_t next_number(self, LoadClient client) noexcept
    cdef int send_one(self, LoadClient client) except -1
    cdef int arm(self) except -1
