"""Whether a list of extensions is well-formed: RFC 6455, section 9.1.

    extension-list = 1#extension
    extension = extension-token *( ";" extension-param )
    extension-param = token [ "=" (token | quoted-string) ]
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from sockwave.core.http.characters cimport TOKEN, count_run


cdef inline const uint8_t* skip_space(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end and (at[0] == c" " or at[0] == c"\t"):
        at += 1
    return at


cdef inline const uint8_t* skip_token(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Return where a token ends; NULL if there is none."""
    cdef size_t size = count_run(at, end, TOKEN)
    return at + size if size else NULL


cdef const uint8_t* skip_quoted(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Return where a quoted string ends, of which the opening quote has been read; NULL if it is
    none. 9.1: "the value after quoted-string unescaping MUST conform to the 'token' ABNF"."""
    cdef const uint8_t* start = at
    while at < end and at[0] != c'"':
        if at[0] == c"\\":
            at += 1
        if at == end or not count_run(at, at + 1, TOKEN):
            return NULL
        at += 1
    return NULL if at == end or at == start else at + 1


cdef const uint8_t* skip_parameter(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Return where a parameter ends, with the space behind it; NULL if there is none."""
    at = skip_token(at, end)
    if at is NULL:
        return NULL
    at = skip_space(at, end)
    if at < end and at[0] == c"=":
        at = skip_space(at + 1, end)
        at = skip_quoted(at + 1, end) if at < end and at[0] == c'"' else skip_token(at, end)
        if at is NULL:
            return NULL
        at = skip_space(at, end)
    return at


cdef const uint8_t* skip_extension(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Return where an extension ends, with the space behind it; NULL if there is none."""
    at = skip_token(at, end)
    if at is not NULL:
        at = skip_space(at, end)
    while at is not NULL and at < end and at[0] == c";":
        at = skip_parameter(skip_space(at + 1, end), end)
    return at


cdef bint is_extension_list(const uint8_t* data, size_t size) noexcept nogil:
    """Tell whether a field's value is a list of extensions, in time proportional to its length."""
    cdef const uint8_t* end = data + size
    cdef const uint8_t* at = skip_space(data, end)
    cdef bint has_one = False
    while at < end:
        # RFC 9110, 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list
        # elements".
        if at[0] != c",":
            at = skip_extension(at, end)
            if at is NULL or at < end and at[0] != c",":
                return False
            has_one = True
        if at < end:
            at = skip_space(at + 1, end)
    return has_one


def is_well_formed(str text):
    """Tell whether the text is a list of extensions (RFC 6455, section 9.1)."""
    cdef bytes data = text.encode("latin-1", "replace")     # what is not ASCII is in no token
    return is_extension_list(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
