"""The header fields of one message, looked up without regard to case: RFC 9110, section 5.

A request's fields are looked up where they stand in its head. Most requests are answered without a
look at most of their fields, so that no field becomes an object before it is asked for.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdlib cimport free, malloc
from libc.string cimport memchr

from sockwave.core.http.characters cimport are_equal

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    bint PyUnicode_IS_ASCII(object text) noexcept

# Real lists hold a few elements; a header block full of commas must not become as many objects.
LIST_COUNT = 100


cdef Headers headers_in(bytes block, uint32_t start, uint32_t end):
    """Return the fields whose lines stand in a part of `block`, and are well-formed."""
    cdef Headers headers = Headers.__new__(Headers)
    headers.block = block
    headers.start = start
    headers.end = end
    return headers


cdef uint32_t count_lines(const uint8_t* data, const uint8_t* end) noexcept nogil:
    cdef uint32_t count = 0
    while data < end:
        data = <const uint8_t*>memchr(data, c"\n", end - data)
        if data is NULL:
            break
        data += 1
        count += 1
    return count


cdef const uint8_t* find_line_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Return where the next CRLF begins; NULL: there is none."""
    cdef const uint8_t* found = at
    while found < end:
        found = <const uint8_t*>memchr(found, c"\n", end - found)
        if found is NULL:
            return NULL
        if found > at and (found - 1)[0] == c"\r":
            return found - 1
        found += 1
    return NULL


cdef bint is_space(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


cdef class Headers:
    """Header fields in the order in which they were sent; a name may occur several times.

    Values are str, decoded from Latin-1, without the white space around them. `headers[name]` is
    the first value of that name, or raises KeyError. Iteration gives every name once, in its first
    spelling; `len` counts these names.
    """

    def __init__(self, pairs=()):
        lines = []
        for name, value in pairs:
            if "\r" in name or "\n" in name or ":" in name or "\r" in value or "\n" in value:
                raise ValueError(f"headers: expected pairs without line ends, given {name!r}")
            lines.append(f"{name}:{value}\r\n")
        self.block = "".join(lines).encode("latin-1")
        self.end = PyBytes_GET_SIZE(self.block)

    def __dealloc__(self):
        free(self.fields)

    cdef int read_lines(self) except -1:
        """Find the fields in the block, once."""
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self.block)
        cdef const uint8_t* end = data + self.end
        cdef const uint8_t* at = data + self.start
        cdef const uint8_t* line_end
        cdef const uint8_t* colon
        cdef const uint8_t* value_end
        cdef Field* field
        if self.fields is not NULL:
            return 0
        self.fields = <Field*>malloc((count_lines(at, end) + 1) * sizeof(Field))
        if self.fields is NULL:
            raise MemoryError
        while at < end:
            line_end = find_line_end(at, end)
            colon = <const uint8_t*>memchr(at, c":", end - at)
            if line_end is NULL or colon is NULL or colon > line_end:
                break           # no well-formed block has such a line
            field = &self.fields[self.count]
            field.name_start = at - data
            field.name_size = colon - at
            value_end = line_end
            colon += 1
            while colon < value_end and is_space(colon[0]):
                colon += 1
            while value_end > colon and is_space((value_end - 1)[0]):
                value_end -= 1
            field.value_start = colon - data
            field.value_size = value_end - colon
            self.count += 1
            at = line_end + 2
        return 0

    cdef Py_ssize_t find(self, object name, Py_ssize_t start) except -2:
        """Return the index of the first field with that name from `start` on; -1: there is none."""
        cdef const uint8_t* data
        cdef const uint8_t* wanted
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t i
        if not isinstance(name, str):
            raise TypeError(f"header name: expected str, given {type(name).__name__}")
        if not PyUnicode_IS_ASCII(name):
            return -1           # no field has such a name
        wanted = <const uint8_t*>PyUnicode_AsUTF8AndSize(name, &size)
        self.read_lines()
        data = <const uint8_t*>PyBytes_AS_STRING(self.block)
        for i in range(start, self.count):
            if self.fields[i].name_size == <uint32_t>size and are_equal(
                data + self.fields[i].name_start, wanted, size
            ):
                return i
        return -1

    cdef str name_at(self, Py_ssize_t i):
        return PyUnicode_DecodeLatin1(
            PyBytes_AS_STRING(self.block) + self.fields[i].name_start, self.fields[i].name_size,
            NULL,
        )

    cdef str value_at(self, Py_ssize_t i):
        return PyUnicode_DecodeLatin1(
            PyBytes_AS_STRING(self.block) + self.fields[i].value_start, self.fields[i].value_size,
            NULL,
        )

    def __getitem__(self, name):
        cdef Py_ssize_t i = self.find(name, 0)
        if i < 0:
            raise KeyError(name.lower())
        return self.value_at(i)

    def get(self, name, default=None):
        """Return the first value of that name, or `default`."""
        cdef Py_ssize_t i = self.find(name, 0)
        return default if i < 0 else self.value_at(i)

    def get_all(self, name):
        """Return all values of that name in order, an empty list if there is none."""
        cdef Py_ssize_t i = self.find(name, 0)
        cdef list values = []
        while i >= 0:
            values.append(self.value_at(i))
            i = self.find(name, i + 1)
        return values

    def get_tokens(self, name):
        """Return the elements of a comma-separated list over all its lines, in lower case.

        Only the first hundred elements are read.
        """
        # RFC 9110, 5.6.1.2: "a recipient MUST parse and ignore a reasonable number of empty list
        # elements".
        values = ",".join(self.get_all(name)).lower().split(",", LIST_COUNT)[:LIST_COUNT]
        return [token for value in values if (token := value.strip(" \t"))]

    def keys(self):
        """Return every name once, as it was first spelled: `dict(headers)` has the first values."""
        return list(self)

    def values(self):
        """Return all values in order, those of repeated names included."""
        cdef Py_ssize_t i
        self.read_lines()
        return [self.value_at(i) for i in range(self.count)]

    def items(self):
        """Return all pairs, repeated names included, as they were spelled."""
        cdef Py_ssize_t i
        self.read_lines()
        return [(self.name_at(i), self.value_at(i)) for i in range(self.count)]

    def __contains__(self, name):
        return isinstance(name, str) and self.find(name, 0) >= 0

    def __iter__(self):
        names = {}
        for name, _ in self.items():
            names.setdefault(name.lower(), name)
        return iter(names.values())

    def __len__(self):
        return len({name.lower() for name, _ in self.items()})

    def __repr__(self):
        return f"Headers({self.items()!r})"
