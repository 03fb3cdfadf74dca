"""What is due later: a heap of times, each with what it is for."""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Deadline:
    double due_s
    uint32_t kind
    uint32_t number         # of a topic
    uint64_t serial         # of a topic: another one may have its number by then

# Its owner initializes it with zeros and frees it by `free_deadlines`.
cdef struct Deadlines:
    Deadline* heap          # the earliest stands first
    size_t count, capacity

cdef int add_deadline(Deadlines* deadlines, const Deadline* deadline) except -1
cdef bint take_due(Deadlines* deadlines, double now_s, Deadline* taken) noexcept
cdef int free_deadlines(Deadlines* deadlines) noexcept
