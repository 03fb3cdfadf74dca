"""Whether a list of extensions is well-formed: RFC 6455, section 9.1."""

from libc.stdint cimport uint8_t

cdef bint is_extension_list(const uint8_t* data, size_t size) noexcept nogil
