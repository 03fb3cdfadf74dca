"""Requests of HTTP/1.1, and the check of their answers (RFC 9112).

Each answer has to be a 200 with a Content-Length and the expected body, byte by byte. A head is
parsed where it differs from the last one that was right in more than its Date.
"""

import re

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy

from sockwave.loadgen.client import LoadError

cdef enum:
    MAX_HEAD_SIZE = 16384
    MAX_BATCH_SIZE = 1 << 24
    DATE_SIZE = 29              # RFC 9110, section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT"
    SHOWN_SIZE = 200            # bytes of a wrong answer that the error shows

cdef bytes BLANK_LINE = b"\r\n\r\n"
DATE_LINE = re.compile(rb"\r\ndate: *(?=[^\r]{%d}\r)" % DATE_SIZE, re.IGNORECASE)
LENGTH_LINE = re.compile(rb"\r\ncontent-length: *([0-9]+) *(?=\r)", re.IGNORECASE)


cdef class HttpExchange(Exchange):
    """The same request, `depth` times at once (pipelined), and the same answer but for its Date.

    With `ends_connections` the server has to close behind each batch.
    """

    def __init__(self, bytes request, bytes body, int depth=1, bint ends_connections=False):
        self.request = request
        self.body = body
        self.body_size = len(body)
        self.depth = depth
        self.size = len(request)
        self.ends_connections = ends_connections
        if depth * self.size > MAX_BATCH_SIZE:
            raise ValueError(f"expected at most {MAX_BATCH_SIZE} bytes of requests at once")

    cdef int prepare(self, LoadClient client, bint sends) except -1:
        cdef size_t at
        client.reply = <uint8_t*>malloc(MAX_HEAD_SIZE)
        client.batch_size = self.size * self.depth
        client.batch = <uint8_t*>malloc(client.batch_size)
        if client.reply is NULL or client.batch is NULL:
            raise MemoryError
        for at in range(0, client.batch_size, self.size):
            memcpy(client.batch + at, PyBytes_AS_STRING(self.request), self.size)
        return 0

    cdef int compose(self, LoadClient client) except -1:
        client.sent_count += self.depth
        client.written = 0
        return 0

    # ---- answers

    cdef size_t check_part(
        self, LoadClient client, LoadClient sender, const uint8_t* data, size_t size
    ) except 0:
        """Compare what has come of the current answer; returns the number of bytes compared."""
        cdef size_t at, part
        if client.head_size == 0:
            if client.partial_size == 0 and self.is_accepted(data, size):
                client.head_size = client.partial_size = part = self.accepted_size
            else:
                part = self.collect_head(client, data, size)
        else:
            at = client.partial_size - client.head_size
            part = min(size, self.body_size - at)
            if memcmp(data, PyBytes_AS_STRING(self.body) + at, part) != 0:
                raise LoadError(
                    f"answer {client.reply_count}: the body differs from the expected one, at byte "
                    f"{at} or later: got {data[:min(part, <size_t>SHOWN_SIZE)]}"
                )
            client.partial_size += part
        if client.head_size and client.partial_size == client.head_size + self.body_size:
            self.end_answer(client)
        return part

    cdef int end_answer(self, LoadClient client) except -1:
        self.received_size += client.partial_size
        client.head_size = client.partial_size = 0
        client.reply_count += 1
        return 0

    cdef bint is_accepted(self, const uint8_t* data, size_t size) noexcept:
        """Tell whether a head stands here that is the last right one, but for its Date."""
        cdef size_t behind = self.date_at + DATE_SIZE
        cdef const char* head
        if self.accepted_size == 0 or size < self.accepted_size:
            return False
        head = PyBytes_AS_STRING(self.accepted_head)
        if self.date_at == 0:
            return memcmp(data, head, self.accepted_size) == 0
        return (
            memcmp(data, head, self.date_at) == 0
            and memcmp(data + behind, head + behind, self.accepted_size - behind) == 0
        )

    cdef size_t collect_head(self, LoadClient client, const uint8_t* data, size_t size) except 0:
        """Keep what has come of a head until it is whole; returns how many bytes belong to it."""
        cdef size_t before = client.partial_size
        cdef size_t part = min(size, <size_t>MAX_HEAD_SIZE - before)
        cdef bytes collected
        cdef Py_ssize_t end
        memcpy(client.reply + before, data, part)
        collected = client.reply[:before + part]
        end = collected.find(BLANK_LINE)
        if end < 0:
            if before + part == MAX_HEAD_SIZE:
                raise LoadError(f"the head of an answer is longer than {MAX_HEAD_SIZE} bytes")
            client.partial_size = before + part
            return part
        client.head_size = client.partial_size = end + PyBytes_GET_SIZE(BLANK_LINE)
        try:
            self.accept_head(collected[:client.head_size])
        except LoadError as error:
            raise LoadError(f"answer {client.reply_count}: {error}") from None
        return client.head_size - before

    cdef int accept_head(self, bytes head) except -1:
        """Check a head, and compare the next ones with it."""
        sizes = [int(size) for size in LENGTH_LINE.findall(head)]
        if not head.startswith(b"HTTP/1.1 200 ") or sizes != [self.body_size]:
            raise LoadError(
                f"expected HTTP/1.1 200 and one Content-Length, {self.body_size}, got "
                f"{head[:SHOWN_SIZE]}"
            )
        date = DATE_LINE.search(head)
        self.accepted_head = head
        self.accepted_size = len(head)
        self.date_at = date.end() if date else 0
        return 0
