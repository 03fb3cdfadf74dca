"""What the connections of a load say, and whether what they hear is the right answer.

Every message has a stamp, its number and its connection's, so that a reply that is lost, doubled,
swapped or stale is found; every reply is compared byte by byte, frame header and all. Frames are
masked with a key of their own (RFC 6455, section 5.3) up to FRESH_KEY_SIZE. Above it each place in
a batch keeps its key: to mask large messages anew would cost the client as much as the server, and
no server can see the difference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from sockwave.core.protocol.frames cimport (
    BINARY, CLOSE, FIN, PING, PONG, TEXT, Header, parse_header, write_header,
)
# The same thing on, or from one key to another.
from sockwave.core.protocol.mask cimport unmask as mask

from sockwave.loadgen.client import LoadError

cdef enum:
    STAMP_SIZE = 8
    MASKED = 0x80
    PING_HEAD_SIZE = 2
    PING_SIZE = PING_HEAD_SIZE + KEY_SIZE + STAMP_SIZE
    FRESH_KEY_SIZE = 4096
    MAX_MEMORY_SIZE = 1 << 30   # of all batches
    SHOWN_SIZE = 16             # bytes of a wrong reply
    FIRST_CHARACTER = 0x20      # of the 95 that ASCII prints

# Close, code 1000: masked with zeros, as nobody has to guess it.
cdef bytes FAREWELL = b"\x88\x82\0\0\0\0\x03\xe8"


cdef inline void write_stamp(uint8_t* out, uint32_t number, uint32_t index) noexcept nogil:
    """Write 30 bits of one number and 18 of the other in printable characters, six bits in each, as
    text has to be UTF-8."""
    cdef uint64_t bits = <uint64_t>(index & 0x3FFFF) << 30 | number & 0x3FFFFFFF
    bits = bits & 0xFFFFFF | bits >> 24 << 32
    bits = bits & 0x00000FFF00000FFFULL | (bits & 0x00FFF00000FFF000ULL) << 4
    bits = bits & 0x003F003F003F003FULL | (bits & 0x0FC00FC00FC00FC0ULL) << 2
    bits += 0x3030303030303030ULL
    memcpy(out, &bits, STAMP_SIZE)


cdef inline bint differs(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    """Compare as memcmp does; 8 to 16 bytes, which most of what is compared has, without a call."""
    cdef uint64_t[4] words
    if size < 8 or size > 16:
        return memcmp(a, b, size) != 0
    memcpy(&words[0], a, 8)
    memcpy(&words[1], b, 8)
    memcpy(&words[2], a + size - 8, 8)
    memcpy(&words[3], b + size - 8, 8)
    return (words[0] ^ words[1] | words[2] ^ words[3]) != 0


cdef size_t write_masked_header(uint8_t* out, uint8_t first, size_t size) noexcept nogil:
    """Write the header of a client's frame, all but its key."""
    cdef size_t head_size = write_header(out, first, size)
    out[1] |= MASKED
    return head_size


cdef class Talker(Client):
    """A connection that has something to say."""

    def __dealloc__(self):
        free(self.batch)
        free(self.reply)

    cdef bint write(self) except -1:
        """Write what is left of the batch, as far as it is taken."""
        if self.written < self.batch_size:
            self.written += self.put(self.batch + self.written, self.batch_size - self.written)
        elif self.unsent is not None:
            self.send_sealed()
        return self.written == self.batch_size and self.unsent is None

    cdef int take_leave(self) except -1:
        """Begin the closing handshake; who does not hear it sees the end of the stream."""
        self.put(<const uint8_t*>PyBytes_AS_STRING(FAREWELL), PyBytes_GET_SIZE(FAREWELL))
        return 0


