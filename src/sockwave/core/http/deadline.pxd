"""What an HTTP connection waits for, and until when."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.http.settings cimport HttpSettings
from sockwave.core.io.transport cimport Transport

# What the deadline is for.
cdef enum Wait:
    HEAD_END                    # the end of a request head, from accept or from its first byte
    NEXT_HEAD                   # the next request
    PROGRESS                    # any progress of a body or an answer
    ANSWER                      # the head of an answer, by the application

cdef struct Deadline:
    uint64_t moved_size         # bytes that the client had taken when it was last looked at
    uint32_t due                # its tick; 0: there is none
    uint32_t answer_due         # the tick at which an answer has taken too long; 0: it may
    uint8_t wait                # a Wait
    flag is_stalled_once        # `moved_size` has been noted

cdef inline int change_wait(
    Deadline* deadline, Wait wait, HttpSettings settings, Transport transport
) except -1:
    """Start waiting for something else; if that is waited for already, keep the deadline."""
    return 0 if wait == deadline.wait else begin_wait(deadline, wait, settings, transport)

cdef int begin_wait(
    Deadline* deadline, Wait wait, HttpSettings settings, Transport transport
) except -1
cdef bint has_stalled(
    Deadline* deadline, uint64_t moved_size, bint has_ended, HttpSettings settings,
    Transport transport,
) except -1
