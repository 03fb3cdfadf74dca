"""Messages compressed (RFC 7692, section 7.2.1), and what a server's connections share of it.

Without context takeover nothing is kept for a connection. All of one server compress with the same
compressor, which a full flush brings back to its beginning: nothing that it makes afterwards refers
to what it was given before.

With context takeover no compressor is kept, but only the end of what was compressed before: a new
one is handed that.
"""

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.string cimport memcpy

from sockwave.core.protocol.frames cimport RSV1
from sockwave.core.protocol.inflation cimport Inflater

from sockwave import deflate as deflate_module

cdef enum:
    # 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end."
    TAIL_SIZE = 4

# 7.2.3.6: an empty block, for a message without a byte. The library would make nothing of it.
cdef bytes EMPTY = b"\x00\x00\x00\xff\xff"


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
