"""What the connections of a load say, and whether what they hear is the right answer (Linux)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.loadgen.client cimport Client
from sockwave.core.protocol.inflation cimport Inflater
from sockwave.core.protocol.frames cimport MAX_HEADER_SIZE

cdef enum:
    KEY_SIZE = 4

cdef size_t write_masked_header(uint8_t* out, uint8_t first, size_t size) noexcept nogil

cdef class Talker(Client):
    """A connection that has something to say."""
    cdef uint32_t index
    cdef uint32_t sent_count    # messages put into batches so far
    cdef uint32_t heard_count   # whole replies so far, each of them right
    cdef uint64_t sent_ns       # when the batch was written
    cdef uint8_t* batch         # the frames to write at once; NULL: it only listens
    cdef size_t batch_size, written
    cdef size_t heard           # bytes of the current reply
    cdef bint awaits_writable
    cdef uint8_t* reply         # of a compressed one, what has come; NULL: replies are not
    cdef Inflater inflater

    cdef bint write(self) except -1             # true: all of the batch has been taken
    cdef int take_leave(self) except -1

cdef class Exchange:
    """Messages that differ by a stamp, and their echoes."""
    cdef readonly size_t size
    cdef readonly int depth
    cdef readonly uint64_t heard_size           # bytes of whole replies, with their headers
    cdef uint8_t head[MAX_HEADER_SIZE]          # of a frame of ours, but for its key
    cdef uint8_t reply_head[MAX_HEADER_SIZE]
    cdef size_t head_size, reply_head_size, stamp_size, frame_size, reply_size
    cdef uint8_t* payload       # of every message, behind its stamp
    cdef uint64_t noise

    # Makes what a connection needs: all to hear, some to speak.
    cdef int equip(self, Talker who, bint speaks) except -1
    cdef int compose(self, Talker who) except -1        # the next batch
    # Checks what has come, which the messages of `speaker` are answered with.
    cdef int check(self, Talker who, Talker speaker, const uint8_t* data, size_t size) except -1

    cdef uint32_t draw_key(self) noexcept
    cdef size_t check_part(
        self, Talker who, Talker speaker, const uint8_t* data, size_t size
    ) except 0
    cdef int complain(self, Talker who, const uint8_t* data, size_t size) except -1

cdef class SilentExchange(Exchange):
    """Messages that nobody answers; a ping behind each batch is."""
