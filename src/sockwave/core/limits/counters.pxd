"""How often each limit has been applied: one table of a server, counted where the limit bites."""

from libc.stdint cimport uint64_t

# The limits that the core applies itself, in the order of CORE_LIMITS; the others stand behind.
cdef enum Limit:
    NO_LIMIT = -1
    MAX_SIZE
    FRAGMENT_COUNT
    MESSAGE_RATE
    BYTE_RATE
    CONTROL_RATE
    QUEUE_COUNT
    QUEUE_SIZE
    MAX_TASKS
    FINISH_TIMEOUT
    MAX_FINISHING
    HIGH_WATER
    MAX_BACKLOG
    MEMORY_BUDGET
    LISTEN_TIMEOUT
    CLOSE_TIMEOUT
    WRITE_TIMEOUT
    PING_TIMEOUT
    IDLE_TIMEOUT
    MAX_LIFETIME

cdef enum:
    MAX_LIMIT_COUNT = 64

cdef class LimitCounters:
    """Counts, for one server."""
    cdef uint64_t counts[MAX_LIMIT_COUNT]

    cdef int count(self, Limit limit) noexcept
