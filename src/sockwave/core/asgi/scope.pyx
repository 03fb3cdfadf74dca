"""What an ASGI application is told of a request, or of an opening handshake: its scope.

ASGI's HTTP and WebSocket formats 2.4, of asgi.readthedocs.io.
"""

from urllib.parse import unquote_to_bytes

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from sockwave.core.http.characters cimport lower
from sockwave.core.http.headers cimport Field, Headers

cdef enum:
    NAME_SLOT_COUNT = 512       # a power of two
    LONGEST_NAME = 40           # of those that are made once

# The names that requests have over and over, in lower case, as ready-made objects. A name stands in
# the slot of its size, first and last byte.
cdef PyObject* names[NAME_SLOT_COUNT]

COMMON_NAMES = (
    b"host", b"connection", b"user-agent", b"accept", b"accept-encoding", b"accept-language",
    b"accept-charset", b"cookie", b"content-length", b"content-type", b"transfer-encoding",
    b"cache-control", b"pragma", b"referer", b"origin", b"upgrade-insecure-requests", b"dnt",
    b"sec-ch-ua", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-site", b"sec-fetch-mode",
    b"sec-fetch-user", b"sec-fetch-dest", b"sec-gpc", b"priority", b"te", b"range",
    b"if-none-match", b"if-modified-since", b"authorization", b"x-requested-with",
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port",
    b"x-real-ip", b"x-request-id", b"forwarded", b"via", b"expect", b"traceparent", b"tracestate",
)


cdef uint32_t slot_of(const uint8_t* name, size_t size) noexcept nogil:
    return (
        size * 37 ^ lower[name[0]] * 5 ^ lower[name[size - 1]] * 11 ^ lower[name[size // 2]] * 3
    ) & NAME_SLOT_COUNT - 1


cdef int keep_names() except -1:
    cdef bytes name
    cdef uint32_t slot
    for name in COMMON_NAMES:
        slot = slot_of(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if names[slot] is NULL:     # else the one before it is the more common
            Py_INCREF(name)
            names[slot] = <PyObject*>name
    return 0


keep_names()


cdef bytes lower_name(const uint8_t* name, size_t size):
    """Return a header's name in lower case."""
    cdef uint8_t folded[LONGEST_NAME]
    cdef bytes made
    cdef uint8_t* out
    cdef PyObject* known
    cdef size_t i
    if 0 < size <= LONGEST_NAME:
        for i in range(size):
            folded[i] = lower[name[i]]
        known = names[slot_of(folded, size)]
        if known is not NULL and PyBytes_GET_SIZE(<bytes>known) == <Py_ssize_t>size and (
            memcmp(PyBytes_AS_STRING(<bytes>known), folded, size) == 0
        ):
            return <bytes>known
        return PyBytes_FromStringAndSize(<const char*>folded, size)
    made = PyBytes_FromStringAndSize(NULL, size)
    out = <uint8_t*>PyBytes_AS_STRING(made)
    for i in range(size):
        out[i] = lower[name[i]]
    return made


cdef list header_pairs(Headers headers):
    """Return the fields as pairs of bytes, the names in lower case."""
    cdef const uint8_t* block
    cdef Field* field
    cdef list pairs = []
    cdef Py_ssize_t i
    headers.read_lines()
    block = <const uint8_t*>PyBytes_AS_STRING(headers.block)
    for i in range(headers.count):
        field = &headers.fields[i]
        pairs.append((
            lower_name(block + field.name_start, field.name_size),
            PyBytes_FromStringAndSize(
                <const char*>block + field.value_start, field.value_size
            ),
        ))
    return pairs


# What differs from scope to scope, beside what the template may have already.
cdef tuple variable_keys = (
    "path", "raw_path", "query_string", "headers", "client", "server", "state", "extensions",
)


cdef class ScopeTemplate:
    """What the scopes of one kind for one application have in common."""

    def __init__(
        self, dict common, str secure_scheme, dict extensions, dict old_extensions, str added_path,
        bytes added_raw_path, dict state,
    ):
        # The keys that `make` sets are there from the beginning: the copies need not grow.
        self.common = common | dict.fromkeys(variable_keys)
        self.secure_scheme = secure_scheme
        self.extensions = extensions
        self.old_extensions = old_extensions
        self.added_path = added_path
        self.added_raw_path = added_raw_path
        self.state = state

    cpdef dict make(
        self, RequestHead head, bint is_secure, object client, object server, bint is_debugged
    ):
        """Return the scope of one request."""
        cdef dict scope = self.common.copy()
        cdef const char* target = PyBytes_AS_STRING(head.raw) + head.method_size + 1
        cdef const char* query = <const char*>memchr(target, c"?", head.target_size)
        cdef size_t path_size = head.target_size if query is NULL else query - target
        cdef bytes raw_path
        cdef str path
        cdef dict extensions = self.extensions
        if target[0] == c"/":
            raw_path = PyBytes_FromStringAndSize(target, path_size)
            scope["query_string"] = b"" if query is NULL else PyBytes_FromStringAndSize(
                query + 1, head.target_size - path_size - 1
            )
        else:                       # "*", or an absolute form
            raw_path = head.path.encode("latin-1")
            scope["query_string"] = head.query.encode("latin-1")
        path = decode_path(raw_path)
        if self.added_path:
            path = self.added_path + path
            raw_path = self.added_raw_path + raw_path
        if "method" in scope:       # a handshake has none
            scope["method"] = head.method_of()
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["headers"] = header_pairs(head.headers_of())
        scope["client"] = client
        scope["server"] = server
        scope["state"] = self.state.copy()
        if head.is_1_0():
            scope["http_version"] = "1.0"
            extensions = self.old_extensions
        if is_secure:
            scope["scheme"] = self.secure_scheme
        extensions = extensions.copy()
        if is_debugged:
            extensions["http.response.debug"] = {}
        scope["extensions"] = extensions
        return scope


cpdef str decode_path(bytes raw_path):
    """Return a path, percent-decoded as UTF-8; what is no UTF-8 becomes U+FFFD."""
    cdef const char* data = PyBytes_AS_STRING(raw_path)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw_path)
    cdef Py_ssize_t i
    if memchr(data, c"%", size) is NULL:
        for i in range(size):
            if <uint8_t>data[i] >= 0x80:
                return raw_path.decode("utf-8", "replace")
        return PyUnicode_DecodeASCII(data, size, NULL)
    return unquote_to_bytes(raw_path).decode("utf-8", "replace")
