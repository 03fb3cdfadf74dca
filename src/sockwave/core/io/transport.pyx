"""The transport: the one small interface between a protocol and the socket that carries its
bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport ETIMEDOUT
from libc.stdint cimport UINT32_MAX

from sockwave.core.io.backlog cimport remove_unsent
from sockwave.core.limits.counters cimport HIGH_WATER, WRITE_TIMEOUT
from sockwave.core.io.timers cimport Wheel, forget_timer

# How long, after our FIN, the peer's last bytes are read and dropped. To close the socket with
# bytes unread would send RST, which can destroy our own last bytes on their way.
cdef double LINGER_S = 2.0

# The same for a peer that was amid a large upload when it was answered: it may not read before it
# has sent the rest. What it sends beyond that is answered with RST.
cdef double DRAIN_S = 10.0

cdef enum:
    DRAIN_SIZE = 16777216

# How many bytes the kernel buffers for a peer beyond those that are on their way to it. That is
# enough: the kernel asks for the next bytes in time.
UNSENT_SIZE = 131072

cdef enum:
    # How often, in `write_timeout`, a transport checks whether the peer takes something. A stalled
    # peer is noticed late by up to the time between two checks.
    LOOK_COUNT = 4


cdef class Transport(Writer):
    """Carries the bytes of one peer both ways, and calls its receiver."""

    def __dealloc__(self):
        forget_timer(&self.timer)

    cdef int watch_readable(self, bint on) except -1:
        return 0

    cdef bint is_flushed(self) noexcept:
        return self.backlog.count == 0

    cdef int send_fin(self) except -1:
        return 0

    cdef uint32_t measure_untaken(self) except? 0:
        return 0

    cdef bint find_silence(self, uint32_t* silence_ticks) except -1:
        return False

    cdef bint probe(self, const Probes* probes) except -1:
        return False

    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept:
        return -1

    cdef int close_socket(self) except -1:
        return 0

    # ---- turns

    cdef int run(self, int what, uint8_t* data, size_t size) except -1:
        """Give the receiver a turn. What it writes is gathered and sent at the end; what it raises
        closes this transport and is reported."""
        cdef Receiver receiver = self.receiver      # a reference: it may end in its own turn
        if receiver is None:
            return 0
        try:
            self.take_turn(receiver, what, data, size)
            if self.is_closing:
                self.end_if_flushed()
        except (KeyboardInterrupt, SystemExit):
            self.close_with(None)
            raise
        except BaseException as error:
            self.close_and_report(error)
        return 0

    cdef int take_turn(
        self, Receiver receiver, int what, uint8_t* data, size_t size
    ) except -1:
        self.take_cork()
        try:
            if what == BYTES:
                receiver.take_bytes(data, size)
            elif what == END_OF_STREAM:
                receiver.notify_eof()
            elif what == DEADLINE:
                receiver.notify_deadline()
            elif what == GO_ON:
                receiver.go_on()
            else:
                self.peer_is_ready()
        finally:
            self.release_cork()
        return 0

    cdef int close_and_report(self, object error) except -1:
        """Close for an error of ours, or for want of memory: that costs this transport alone."""
        try:
            self.close_with(None)
        finally:
            self.engine.tell(error, self)
        return 0

    cdef int end_turn(self) except -1:
        """Send what was queued, or notify the receiver that the transport is closed."""
        if self.is_lost:
            return self.notify_closed()
        try:
            self.flush()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.close_and_report(error)
        return 0

    cdef int run_ready(self) except -1:
        """Continue to write: the peer takes bytes again."""
        if self.receiver is not None:
            return self.run(READY, NULL, 0)
        return self.peer_is_ready()

    cdef int go_on(self) except -1:
        return self.run(GO_ON, NULL, 0)

    cdef int deliver(self, uint8_t* data, size_t size) except -1:
        """Hand the peer's bytes to the receiver, or drop them if the transport is closing."""
        if not self.is_closing:
            return self.run(BYTES, data, size)
        return self.drop_bytes(size)

    cdef int drop_bytes(self, size_t size) except -1:
        """Drop what a peer sends that has been answered already, but not without end."""
        if self.lingering == DRAINS:
            self.dropped_size += <uint32_t>size     # of one read
            if self.dropped_size > DRAIN_SIZE:
                self.reset()
        return 0

    cdef int end_reading(self) except -1:
        """Handle the peer's FIN: it has sent its last byte."""
        self.has_ended = True
        if self.is_finished:
            return self.close_with(None)
        if not self.is_closing:
            self.run(END_OF_STREAM, NULL, 0)
        # Last: most transports have closed their socket by now, and need no system call for this.
        return 0 if self.is_lost else self.watch_readable(False)

    # ---- the end

    cdef int close_with(self, object error) except -1:
        """Close the socket now. The receiver is notified once, at the end of this turn, with the
        error.

        The steps that this needs take no memory, and come first.
        """
        if self.engine is None or self.is_lost:
            return 0
        self.is_lost = self.is_closing = self.is_broken = True
        self.engine.wheel.stop(&self.timer)
        self.cork.link(self)
        try:
            self.close_socket()
            if error is not None:
                self.engine.losses[self] = error
            self.drop_backlog(False)
        finally:
            self.cork.promise()
        return 0

    cdef int abandon(self) except -1:
        """In a forked child: mark the transport as closed, and notify no receiver."""
        self.is_lost = self.is_closing = self.is_broken = True
        remove_unsent(&self.backlog, False)
        return self.engine.wheel.stop(&self.timer)

    cpdef object reset(self):
        """Close the socket now, and drop what the kernel still buffers: the peer gets RST."""
        self.close_with(None)

    cdef int shut_down(self, Lingering lingering) except -1:
        """Close in order: send everything that was written, then FIN. If it LINGERS, what the peer
        still sends is read and dropped, so that no RST overtakes our last bytes. If it CLOSES, the
        socket is closed as soon as all is sent, which is right when nothing more can come."""
        if self.is_closing:
            return 0
        self.is_closing = True
        self.lingering = lingering
        if self.cork.holder is not self:
            self.end_if_flushed()
        return 0

    cdef int end_if_flushed(self) except -1:
        if not self.is_flushed() or self.is_finished or self.is_lost:
            return 0
        self.is_finished = True
        if self.has_ended or self.lingering == CLOSES:
            return self.close_with(None)
        self.send_fin()
        self.watch_readable(True)
        end = self.engine.wheel.tick_in(
            self.engine.loop.time(), DRAIN_S if self.lingering == DRAINS else LINGER_S
        )
        if not self.asked or self.asked > end:
            self.ask_for(end)
        return 0

    cdef int notify_closed(self) except -1:
        """Notify the receiver and the server that the transport is closed: once, unless there is no
        memory for it. Then it is tried again at the next tick, as a receiver or server that was
        not notified would keep the transport."""
        cdef Engine engine = self.engine
        cdef Receiver receiver = self.receiver
        cdef bint is_short = False
        if engine.is_abandoned:
            return 0
        self.receiver = None
        self.cork.has_called_out = True
        try:
            self.notify_all(receiver)
        except (KeyboardInterrupt, SystemExit):
            engine.forget(self)     # the server waits until no transport is left
            raise
        except BaseException as failure:
            is_short = isinstance(failure, MemoryError)
            engine.tell(failure, self)
        if is_short:
            self.receiver = receiver
            return self.notify_later()
        return engine.forget(self)

    cdef int notify_all(self, Receiver receiver) except -1:
        self.close_socket()             # again: there may have been no memory for it
        try:
            if receiver is not None:
                receiver.notify_closed(self.engine.losses.get(self))
        finally:
            self.release_waiters()
            if self.engine.when_departed is not None:
                self.engine.when_departed(self)
        return 0

    cdef int notify_later(self) except -1:
        """Wait for the next tick, which takes no memory. There may be no other reference to the
        transport by now, so it keeps one to itself until then."""
        Py_INCREF(self)
        return self.engine.wheel.start(&self.timer, <void*>self, self.engine.wheel.tick + 1)

    cdef int notify_again(self) except -1:
        self.cork.link(self)
        Py_DECREF(self)
        return self.cork.promise()

    # ---- back-pressure

    cdef int backlog_rose(self) except -1:
        self.engine.limit_counters.count(HIGH_WATER)
        if self.receiver is not None and not self.is_closing:
            self.receiver.backlog_rose()
        return 0

    cdef int backlog_fell(self) except -1:
        if self.receiver is not None and not self.is_closing:
            self.receiver.backlog_fell()
        return 0

    cdef int backlog_emptied(self) except -1:
        if self.is_closing:
            return self.end_if_flushed()
        if self.receiver is not None:
            self.receiver.backlog_emptied()
        return 0

    # ---- time

    cdef int ask_for(self, uint32_t tick) except -1:
        """Set the tick of the receiver's deadline, in place of an earlier one; 0: none."""
        if self.is_lost:
            return 0            # what it has just written may have closed it
        self.asked = tick
        return self.set_alarm()

    cdef int begin_waiting(self) except -1:
        """Start `write_timeout`: bytes wait for the peer, which takes no more for now."""
        if self.engine.write_ticks and not self.is_lost:
            self.moved = self.engine.wheel.tick
            self.untaken_size = UINT32_MAX      # unknown: the first check counts as progress
            return self.set_alarm()
        return 0

    cdef int set_alarm(self) except -1:
        cdef Wheel wheel = self.engine.wheel
        cdef uint32_t next = self.asked
        cdef uint32_t look
        if self.moved:
            look = wheel.tick + self.engine.write_ticks // LOOK_COUNT + 1
            if self.timer.due:
                look = min(look, self.timer.due)    # not later: it could be put off for ever
            next = min(next, look) if next else look
        if not next:
            wheel.stop(&self.timer)
        elif next != self.timer.due:
            wheel.start(&self.timer, <void*>self, next)
        return 0

    cdef bint has_stalled(self) except -1:
        """Return whether the peer has taken none of what waits for it for longer than
        `write_timeout`."""
        cdef uint32_t size = self.measure_untaken()
        if size != self.untaken_size:
            self.untaken_size = size
            self.moved = self.engine.wheel.tick
        return self.engine.wheel.tick - self.moved > self.engine.write_ticks

    cdef int time_is_up(self) except -1:
        if self.is_lost:
            return self.notify_again()
        if self.moved and self.has_stalled():
            self.engine.limit_counters.count(WRITE_TIMEOUT)
            return self.close_with(
                TimeoutError(ETIMEDOUT, "the peer takes nothing of what is sent")
            )
        if self.asked and self.asked <= self.engine.wheel.tick:
            self.asked = 0
            if self.is_closing:
                return self.close_with(None)
            self.run(DEADLINE, NULL, 0)
        return 0 if self.is_lost else self.set_alarm()

    cdef int pause(self) except -1:
        if not self.is_paused:
            self.is_paused = True
            if not self.has_ended:
                self.watch_readable(False)
        return 0

    cdef int resume(self) except -1:
        if self.is_paused:
            self.is_paused = False
            if not self.has_ended and not self.is_lost:
                self.watch_readable(True)
        return 0

    # ---- what receivers written in Python use

    def write(self, data):
        """Queue bytes-like `data`; it is sent at the end of this turn of the loop.
        Ignored after `shutdown` and `close`."""
        cdef bytes owned = data if type(data) is bytes else bytes(memoryview(data))
        if not self.is_closing:
            self.write_bytes(
                owned, <const uint8_t*>PyBytes_AS_STRING(owned), PyBytes_GET_SIZE(owned)
            )

    def drained(self):
        """Return an awaitable that is done when the backlog is under the high-water mark."""
        return self.drain_awaitable()

    def pause_reading(self):
        """Stop reading: the peer's bytes wait in the kernel."""
        self.pause()

    def resume_reading(self):
        """Read again."""
        self.resume()

    def shutdown(self):
        """Send what is queued, then FIN; read and drop what still comes until the peer ends too,
        for at most two seconds."""
        self.shut_down(LINGERS)

    def close(self):
        """Close the socket now: what is queued is dropped."""
        self.close_with(None)

    def claim_address(self, str host, int port):
        """Show this IP address and port, which a proxy has sent, as the peer's from now on;
        "" for a host that is not known."""

    cpdef object set_deadline(self, object seconds):
        """Notify the receiver in so many seconds, in place of an earlier deadline; None clears
        it."""
        if self.is_lost:
            return
        if seconds is None:
            self.ask_for(0)
        else:
            self.ask_for(self.engine.wheel.tick_in(self.engine.loop.time(), seconds))

    @property
    def protocol(self):
        """The protocol that carries the bytes: "http/1.1", "h2" or "h3"."""
        return "http/1.1"

    @property
    def tls_info(self):
        """The facts of the TLS session; None without TLS, and before its handshake is over."""
        return None

    @property
    def remote_address(self):
        """The peer's address: (host, port), or the path of a Unix socket."""
        return None

    @property
    def local_address(self):
        """Our own address: (host, port), or the path of a Unix socket."""
        return None
