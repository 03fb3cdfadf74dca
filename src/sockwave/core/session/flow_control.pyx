"""Flow control: when reading pauses, and the input that is kept meanwhile."""

from sockwave.core.io.engine cimport Engine
from sockwave.core.protocol.frames cimport RSV1
from sockwave.core.protocol.inflation cimport Inflation, is_crowded
from sockwave.core.session.closing cimport CONNECTED


cdef class FlowControl(Sender):
    """A session that reads its socket while neither the application nor the peer is behind."""

    cdef int may_send_again(self) except -1:
        return 0

    # ---- received bytes

    cdef Reader take_reader(self):
        """Give this session a reader of its own, until the reader is idle. Most connections are
        idle most of the time, and idle readers are all alike: these connections need none."""
        cdef Engine engine = self.transport.engine
        if self.reader is None:
            self.reader = engine.spare_reader
            engine.spare_reader = None
            if self.reader is None:
                self.reader = Reader(engine.max_size, engine.rate_limits.free_fragment_count)
        # RFC 7692, 6: the extension defines the first reserved bit, so it is allowed only with it.
        self.reader.allowed_reserved = 0 if self.inflater is None else RSV1
        return self.reader

    cdef int leave_reader(self) noexcept:
        """Let other connections have the reader, if nothing is left in it."""
        if self.reader is not None and self.reader.is_idle():
            self.transport.engine.spare_reader = self.reader
            self.reader = None
        return 0

    cdef int store_input(self, const Span* given) except -1:
        """Keep bytes that cannot be read yet."""
        return self.take_reader().store(given) if given.size else 0

    cdef size_t kept_size(self) noexcept:
        """Say how many received bytes are kept because they could not be read yet."""
        return 0 if self.reader is None else self.reader.kept_size

    cdef bint has_more(self) noexcept:
        """Say whether received bytes are left to be read, or to be inflated."""
        return self.reader is not None and (
            self.reader.kept_size > 0 or self.reader.inflation is not None
        )

    cdef size_t held_size(self) except? 0:
        """Say how many bytes of memory this peer's messages take, in both directions."""
        cdef size_t size = self.unsent_size()
        if self.reader is not None:
            size += self.reader.kept_size + self.reader.memory_size()
        return size

    cdef int forget_received(self) except -1:
        """Drop the received bytes that wait."""
        if self.reader is not None:
            self.reader.forget_message()
            self.reader.forget_input()
        return 0

    # ---- when reading pauses

    cdef bint must_wait(self) noexcept:
        """Say whether messages have to wait: for the application, or for a peer that does not read
        the answers to them. While the session closes, they do not wait."""
        return (self.state == CONNECTED or self.reads_rest) and (
            self.pause_reasons != 0 or self.is_write_blocked and not self.is_read_owed
        )

    cdef int set_reading(self) except -1:
        """Pause reading the socket where messages have to wait, and resume it where not."""
        if self.is_postponed or self.must_wait():
            self.transport.pause()
        elif self.state >= CONNECTED:
            self.transport.resume()
        return 0

    cdef int note_read(self) except -1:
        """Note that the peer has been read since it caught up: now it may have to wait again."""
        self.is_read_owed = False
        return self.set_reading() if self.is_write_blocked else 0

    cdef int postpone(self) except -1:
        """Go on in the next wake-up of the loop; until then the socket is not read either."""
        if not self.is_postponed:
            if self.reader is not None and self.reader.inflation is not None:
                self.postpone_inflating(self.reader.inflation)
            else:
                self.transport.engine.postpone(self.transport)
            self.is_postponed = True
            self.set_reading()
        return 0

    cdef int postpone_inflating(self, Inflation inflation) except -1:
        """Go on inflating behind the other connections that do. Where half-inflated messages take
        too much memory, a connection that has one goes before the others: so that what has begun
        comes to its end."""
        return self.transport.engine.postpone_inflating(
            self.transport, is_crowded() and inflation.parked_size > 0
        )

    cdef int go_on_later(self) except -1:
        """Go on with what had to wait: first the bytes received already, then the socket."""
        return self.postpone() if self.has_more() or self.reads_rest else self.set_reading()

    cdef int pause(self, PauseReason reason, Limit limit) except -1:
        """Pause reading for a reason: the application is behind, and the peer has to wait."""
        # A session that closes reads on, for the peer's close frame.
        if (self.state == CONNECTED or self.reads_rest) and not self.pause_reasons & reason:
            self.pause_reasons |= reason
            self.transport.engine.limit_counters.count(limit)
            self.set_reading()
        return 0

    cdef int resume(self, PauseReason reason) except -1:
        """End a reason for the pause, and read again if there is no other one."""
        if self.pause_reasons & reason:
            self.pause_reasons &= ~<int>reason
            if not self.pause_reasons and (self.state == CONNECTED or self.reads_rest):
                self.go_on_later()
        return 0

    cdef int backlog_rose(self) except -1:
        self.is_write_blocked = True
        return self.set_reading()

    cdef int backlog_fell(self) except -1:
        self.is_write_blocked = False
        # An application that sends without end is behind again before the loop looks at the
        # socket. Its peer's close frame would not be read as long as it sends.
        self.is_read_owed = True
        self.go_on_later()
        return self.may_send_again()

    cdef int listen_for_close(self) except -1:
        # The application takes no more messages, but the peer's close frame comes behind them.
        self.pause_reasons = 0
        return self.go_on_later()
