"""Messages compressed and inflated: RFC 7692, sections 7.2.1 and 7.2.2.

Without context takeover nothing is kept for a connection. All of one server compress with the same
compressor, which a full flush brings back to its beginning: nothing that it makes afterwards refers
to what it was given before. An inflater, which an attacker's bytes may make refer to whatever it
holds, is new for each message.

With context takeover neither is kept, but only the end of what was compressed, or inflated, before:
a new compressor or inflater is handed that.
"""

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport Py_DECREF
from libc.string cimport memcpy

from sockwave.core.blocks cimport block_for, offer_spare, place_in, resize, size_of
from sockwave.core.frames cimport CORRUPT_DEFLATE, MESSAGE_TOO_BIG, RSV1

from sockwave import deflate as deflate_module

cdef enum:
    # 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end."
    TAIL_SIZE = 4
    # The standard library's inflater makes its output in a block of this size first: pieces of
    # just this size are never copied, and what passes a limit is noticed this soon.
    PIECE_SIZE = 32768
    # Input is given in slices: what an inflater has not used yet, it copies.
    SLICE_SIZE = 16384

# 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message."
cdef bytes TAIL = b"\x00\x00\xff\xff"

# An empty last block. Behind a whole message it is read as one, and adds nothing; what is cut off
# may take it for more of itself.
cdef bytes LAST = b"\x03\x00"

# 7.2.3.6: an empty block, for a message without a byte. The library would make nothing of it.
cdef bytes EMPTY = b"\x00" + TAIL

# What may follow a block that says it is the last (BFINAL), and nothing else: the end that was
# appended here, and the octet with which 7.2.3.4 makes such a message fit for it.
cdef tuple BEHIND_FINAL = (b"", TAIL, b"\x00" + TAIL)


cdef class Compressor:
    """Compresses for all connections of a server that have the same window."""

    def __cinit__(self, library, settings, int window_bits):
        self.library = library
        self.settings = settings
        self.window_bits = window_bits
        self.threshold = settings.threshold
        self.history_size = min(<size_t>settings.server_history_size, <size_t>1 << window_bits)

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bytes history
    ):
        """Put a compressed message in the place of a plain one, with RSV1 beside its opcode; give
        what keeps its bytes alive.

        It may refer to `history`, with which what the peer was sent must end; None: to nothing.
        """
        cdef bytes payload = EMPTY
        if size[0]:
            source = owner
            if not PyBytes_CheckExact(owner):
                source = PyMemoryView_FromMemory(<char*>data[0], size[0], PyBUF_READ)
            payload = self.compress_behind(history, source) if history else self.compress(source)
        data[0] = <const uint8_t*>PyBytes_AS_STRING(payload)
        size[0] = PyBytes_GET_SIZE(payload) - TAIL_SIZE
        opcode[0] |= RSV1
        return payload

    cdef bytes compress(self, object source):
        """Compress the bytes of a message, which refers to nothing; the tail is still there."""
        compressor = self.compressor
        if compressor is None:
            compressor = self.library.compressobj(
                self.settings.level, self.library.DEFLATED, -self.window_bits,
                self.settings.memory_level,
            )
        self.compressor = None      # if it fails, what is left in it gets nowhere
        begin = compressor.compress(source)
        rest = compressor.flush(self.library.Z_FULL_FLUSH)
        self.compressor = compressor
        return begin + rest if begin else rest

    cdef bytes compress_behind(self, bytes history, object source):
        """Compress the bytes of a message that may refer to `history`, by a compressor of its own:
        to keep one for each connection would cost memory, 32 KiB and more, and would save little.
        """
        compressor = self.library.compressobj(
            self.settings.level, self.library.DEFLATED, -self.window_bits,
            self.settings.memory_level, self.library.Z_DEFAULT_STRATEGY, history,
        )
        begin = compressor.compress(source)
        rest = compressor.flush(self.library.Z_SYNC_FLUSH)
        return begin + rest if begin else rest

    cdef bytes end_of(self, bytes before, const uint8_t* data, size_t size):
        """Give the end, as much as can be referred to, of a message behind what was `before`."""
        cdef size_t taken = min(size, self.history_size)
        cdef size_t kept = 0
        if before is not None:
            kept = min(<size_t>PyBytes_GET_SIZE(before), self.history_size - taken)
        cdef bytes end = PyBytes_FromStringAndSize(NULL, kept + taken)
        cdef char* out = PyBytes_AS_STRING(end)
        if kept:
            memcpy(out, PyBytes_AS_STRING(before) + PyBytes_GET_SIZE(before) - kept, kept)
        memcpy(out + kept, data + size - taken, taken)
        return end


