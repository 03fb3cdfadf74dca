"""The head of one request, parsed from its raw bytes on access: RFC 9112, sections 3 and 5."""

from libc.stdint cimport uint32_t

from sockwave.core.http.headers cimport Headers

cdef class RequestHead:
    """The head of a request that has been accepted, parsed on access."""
    cdef readonly bytes raw     # the request line and the header block, with the empty line
    cdef uint32_t method_size, target_size      # in bytes
    # What has been asked for already; None: it has not.
    cdef str kept_target
    cdef Headers kept_headers
    cdef object kept_params, kept_cookies
    cdef dict kept_path_params  # what stands in the `{name}` segments of its route; None: nothing

    cdef int split_line(self) except -1
    cdef bint has_method(self, const char* method, size_t size) noexcept
    cdef bint is_1_0(self) noexcept
    cdef str method_of(self)
    cdef str target_of(self)
    cdef str path_of(self)
    cdef Headers headers_of(self)
