"""What a worker writes to the sequencer, and what it calls things there.

Numbers stand for topics, and for requests, whose answers name them again. A number is told when its
topic is written of first; another sequencer is told anew.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

from sockwave.core.topics.records cimport (
    Head, IS_PATTERN, NAME, consume, free_buffer, trim_buffer, write_record,
)

cdef enum:
    KEPT_CAPACITY = 1 << 20


cdef class LinkOutput:
    """What a worker writes to the sequencer.

    `schedule` is called when there is something to send, once until `read` is called.
    """

    def __cinit__(self, schedule):
        self.schedule = schedule
        self.own_numbers = {}
        self.requests = {}
        memset(&self.out, 0, sizeof(self.out))

    def __dealloc__(self):
        free_buffer(&self.out)

    @property
    def size(self):
        """How many bytes wait to be sent."""
        return self.out.size

    def read(self):
        """Take off what waits to be sent."""
        self.is_scheduled = False
        data = (<const char*>self.out.data)[self.out.begin:self.out.begin + self.out.size] if (
            self.out.size
        ) else b""
        consume(&self.out, self.out.size)
        trim_buffer(&self.out, KEPT_CAPACITY)
        return data

    cdef int forget(self) except -1:
        """Drop what was not sent: it was for a sequencer that has gone."""
        free_buffer(&self.out)
        self.own_numbers.clear()
        self.is_scheduled = False
        return 0

    cdef int pump(self) except -1:
        """Have what was written sent."""
        if self.out.size and not self.is_scheduled and self.schedule is not None:
            self.is_scheduled = True
            self.schedule()
        return 0

    cdef int write(
        self, int type, int flags, Subscribers topic, uint32_t request, uint64_t epoch,
        uint64_t offset, uint64_t sequence, const uint8_t* payload, size_t size,
    ) except -1:
        cdef Head head
        memset(&head, 0, sizeof(head))
        if topic is not None:
            self.name(topic)
            head.topic = topic.number
        head.type, head.flags, head.request = type, flags, request
        head.epoch, head.offset, head.sequence = epoch, offset, sequence
        return write_record(&self.out, &head, payload, size)

    cdef int write_bytes(
        self, int type, int flags, Subscribers topic, uint32_t request, bytes payload
    ) except -1:
        return self.write(
            type, flags, topic, request, 0, 0, 0,
            <const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
        )

    cdef int name(self, Subscribers topic) except -1:
        """Tell the sequencer the number of a topic, unless it has been told."""
        if topic.number:
            return 0
        self.last_number += 1
        topic.number = self.last_number
        self.own_numbers[topic.number] = topic
        return self.write_bytes(
            NAME, IS_PATTERN if topic.is_pattern else 0, topic, 0, topic.name.encode()
        )

    cdef uint32_t new_request(self, object who) except 0:
        """Return the number of a new request, to which `who` hears the answer."""
        self.last_request = self.last_request % 0xFFFFFFFF + 1
        self.requests[self.last_request] = who
        return self.last_request
