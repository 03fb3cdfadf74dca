"""How often each limit has been applied: one table for each server. The code that applies a limit
counts it."""

from libc.stdint cimport uint64_t

# The limits that the core applies itself, in the order of CORE_LIMITS: a limit is the index of its
# count. The limits that Python code applies have the indexes behind these.
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
    """The counts of one server."""
    cdef uint64_t counts[MAX_LIMIT_COUNT]

    cdef int count(self, Limit limit) noexcept