@cython.no_gc
cdef class Deflater:
    """Compresses what one connection sends, or what all send that have no context takeover.

    7.2.3.2: with context takeover a message may refer to what was sent before it, compressed, in
    the window. What is kept of that is only its end, and only while it is certain: it is given up
    before a message is sent, and is there again when that one is certain to follow.
    """

    def __cinit__(self, Compressor compressor not None, bint has_context):
        self.compressor = compressor
        self.has_context = has_context

    cdef bint wants(self, size_t size, object compress) except -1:
        """Say whether a message of `size` bytes is to be compressed."""
        return size >= self.compressor.threshold if compress is None else compress is True

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bint is_expendable
    ):
        """Put a compressed message in the place of a plain one: see `Compressor.deflate`.

        One that is expendable may be dropped later, so that nothing behind it may refer to it, nor
        it to what may by then not be what is right before it.
        """
        cdef bytes history = None
        cdef bytes payload
        if self.has_context and not is_expendable:
            history = self.compressor.end_of(self.history, data[0], size[0])
        payload = self.compressor.deflate(
            owner, data, size, opcode, None if is_expendable else self.history
        )
        self.sending(history)
        return payload

    cdef int sending(self, bytes history) noexcept:
        """Note that a compressed message is about to be sent; behind it, what was sent ends with
        `history`."""
        self.history = None
        self.next_history = history if self.has_context else None
        return 0

    cdef int was_sent(self) noexcept:
        """Note that it stays where it is among what is sent."""
        self.history = self.next_history
        self.next_history = None
        return 0


cdef class Pieces:
    """What has been inflated of a message. It lies in one block from the beginning: the kernel is
    asked for memory once at most, and a message that is refused leaves it to the next."""

    def __dealloc__(self):
        if self.block is not NULL:
            offer_spare(<object>self.block, size_of(self.block))
            Py_DECREF(<object>self.block)

    cdef int add(self, bytes piece, size_t most) except -1:
        """Put a piece behind the others; the whole will have no more than `most` bytes."""
        cdef size_t size = PyBytes_GET_SIZE(piece)
        cdef size_t least
        if self.block is NULL:
            least = min(<size_t>(2 * PIECE_SIZE), most)
            self.block = block_for(False, least, most, least)
        if self.size + size > size_of(self.block):
            resize(&self.block, min(max(2 * self.size, self.size + size), most))
        memcpy(place_in(self.block) + self.size, PyBytes_AS_STRING(piece), size)
        self.size += size
        return 0

    cdef bytes join(self, bytes last, size_t most):
        """Give all of them."""
        if self.block is NULL:
            return last
        self.add(last, most)
        if size_of(self.block) != self.size:
            resize(&self.block, self.size)
        whole = <bytes>self.block
        Py_DECREF(whole)
        self.block = NULL
        return whole


