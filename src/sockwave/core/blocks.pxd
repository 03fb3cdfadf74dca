"""The memory of messages: a str or bytes that nobody else has yet, and that is written to."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    # From here on the memory of a message is kept for a moment. The kernel hands out such blocks
    # page by page and wants them back, which costs more than to receive what goes into them.
    SPARE_SIZE = 65536

# A block is a new bytes object; for text a str of ASCII, which is what most text turns out to be.
# Memory that is there already may be taken for all that is announced; none is made larger than
# `room` for it.
cdef PyObject* block_for(bint is_text, size_t size, size_t room) except NULL
# For bytes that are going to be at least `room`, nobody knows how many: the largest that is there
# already, but not over `most`.
cdef PyObject* growing_block(size_t room, size_t most) except NULL
cdef uint8_t* place_in(PyObject* block) noexcept
cdef size_t size_of(PyObject* block) noexcept
# It may move; the caller's is the only reference.
cdef int resize(PyObject** block, size_t size) except -1

# Unmasked on the way. None: it is not UTF-8.
cdef object text_of(const uint8_t* data, size_t size, uint32_t mask)
cdef bytes bytes_of(const uint8_t* data, size_t size, uint32_t mask)
cdef object decode(const uint8_t* data, size_t size)

cdef int offer_spare(object message) noexcept
cdef int age_spares() noexcept
cdef int forget_spares() noexcept
