"""What a Valkey server sends (RESP, version 2): read as it comes, cut anywhere."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.bridge cimport Bridge
from sockwave.core.topics.records cimport Buffer

# Where the reading stands, in bytes that begin with a reply.
cdef struct Cursor:
    const uint8_t* data
    size_t size
    size_t place
    int depth               # of arrays in arrays

cdef class RespReader:
    cdef Bridge bridge      # takes the messages of topics; None: there are only replies
    cdef bytes head         # what messages begin with
    cdef bytes prefix       # of the channels of topics
    cdef size_t tag_size    # of what stands behind it, and says nothing of the topic
    cdef bytes tail         # what stands between that and the topic
    cdef object took        # called with each other reply; None: `take` returns them
    cdef Buffer input       # the beginning of a reply
    cdef readonly uint64_t message_count

    cdef size_t read_whole(self, const uint8_t* data, size_t size, list replies) except? 0
    cdef bint read_message(self, Cursor* cursor) except -1
