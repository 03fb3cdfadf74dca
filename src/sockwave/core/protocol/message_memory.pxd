"""The memory of messages: a str or bytes that nobody else has yet, and that is written to."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    # From here on the memory of a message is kept for a moment. The kernel hands out such blocks
    # page by page and wants them back, which costs more than to receive what goes into them.
    SPARE_SIZE = 65536

# A block is a new bytes object; for text a str of ASCII, which is what most text turns out to be.
# The message will have `least` to `most` bytes: memory that is there already may be taken for all
# of it; none is made larger than `room`.
cdef PyObject* block_for(bint is_text, size_t least, size_t most, size_t room) except NULL
cdef uint8_t* place_in(PyObject* block) noexcept
cdef size_t size_of(PyObject* block) noexcept
# It may move; the caller's is the only reference.
cdef int resize(PyObject** block, size_t size) except -1

# Unmasked on the way. None: it is not UTF-8.
cdef object unmask_text(const uint8_t* data, size_t size, uint32_t mask)
cdef bytes unmask_bytes(const uint8_t* data, size_t size, uint32_t mask)
cdef object decode(const uint8_t* data, size_t size)

cdef inline int offer_spare(object message, size_t size) noexcept:
    """Note a large message that has been delivered; whoever keeps it keeps it as it is."""
    return note_spare(message) if size >= SPARE_SIZE else 0

cdef int note_spare(object message) noexcept
cdef int age_spares() noexcept
cdef int forget_spares() noexcept
