"""Compressing messages (RFC 7692, section 7.2.1), and what a server's connections share for it.

Without context takeover, nothing is kept for a connection. All connections of a server share one
compressor. A full flush behind each message resets it, so that no message refers to an earlier one.

With context takeover, a connection keeps no compressor either, but only the end of what was
compressed before. Each message gets a new compressor with that as its dictionary.
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

# 7.2.3.6: an empty block, for an empty message, of which the library would make no bytes at all.
cdef bytes EMPTY = b"\x00\x00\x00\xff\xff"


cdef class Compressor:
    """Compresses for all connections of a server that have the same window size."""

    def __cinit__(self, library, settings, int window_bits):
        self.library = library
        self.settings = settings
        self.window_bits = window_bits
        self.threshold = settings.threshold
        self.history_size = min(<size_t>settings.server_history_size, <size_t>1 << window_bits)

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bytes history
    ):
        """Replace a message, in `data`, `size` and `opcode`, by its compressed form, with RSV1 set
        in the opcode. Returns the bytes object that owns the new `data`.

        The message may refer to `history`, which must be the end of what the client was sent;
        None: it refers to nothing.
        """
        cdef bytes payload = EMPTY
        if size[0]:
            source = owner
            if not PyBytes_CheckExact(owner):
                source = PyMemoryView_FromMemory(<char*>data[0], size[0], PyBUF_READ)
            if history:
                payload = self.compress_with_history(history, source)
            else:
                payload = self.compress(source)
        data[0] = <const uint8_t*>PyBytes_AS_STRING(payload)
        size[0] = PyBytes_GET_SIZE(payload) - TAIL_SIZE
        opcode[0] |= RSV1
        return payload

    cdef bytes compress(self, object source):
        """Compress a message that refers to no other; the result still has its tail."""
        compressor = self.compressor
        if compressor is None:
            compressor = self.library.compressobj(
                self.settings.level, self.library.DEFLATED, -self.window_bits,
                self.settings.memory_level,
            )
        self.compressor = None      # if it raises, it is dropped with the bytes left in it
        begin = compressor.compress(source)
        rest = compressor.flush(self.library.Z_FULL_FLUSH)
        self.compressor = compressor
        return begin + rest if begin else rest

    cdef bytes compress_with_history(self, bytes history, object source):
        """Compress a message that may refer to `history`, by a new compressor: keeping one for
        each connection would cost 32 KiB and more, and save little time."""
        compressor = self.library.compressobj(
            self.settings.level, self.library.DEFLATED, -self.window_bits,
            self.settings.memory_level, self.library.Z_DEFAULT_STRATEGY, history,
        )
        begin = compressor.compress(source)
        rest = compressor.flush(self.library.Z_SYNC_FLUSH)
        return begin + rest if begin else rest

    cdef bytes end_of(self, bytes before, const uint8_t* data, size_t size):
        """Return the end of `before` and the message behind it, as much as a later message may
        refer to; None as `before` is nothing."""
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
    """Compresses the messages of one connection, or of all that have no context takeover.

    7.2.3.2: with context takeover, a message may refer to compressed messages before it, as far
    back as the window reaches. Only the end of those is kept, and only while it is certain:
    `sending` forgets it before a message is sent, and `was_sent` sets it again, with that message,
    once the message is certain to stay in its place.
    """

    def __cinit__(self, Compressor compressor not None, bint has_context):
        self.compressor = compressor
        self.has_context = has_context

    cdef bint wants(self, size_t size, object compress) except -1:
        """Tell whether to compress a message of `size` bytes; `compress` is what the application
        asked for, None: only a message that reaches the threshold."""
        return size >= self.compressor.threshold if compress is None else compress is True

    cdef bytes deflate(
        self, object owner, const uint8_t** data, size_t* size, int* opcode, bint is_expendable
    ):
        """Replace a message by its compressed form: see `Compressor.deflate`.

        An expendable message may be dropped while it is queued. So no later message may refer to
        it, and it refers to none itself: what was sent right before it may be another message then.
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
        """Called before a compressed message is sent; with it, what was sent ends with
        `history`."""
        self.history = None
        self.next_history = history if self.has_context else None
        return 0

    cdef int was_sent(self) noexcept:
        """Called once that message is certain to stay in its place among the messages sent."""
        self.history = self.next_history
        self.next_history = None
        return 0


cdef class Codecs:
    """What the connections of one server share for permessage-deflate."""

    def __cinit__(self, size_t max_size):
        self.library = deflate_module.library
        self.max_size = max_size
        self.deflaters = {}
        self.inflaters = {}

    cdef Deflater deflater_for(self, object agreement):
        """Return the Deflater of a connection: its own with context takeover, else the shared
        one."""
        cdef int bits = agreement.server_window_bits
        cdef Deflater shared = self.deflaters.get(bits)
        if shared is None:
            shared = Deflater(Compressor(self.library, agreement.settings, bits), False)
            self.deflaters[bits] = shared
        return Deflater(shared.compressor, True) if agreement.server_context_takeover else shared

    cdef Inflater inflater_for(self, object agreement):
        """Return the Inflater of a connection: its own with context takeover, else the shared
        one."""
        cdef int bits = agreement.client_window_bits
        cdef Inflater shared
        if agreement.client_context_takeover:
            return Inflater(self.library, bits, True, self.max_size)
        shared = self.inflaters.get(bits)
        if shared is None:
            shared = Inflater(self.library, bits, False, self.max_size)
            self.inflaters[bits] = shared
        return shared
