"""Which bytes may stand where in a message head: RFC 9110, section 5, and RFC 9112, section 3."""

from libc.stdint cimport uint8_t

# What a byte may be a part of. A byte may be of several kinds.
cdef enum:
    TOKEN = 1                   # RFC 9110, 5.6.2: tchar
    # A field's value: visible ASCII, SP and HTAB. RFC 9110, 5.5, also allows other bytes, for old
    # clients. They are rare, so a request with such a value is left to `http`.
    VALUE = 2
    TARGET = 4                  # visible ASCII but "#", which begins a fragment
    NAME = 8                    # RFC 3986, 3.2.2: a host's name or IPv4 address, without "%"
    BASE64 = 16
    # A field's value that the server sends, in Latin-1: no control characters but HTAB.
    SENDABLE = 32
    OBSOLETE = 64               # the same with obs-text (RFC 9110, 5.5): all bytes above 0x7F

cdef uint8_t kinds[256]
cdef uint8_t lower[256]         # ASCII letters in lower case, all other bytes as they are

cdef size_t count_run(const uint8_t* data, const uint8_t* end, uint8_t kind) noexcept nogil
cdef bint is_word(const uint8_t* data, size_t size, const char* word) noexcept nogil
cdef bint are_equal(const uint8_t* data, const uint8_t* other, size_t size) noexcept nogil
