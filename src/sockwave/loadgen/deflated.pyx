"""Compressed messages for a load, and what inflates their echoes (RFC 7692, section 7.2)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, malloc
from libc.string cimport memcpy

from sockwave.core.protocol.inflation cimport Inflater
from sockwave.loadgen.exchange cimport KEY_SIZE, write_masked_header
from sockwave.core.protocol.frames cimport (
    CLOSE, MAX_HEADER_SIZE, NO_VIOLATION, RSV1, Header, Violation, parse_header,
)
from sockwave.core.protocol.mask cimport unmask as mask

from sockwave import deflate
from sockwave.loadgen.client import LoadError

cdef enum:
    REPLY_SLACK = 256           # bytes by which compressing may make a message longer
    MOST_WINDOW_BITS = 15


cdef class DeflatedExchange(Exchange):
    """Compressed documents and their echoes, compressed or not.

    Each of the bodies is a document compressed by itself, as section 7.2.1 of RFC 7692 has it,
    which suits a server whether or not it would remember the one before.
    """

    def __init__(
        self, size_t size, int depth=1, bint binary=False, int speaker_count=1, *, documents,
        bodies, bint keeps_context=False,
    ):
        cdef size_t longest = max(len(body) for body in bodies)
        super().__init__(size, depth, binary, speaker_count)
        if any(len(document) != size for document in documents):
            raise ValueError(f"expected documents of {size} bytes")
        self.documents = list(documents)
        self.bodies = list(bodies)
        self.keeps_context = keeps_context
        self.inflater = self.make_inflater()
        self.frame_size = MAX_HEADER_SIZE + longest
        self.reply_size = MAX_HEADER_SIZE + 2 * size + REPLY_SLACK

    def make_inflater(self):
        """Make what inflates replies, whatever window the server has chosen."""
        return Inflater(deflate.library, MOST_WINDOW_BITS, self.keeps_context, self.size)

    cdef int equip(self, Talker who, bint speaks) except -1:
        who.inflater = self.make_inflater() if self.keeps_context else self.inflater
        who.reply = <uint8_t*>malloc(self.reply_size)
        if speaks:
            who.batch = <uint8_t*>calloc(self.depth, self.frame_size)
        if who.reply is NULL or (speaks and who.batch is NULL):
            raise MemoryError
        return 0

    cdef int compose(self, Talker who) except -1:
        """Make the next batch out of the documents that are due."""
        cdef uint8_t* place = who.batch
        cdef bytes body
        cdef size_t size
        cdef uint32_t key
        cdef int _i
        for _i in range(self.depth):
            body = self.bodies[(who.index * 7 + who.sent_count) % len(self.bodies)]
            size = PyBytes_GET_SIZE(body)
            key = self.draw_key()
            place += write_masked_header(place, self.head[0] | RSV1, size)
            memcpy(place, &key, KEY_SIZE)
            mask(place + KEY_SIZE, <const uint8_t*>PyBytes_AS_STRING(body), size, key)
            place += KEY_SIZE + size
            who.sent_count += 1
        who.batch_size = place - who.batch
        who.written = 0
        return 0

    cdef size_t check_part(
        self, Talker who, Talker speaker, const uint8_t* data, size_t size
    ) except 0:
        """Keep what has come until the reply is whole."""
        cdef Header header
        cdef size_t used = 0
        cdef size_t wanted = 2
        while True:
            if parse_header(who.reply, who.heard, &header):
                wanted = header.size
                if header.complete:
                    if header.length > self.reply_size - header.size:
                        self.complain(who, data, size)
                    wanted += header.length
                    if who.heard == wanted:
                        break
            if used == size:
                return size
            wanted = min(wanted - who.heard, size - used)
            memcpy(who.reply + who.heard, data + used, wanted)
            who.heard += wanted
            used += wanted
        if header.opcode == CLOSE:
            who.heard = 0
            self.complain(who, who.reply, wanted)
        self.judge(who, speaker, header.size)
        return used

    cdef int judge(self, Talker who, Talker speaker, size_t head_size) except -1:
        """Compare a whole reply with its document."""
        cdef bytes document = self.documents[
            (speaker.index * 7 + who.heard_count) % len(self.documents)
        ]
        cdef Violation violation = NO_VIOLATION
        cdef bytes text = who.reply[head_size:who.heard]
        if who.reply[0] & ~RSV1 != self.reply_head[0]:
            raise LoadError(
                f"reply {who.heard_count}: expected a whole message with a first byte of "
                f"{self.reply_head[0]:02x} or {self.reply_head[0] | RSV1:02x}, "
                f"got {who.reply[0]:02x}"
            )
        if who.reply[0] & RSV1:
            text = who.inflater.inflate(
                who.reply + head_size, who.heard - head_size, &violation
            )
        if text != document:
            raise LoadError(f"reply {who.heard_count} is not its document")
        self.heard_size += who.heard
        who.heard = 0
        who.heard_count += 1
        return 0
