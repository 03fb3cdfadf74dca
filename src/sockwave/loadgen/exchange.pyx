"""The messages that the clients of a load send, and the check of the replies.

Every message has a stamp, its own number and its client's, so that a lost, doubled, swapped or
stale reply is found. Every reply is compared byte by byte, with its frame header. Messages up to
FRESH_KEY_SIZE are masked with a new key each (RFC 6455, section 5.3). For larger ones each place in
the batch keeps its key: masking them again would cost the load generator as much as the server, and
no server can see the difference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from sockwave.core.protocol.frames cimport (
    BINARY, CLOSE, FIN, PING, PONG, TEXT, Header, parse_header, write_header,
)
# Masking is the same operation as unmasking, and also changes from one key to another.
from sockwave.core.protocol.mask cimport unmask as mask

from sockwave.loadgen.client import LoadError

cdef enum:
    STAMP_SIZE = 8
    MASKED = 0x80
    PING_HEAD_SIZE = 2
    PING_SIZE = PING_HEAD_SIZE + KEY_SIZE + STAMP_SIZE
    FRESH_KEY_SIZE = 4096
    MAX_MEMORY_SIZE = 1 << 30   # all batches together
    SHOWN_SIZE = 16             # bytes of a wrong reply that the error shows
    FIRST_CHARACTER = 0x20      # the first of the 95 printable characters of ASCII

# A close frame with code 1000. Its key is zero, as nothing depends on its being random.
cdef bytes CLOSE_FRAME = b"\x88\x82\0\0\0\0\x03\xe8"


cdef inline void write_stamp(uint8_t* out, uint32_t number, uint32_t index) noexcept nogil:
    """Write 30 bits of `number` and 18 bits of `index` as printable characters, six bits in each:
    text must be UTF-8."""
    cdef uint64_t bits = <uint64_t>(index & 0x3FFFF) << 30 | number & 0x3FFFFFFF
    bits = bits & 0xFFFFFF | bits >> 24 << 32
    bits = bits & 0x00000FFF00000FFFULL | (bits & 0x00FFF00000FFF000ULL) << 4
    bits = bits & 0x003F003F003F003FULL | (bits & 0x0FC00FC00FC00FC0ULL) << 2
    bits += 0x3030303030303030ULL
    memcpy(out, &bits, STAMP_SIZE)


cdef inline bint differs(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    """Tell whether two blocks differ. Most have 8 to 16 bytes, and are compared without a call of
    memcmp."""
    cdef uint64_t[4] words
    if size < 8 or size > 16:
        return memcmp(a, b, size) != 0
    memcpy(&words[0], a, 8)
    memcpy(&words[1], b, 8)
    memcpy(&words[2], a + size - 8, 8)
    memcpy(&words[3], b + size - 8, 8)
    return (words[0] ^ words[1] | words[2] ^ words[3]) != 0


cdef size_t write_masked_header(uint8_t* out, uint8_t first, size_t size) noexcept nogil:
    """Write the header of a client's frame without its key; returns the size."""
    cdef size_t head_size = write_header(out, first, size)
    out[1] |= MASKED
    return head_size


