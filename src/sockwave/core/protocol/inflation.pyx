"""Inflating messages, slice by slice: RFC 7692, section 7.2.2.

Each message gets a new decompressor: a client can make one refer to anything left in its window,
and that must not be another client's message. With context takeover the new decompressor gets the
end of what was inflated before as its dictionary, and nothing else is kept.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF
from libc.string cimport memcpy

from sockwave.core.protocol.message_memory cimport block_for, offer_spare, place_in, resize, size_of
from sockwave.core.protocol.frames cimport CORRUPT_DEFLATE, MESSAGE_TOO_BIG

cdef enum:
    TAIL_SIZE = 4
    # The standard library's decompressor makes its output in a block of this size first. Pieces of
    # just this size are never copied, and a message over the limit is noticed this soon.
    PIECE_SIZE = 32768
    # What a decompressor takes beside its window, about.
    STATE_SIZE = 10240
    # What partly inflated messages may take together: a message of a few kilobytes may become a
    # megabyte, and many clients may send one at the same time.
    MAX_PARKED_SIZE = 1048576

# 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message."
cdef bytes TAIL = b"\x00\x00\xff\xff"

# An empty last block. Behind a whole message it ends the stream and adds nothing. Behind a message
# that was cut off it is taken for the rest of a block, and the stream does not end.
cdef bytes LAST = b"\x03\x00"

# The only bytes that may follow a block that is marked as the last (BFINAL): none, the tail that
# was appended here, or that tail behind the octet that 7.2.3.4 adds to such a message.
cdef tuple BEHIND_FINAL = (b"", TAIL, b"\x00" + TAIL)


# The bytes in partly inflated messages, of all loops of the process.
cdef size_t parked_size = 0


cdef bint is_crowded() noexcept:
    return parked_size > MAX_PARKED_SIZE


@cython.no_gc
cdef class Inflation:
    """A message that is being inflated, slice by slice.

    The output is one block of memory from the beginning: the kernel is asked for it once at most,
    and the block of a message that is refused is used again for the next one.
    """

    def __dealloc__(self):
        self.unpark()
        if self.block is not NULL:
            offer_spare(<object>self.block, size_of(self.block))
            Py_DECREF(<object>self.block)

    cdef bint advance(self, Violation* violation) except -1:
        """Inflate another piece. True: it was the last. Then `message` is set, or it is None and
        `violation` says whether the message is over the limit or corrupt."""
        cdef bint is_over = True
        violation[0] = CORRUPT_DEFLATE
        try:
            is_over = self.inflate_slice(violation)
        except self.inflater.error:
            pass
        if self.message is not None and self.inflater.history is not None:
            self.inflater.remember(self.message)
        return is_over

    cdef bint inflate_slice(self, Violation* violation) except -1:
        """Give the decompressor a slice, or the rest of one, and take a piece of output, at most
        one byte past the limit. The input is bounded as well as the output: empty blocks with
        their own codes take ten times as long as other input of their size, and make no output.
        """
        cdef size_t left = self.inflater.max_size - self.size
        cdef size_t wanted = min(<size_t>PIECE_SIZE, left + 1)
        cdef size_t cut_size
        cdef bytes piece
        if self.decompressor is None:
            self.decompressor = self.inflater.make_decompressor()
        self.slice_size = len(self.source)
        piece = self.decompressor.decompress(self.source, wanted)
        self.slice_size += PyBytes_GET_SIZE(piece)
        if <size_t>PyBytes_GET_SIZE(piece) > left:
            violation[0] = MESSAGE_TOO_BIG
            return True
        if self.decompressor.eof:
            return self.end(piece)
        self.source = self.decompressor.unconsumed_tail
        self.is_between = not self.source and self.given_size < self.deflated_size
        if self.source:
            self.slice_size -= len(self.source)
        else:
            if not self.is_between and <size_t>PyBytes_GET_SIZE(piece) < wanted:
                if self.decompressor.decompress(LAST, 1) or not self.decompressor.eof:
                    return True     # the message was cut off
                return self.end(piece)
            cut_size = DEAR_SLICE_SIZE if self.is_dear else SLICE_SIZE
            self.source = self.deflated[self.given_size:self.given_size + cut_size]
            self.given_size = min(self.given_size + cut_size, self.deflated_size)
        self.add(piece)
        return False

    cdef bint end(self, bytes last) except -1:
        """Set `message`, unless bytes follow that may not. Always True."""
        behind = self.decompressor.unused_data
        if self.given_size < self.deflated_size:
            behind += bytes(self.deflated[self.given_size:])
        if behind in BEHIND_FINAL:
            self.message = self.join(last)
        return True

    cdef int add(self, bytes piece) except -1:
        """Append a piece to the output."""
        cdef size_t most = self.inflater.max_size
        cdef size_t size = PyBytes_GET_SIZE(piece)
        cdef size_t least
        if size == 0:
            return 0
        if self.block is NULL:
            least = min(<size_t>(2 * PIECE_SIZE), most)
            self.block = block_for(False, least, most, least)
        if self.size + size > size_of(self.block):
            resize(&self.block, min(max(2 * self.size, self.size + size), most))
        memcpy(place_in(self.block) + self.size, PyBytes_AS_STRING(piece), size)
        self.size += size
        return 0

    cdef bytes join(self, bytes last):
        """Append the last piece and return the whole message."""
        if self.block is NULL:
            return last
        self.add(last)
        if size_of(self.block) != self.size:
            resize(&self.block, self.size)
        whole = <bytes>self.block
        Py_DECREF(whole)
        self.block = NULL
        return whole

    cdef int park(self) noexcept:
        """Count its memory for `is_crowded` while it waits for its next turn."""
        global parked_size
        parked_size += self.size - self.parked_size
        self.parked_size = self.size
        return 0

    cdef int unpark(self) noexcept:
        global parked_size
        parked_size -= self.parked_size
        self.parked_size = 0
        return 0

    cdef size_t memory_size(self) noexcept:
        """Return the memory that it takes: the compressed message, the output with its unused
        part, and the decompressor."""
        cdef size_t size = self.deflated_size
        if self.block is not NULL:
            size += size_of(self.block)
        if self.decompressor is not None:
            size += STATE_SIZE + (<size_t>1 << self.inflater.window_bits)
        return size


cdef class Inflater:
    """Inflates the messages of one connection, or of all that have no context takeover."""

    def __cinit__(self, library, int window_bits, bint keeps_context, size_t max_size):
        self.library = library
        self.error = library.error
        self.window_bits = window_bits
        self.max_size = max_size
        if keeps_context:
            self.history = bytearray()

    cdef Inflation begin(self, const uint8_t* data, size_t size):
        """Begin to inflate a message, which is copied. With context takeover, one message must end
        before the next one is begun."""
        cdef Inflation inflation = Inflation.__new__(Inflation)
        cdef bytes deflated = PyBytes_FromStringAndSize(NULL, size + TAIL_SIZE)
        if size:                    # the `data` of an empty message may be NULL
            memcpy(PyBytes_AS_STRING(deflated), data, size)
        memcpy(PyBytes_AS_STRING(deflated) + size, PyBytes_AS_STRING(TAIL), TAIL_SIZE)
        # The input is given in slices: a decompressor copies what it has not used yet, and other
        # connections wait while a slice is inflated.
        inflation.inflater = self
        inflation.deflated_size = size + TAIL_SIZE
        inflation.given_size = min(inflation.deflated_size, <size_t>SLICE_SIZE)
        inflation.deflated = inflation.source = deflated
        if inflation.given_size < inflation.deflated_size:
            inflation.deflated = memoryview(deflated)
            inflation.source = inflation.deflated[:inflation.given_size]
        return inflation

    cdef object make_decompressor(self):
        """Make a decompressor; with context takeover it gets the end of what was inflated before.
        """
        if self.history:
            return self.library.decompressobj(-self.window_bits, self.history)
        return self.library.decompressobj(-self.window_bits)

    cdef bytes inflate(self, const uint8_t* data, size_t size, Violation* violation):
        """Inflate a whole message at once; None: it is corrupt or too big, see `violation`."""
        cdef Inflation inflation = self.begin(data, size)
        while not inflation.advance(violation):
            pass
        return inflation.message

    cdef int remember(self, bytes message) except -1:
        """Keep the last bytes of what was inflated, as many as the window has."""
        cdef Py_ssize_t window_size = 1 << self.window_bits
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
        if size >= window_size:
            self.history[:] = message[size - window_size:]
        else:
            self.history += message
            if len(self.history) > window_size:
                del self.history[:len(self.history) - window_size]
        return 0
