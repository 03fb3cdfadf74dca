"""What a session writes: messages, whole and in pieces, and control frames."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.frames cimport Violation
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.io.writer cimport Writer

# The versions of the protocol: the index of each in `versions.VERSIONS`, which has their names.
cdef enum Version:
    DRAFT75
    DRAFT76
    HYBI07
    HYBI08
    RFC6455

cdef class Sender(Receiver):
    """Writes the frames of one session, in any version of the protocol."""
    cdef Transport transport
    cdef bytes owed_pong        # the newest ping's payload, while the backlog lets no pong through
    # While a message is sent in pieces: the messages that must not come in between, in order.
    cdef Writer queued_behind
    cdef list pings             # (payload, when, future) of our unanswered ones; None: none
    cdef object streamers        # deque of OutgoingMessage: the first is being sent, others wait
    cdef uint32_t sent          # the wheel's tick at which a message was last sent
    cdef uint16_t unanswered_count      # pings of ours that no pong has answered
    cdef uint8_t version_index  # a Version

    # The state of the session, and how it ends: see `closing`.
    cdef uint8_t state          # a ConnectionState
    cdef uint8_t taken_steps    # steps of the connection's end that have been taken: a bit for each
    cdef flag is_gone           # the transport is gone, and has reported that
    cdef uint16_t code          # the close code that the session ended with; 0: not known yet
    cdef uint16_t own_code      # the one in our close frame
    cdef flag is_telling_end    # listeners of `readyStateChange` are being told that it is CLOSED
    cdef flag is_end_told       # … or have been told
    cdef str reason

    # Overridden by the subclasses:
    cdef int fail(self, Violation violation) except -1
    cdef int dropped(self, size_t count) except -1
    cdef int entered(self, object state) except -1
    cdef int listen_for_close(self) except -1   # our close frame is sent, the peer's is awaited
    cdef int ended(self) except -1

    cdef bint is_client(self) noexcept
    # The frames of a client are masked. A server's messages have a shorter way: `write_message`.
    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1

    cdef bint is_draft(self) noexcept
    cdef int write_message(
        self, int opcode, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef bytes frame_message(self, int opcode, const uint8_t* data, size_t size)
    cdef bint share_frame(self, bytes frame, int policy, object key) except -1
    cdef bint share_by_policy(self, bytes frame, int policy, object key) except -1
    cdef size_t unsent_size(self) noexcept
    cdef size_t count_unsent(self) noexcept
    cdef object when_drained(self)
    cdef int write_fragment(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef int end_fragments(self) except -1
    cdef int give_up(self, Violation violation) except -1
    cdef int write_control(self, int opcode, bytes payload) except -1
    cdef int write_close(self, bytes payload) except -1
    cdef int write_pong(self, bytes payload) except -1
