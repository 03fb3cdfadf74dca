"""The envelopes that sockwave itself has, written as bytes; `sockwave.deliveries` is the model.

Only for texts, which are most of what is published: a token of a language model is a few bytes, and
to wrap it by objects of Python would cost more than to send it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from sockwave.core.digits cimport put_digits

cdef enum:
    POSITION_SIZE = 64          # room for `,"position":""`, and both numbers with what is between
    MAX_DIGIT_COUNT = 20        # of a number of 64 bits

cdef const char* HEX = b"0123456789abcdef"


cdef bytes wrap_compact(uint64_t offset, const char* text, size_t size):
    """Return `[offset,"text"]`; `text` is UTF-8."""
    cdef uint8_t digits[MAX_DIGIT_COUNT]
    cdef size_t digit_count = put_digits(digits, offset, 10) - digits
    cdef size_t quoted = quoted_size(text, size)
    cdef bytes wrapped = PyBytes_FromStringAndSize(NULL, digit_count + quoted + 3)
    cdef char* to = PyBytes_AS_STRING(wrapped)
    to[0] = b"["
    to = write(to + 1, <const char*>digits, digit_count)
    to[0] = b","
    to = write_quoted(to + 1, text, size, quoted)
    to[0] = b"]"
    return wrapped


cdef bytes wrap_json(
    str topic, bint is_delta, uint64_t epoch, uint64_t offset, const char* text, size_t size, str id
):
    """Return a JSON object with topic, position (without an epoch: none), the text, and the id."""
    cdef Py_ssize_t name_size, id_size = 0
    cdef const char* name = PyUnicode_AsUTF8AndSize(topic, &name_size)
    cdef const char* given = NULL if id is None else PyUnicode_AsUTF8AndSize(id, &id_size)
    cdef const char* field = b',"delta":' if is_delta else b',"message":'
    cdef size_t field_size = 9 if is_delta else 11
    cdef size_t quoted_name = quoted_size(name, name_size)
    cdef size_t quoted_text = quoted_size(text, size)
    cdef size_t quoted_id = 0 if id is None else quoted_size(given, id_size)
    cdef char position[POSITION_SIZE]
    cdef char* end = position
    if epoch:
        end = <char*>put_digits(<uint8_t*>write(end, b',"position":"', 13), epoch, 16)
        end = <char*>put_digits(<uint8_t*>write(end, b"-", 1), offset, 10)
        end = write(end, b'"', 1)
    cdef size_t position_size = end - position
    cdef bytes wrapped = PyBytes_FromStringAndSize(
        NULL, 9 + quoted_name + position_size + field_size + quoted_text
        + (0 if id is None else 6 + quoted_id) + 1
    )
    cdef char* to = PyBytes_AS_STRING(wrapped)
    to = write(to, b'{"topic":', 9)
    to = write_quoted(to, name, name_size, quoted_name)
    to = write(to, position, position_size)
    to = write(to, field, field_size)
    to = write_quoted(to, text, size, quoted_text)
    if id is not None:
        to = write(to, b',"id":', 6)
        to = write_quoted(to, given, id_size, quoted_id)
    to[0] = b"}"
    return wrapped


cdef inline char* write(char* to, const char* data, size_t size) noexcept:
    """Copy bytes; return where the next ones go."""
    memcpy(to, data, size)
    return to + size


cdef char short_escape(unsigned char one) noexcept:
    """Return the letter that stands behind the backslash for a character; 0: it has none, or it
    stands for itself (RFC 8259, section 7)."""
    if one == b'"' or one == b"\\":
        return <char>one
    if one == b"\n":
        return b"n"
    if one == b"\r":
        return b"r"
    if one == b"\t":
        return b"t"
    if one == 8:
        return b"b"
    if one == 12:
        return b"f"
    return 0


cdef size_t quoted_size(const char* text, size_t size) noexcept:
    """Return the size of a text as a string of JSON, with its quotes."""
    cdef size_t found = size + 2
    cdef size_t i
    cdef unsigned char one
    for i in range(size):
        one = <unsigned char>text[i]
        if one < 32 or one == b'"' or one == b"\\":
            found += 1 if short_escape(one) else 5
    return found


cdef char* write_quoted(char* to, const char* text, size_t size, size_t quoted) noexcept:
    """Write a text as a string of JSON, which is `quoted` bytes; return where the next ones go."""
    cdef size_t i
    cdef unsigned char one
    cdef char letter
    to[0] = b'"'
    to += 1
    if quoted == size + 2:
        to = write(to, text, size)
    else:
        for i in range(size):
            one = <unsigned char>text[i]
            letter = short_escape(one)
            if letter:
                to[0], to[1] = b"\\", letter
                to += 2
            elif one < 32:
                to = write(to, b"\\u00", 4)
                to[0], to[1] = HEX[one >> 4], HEX[one & 15]
                to += 2
            else:
                to[0] = <char>one
                to += 1
    to[0] = b'"'
    return to + 1
