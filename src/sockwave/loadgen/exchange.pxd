"""The messages that the clients of a load send, and the check of the replies (Linux)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.loadgen.client cimport Client
from sockwave.core.protocol.inflation cimport Inflater
from sockwave.core.protocol.frames cimport MAX_CONTROL_SIZE, MAX_HEADER_SIZE

cdef enum:
    KEY_SIZE = 4
    PING_FRAME_SIZE = 2 + MAX_CONTROL_SIZE

cdef size_t write_masked_header(uint8_t* out, uint8_t first, size_t size) noexcept nogil

cdef class LoadClient(Client):
    """A client that sends messages and counts the replies."""
    cdef uint32_t index
    cdef uint32_t sent_count    # messages put into batches so far
    cdef uint32_t reply_count   # whole replies so far, all of them right
    cdef uint64_t sent_ns       # when the batch was written
    cdef uint8_t* batch         # the frames to write at once; NULL: this client sends nothing
    cdef size_t batch_size, written
    cdef size_t partial_size    # bytes of the current reply that have come
    cdef size_t head_size       # those of its head, where it is an answer of HTTP's; 0: not whole
    cdef bint awaits_writable
    # A ping of the server: as much of the frame as has come, until its pong is written.
    cdef uint8_t ping[PING_FRAME_SIZE]
    cdef size_t ping_size       # 0: none
    cdef bint owes_pong         # it is whole
    cdef uint8_t* reply         # those bytes; NULL unless replies may be compressed
    cdef Inflater inflater

    cdef bint write(self) except -1             # true: the kernel has taken the whole batch
    cdef int send_close(self) except -1
    cdef size_t take_ping(self, const uint8_t* data, size_t size) except 0     # the bytes used
    cdef int send_pong(self) except -1

cdef class Exchange:
    """Messages that differ by a stamp, and their echoes."""
    cdef readonly size_t size                   # bytes of a message
    cdef readonly int depth                     # messages of a batch
    cdef readonly uint64_t received_size        # bytes of whole replies, with their headers
    cdef bint ends_connections  # the server closes behind a batch, and the client connects again
    cdef uint8_t head[MAX_HEADER_SIZE]          # the header of a client's frame, without its key
    cdef uint8_t reply_head[MAX_HEADER_SIZE]    # the header of a reply
    cdef size_t head_size, reply_head_size, stamp_size, frame_size, reply_size
    cdef uint8_t* payload       # what every message has behind its stamp
    cdef uint64_t random_state

    # Allocates what a client needs to receive replies and, with `sends`, to send.
    cdef int prepare(self, LoadClient client, bint sends) except -1
    cdef int compose(self, LoadClient client) except -1         # write the next batch
    # Checks bytes that `client` has received: replies to the messages of `sender`.
    cdef int check(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except -1

    cdef uint32_t draw_key(self) noexcept
    cdef size_t check_part(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except 0
    cdef int raise_wrong_reply(
        self, LoadClient client, const uint8_t* data, size_t size
    ) except -1

cdef class SilentExchange(Exchange):
    """Messages that the server does not answer; it answers the ping behind each batch."""