cdef class LoadClient(Client):
    """A client that sends messages and counts the replies."""

    def __dealloc__(self):
        free(self.batch)
        free(self.reply)

    cdef bint write(self) except -1:
        """Write what is left of the batch, and the pong that is owed; true when the kernel has
        taken all of it."""
        if self.unsent is not None and (self.tls is None or self.written == self.batch_size):
            self.send_encrypted()
            if self.unsent is not None:
                return False
        if self.written < self.batch_size:
            self.written += self.put(self.batch + self.written, self.batch_size - self.written)
        if self.owes_pong and self.written == self.batch_size and self.unsent is None:
            self.send_pong()
        return self.written == self.batch_size and self.unsent is None

    cdef size_t take_ping(self, const uint8_t* data, size_t size) except 0:
        """Keep what has come of a ping; returns how many bytes were used. Of several pings, the
        last one gets a pong (RFC 6455, section 5.5.3)."""
        cdef size_t frame_size = PING_HEAD_SIZE
        cdef size_t used = 0
        if self.owes_pong:
            self.ping_size = self.owes_pong = 0
        while True:
            if self.ping_size >= PING_HEAD_SIZE:
                if self.ping[1] > MAX_CONTROL_SIZE:
                    raise LoadError("the server has sent a ping that is too long, or masked")
                frame_size = PING_HEAD_SIZE + self.ping[1]
            if self.ping_size == frame_size:
                self.owes_pong = True
                return used
            if used == size:
                return used
            self.ping[self.ping_size] = data[used]
            self.ping_size += 1
            used += 1

    cdef int send_pong(self) except -1:
        cdef uint8_t[PING_FRAME_SIZE + KEY_SIZE] frame
        cdef size_t size = self.ping[1]
        cdef size_t taken
        frame[0] = FIN | PONG
        frame[1] = MASKED | self.ping[1]
        # The key is zero, as nothing depends on its being random.
        memset(&frame[PING_HEAD_SIZE], 0, KEY_SIZE)
        memcpy(&frame[PING_HEAD_SIZE + KEY_SIZE], &self.ping[PING_HEAD_SIZE], size)
        size += PING_HEAD_SIZE + KEY_SIZE
        self.ping_size = self.owes_pong = 0
        taken = self.put(frame, size)
        if taken < size and self.tls is None:
            self.unsent = (<char*>frame)[taken:size]
        # With TLS, what was not taken is dropped: the next ping gets a pong.
        return 0

    cdef int send_close(self) except -1:
        """Begin the closing handshake. Whether the close frame is taken does not matter: the server
        also sees the end of the stream."""
        self.put(<const uint8_t*>PyBytes_AS_STRING(CLOSE_FRAME), PyBytes_GET_SIZE(CLOSE_FRAME))
        return 0