cdef class Exchange:
    """Messages that differ by a stamp, and their echoes."""

    def __init__(self, size_t size, int depth=1, bint binary=False, int speaker_count=1):
        cdef size_t i
        cdef uint8_t first = FIN | (BINARY if binary else TEXT)
        self.size = size
        self.depth = depth
        self.noise = 88172645463325252      # of Marsaglia's paper on xorshift
        self.head_size = write_masked_header(self.head, first, size)
        self.reply_head_size = write_header(self.reply_head, first, size)
        self.stamp_size = min(size, <size_t>STAMP_SIZE)
        self.frame_size = self.head_size + KEY_SIZE + size
        self.reply_size = self.reply_head_size + size
        if self.frame_size * depth * speaker_count > MAX_MEMORY_SIZE:
            raise ValueError(f"expected at most {MAX_MEMORY_SIZE >> 20} MiB of messages at once")
        free(self.payload)
        self.payload = <uint8_t*>malloc(size + STAMP_SIZE)
        if self.payload is NULL:
            raise MemoryError
        for i in range(size):
            self.payload[i] = FIRST_CHARACTER + i * 7 % 95

    def __dealloc__(self):
        free(self.payload)

    cdef uint32_t draw_key(self) noexcept:
        self.noise ^= self.noise << 13
        self.noise ^= self.noise >> 7
        self.noise ^= self.noise << 17
        return <uint32_t>(self.noise >> 16)

    # ---- messages

    cdef int equip(self, Talker who, bint speaks) except -1:
        cdef uint8_t* frame
        cdef uint32_t key
        cdef int _i
        if not speaks:
            return 0
        who.batch_size = self.frame_size * self.depth
        who.batch = frame = <uint8_t*>malloc(who.batch_size)
        if frame is NULL:
            raise MemoryError
        for _i in range(self.depth):
            key = self.draw_key()
            memcpy(frame, self.head, self.head_size)
            memcpy(frame + self.head_size, &key, KEY_SIZE)
            mask(frame + self.head_size + KEY_SIZE, self.payload, self.size, key)
            frame += self.frame_size
        return 0

    cdef int compose(self, Talker who) except -1:
        """Give the frames of the last batch new stamps, and new keys."""
        cdef uint8_t* key_place = who.batch + self.head_size
        cdef uint8_t* body
        cdef uint8_t[STAMP_SIZE] stamp
        cdef size_t stamp_size = self.stamp_size
        cdef bint is_fresh = self.size <= FRESH_KEY_SIZE
        cdef uint32_t key, old_key
        cdef int _i
        for _i in range(self.depth):
            body = key_place + KEY_SIZE
            memcpy(&key, key_place, KEY_SIZE)
            if is_fresh:
                old_key = key
                key = self.draw_key()
                memcpy(key_place, &key, KEY_SIZE)
                # From one key to the next without the plain bytes in between.
                mask(body + stamp_size, body + stamp_size, self.size - stamp_size, key ^ old_key)
            write_stamp(stamp, who.sent_count, who.index)
            mask(body, stamp, stamp_size, key)
            who.sent_count += 1
            key_place += self.frame_size
        who.written = 0
        return 0

    # ---- replies

    cdef int check(self, Talker who, Talker speaker, const uint8_t* data, size_t size) except -1:
        cdef size_t used
        while size:
            if who.heard_count == speaker.sent_count:
                raise LoadError(f"{size} bytes behind the last reply")
            used = self.check_part(who, speaker, data, size)
            data += used
            size -= used
        return 0

    cdef size_t check_part(
        self, Talker who, Talker speaker, const uint8_t* data, size_t size
    ) except 0:
        """Compare what is there of the current reply, at most to its end; gives its size."""
        cdef uint8_t[MAX_HEADER_SIZE + STAMP_SIZE] start
        cdef size_t start_size = self.reply_head_size + self.stamp_size
        cdef size_t at = who.heard
        cdef size_t part = min(size, self.reply_size - at)
        cdef size_t used = 0
        if at < start_size:
            memcpy(start, self.reply_head, MAX_HEADER_SIZE)
            write_stamp(start + self.reply_head_size, who.heard_count, speaker.index)
            used = min(start_size - at, part)
            if differs(data, start + at, used):
                self.complain(who, data, size)
        if used < part and differs(
            data + used, self.payload + (at + used - self.reply_head_size), part - used
        ):
            self.complain(who, data, size)
        if at + part == self.reply_size:
            who.heard = 0
            who.heard_count += 1
            self.heard_size += self.reply_size
        else:
            who.heard = at + part
        return part

    cdef int complain(self, Talker who, const uint8_t* data, size_t size) except -1:
        """Say how a reply is wrong; what has come before of it was right."""
        cdef Header header
        cdef size_t shown = min(size, <size_t>SHOWN_SIZE)
        if who.heard == 0 and parse_header(data, size, &header) and header.opcode == CLOSE:
            if header.length < 2 or size < 4:
                raise LoadError(f"closed by the server after {who.heard_count} replies")
            reason = data[4:min(size, header.size + header.length)].decode(errors="replace")
            raise LoadError(
                f"closed by the server after {who.heard_count} replies, code "
                f"{data[2] << 8 | data[3]}, reason {reason!r}"
            )
        raise LoadError(
            f"reply {who.heard_count} differs from its message, at byte {who.heard} of the frame "
            f"or later: expected {self.size} bytes behind the header "
            f"{self.reply_head[:self.reply_head_size].hex()}, got {data[:shown].hex(' ')}"
        )


cdef class SilentExchange(Exchange):
    """Messages that nobody answers; a ping behind each batch is.

    Its pong (RFC 6455, section 5.5.3) says that the server has read the batch.
    """

    cdef int equip(self, Talker who, bint speaks) except -1:
        cdef void* longer
        Exchange.equip(self, who, speaks)
        if speaks:
            longer = realloc(who.batch, who.batch_size + PING_SIZE)
            if longer is NULL:
                raise MemoryError
            who.batch = <uint8_t*>longer
            who.batch_size += PING_SIZE
        return 0

    cdef int compose(self, Talker who) except -1:
        """Put a ping behind the frames, with the stamp of what would come next."""
        cdef uint8_t* ping = who.batch + (who.batch_size - PING_SIZE)
        cdef uint32_t key = self.draw_key()
        cdef uint8_t[STAMP_SIZE] stamp
        Exchange.compose(self, who)
        write_masked_header(ping, FIN | PING, STAMP_SIZE)
        memcpy(ping + PING_HEAD_SIZE, &key, KEY_SIZE)
        write_stamp(stamp, who.sent_count, who.index)
        mask(ping + PING_HEAD_SIZE + KEY_SIZE, stamp, STAMP_SIZE, key)
        return 0

    cdef size_t check_part(
        self, Talker who, Talker speaker, const uint8_t* data, size_t size
    ) except 0:
        """Compare what is there of a pong, which answers for a whole batch."""
        cdef uint8_t[PING_HEAD_SIZE + STAMP_SIZE] pong
        cdef size_t part = min(size, PING_HEAD_SIZE + STAMP_SIZE - who.heard)
        write_header(pong, FIN | PONG, STAMP_SIZE)
        write_stamp(pong + PING_HEAD_SIZE, who.heard_count + self.depth, speaker.index)
        if memcmp(data, pong + who.heard, part) != 0:
            self.complain(who, data, size)
        who.heard += part
        if who.heard == PING_HEAD_SIZE + STAMP_SIZE:
            self.heard_size += who.heard
            who.heard_count += self.depth
            who.heard = 0
        return part
