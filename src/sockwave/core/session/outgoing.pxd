"""Messages that are sent in pieces (RFC 6455, section 5.4)."""

from libc.stdint cimport uint8_t

from sockwave.core.session.sender cimport Sender

cdef class OutgoingMessage:
    """What `Connection.stream_message` returns."""
    cdef Sender session
    cdef object turn            # the future that is done when the streamed message before has ended
    cdef list parts             # on a draft: the chunks, which become one frame
    cdef uint8_t opcode
    cdef bint is_entered, is_open, has_begun

    cdef int let_next(self) except -1
    cdef int finish(self) except -1

cdef int wake_streamers(Sender session) except -1
cdef int kind_of(object kind) except -1
