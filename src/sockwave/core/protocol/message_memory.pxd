"""The memory of messages: a str or bytes that only we refer to yet, and that is written to."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    # The memory of a message of at least this size is kept for a moment. The kernel hands out such
    # blocks page by page and gets them back, which costs more than receiving the bytes in them.
    SPARE_SIZE = 65536

# A block is a bytes object in the making; for text a str of ASCII, which is what most text turns
# out to be. The message will have `least` to `most` bytes. A spare block is taken for all of them;
# a new block is made with only `room` bytes.
cdef PyObject* block_for(bint is_text, size_t least, size_t most, size_t room) except NULL
cdef uint8_t* place_in(PyObject* block) noexcept
cdef size_t size_of(PyObject* block) noexcept
# The block may move; the caller must have the only reference.
cdef int resize(PyObject** block, size_t size) except -1

# Unmask while copying. None: the bytes are not UTF-8.
cdef object unmask_text(const uint8_t* data, size_t size, uint32_t mask)
cdef bytes unmask_bytes(const uint8_t* data, size_t size, uint32_t mask)
cdef object decode(const uint8_t* data, size_t size)

cdef inline int offer_spare(object message, size_t size) noexcept:
    """Note a large message that has been delivered, so that its memory can be used again. As long
    as the application refers to the message, it is not touched."""
    return note_spare(message) if size >= SPARE_SIZE else 0

cdef int note_spare(object message) noexcept
cdef int age_spares() noexcept
cdef int forget_spares() noexcept
