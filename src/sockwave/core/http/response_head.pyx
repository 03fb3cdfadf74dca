"""Response heads as bytes: RFC 9112, section 4."""

from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy
from libc.time cimport time, time_t

from sockwave.core.http.characters cimport OBSOLETE, SENDABLE, TOKEN, are_equal, count_run, is_word

from sockwave.fields import check_header, has_controls

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT(object text) noexcept
    enum: PyUnicode_1BYTE_KIND
    bint PyBool_Check(object value) noexcept

# RFC 9110 renamed some phrases; the standard library has the new ones only from Python 3.13 on.
REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

cdef enum:
    STATUS_COUNT = 600
    FIRST_CAPACITY = 256        # of a block: room for the fields of most responses
    # Real responses have a few hundred bytes of headers. This keeps a mistake of the application
    # from taking all memory.
    MOST_SIZE = 16777216

# The status lines with the usual reason, by status; NULL: not made yet.
cdef PyObject* status_lines[STATUS_COUNT]

# The field line of the present second. Every response has it, and one second has many of them.
cdef uint8_t date_bytes[DATE_LINE_SIZE]
cdef time_t date_second = -1


cdef const uint8_t* date_line() except NULL:
    """Return the Date field of the present second, DATE_LINE_SIZE bytes: RFC 9110, section 5.6.7.
    """
    global date_second
    cdef time_t second = time(NULL)
    cdef bytes line
    if second != date_second:
        line = f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
        memcpy(date_bytes, PyBytes_AS_STRING(line), DATE_LINE_SIZE)
        date_second = second
    return date_bytes


def format_now():
    """Return the present time as an IMF-fixdate."""
    return (<const char*>date_line() + 6)[:DATE_LINE_SIZE - 8].decode("ascii")


def present_second():
    """Return the second that the Date field tells now, in seconds since the epoch.

    `time.time()` may have the next one already: the kernel has a quicker clock for whole seconds,
    which is some milliseconds behind.
    """
    return time(NULL)


cdef bytes status_line(int status, object reason):
    """Return the line with the reason phrase of the application, None: with the usual one."""
    cdef bytes line
    if reason is not None:
        return f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1")
    if 0 <= status < STATUS_COUNT and status_lines[status] is not NULL:
        return <bytes>status_lines[status]
    line = f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n".encode("latin-1")
    if 0 <= status < STATUS_COUNT:
        Py_INCREF(line)
        status_lines[status] = <PyObject*>line
    return line


def check_reason(reason):
    """Return the reason phrase; raise TypeError or ValueError if it may not go on the wire."""
    if not isinstance(reason, str):
        raise TypeError(f"reason: expected str, given {type(reason).__name__}")
    if has_controls(reason) or not all(character <= "\xff" for character in reason):
        raise ValueError(f"reason: expected Latin-1 without control characters, given {reason!r}")
    return reason


