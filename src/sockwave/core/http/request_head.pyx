"""The head of one request, parsed from its raw bytes on access: RFC 9112, sections 3 and 5."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp

from sockwave.core.events.member_docs cimport describe_member
from sockwave.core.http.headers cimport headers_in

from sockwave.cookies import parse_cookies
from sockwave.query import Params

# The methods that nearly all requests have: their names are made once.
cdef dict METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}

cdef enum:
    PROTOCOL_SIZE = 8           # "HTTP/1.1"


cdef class RequestHead:
    """The head of a request that has been accepted, parsed on access.

    `raw` holds the request line and the header block, with the empty line that ends them.
    """

    def __init__(self, bytes raw):
        self.raw = raw
        self.split_line()

    cdef int split_line(self) except -1:
        """Find the method and the target, which single spaces separate; ValueError where they do
        not."""
        cdef const char* data = PyBytes_AS_STRING(self.raw)
        cdef size_t size = PyBytes_GET_SIZE(self.raw)
        cdef Py_ssize_t line_size = self.raw.find(b"\r\n")
        cdef const char* target = <const char*>memchr(data, c" ", size)
        cdef const char* target_end = NULL
        if target is not NULL:
            target += 1
            target_end = <const char*>memchr(target, c" ", size - (target - data))
        if target_end is NULL or target_end - data + 1 + PROTOCOL_SIZE != line_size:
            raise ValueError(f"raw: expected an accepted request head, given {self.raw!r}")
        self.method_size = target - 1 - data
        self.target_size = target_end - target
        return 0

    cdef bint has_method(self, const char* method, size_t size) noexcept:
        """Tell whether the method is this one, of `size` bytes."""
        return self.method_size == size and (
            memcmp(PyBytes_AS_STRING(self.raw), method, size) == 0
        )

    cdef bint is_1_0(self) noexcept:
        """Tell whether the client speaks HTTP/1.0."""
        cdef size_t at = self.method_size + 1 + self.target_size + 1 + PROTOCOL_SIZE - 1
        return PyBytes_AS_STRING(self.raw)[at] == c"0"

    cdef str method_of(self):
        cdef const char* data = PyBytes_AS_STRING(self.raw)
        if self.has_method("GET", 3):
            return "GET"
        name = PyBytes_FromStringAndSize(data, self.method_size)
        known = METHODS.get(name)
        return name.decode("latin-1") if known is None else known

    cdef str target_of(self):
        cdef const char* data = PyBytes_AS_STRING(self.raw)
        if self.kept_target is None:
            self.kept_target = PyUnicode_DecodeLatin1(
                data + self.method_size + 1, self.target_size, NULL
            )
        return self.kept_target

    cdef str path_of(self):
        cdef str target = self.target_of()
        if target[0] == "/" and "?" not in target:
            return target
        return self._origin_form().partition("?")[0]

    cdef Headers headers_of(self):
        cdef size_t line_size = self.method_size + 1 + self.target_size + 1 + PROTOCOL_SIZE + 2
        if self.kept_headers is None:
            self.kept_headers = headers_in(self.raw, line_size, PyBytes_GET_SIZE(self.raw) - 2)
        return self.kept_headers

    @property
    def method(self):
        """The method as it was sent, `"GET"`."""
        return self.method_of()

    @property
    def target(self):
        """The request target as it was sent, `"/chat?room=1"`."""
        return self.target_of()

    @property
    def http_version(self):
        """`"1.1"` or `"1.0"`."""
        return "1.0" if self.is_1_0() else "1.1"

    @property
    def path(self):
        """The target up to the query, not percent-decoded; `"*"` for OPTIONS of the server."""
        return self.path_of()

    @property
    def path_params(self):
        """What stands in the `{name}` segments of the route that takes the request, decoded: a dict
        by name. Empty where none does, or where it has no such segments."""
        if self.kept_path_params is None:
            self.kept_path_params = {}
        return self.kept_path_params

    @property
    def query(self):
        """The part of the target behind the first question mark, not decoded."""
        return self._origin_form().partition("?")[2]

    def _origin_form(self):
        """Return the target, without scheme and authority where it has them."""
        target = self.target_of()
        if target[0] == "/" or target == "*":
            return target
        rest = target.partition("://")[2]
        authority_size = min((i for i in map(rest.find, "/?") if i >= 0), default=len(rest))
        rest = rest[authority_size:]
        return rest if rest.startswith("/") else "/" + rest

    @property
    def params(self):
        """The fields of the query; `params.get_all(name)` gives repeated ones."""
        if self.kept_params is None:
            self.kept_params = Params(self.query)
        return self.kept_params

    @property
    def headers(self):
        """The header fields."""
        return self.headers_of()

    @property
    def cookies(self):
        """The cookies by name, their values as they were sent but for quotes around them."""
        if self.kept_cookies is None:
            self.kept_cookies = parse_cookies(self.headers_of().get_all("cookie"))
        return self.kept_cookies

    @property
    def origin(self):
        """The `Origin`, or `Sec-WebSocket-Origin` of hybi-08 and older; None if there is none."""
        headers = self.headers_of()
        return headers.get("origin", headers.get("sec-websocket-origin"))

    def __repr__(self):
        return f"<{type(self).__name__} {self.method} {self.target!r}>"


describe_member(
    RequestHead, "raw", "The request line and the header block, with the empty line that ends them."
)
