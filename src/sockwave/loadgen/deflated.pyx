"""Compressed messages for a load, and checking their echoes (RFC 7692, section 7.2)."""

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

    Each of the bodies is a document compressed by itself (RFC 7692, section 7.2.1). So it is valid
    whether or not the server keeps the context of earlier messages.
    """

    def __init__(
        self, size_t size, int depth=1, bint binary=False, int sender_count=1, *, documents,
        bodies, bint keeps_context=False,
    ):
        cdef size_t longest = max(len(body) for body in bodies)
        super().__init__(size, depth, binary, sender_count)
        if any(len(document) != size for document in documents):
            raise ValueError(f"expected documents of {size} bytes")
        self.documents = list(documents)
        self.bodies = list(bodies)
        self.keeps_context = keeps_context
        self.inflater = self.make_inflater()
        self.frame_size = MAX_HEADER_SIZE + longest
        self.reply_size = MAX_HEADER_SIZE + 2 * size + REPLY_SLACK

    def make_inflater(self):
        """Make an inflater for replies, with the largest window, which suits any that the server
        has chosen."""
        return Inflater(deflate.library, MOST_WINDOW_BITS, self.keeps_context, self.size)

    cdef int prepare(self, LoadClient client, bint sends) except -1:
        client.inflater = self.make_inflater() if self.keeps_context else self.inflater
        client.reply = <uint8_t*>malloc(self.reply_size)
        if sends:
            client.batch = <uint8_t*>calloc(self.depth, self.frame_size)
        if client.reply is NULL or (sends and client.batch is NULL):
            raise MemoryError
        return 0

    cdef int compose(self, LoadClient client) except -1:
        """Write the next batch: the compressed documents that come next."""
        cdef uint8_t* place = client.batch
        cdef bytes body
        cdef size_t size
        cdef uint32_t key
        cdef int _i
        for _i in range(self.depth):
            body = self.bodies[(client.index * 7 + client.sent_count) % len(self.bodies)]
            size = PyBytes_GET_SIZE(body)
            key = self.draw_key()
            place += write_masked_header(place, self.head[0] | RSV1, size)
            memcpy(place, &key, KEY_SIZE)
            mask(place + KEY_SIZE, <const uint8_t*>PyBytes_AS_STRING(body), size, key)
            place += KEY_SIZE + size
            client.sent_count += 1
        client.batch_size = place - client.batch
        client.written = 0
        return 0

    cdef size_t check_part(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except 0:
        """Collect the bytes of a reply until it is whole; returns how many were used."""
        cdef Header header
        cdef size_t used = 0
        cdef size_t wanted = 2
        while True:
            if parse_header(client.reply, client.partial_size, &header):
                wanted = header.size
                if header.complete:
                    if header.length > self.reply_size - header.size:
                        self.raise_wrong_reply(client, data, size)
                    wanted += header.length
                    if client.partial_size == wanted:
                        break
            if used == size:
                return size
            wanted = min(wanted - client.partial_size, size - used)
            memcpy(client.reply + client.partial_size, data + used, wanted)
            client.partial_size += wanted
            used += wanted
        if header.opcode == CLOSE:
            client.partial_size = 0
            self.raise_wrong_reply(client, client.reply, wanted)
        self.check_reply(client, sender, header.size)
        return used

    cdef int check_reply(self, LoadClient client, LoadClient sender, size_t head_size) except -1:
        """Compare a whole reply with its document."""
        cdef bytes document = self.documents[
            (sender.index * 7 + client.reply_count) % len(self.documents)
        ]
        cdef Violation violation = NO_VIOLATION
        cdef bytes text = client.reply[head_size:client.partial_size]
        if client.reply[0] & ~RSV1 != self.reply_head[0]:
            raise LoadError(
                f"reply {client.reply_count}: expected a whole message with a first byte of "
                f"{self.reply_head[0]:02x} or {self.reply_head[0] | RSV1:02x}, "
                f"got {client.reply[0]:02x}"
            )
        if client.reply[0] & RSV1:
            text = client.inflater.inflate(
                client.reply + head_size, client.partial_size - head_size, &violation
            )
        if text != document:
            raise LoadError(f"reply {client.reply_count} is not its document")
        self.received_size += client.partial_size
        client.partial_size = 0
        client.reply_count += 1
        return 0
