"""Messages → bytes: the cork, the queue and back-pressure.

Nothing here uses a socket.

What a connection writes during its own turn is copied into the cork that all connections of the
loop share, and is sent in one write at the end of that turn. What is written to it at other times
is queued as segments, and is sent in one write at the end of the turn of the loop. What the peer
does not take stays queued: the backlog.
"""

import asyncio

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sockwave.core.io.backlog cimport (
    Row, append_room, append_segment, cut_size, provide_segments, remove_front, remove_unsent,
)
from sockwave.core.io.expendable cimport append_expendable, note_key
from sockwave.core.protocol.frames cimport MAX_HEADER_SIZE, header_size, write_header
from sockwave.core.protocol.masking cimport masked_frame_of, masked_header_size, write_masked

from sockwave.core.events.waiter import DONE

cdef extern from "fetch.h" nogil:
    void fetch(const void* data, size_t size)

cdef enum:
    CORK_SIZE = 262144          # a turn's replies to a full read buffer of small messages
    # A larger message is not copied: it costs less to let the kernel read it from where it is.
    CORKABLE_SIZE = 8192
    # A shared frame of at most this size costs less, in memory and in time, when it is copied than
    # when a segment refers to it.
    COPIED_SIZE = 64
    MAX_VECTORS = 1024          # IOV_MAX: what the kernel takes in one call
    FETCHED_SIZE = 256          # of a writer, with the fields that a transport adds to it


cdef class Cork:
    """The write buffer that the connections of a loop share, and the list of those that have
    something to do at the end of this turn."""

    def __cinit__(self, schedule, size_t high_water, size_t low_water, size_t max_backlog):
        self.buffer = <uint8_t*>malloc(CORK_SIZE)
        if self.buffer is NULL:
            raise MemoryError
        self.schedule = schedule
        self.marks.high_water = high_water
        self.marks.low_water = low_water
        self.marks.max_backlog = max_backlog

    def __dealloc__(self):
        free(self.buffer)

    cdef int link(self, Writer writer) noexcept:
        """Add a writer to those whose `end_turn` is called at the end of the turn. The caller must
        call `promise` too."""
        if writer.is_dirty:
            return 0
        writer.is_dirty = True
        if self.first_dirty is None:
            self.first_dirty = writer
        else:
            self.last_dirty.next_dirty = writer
        self.last_dirty = writer
        return 0

    cdef int promise(self) except -1:
        """Schedule the end of this turn, unless it is scheduled already."""
        if not self.promised:
            self.schedule()
            self.promised = True
        return 0

    cdef int flush(self) except -1:
        """Send what was queued in this turn of the loop, with one write per connection. Notify the
        receivers of transports that are closed."""
        cdef Writer writer, next
        while self.first_dirty is not None:
            writer = self.first_dirty
            self.first_dirty = next = writer.next_dirty
            if next is not None:
                # Prefetch the next writers while the kernel sends this one's bytes: its work on
                # the writers before has driven them out of the cache.
                fetch(next.backlog.row, sizeof(Row))
                fetch(<void*>next.next_dirty, FETCHED_SIZE)
            writer.next_dirty = None
            writer.is_dirty = False
            writer.end_turn()
        self.last_dirty = None
        return 0

    cdef int forget_all(self) noexcept:
        """Empty the list of writers that have something to do at the end of the turn."""
        cdef Writer writer
        while self.first_dirty is not None:
            writer = self.first_dirty
            self.first_dirty = writer.next_dirty
            writer.next_dirty = None
            writer.is_dirty = False
        self.last_dirty = None
        return 0