cdef class Inflater:
    """Inflates what one connection receives, or what all receive without context takeover."""

    def __cinit__(self, library, int window_bits, bint keeps_context, size_t max_size):
        self.library = library
        self.error = library.error
        self.window_bits = window_bits
        self.max_size = max_size
        if keeps_context:
            self.history = bytearray()

    cdef bytes inflate(self, const uint8_t* data, size_t size, Violation* violation):
        """Give the message, or None and what is wrong with it: it is over the limit, or corrupt."""
        cdef bytes message = None
        cdef bytes deflated = PyBytes_FromStringAndSize(NULL, size + TAIL_SIZE)
        if size:                    # of an empty message there may be no place
            memcpy(PyBytes_AS_STRING(deflated), data, size)
        memcpy(PyBytes_AS_STRING(deflated) + size, PyBytes_AS_STRING(TAIL), TAIL_SIZE)
        violation[0] = CORRUPT_DEFLATE
        try:
            message = self.inflate_bounded(deflated, violation)
        except self.error:
            pass
        if message is not None and self.history is not None:
            self.remember(message)
        return message

    cdef bytes inflate_bounded(self, bytes deflated, Violation* violation):
        """Inflate piece by piece, never more than one byte past the limit."""
        cdef size_t size = PyBytes_GET_SIZE(deflated)
        cdef size_t given = min(size, <size_t>SLICE_SIZE)
        cdef size_t wanted
        cdef bytes piece
        cdef Pieces pieces = Pieces.__new__(Pieces)
        whole = deflated if given == size else memoryview(deflated)
        source = deflated if given == size else whole[:given]
        inflater = (
            self.library.decompressobj(-self.window_bits, self.history) if self.history
            else self.library.decompressobj(-self.window_bits)
        )
        while True:
            wanted = min(<size_t>PIECE_SIZE, self.max_size - pieces.size + 1)
            piece = inflater.decompress(source, wanted)
            if <size_t>PyBytes_GET_SIZE(piece) > self.max_size - pieces.size:
                violation[0] = MESSAGE_TOO_BIG
                return None
            if inflater.eof:
                break
            source = inflater.unconsumed_tail
            if not source:
                if given == size and <size_t>PyBytes_GET_SIZE(piece) < wanted:
                    if inflater.decompress(LAST, 1) or not inflater.eof:
                        return None     # it ends too early
                    break
                source = whole[given:given + SLICE_SIZE]
                given = min(given + SLICE_SIZE, size)
            pieces.add(piece, self.max_size)
        behind = inflater.unused_data
        if given < size:
            behind += bytes(whole[given:])
        if behind not in BEHIND_FINAL:
            return None
        return pieces.join(piece, self.max_size)

    cdef int remember(self, bytes message) except -1:
        """Keep the last bytes, as many as the window has."""
        cdef Py_ssize_t window_size = 1 << self.window_bits
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
        if size >= window_size:
            self.history[:] = message[size - window_size:]
        else:
            self.history += message
            if len(self.history) > window_size:
                del self.history[:len(self.history) - window_size]
        return 0


cdef class Codecs:
    """What the connections of one server share of permessage-deflate."""

    def __cinit__(self, size_t max_size):
        self.library = deflate_module.library
        self.max_size = max_size
        self.deflaters = {}
        self.inflaters = {}

    cdef Deflater deflater_for(self, object agreement):
        """Give what compresses for one connection."""
        cdef int bits = agreement.server_window_bits
        cdef Deflater shared = self.deflaters.get(bits)
        if shared is None:
            shared = Deflater(Compressor(self.library, agreement.settings, bits), False)
            self.deflaters[bits] = shared
        return Deflater(shared.compressor, True) if agreement.server_context_takeover else shared

    cdef Inflater inflater_for(self, object agreement):
        """Give what inflates for one connection."""
        cdef int bits = agreement.client_window_bits
        cdef Inflater shared
        if agreement.client_context_takeover:
            return Inflater(self.library, bits, True, self.max_size)
        shared = self.inflaters.get(bits)
        if shared is None:
            shared = Inflater(self.library, bits, False, self.max_size)
            self.inflaters[bits] = shared
        return shared
