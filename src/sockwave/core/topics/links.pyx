"""One link of a worker or publisher, as the sequencer sees it: its records come in, others wait."""

import errno

from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_Append
from libc.errno cimport errno as c_errno

from sockwave.core.topics.numbers cimport free_numbers
from sockwave.core.topics.records cimport (
    BAD_LENGTH, BAD_TYPE, INCOMPLETE, RecordCheck, WHOLE, append_bytes, check_head, consume,
    free_buffer, trim_buffer,
)
from sockwave.errors import SockwaveError

cdef extern from "link_socket.h" nogil:
    ssize_t link_receive(int fd, void* data, size_t size)
    ssize_t link_send(int fd, const void* data, size_t size)

cdef enum:
    # So much memory a link keeps for output, and for the beginning of a record.
    KEPT_OUTPUT_CAPACITY = 1 << 20
    KEPT_INPUT_CAPACITY = 64 << 10
    # A link is closed whose output is so many times the cap of droppable messages.
    CLOSE_FACTOR = 4

cdef tuple WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


cdef class Switch:
    """What takes the records of links: the sequencer."""

    cdef int take_record(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Act upon one record. Raise SockwaveError for one that is no worker's."""
        raise NotImplementedError

    cdef int begin_take(self) except -1:
        """Called before the records of a read."""
        raise NotImplementedError

    cdef int end_take(self, Link link) except -1:
        """Called behind the records of a read."""
        raise NotImplementedError

    cdef int end_link(self, Link link) except -1:
        """Called once, when a link has ended."""
        raise NotImplementedError

    cdef int drained(self, Link link) except -1:
        """Called when a slow link has taken most of its output."""
        raise NotImplementedError


cdef class Origin:
    """One incarnation of a worker, over all of its links: what it has published."""


cdef class Link:
    """One link: a worker's, or a publisher's."""

    def __cinit__(self, Switch switch, int id):
        self.switch = switch
        self.id = <uint16_t>id
        self.patterns = {}
        self.wanted_patterns = set()
        self.memberships = {}
        self.streams = set()

    def __dealloc__(self):
        free_buffer(&self.input)
        free_buffer(&self.output)
        free_buffer(&self.gapped)
        free_numbers(&self.numbers)

    # ---- what comes

    def take(self, const uint8_t[::1] data):
        """Take bytes that have come, cut anywhere.

        Raises SockwaveError for what no worker sends, and once the link has failed: the caller is
        to end it then. What came before has been done.
        """
        if data.shape[0]:
            self.take_bytes(&data[0], data.shape[0])

    cdef int take_bytes(self, const uint8_t* data, size_t size) except -1:
        cdef size_t taken
        if self.failure is not None or self.is_ended:
            raise SockwaveError(self.failure or "the link has ended")
        self.unanswered_count = 0
        self.switch.begin_take()
        if self.input.size:
            self.take_rest(&data, &size)
        if not self.input.size:
            taken = self.take_whole(data, size)
            append_bytes(&self.input, data + taken, size - taken)
        self.switch.end_take(self)
        if self.failure is not None:
            raise SockwaveError(self.failure)
        return 0

    cdef int take_rest(self, const uint8_t** data, size_t* size) except -1:
        """Complete the record whose beginning waits; move `data` behind its end."""
        cdef Head head
        cdef RecordCheck found = INCOMPLETE
        cdef size_t wanted
        while found == INCOMPLETE and size[0]:
            check_head(self.input.data + self.input.begin, self.input.size, &head, False)
            wanted = sizeof(Head) if self.input.size < sizeof(Head) else head.length
            wanted = min(wanted - self.input.size, size[0])
            append_bytes(&self.input, data[0], wanted)
            data[0] += wanted
            size[0] -= wanted
            found = check_head(self.input.data + self.input.begin, self.input.size, &head, False)
        if found != INCOMPLETE:
            consume(
                &self.input,
                self.take_whole(self.input.data + self.input.begin, self.input.size),
            )
            trim_buffer(&self.input, KEPT_INPUT_CAPACITY)
        return 0

    cdef size_t take_whole(self, const uint8_t* data, size_t size) except? 0:
        """Act upon the whole records at `data`; return how many bytes they are."""
        cdef Head head
        cdef size_t taken = 0
        cdef RecordCheck found = check_head(data, size, &head, False)
        while found == WHOLE:
            if self.failure is not None:
                return size
            self.switch.take_record(
                self, &head, data + taken + sizeof(Head), head.length - sizeof(Head)
            )
            taken += head.length
            found = check_head(data + taken, size - taken, &head, False)
        if found == BAD_LENGTH:
            raise SockwaveError(f"expected a record of 40 B to 64 MiB, given {head.length} B")
        if found == BAD_TYPE:
            raise SockwaveError(f"expected a record of a worker, given type {head.type}")
        return taken

    def receive(self, int fd):
        """Read once from a socket, without waiting, and take what has come; return how many bytes
        that was, 0 at the end of the stream, -1 if nothing has come.

        Raises OSError, and SockwaveError as `take` does.
        """
        cdef uint8_t[::1] room = self.switch.read_buffer
        cdef ssize_t size = link_receive(fd, &room[0], room.shape[0])
        if size < 0:
            if c_errno in WOULD_BLOCK:
                return -1
            PyErr_SetFromErrno(OSError)
        if size > 0:
            self.take_bytes(&room[0], size)
        return size

    # ---- what waits

    @property
    def output_size(self):
        """How many bytes wait to be sent."""
        return self.output.size

    def read(self, Py_ssize_t size=-1):
        """Take off up to `size` bytes of the output; without it, all."""
        if size < 0 or <size_t>size > self.output.size:
            size = self.output.size
        if not size:
            return b""
        taken = (<const char*>self.output.data + self.output.begin)[:size]
        self.note_sent(size)
        return taken

    def send(self, int fd):
        """Send the output to a socket, as far as it takes it at once; return whether all has gone.

        Raises OSError.
        """
        cdef ssize_t sent
        while self.output.size:
            sent = link_send(fd, self.output.data + self.output.begin, self.output.size)
            if sent < 0:
                if c_errno in WOULD_BLOCK:
                    return False
                PyErr_SetFromErrno(OSError)
            self.note_sent(sent)
        return True

    cdef int note_sent(self, size_t size) except -1:
        """Remove what has been sent, and tell of gaps once the link has caught up."""
        consume(&self.output, size)
        trim_buffer(&self.output, KEPT_OUTPUT_CAPACITY)
        if self.output.size <= self.switch.link_cap:
            self.oversize = 0
        if self.is_slow and self.output.size < self.switch.link_cap // 4:
            self.is_slow = False
            self.switch.drained(self)
        return 0

    cdef int note_output(self) except -1:
        """Note that something was written to the output."""
        if not self.is_dirty:
            self.is_dirty = True
            PyList_Append(self.switch.dirty, self)
        return 0

    cdef int check_output(self) except -1:
        """Fail the link if its answers are too much: then it does not read."""
        if self.output.size > CLOSE_FACTOR * self.switch.link_cap + self.oversize:
            self.fail(f"expected it to take its answers, of which {self.output.size} B wait")
        return 0

    # ---- its end

    cdef int fail(self, str reason) except -1:
        """Have it ended by whoever looks after it: `take_dirty` gives it, `failure` says why."""
        if self.failure is None and not self.is_ended:
            self.failure = reason
            self.note_output()
        return 0

    def end(self):
        """End it: what it wants, its members and its streams end with it."""
        if self.is_ended:
            return
        self.is_ended = True
        self.switch.end_link(self)
        free_buffer(&self.input)
        free_buffer(&self.output)
        free_buffer(&self.gapped)
