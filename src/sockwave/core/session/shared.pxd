"""One message for many connections: framed, and compressed, at most once for each kind of them."""

cimport cython
from libc.stdint cimport uint8_t

from sockwave.core.protocol.deflate cimport Deflater
from sockwave.core.session.session cimport Session


@cython.final
@cython.no_gc
cdef class SharedMessage:
    """One message for many connections."""
    cdef object owner           # keeps `data` alive and unchanged
    cdef const uint8_t* data
    cdef size_t size
    cdef int opcode             # TEXT or BINARY
    cdef int policy             # for clients that cannot keep up
    cdef object compress        # True, False, or None: from the threshold on
    cdef object key             # of "conflate"
    cdef bytes frame            # of RFC 6455 and the late drafts; None: not made yet, as below
    cdef bytes draft_frame      # of draft-75 and draft-76
    cdef dict deflated_frames   # by compressor
    cdef bytes end              # of the message, which the next one may refer to: one for all

    cdef bint send_to(self, Session connection) except -1
    cdef bint send_deflated(self, Session connection, Deflater deflater) except -1

cdef SharedMessage share_message(object message, object compress, int policy, object key)