cdef class Writer:
    """Queues what is written to one peer. A transport is a writer that can send it."""

    def __dealloc__(self):
        remove_unsent(&self.backlog, False)

    @property
    def backlog_size(self):
        """How many bytes wait to be sent to the peer."""
        return self.backlog.size

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        return -1

    cdef int await_writable(self) except -1:
        return 0

    cdef int end_turn(self) except -1:
        return self.flush()

    cdef int go_on(self) except -1:
        return 0

    cdef int time_is_up(self) except -1:
        return 0

    cdef int close_and_report(self, object error) except -1:
        return 0

    cdef int backlog_rose(self) except -1:
        return 0

    cdef int backlog_fell(self) except -1:
        return 0

    cdef int backlog_emptied(self) except -1:
        return 0

    cdef int take_cork(self) except -1:
        """Start this connection's turn: what it writes from now on is gathered in the cork."""
        self.cork.holder = self
        self.cork.used = 0
        return 0

    cdef int release_cork(self) except -1:
        """End the turn: send what was gathered, in one write."""
        cdef Vector vector
        cdef Py_ssize_t taken
        try:
            if self.cork.used:
                vector.base = self.cork.buffer
                vector.size = self.cork.used
                taken = self.put(&vector, 1)
                if taken < 0:
                    self.is_broken = True
                elif <size_t>taken < self.cork.used:
                    self.shorten_cork(taken)
                    self.block()
        finally:
            self.cork.used = 0
            self.cork.holder = None
        # Else the end of the turn sends it, with what is written until then.
        if self.backlog.count and not self.is_blocked and not self.is_dirty:
            self.flush()
        return 0

    cdef int shorten_cork(self, size_t taken) except -1:
        """Move what is in the cork, after its first `taken` bytes, to the first segment of the
        queue."""
        cdef size_t rest = self.cork.used - taken
        if rest:
            memcpy(append_room(&self.backlog, rest), self.cork.buffer + taken, rest)
            self.backlog.row.lead_size = cut_size(
                self.cork.buffer, self.cork.buffer + taken + rest, taken
            )
        self.cork.used = 0      # last: only now is it certain that there was memory for the segment
        return 0

    cdef bint fits_cork(self, size_t size) except -1:
        """Return whether `size` more bytes go into the cork. If not, what is in the cork is moved
        to the head of the queue."""
        if self.cork.holder is not self or self.backlog.count:
            return False
        if size <= CORKABLE_SIZE and self.cork.used + size <= CORK_SIZE:
            return True
        self.shorten_cork(0)
        return False

    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1:
        """Write one frame. A reference to `owner` keeps `data` alive and unchanged."""
        cdef uint8_t* out
        cdef size_t head
        if self.is_broken:
            return 0
        if self.fits_cork(size + MAX_HEADER_SIZE):
            out = self.cork.buffer + self.cork.used
            head = write_header(out, first_byte, size)
            memcpy(out + head, data, size)
            self.cork.used += head + size
            return 0
        head = header_size(size)
        if size <= CORKABLE_SIZE:
            out = append_room(&self.backlog, head + size)
            memcpy(out + head, data, size)
        else:
            # First: without memory, a header could be queued without its payload.
            provide_segments(&self.backlog, 2)
            out = append_room(&self.backlog, head)
            append_segment(&self.backlog, owner, data, size, True)
        write_header(out, first_byte, size)
        return self.queued()

    cdef int write_masked_frame(
        self, uint8_t first_byte, uint32_t mask, const uint8_t* data, size_t size
    ) except -1:
        """Write one frame of a client, masked as it is copied."""
        cdef size_t whole_size = masked_header_size(size) + size
        if self.is_broken:
            return 0
        if self.fits_cork(whole_size):
            write_masked(self.cork.buffer + self.cork.used, first_byte, mask, data, size)
            self.cork.used += whole_size
            return 0
        if whole_size > CORKABLE_SIZE:
            return self.share(masked_frame_of(first_byte, mask, data, size))
        write_masked(append_room(&self.backlog, whole_size), first_byte, mask, data, size)
        return self.queued()

    cdef int write_bytes(self, object owner, const uint8_t* data, size_t size) except -1:
        """Write bytes as they are."""
        if self.is_broken or not size:
            return 0
        if self.fits_cork(size):
            memcpy(self.cork.buffer + self.cork.used, data, size)
            self.cork.used += size
            return 0
        if size <= CORKABLE_SIZE:
            memcpy(append_room(&self.backlog, size), data, size)
        else:
            append_segment(&self.backlog, owner, data, size, False)
        return self.queued()

    cdef int share(self, bytes frame) except -1:
        """Write a frame that many writers share: the queue keeps a reference to it. It is copied
        only where that costs less, and into the cork."""
        cdef size_t size = PyBytes_GET_SIZE(frame)
        if self.is_broken:
            return 0
        if self.fits_cork(size):
            memcpy(self.cork.buffer + self.cork.used, PyBytes_AS_STRING(frame), size)
            self.cork.used += size
            return 0
        if size <= COPIED_SIZE:
            memcpy(append_room(&self.backlog, size), PyBytes_AS_STRING(frame), size)
        else:
            append_segment(
                &self.backlog, frame, <const uint8_t*>PyBytes_AS_STRING(frame), size, False
            )
        return self.queued()

    cdef int share_expendable(self, bytes frame, bint has_key, object key) except -1:
        """Write a frame that may be dropped while it waits: to the cork, where nothing waits, or as
        a segment of its own, which `key` finds."""
        cdef size_t size = PyBytes_GET_SIZE(frame)
        if self.is_broken:
            return 0
        if self.cork.holder is self and not self.backlog.count:
            # What the kernel does not take of the cork becomes one segment, which cannot be
            # dropped in parts. So the cork takes only so little that later frames still fit under
            # the cap.
            if self.cork.used + size <= min(<size_t>CORKABLE_SIZE, self.cork.marks.high_water):
                memcpy(self.cork.buffer + self.cork.used, PyBytes_AS_STRING(frame), size)
                self.cork.used += size
                return 0
            self.shorten_cork(0)
        append_expendable(&self.backlog, frame)
        try:
            if has_key:
                note_key(&self.backlog, key)
        finally:
            self.queued()
        return 0

    cdef int queued(self) except -1:
        """Have what was queued sent: at the end of the turn, or now if it is more than the
        high-water mark."""
        if self.is_blocked:
            self.measure_backlog()
        elif self.backlog.size > self.cork.marks.high_water:
            self.flush()
        elif self.cork.holder is not self:
            self.cork.link(self)
            return self.cork.promise()
        return 0

    cdef int flush(self) except -1:
        """Send as much of the queue as the transport takes."""
        cdef Vector vectors[MAX_VECTORS]
        cdef Py_ssize_t taken
        cdef size_t offered
        cdef int i, gathered
        while self.backlog.count and not self.is_blocked and not self.is_broken:
            offered = 0
            gathered = min(self.backlog.count, MAX_VECTORS)
            for i in range(gathered):
                vectors[i].base = <void*>self.backlog.row.segments[self.backlog.first + i].data
                vectors[i].size = self.backlog.row.segments[self.backlog.first + i].size
                offered += vectors[i].size
            taken = self.put(vectors, gathered)
            if taken < 0:
                self.is_broken = True
                self.drop_backlog(False)
                return 0
            remove_front(&self.backlog, taken)
            if <size_t>taken < offered:
                self.block()
        if self.backlog.count == 0:
            self.backlog_emptied()
        return 0

    cdef int block(self) except -1:
        self.is_blocked = True
        self.await_writable()
        return self.measure_backlog()

    cdef int measure_backlog(self) except -1:
        if self.backlog.size > self.cork.marks.high_water and not self.wants_drain:
            self.wants_drain = True
            self.backlog_rose()
        return 0

    cdef int peer_is_ready(self) except -1:
        """Continue to send after the transport was blocked, and wake the tasks that wait for the
        backlog to fall."""
        self.is_blocked = False
        self.flush()
        return self.tell_if_drained()

    cdef int tell_if_drained(self) except -1:
        if self.wants_drain and self.backlog.size <= self.cork.marks.low_water:
            self.wants_drain = False
            self.release_waiters()
            self.backlog_fell()
        return 0

    cdef int drop_backlog(self, bint keep_started) except -1:
        """Drop the queue. With `keep_started`, its first segment stays: see `remove_unsent`."""
        remove_unsent(&self.backlog, keep_started)
        return 0 if self.backlog.count else self.release_waiters()

    cdef object drain_awaitable(self):
        """Return an awaitable that is done when the backlog is under the high-water mark. If the
        peer is gone, it is done when the end of the connection is handled: with nothing to wait for
        until then, a task that keeps sending would never let the loop run."""
        if self.backlog.size <= self.cork.marks.high_water and not self.is_broken:
            return DONE
        return self.new_waiter()

    cdef object new_waiter(self):
        # A future for each task: when a task is cancelled, asyncio cancels the future it awaits.
        waiter = asyncio.get_running_loop().create_future()
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)
        return waiter

    cdef int take_over_waiters(self, Writer other) except -1:
        """Take the waiting tasks of another writer, whose queue has been joined to this one: they
        wait for this writer's backlog now, if it is still too long."""
        if other.waiters:
            self.waiters = (self.waiters or []) + other.waiters
            other.waiters = None
        if self.backlog.count:
            self.flush()
        if other.wants_drain and not self.wants_drain:
            self.wants_drain = True
            if self.is_blocked:
                return self.backlog_rose()
        if not self.is_blocked:
            return self.tell_if_drained()
        return 0

    cdef int release_waiters(self) except -1:
        if self.waiters is None:
            return 0
        self.cork.has_called_out = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters = None             # last: tasks not woken for an error are woken at the end
        return 0
