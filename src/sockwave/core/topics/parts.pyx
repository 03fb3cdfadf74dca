"""Messages that are too large for a broker: how they are taken apart and put together.

A broker ends a subscriber for whom too much waits. So a large message goes as parts, in order:
`1p HOST NUMBER INDEX COUNT\\n`, and a slice of what it would be in one piece.
"""

from collections import OrderedDict

from sockwave.core.topics.records cimport MAX_RECORD_SIZE

#: Larger messages go in parts of this size.
PART_SIZE = 128 << 10

cdef enum:
    # Of messages of which parts are missing yet, so many bytes are kept, and so many messages.
    MOST_SIZE = 2 * MAX_RECORD_SIZE
    MOST_COUNT = 256
    MAX_PART_COUNT = 1 << 20
    MAX_HEAD_SIZE = 160


def split_message(bytes message, str host, number):
    """Give the parts of a message."""
    cdef Py_ssize_t begin
    cdef Py_ssize_t size = PART_SIZE
    cdef Py_ssize_t count = (len(message) + size - 1) // size
    for index in range(count):
        begin = index * size
        yield b"1p %b %d %d %d\n" % (host.encode(), number, index, count) + (
            message[begin:begin + size]
        )


cdef class Part:
    """What has come of one message."""


cdef class PartialMessages:
    """The messages of which not all parts have come."""

    def __cinit__(self):
        self.messages = OrderedDict()
        self.most_size = MOST_SIZE

    cdef bytes take(self, bytes name, bytes data):
        """Take a part; return the whole message with the last one, else None.

        Raises ValueError for what is no part, or none that can be next: what had come of its
        message is dropped.
        """
        cdef Part part
        end = data.find(b"\n", 0, MAX_HEAD_SIZE)
        words = data[:max(end, 0)].split(b" ")
        if len(words) != 5 or not all(word.isdigit() and len(word) < 19 for word in words[2:]):
            raise ValueError("expected a part of a message")
        key = (words[1], words[2])
        index, count = int(words[3]), int(words[4])
        part = self.messages.get(key)
        if part is None and index == 0 and 1 < count <= MAX_PART_COUNT:
            part = self.messages[key] = Part()
            part.name, part.count, part.data = name, count, bytearray()
        if part is None or part.next != index or part.count != count or part.name != name:
            self.drop(key)
            raise ValueError("expected the next part of a message")
        part.next += 1
        part.data += memoryview(data)[end + 1:]
        self.size += len(data) - end - 1
        if len(part.data) > MAX_RECORD_SIZE:
            self.drop(key)
            raise ValueError("expected the parts of a message of 64 MiB at most")
        if part.next == count:
            self.drop(key)
            return bytes(part.data)
        if self.size > self.most_size or len(self.messages) > MOST_COUNT:
            self.drop(next(iter(self.messages)))
            raise ValueError("expected fewer messages whose parts have not all come")
        return None

    cdef int drop(self, object key) except -1:
        cdef Part part = self.messages.pop(key, None)
        if part is not None:
            self.size -= len(part.data)
        return 0
