"""What a Valkey server sends (RESP, version 2): read as it comes, cut anywhere.

Messages of topics go to the bridge without an object being made of them; all else is returned. What
a server may announce is bounded: its lengths are checked before anything is kept for them.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memset

from sockwave.core.topics.records cimport (
    MAX_RECORD_SIZE, append_bytes, consume, free_buffer, trim_buffer,
)
from sockwave.errors import SockwaveError

cdef enum:
    MAX_LINE_SIZE = 64 << 10
    MAX_COUNT = 1 << 20
    MAX_DEPTH = 8
    KEPT_CAPACITY = 256 << 10

cdef bytes MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
cdef bytes SHARD_MESSAGE = b"*3\r\n$8\r\nsmessage\r\n"

# Stands for a reply of which not all has come.
cdef object CUT = object()


class RespError(Exception):
    """An error that the server has answered."""


cdef class RespReader:
    """Reads what a Valkey server sends. `bridge` takes the messages of channels whose names begin
    with `prefix`, without it; `took` all other replies, each in its place between them. With a
    `tail`, these are channels of shards: `tag_size` bytes and the tail follow the prefix."""

    def __cinit__(
        self, Bridge bridge=None, bytes prefix=b"", took=None, *, size_t tag_size=0,
        bytes tail=b"",
    ):
        self.bridge = bridge
        self.head = SHARD_MESSAGE if tail else MESSAGE
        self.prefix = prefix
        self.tag_size = tag_size
        self.tail = tail
        self.took = took
        memset(&self.input, 0, sizeof(self.input))

    def __dealloc__(self):
        free_buffer(&self.input)

    def take(self, bytes data):
        """Take bytes that have come, and return the replies that they complete, unless `took` gets
        them: bytes, int, None, RespError, and lists of these. Raises SockwaveError for what no
        server sends."""
        cdef list replies = []
        cdef const uint8_t* begin = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data)
        cdef size_t taken
        if self.input.size:
            append_bytes(&self.input, begin, size)
            taken = self.read_whole(
                self.input.data + self.input.begin, self.input.size, replies
            )
            consume(&self.input, taken)
            trim_buffer(&self.input, KEPT_CAPACITY)
        else:
            taken = self.read_whole(begin, size, replies)
            append_bytes(&self.input, begin + taken, size - taken)
        return replies

    cdef size_t read_whole(self, const uint8_t* data, size_t size, list replies) except? 0:
        """Read the whole replies that bytes begin with; return their size."""
        cdef Cursor cursor
        cdef size_t begin
        cursor.data, cursor.size, cursor.place, cursor.depth = data, size, 0, 0
        while cursor.place < size:
            begin = cursor.place
            if self.bridge is not None and self.read_message(&cursor):
                continue
            cursor.place = begin
            reply = read_reply(&cursor)
            if reply is CUT:
                return begin
            if self.took is None:
                replies.append(reply)
            else:
                self.took(reply)
        return size

    cdef bint read_message(self, Cursor* cursor) except -1:
        """Hand a message of a topic to the bridge; False: it is something else, or it is cut."""
        cdef size_t head_size = PyBytes_GET_SIZE(self.head)
        cdef size_t prefix_size = PyBytes_GET_SIZE(self.prefix)
        cdef size_t tail_size = PyBytes_GET_SIZE(self.tail)
        cdef size_t begin_size = prefix_size + self.tag_size + tail_size
        cdef const uint8_t* channel
        cdef const uint8_t* message
        cdef Py_ssize_t channel_size, size
        if cursor.size - cursor.place < head_size or memcmp(
            cursor.data + cursor.place, PyBytes_AS_STRING(self.head), head_size
        ):
            return False
        cursor.place += head_size
        channel_size = read_bulk(cursor, &channel)
        if (
            channel_size < <Py_ssize_t>begin_size
            or memcmp(channel, PyBytes_AS_STRING(self.prefix), prefix_size)
            or memcmp(
                channel + begin_size - tail_size, PyBytes_AS_STRING(self.tail), tail_size
            )
        ):
            return False
        size = read_bulk(cursor, &message)
        if size < 0:
            return False
        self.message_count += 1
        self.bridge.take_message(channel + begin_size, channel_size - begin_size, message, size)
        return True


cdef object read_reply(Cursor* cursor):
    """Read one reply; CUT: not all of it is there."""
    cdef const uint8_t* line
    cdef const uint8_t* bulk
    cdef Py_ssize_t size
    cdef uint8_t kind = cursor.data[cursor.place]
    if kind == b"$":
        size = read_bulk(cursor, &bulk)
        if size == -1:
            return CUT
        return None if size == -2 else PyBytes_FromStringAndSize(<const char*>bulk, size)
    if kind not in (b":", b"+", b"-", b"*"):
        raise SockwaveError(f"Valkey: expected a reply, given byte {kind}")
    cursor.place += 1
    size = read_line(cursor, &line)
    if size < 0:
        return CUT
    if kind == b":":
        return read_number(line, size)
    if kind == b"+":
        return PyBytes_FromStringAndSize(<const char*>line, size)
    if kind == b"-":
        return RespError((<const char*>line)[:size].decode("utf-8", "replace"))
    return read_array(cursor, read_number(line, size))


cdef object read_array(Cursor* cursor, long long count):
    cdef list found = []
    if count == -1:
        return None
    if not 0 <= count <= MAX_COUNT or cursor.depth == MAX_DEPTH:
        raise SockwaveError(f"Valkey: expected up to {MAX_COUNT} replies in one, given {count}")
    cursor.depth += 1
    try:
        while count:
            if cursor.place >= cursor.size:
                return CUT
            reply = read_reply(cursor)
            if reply is CUT:
                return CUT
            found.append(reply)
            count -= 1
    finally:
        cursor.depth -= 1
    return found


cdef Py_ssize_t read_line(Cursor* cursor, const uint8_t** line) except -3:
    """Read to the next CRLF; -1: it is not there."""
    cdef size_t left = cursor.size - cursor.place
    cdef const uint8_t* begin = cursor.data + cursor.place
    cdef const uint8_t* end = <const uint8_t*>memchr(begin, b"\r", min(left, MAX_LINE_SIZE))
    if end is NULL:
        if left >= MAX_LINE_SIZE:
            raise SockwaveError("Valkey: expected a line to end")
        return -1
    if <size_t>(end - begin) + 2 > left:
        return -1
    if end[1] != b"\n":
        raise SockwaveError("Valkey: expected CRLF")
    line[0] = begin
    cursor.place += end - begin + 2
    return end - begin


cdef Py_ssize_t read_bulk(Cursor* cursor, const uint8_t** bulk) except -3:
    """Read a bulk string; -1: not all of it is there, -2: it is null."""
    cdef const uint8_t* line
    cdef Py_ssize_t size
    cdef long long length
    if cursor.place >= cursor.size:
        return -1
    if cursor.data[cursor.place] != b"$":
        raise SockwaveError("Valkey: expected a bulk string")
    cursor.place += 1
    size = read_line(cursor, &line)
    if size < 0:
        return -1
    length = read_number(line, size)
    if length == -1:
        return -2
    if not 0 <= length <= MAX_RECORD_SIZE:
        raise SockwaveError(f"Valkey: expected up to {MAX_RECORD_SIZE} bytes, given {length}")
    if cursor.size - cursor.place < <size_t>length + 2:
        return -1
    bulk[0] = cursor.data + cursor.place
    cursor.place += <size_t>length + 2
    if bulk[0][length] != b"\r" or bulk[0][length + 1] != b"\n":
        raise SockwaveError("Valkey: expected CRLF behind a bulk string")
    return length


cdef long long read_number(const uint8_t* line, Py_ssize_t size) except? -9:
    cdef long long number = 0
    cdef bint is_negative = size > 0 and line[0] == b"-"
    cdef Py_ssize_t i
    if not is_negative < size <= 18:
        raise SockwaveError("Valkey: expected a number")
    for i in range(is_negative, size):
        if not b"0" <= line[i] <= b"9":
            raise SockwaveError("Valkey: expected a number")
        number = 10 * number + (line[i] - 48)       # "0"
    return -number if is_negative else number


def pack_command(*words):
    """Return a command, of words that are bytes."""
    cdef list parts = [b"*%d\r\n" % len(words)]
    cdef bytes word
    for word in words:
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)