cdef class Exchange:
    """Messages that differ by a stamp, and their echoes."""

    def __init__(self, size_t size, int depth=1, bint binary=False, int sender_count=1):
        cdef size_t i
        cdef uint8_t first = FIN | (BINARY if binary else TEXT)
        self.size = size
        self.depth = depth
        self.random_state = 88172645463325252   # the seed in Marsaglia's paper on xorshift
        self.head_size = write_masked_header(self.head, first, size)
        self.reply_head_size = write_header(self.reply_head, first, size)
        self.stamp_size = min(size, <size_t>STAMP_SIZE)
        self.frame_size = self.head_size + KEY_SIZE + size
        self.reply_size = self.reply_head_size + size
        if self.frame_size * depth * sender_count > MAX_MEMORY_SIZE:
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
        self.random_state ^= self.random_state << 13
        self.random_state ^= self.random_state >> 7
        self.random_state ^= self.random_state << 17
        return <uint32_t>(self.random_state >> 16)

    # ---- messages

    cdef int prepare(self, LoadClient client, bint sends) except -1:
        cdef uint8_t* frame
        cdef uint32_t key
        cdef int _i
        if not sends:
            return 0
        client.batch_size = self.frame_size * self.depth
        client.batch = frame = <uint8_t*>malloc(client.batch_size)
        if frame is NULL:
            raise MemoryError
        for _i in range(self.depth):
            key = self.draw_key()
            memcpy(frame, self.head, self.head_size)
            memcpy(frame + self.head_size, &key, KEY_SIZE)
            mask(frame + self.head_size + KEY_SIZE, self.payload, self.size, key)
            frame += self.frame_size
        return 0

    cdef int compose(self, LoadClient client) except -1:
        """Give the frames of the last batch new stamps and, up to FRESH_KEY_SIZE, new keys."""
        cdef uint8_t* key_place = client.batch + self.head_size
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
                # Change the mask from the old key to the new one in one pass.
                mask(body + stamp_size, body + stamp_size, self.size - stamp_size, key ^ old_key)
            write_stamp(stamp, client.sent_count, client.index)
            mask(body, stamp, stamp_size, key)
            client.sent_count += 1
            key_place += self.frame_size
        client.written = 0
        return 0

    # ---- replies

    cdef int check(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except -1:
        cdef size_t used
        while size:
            if (client.ping_size and not client.owes_pong) or (
                client.partial_size == 0 and data[0] == (FIN | PING)
            ):
                used = client.take_ping(data, size)
                data += used
                size -= used
                continue
            if client.reply_count == sender.sent_count:
                shown = data[:min(size, <size_t>SHOWN_SIZE)].hex(" ")
                raise LoadError(f"{size} bytes that nobody has asked for: {shown}")
            used = self.check_part(client, sender, data, size)
            data += used
            size -= used
        return 0

    cdef size_t check_part(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except 0:
        """Compare what has come of the current reply with what it should be; returns the number of
        bytes compared."""
        cdef uint8_t[MAX_HEADER_SIZE + STAMP_SIZE] start
        cdef size_t start_size = self.reply_head_size + self.stamp_size
        cdef size_t at = client.partial_size
        cdef size_t part = min(size, self.reply_size - at)
        cdef size_t used = 0
        if at < start_size:
            memcpy(start, self.reply_head, MAX_HEADER_SIZE)
            write_stamp(start + self.reply_head_size, client.reply_count, sender.index)
            used = min(start_size - at, part)
            if differs(data, start + at, used):
                self.raise_wrong_reply(client, data, size)
        if used < part and differs(
            data + used, self.payload + (at + used - self.reply_head_size), part - used
        ):
            self.raise_wrong_reply(client, data, size)
        if at + part == self.reply_size:
            client.partial_size = 0
            client.reply_count += 1
            self.received_size += self.reply_size
        else:
            client.partial_size = at + part
        return part

    cdef int raise_wrong_reply(
        self, LoadClient client, const uint8_t* data, size_t size
    ) except -1:
        """Raise a LoadError that says how a reply is wrong; earlier bytes of it were right."""
        cdef Header header
        cdef size_t shown = min(size, <size_t>SHOWN_SIZE)
        cdef bint is_first = client.partial_size == 0
        if is_first and parse_header(data, size, &header) and header.opcode == CLOSE:
            if header.length < 2 or size < 4:
                raise LoadError(f"closed by the server after {client.reply_count} replies")
            reason = data[4:min(size, header.size + header.length)].decode(errors="replace")
            raise LoadError(
                f"closed by the server after {client.reply_count} replies, code "
                f"{data[2] << 8 | data[3]}, reason {reason!r}"
            )
        raise LoadError(
            f"reply {client.reply_count} differs from its message, at byte {client.partial_size} "
            f"of the frame or later: expected {self.size} bytes behind the header "
            f"{self.reply_head[:self.reply_head_size].hex()}, got {data[:shown].hex(' ')}"
        )


cdef class SilentExchange(Exchange):
    """Messages that the server does not answer; it answers the ping behind each batch.

    The pong (RFC 6455, section 5.5.3) shows that the server has read the batch.
    """

    cdef int prepare(self, LoadClient client, bint sends) except -1:
        cdef void* longer
        Exchange.prepare(self, client, sends)
        if sends:
            longer = realloc(client.batch, client.batch_size + PING_SIZE)
            if longer is NULL:
                raise MemoryError
            client.batch = <uint8_t*>longer
            client.batch_size += PING_SIZE
        return 0

    cdef int compose(self, LoadClient client) except -1:
        """Write the frames, and behind them a ping with the stamp of the next message."""
        cdef uint8_t* ping = client.batch + (client.batch_size - PING_SIZE)
        cdef uint32_t key = self.draw_key()
        cdef uint8_t[STAMP_SIZE] stamp
        Exchange.compose(self, client)
        write_masked_header(ping, FIN | PING, STAMP_SIZE)
        memcpy(ping + PING_HEAD_SIZE, &key, KEY_SIZE)
        write_stamp(stamp, client.sent_count, client.index)
        mask(ping + PING_HEAD_SIZE + KEY_SIZE, stamp, STAMP_SIZE, key)
        return 0

    cdef size_t check_part(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except 0:
        """Compare what has come of a pong; a whole one counts as the replies to its batch."""
        cdef uint8_t[PING_HEAD_SIZE + STAMP_SIZE] pong
        cdef size_t part = min(size, PING_HEAD_SIZE + STAMP_SIZE - client.partial_size)
        write_header(pong, FIN | PONG, STAMP_SIZE)
        write_stamp(pong + PING_HEAD_SIZE, client.reply_count + self.depth, sender.index)
        if memcmp(data, pong + client.partial_size, part) != 0:
            self.raise_wrong_reply(client, data, size)
        client.partial_size += part
        if client.partial_size == PING_HEAD_SIZE + STAMP_SIZE:
            self.received_size += client.partial_size
            client.reply_count += self.depth
            client.partial_size = 0
        return part