cpdef int check_status(object status) except -1:
    """Return the status of a final response; raise TypeError or ValueError if it is none."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status: expected int, given {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"status: expected 200 to 599, given {int(status)}")
    return status


cpdef bint has_content(int status) noexcept:
    """Tell whether a final response may have content. RFC 9110, 6.4.1: "All 1xx (Informational),
    204 (No Content), and 304 (Not Modified) responses do not include content.\""""
    return status != 204 and status != 304


cdef const uint8_t* latin_1(object text, size_t* size) noexcept:
    """Return the characters of a str that has one byte for each; NULL for any other object."""
    if type(text) is not str or not PyUnicode_IS_COMPACT(text):
        return NULL
    if PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        return NULL
    size[0] = PyUnicode_GET_LENGTH(text)
    return <const uint8_t*>PyUnicode_DATA(text)


cdef bint is_hop_name(const uint8_t* name, size_t size) noexcept nogil:
    """Tell whether a field is the connection's own (RFC 9110, section 7.6.1): the server has these.
    """
    if size == 10:
        return is_word(name, size, "connection") or is_word(name, size, "keep-alive")
    if size == 16:
        return is_word(name, size, "proxy-connection")
    return size == 17 and is_word(name, size, "transfer-encoding")


def is_hop(str name):
    """Tell whether the field with this name, a token, is the connection's own: see `is_hop_name`.
    """
    cdef size_t size = 0
    cdef const uint8_t* data = latin_1(name, &size)
    return data is not NULL and is_hop_name(data, size)


cdef inline tuple raw_pair(object pair):
    """Return a field as ASGI has it, a pair of bytes; raise TypeError or ValueError if it may not
    be sent."""
    cdef tuple found
    cdef const uint8_t* name
    cdef const uint8_t* value
    cdef size_t name_size, value_size
    if type(pair) is tuple and len(<tuple>pair) == 2 and (
        type((<tuple>pair)[0]) is bytes and type((<tuple>pair)[1]) is bytes
    ):
        found = <tuple>pair
    else:
        found = copied_pair(pair)
    name = <const uint8_t*>PyBytes_AS_STRING(found[0])
    name_size = PyBytes_GET_SIZE(found[0])
    value = <const uint8_t*>PyBytes_AS_STRING(found[1])
    value_size = PyBytes_GET_SIZE(found[1])
    if not name_size or count_run(name, name + name_size, TOKEN) != name_size:
        raise ValueError(f"header name: expected a token (RFC 9110, 5.6.2), given {found[0]!r}")
    # RFC 9110, 5.5: field-vchar = VCHAR / obs-text. So bytes above 0x7F pass, which applications
    # use for UTF-8; control characters do not.
    if count_run(value, value + value_size, OBSOLETE) != value_size:
        raise ValueError(
            f"header {found[0].decode()}: expected no control characters, given {found[1]!r}"
        )
    return found


cdef tuple copied_pair(object pair):
    """Return a pair of bytes for anything else that can be one; raise TypeError if it cannot."""
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise TypeError(f"headers: expected pairs of bytes, given {pair!r}") from None
    if not isinstance(name, (bytes, bytearray)) or not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"headers: expected pairs of bytes, given {pair!r}")
    return bytes(name), bytes(value)


cdef int check_pairs(object headers) except -1:
    # The test of an abstract class costs more than to read several fields.
    if type(headers) is not list and type(headers) is not tuple and (
        not isinstance(headers, Iterable)
    ):
        raise TypeError(f"headers: expected pairs of bytes, given {type(headers).__name__}")
    return 0


def read_raw_pairs(headers):
    """Return fields as ASGI has them, pairs of bytes, as str; raise TypeError or ValueError for
    those that may not be sent."""
    cdef list pairs = []
    check_pairs(headers)
    for pair in headers:
        name, value = raw_pair(pair)
        pairs.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))
    return pairs


@cython.freelist(16)
cdef class HeaderFields:
    """The header fields of a response as the application gives them. Those that frame the response
    stand apart from the others, as the server has its own say about them."""

    def __cinit__(self):
        self.length = NOT_GIVEN

    def __dealloc__(self):
        free(self.block)

    cdef uint8_t* make_room(self, size_t size) except NULL:
        """Return where the next `size` bytes go; the caller adds to `size` what it writes."""
        cdef size_t capacity = self.capacity or FIRST_CAPACITY
        cdef uint8_t* block
        while capacity < self.size + size:
            capacity *= 2
        if capacity > MOST_SIZE:
            raise ValueError(f"headers: expected at most {MOST_SIZE} bytes")
        if capacity != self.capacity:
            block = <uint8_t*>realloc(self.block, capacity)
            if block is NULL:
                raise MemoryError
            self.block = block
            self.capacity = capacity
        return self.block + self.size

    cdef int add_all(self, object headers) except -1:
        """Add the pairs of a mapping or an iterable, checked. A value may be an int, or a list for
        a repeated name."""
        if type(headers) is dict:
            for name, value in (<dict>headers).items():
                self.add_values(name, value)
            return 0
        if isinstance(headers, (str, bytes)) or not isinstance(headers, (Mapping, Iterable)):
            raise TypeError(f"headers: expected a mapping or pairs, given {type(headers).__name__}")
        for pair in headers.items() if isinstance(headers, Mapping) else headers:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"headers: expected (name, value) pairs, given {pair!r}")
            name, value = pair
            self.add_values(name, value)
        return 0

    cdef int add_values(self, object name, object value) except -1:
        if type(value) is str:
            return self.add(name, value)
        for single in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(single, int) and not PyBool_Check(single):
                single = str(single)
            self.add(name, single)
        return 0

    cdef int add(self, object name, object value) except -1:
        """Add one field; raises TypeError or ValueError if it may not be sent."""
        cdef size_t name_size = 0
        cdef size_t value_size = 0
        cdef const uint8_t* name_data = latin_1(name, &name_size)
        cdef const uint8_t* value_data = latin_1(value, &value_size)
        if (
            name_data is NULL or value_data is NULL or not name_size
            or count_run(name_data, name_data + name_size, TOKEN) != name_size
            or count_run(value_data, value_data + value_size, SENDABLE) != value_size
        ):
            # A subclass of str, or what may not be sent: that raises, with its reason.
            name, value = check_header(name, value)
            return self.add(str.__str__(name), str.__str__(value))
        if self.frames(name_data, name_size, value):
            return 0
        return self.append(name_data, name_size, value_data, value_size)

    cdef int append(
        self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size
    ) except -1:
        """Add the line of a checked field to the block."""
        cdef uint8_t* to = self.make_room(name_size + value_size + 4)
        memcpy(to, name, name_size)
        to += name_size
        memcpy(to, b": ", 2)
        memcpy(to + 2, value, value_size)
        memcpy(to + 2 + value_size, b"\r\n", 2)
        self.size += name_size + value_size + 4
        return 0

    cdef int add_raw_pairs(self, object headers) except -1:
        """Add pairs of bytes, as ASGI has them, without the connection's own fields. Of
        `Connection`, the option `close` stays."""
        cdef tuple found
        check_pairs(headers)
        for pair in headers:
            found = raw_pair(pair)
            self.add_raw(<bytes>found[0], <bytes>found[1])
        return 0

    cdef int add_raw(self, bytes name, bytes value) except -1:
        """Add a checked pair."""
        cdef const uint8_t* name_data = <const uint8_t*>PyBytes_AS_STRING(name)
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(value)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(value)
        cdef size_t size = PyBytes_GET_SIZE(name)
        while at < end and (at[0] == c" " or at[0] == c"\t"):
            at += 1
        while at < end and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
            end -= 1
        if is_hop_name(name_data, size):
            if size == 10 and is_word(name_data, 10, "connection"):
                if b"close" in [option.strip() for option in value.lower().split(b",")]:
                    self.options = ["close"]
            return 0
        if size == 4 or size == 7 or size == 12:
            self.frames(name_data, size, "")            # it is not the value that matters
        elif size == 14 and is_word(name_data, size, "content-length"):
            if not self.has_taken_length(at, end):
                self.frames(name_data, size, value.decode("latin-1").strip(" \t"))     # raises
            return 0
        return self.append(name_data, size, at, end - at)

    cdef bint has_taken_length(self, const uint8_t* at, const uint8_t* end) noexcept:
        """Note the Content-Length whose digits stand between `at` and `end`; false if it is none.
        """
        cdef int64_t length = 0
        # More digits than any length has would be a mistake.
        if self.length != NOT_GIVEN or not 0 < end - at <= 18:
            return False
        while at < end:
            if not c"0" <= at[0] <= c"9":
                return False
            length = length * 10 + (at[0] - c"0")
            at += 1
        self.length = length
        return True

    cdef bint frames(self, const uint8_t* name, size_t size, str value) except -1:
        """Note a field that matters for the framing or for the fields that the server adds; true:
        it does not go into the block."""
        if size == 4:
            self.has_date = self.has_date or is_word(name, size, "date")
        elif size == 7:
            self.has_upgrade = self.has_upgrade or is_word(name, size, "upgrade")
        elif size == 10 and is_word(name, size, "connection"):
            if self.options is None:
                self.options = []
            self.options += [option.strip() for option in value.split(",") if option.strip()]
            return True
        elif size == 12:
            self.has_type = self.has_type or is_word(name, size, "content-type")
        elif size == 14 and is_word(name, size, "content-length"):
            # More digits than any length has would be a mistake.
            if not (value.isascii() and value.isdigit()) or len(value) > 18 or (
                self.length != NOT_GIVEN
            ):
                raise ValueError(f"Content-Length: expected one number, given {value!r}")
            self.length = int(value)
            return True
        elif size == 17 and is_word(name, size, "transfer-encoding"):
            raise ValueError(
                f"Transfer-Encoding: expected none, as it is the server's, given {value!r}"
            )
        return False

    cdef bint has(self, const uint8_t* name, size_t size) noexcept:
        """Tell whether the block has a field of that name."""
        cdef const uint8_t* at = self.block
        cdef const uint8_t* end = at + self.size
        while at < end:
            if <size_t>(end - at) > size and at[size] == c":" and are_equal(at, name, size):
                return True
            at = <const uint8_t*>memchr(at, c"\n", end - at) + 1
        return False


cdef HeaderFields copy_of(HeaderFields fields):
    """Return fields that can be added to, and are those of a response so far; None: it has none."""
    cdef HeaderFields copy = HeaderFields.__new__(HeaderFields)
    if fields is not None:
        memcpy(copy.make_room(fields.size), fields.block, fields.size)
        copy.size = fields.size
        copy.options = None if fields.options is None else list(fields.options)
        copy.length = fields.length
        copy.has_date = fields.has_date
        copy.has_upgrade = fields.has_upgrade
        copy.has_type = fields.has_type
    return copy
