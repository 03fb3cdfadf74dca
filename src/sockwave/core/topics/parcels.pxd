"""A message as brokers carry it: one line that says what it is, and the message."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.topics.records cimport Buffer, Head, Parts

cdef tuple BAD_CONTENT          # what is raised where a text says something else than expected

# The parts of a message of another host.
cdef struct Parcel:
    const uint8_t* host         # who has published it
    size_t host_size
    const uint8_t* meta         # JSON
    size_t meta_size
    const uint8_t* message
    size_t size
    flag is_text

cdef bint is_part(const uint8_t* data, size_t size) noexcept nogil
cdef bint read_parcel(const uint8_t* data, size_t size, Parcel* parcel) noexcept nogil
cdef size_t read_place(
    const uint8_t* data, size_t size, uint64_t* epoch, uint64_t* offset
) noexcept nogil
cdef bint read_origin(
    const Parcel* parcel, uint64_t* incarnation, uint64_t* sequence
) noexcept nogil
cdef bint is_sound(const Parcel* parcel) noexcept nogil
cdef int write_payload(const Parcel* parcel, Head* head, Buffer* payload) except -1
cdef bytes describe(const uint8_t* payload, uint8_t flags, const Parts* parts)
cdef tuple read_meta(bytes said)
cdef dict check_meta(object found)
