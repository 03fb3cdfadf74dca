"""Which bytes may stand where in a message head: RFC 9110, section 5, and RFC 9112, section 3."""

cdef bytes DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


cdef int fill_tables() except -1:
    cdef int byte
    for byte in b"!#$%&'*+-.^_`|~":
        kinds[byte] |= TOKEN
    for byte in b"-._~!$&'()*+,;=":
        kinds[byte] |= NAME
    for byte in DIGITS:
        kinds[byte] |= BASE64
        if byte not in b"+/":
            kinds[byte] |= TOKEN | NAME
    for byte in range(0x20, 0x7F):
        kinds[byte] |= VALUE | SENDABLE | OBSOLETE
        if byte not in b" #":
            kinds[byte] |= TARGET
    kinds[0x09] |= VALUE | SENDABLE | OBSOLETE
    for byte in range(0x80, 0x100):
        kinds[byte] |= OBSOLETE
    for byte in range(0xA0, 0x100):
        kinds[byte] |= SENDABLE
    for byte in range(0x100):
        lower[byte] = byte | 0x20 if c"A" <= byte <= c"Z" else byte
    return 0


fill_tables()


cdef size_t count_run(const uint8_t* data, const uint8_t* end, uint8_t kind) noexcept nogil:
    """Count the bytes of a kind that come next."""
    cdef const uint8_t* at = data
    while at < end and kinds[at[0]] & kind:
        at += 1
    return at - data


cdef bint is_word(const uint8_t* data, size_t size, const char* word) noexcept nogil:
    """Compare without case. `word` must be in lower case and have `size` characters."""
    cdef size_t i
    for i in range(size):
        if lower[data[i]] != <uint8_t>word[i]:
            return False
    return True


cdef bint are_equal(const uint8_t* data, const uint8_t* other, size_t size) noexcept nogil:
    """Compare two names without case."""
    cdef size_t i
    for i in range(size):
        if lower[data[i]] != lower[other[i]]:
            return False
    return True
