"""Masked frames, as clients send them (RFC 6455, section 5.3)."""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from sockwave.core.protocol.frames cimport (
    MASKED, Header, header_size, parse_header, write_header,
)
from sockwave.core.protocol.mask cimport unmask

cdef enum:
    # The system is asked for the masks of so many bytes at a time: a call for each would take
    # longer than the rest of a small message.
    POOL_SIZE = 4096

cdef uint8_t[POOL_SIZE] pool
cdef size_t used_size = POOL_SIZE


def forget_masks():
    """In a forked child: drop the masks that are left, as the parent uses them too."""
    global used_size
    used_size = POOL_SIZE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_masks)


cdef uint32_t next_mask() except? 0:
    """Return a new mask, as it lies in memory.

    5.3: "The masking key needs to be unpredictable; thus, the masking key MUST be derived from a
    strong source of entropy, and the masking key for a given frame MUST NOT make it simple for a
    server/proxy to predict the masking key for a subsequent frame."
    """
    global used_size
    cdef uint32_t mask
    if used_size + MASK_SIZE > POOL_SIZE:
        fresh = os.urandom(POOL_SIZE)
        memcpy(pool, PyBytes_AS_STRING(fresh), POOL_SIZE)
        used_size = 0
    memcpy(&mask, pool + used_size, MASK_SIZE)
    used_size += MASK_SIZE
    return mask


cdef size_t masked_header_size(uint64_t length) noexcept nogil:
    """Return the size of the header that a client writes, with its mask."""
    return header_size(length) + MASK_SIZE


cdef int write_masked(
    uint8_t* out, uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size
) noexcept nogil:
    """Write a frame: `masked_header_size(size) + size` bytes."""
    cdef size_t head = write_header(out, first_byte, size)
    out[1] |= MASKED
    memcpy(out + head, &mask, MASK_SIZE)
    unmask(out + head + MASK_SIZE, data, size, mask)    # to mask is the same: an exclusive or
    return 0


cdef bytes masked_frame_of(uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size):
    """Make a masked frame."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, masked_header_size(size) + size)
    write_masked(<uint8_t*>PyBytes_AS_STRING(frame), first_byte, mask, data, size)
    return frame


cdef bytes mask_frame(bytes frame):
    """Make the masked form of a frame of ours that is not masked."""
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(frame)
    cdef Header header
    parse_header(data, PyBytes_GET_SIZE(frame), &header)
    return masked_frame_of(data[0], next_mask(), data + header.size, <size_t>header.length)
