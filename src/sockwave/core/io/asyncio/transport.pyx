"""The transport of the asyncio engine: it uses an asyncio transport."""

import asyncio
import os
import socket
import struct
import sys

try:
    import fcntl
    import termios
except ImportError:             # Windows
    fcntl = termios = None
try:
    from os import readv
    from select import poll
except ImportError:             # Windows
    poll = readv = None

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from sockwave.core.io.transport cimport Probes
from sockwave.core.io.endings cimport end_stream, reset_stream
from sockwave.core.io.engine cimport HEADROOM_SIZE, READ_SIZE, Engine
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.io.timers cimport ticks_of
from sockwave.core.io.turn_budget cimport refill_messages
from sockwave.core.io.writer cimport Vector

cdef enum:
    LAST_ACK_AT = 56            # in Linux's struct tcp_info: `tcpi_last_ack_recv`, milliseconds


cdef bytes gather(const Vector* vectors, int count, int* at, size_t* start):
    """Copy the next bytes of the vectors, up to WRITE_SIZE for one write, and advance `at` and
    `start` past them.

    They are copied because the cork is reused while the asyncio transport may still keep them.
    """
    cdef size_t size = 0
    cdef size_t piece
    cdef int i
    for i in range(at[0], count):
        size += vectors[i].size
    size = min(size - start[0], <size_t>WRITE_SIZE)
    cdef bytes gathered = PyBytes_FromStringAndSize(NULL, size)
    cdef char* out = PyBytes_AS_STRING(gathered)
    while size:
        piece = min(vectors[at[0]].size - start[0], size)
        memcpy(out, <const char*>vectors[at[0]].base + start[0], piece)
        out += piece
        size -= piece
        start[0] += piece
        if start[0] == vectors[at[0]].size:
            at[0] += 1
            start[0] = 0
    return gathered


cdef uint32_t count_unsent(object sock) except? 0:
    """Return how many bytes the kernel buffers for the peer; 0 where it does not tell."""
    if fcntl is None or sock is None or sock.fileno() < 0:
        return 0
    answer = b""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        pass
    return int.from_bytes(answer, sys.byteorder)


cdef bint is_broken(object sock) except -1:
    """Return whether the kernel says that the peer is gone; False where it does not tell."""
    if poll is None or sock is None or sock.fileno() < 0:
        return False
    poller = poll()
    poller.register(sock.fileno(), 0)       # errors and hang-ups are always reported
    return len(poller.poll(0)) > 0


cdef object find_silence_s(object sock):
    """Return how many seconds ago the kernel last received an ACK from the peer; None where it does
    not tell."""
    option = getattr(socket, "TCP_INFO", None)
    if sys.platform != "linux" or option is None or sock is None or sock.fileno() < 0:
        return None
    info = b""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, LAST_ACK_AT + 4)
    except OSError:
        pass
    if len(info) < LAST_ACK_AT + 4:
        return None
    return int.from_bytes(info[LAST_ACK_AT:], sys.byteorder) / 1000


cdef bint set_probes(object sock, const Probes* probes) except -1:
    """Have the kernel probe a quiet peer; False where it cannot. For a Unix socket it need not:
    there it knows when the peer is gone."""
    cdef bint is_set = False
    if sock is None or not hasattr(socket, "TCP_KEEPIDLE"):
        return False
    if sock.family == getattr(socket, "AF_UNIX", None):
        return True
    # As in the epoll engine.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    try:
        if option is not None and sock.getsockopt(socket.IPPROTO_TCP, option) > probes.patience_ms:
            sock.setsockopt(socket.IPPROTO_TCP, option, probes.patience_ms)
    except OSError:
        pass        # a kernel without the option counts the probes
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, probes.idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probes.interval_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes.count)
        is_set = True
    except OSError:
        pass
    return is_set


cdef int cover(int fd) except -1:
    """Close a descriptor that a forked child has from its parent, and put one of the null device in
    its place: what the asyncio transport, or its loop, may still do to it reaches no client."""
    if fd >= 0:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(nothing, fd, inheritable=False)
        finally:
            os.close(nothing)
    return 0


cdef class AsyncioTransport(Transport):
    """Carries the bytes of one peer by an asyncio transport; is that transport's protocol."""

    def __cinit__(self, Engine engine, *_):
        self.engine = engine
        self.cork = engine.cork
        self.is_lost = True             # until the engine admits and counts it

    # ---- what the asyncio transport calls

    def connection_made(self, transport):
        self.transport = transport
        try:
            # Have the asyncio transport queue as little as it can: the backlog is kept in one
            # place, the writer.
            transport.set_write_buffer_limits(0)
            self.is_lost = False
            self.engine.admit(self, self.engine.clock())
        except BaseException:
            transport.abort()
            raise

    def get_buffer(self, size_hint):
        cdef Receiver receiver = self.receiver
        cdef size_t size = 0
        self.place = NULL
        if receiver is not None and not self.is_closing:
            self.place = receiver.reserve(&size)
        if self.place is NULL:
            self.place = self.engine.read_buffer + HEADROOM_SIZE
            size = READ_SIZE
        return PyMemoryView_FromMemory(<char*>self.place, size, PyBUF_WRITE)

    def buffer_updated(self, size_t size):
        refill_messages(&self.engine.budget)
        self.deliver(self.place, size)

    def eof_received(self):
        self.end_reading()
        return True             # the asyncio transport stays open: we may still send

    def pause_writing(self):
        self.is_write_paused = True
        self.begin_waiting()

    def resume_writing(self):
        self.is_write_paused = False
        # Not at once: the asyncio transport calls this in the middle of its own work, and a
        # listener that closes the connection would disturb that. If there is no memory to schedule
        # the turn's end, the next tick does the same.
        self.goes_on_writing = True
        self.cork.link(self)
        self.cork.promise()

    cdef int end_turn(self) except -1:
        if self.is_lost or not self.goes_on_writing:
            return Transport.end_turn(self)
        self.goes_on_writing = False
        self.moved = 0
        return self.run_ready()

    def connection_lost(self, error):
        try:
            self.read_rest()
        finally:
            self.close_with(error)
        self.let_transport_go()

    cdef int read_rest(self) except -1:
        """Read what the kernel still has from a peer that is gone. An asyncio transport stops to
        read when a write fails, and does not read while it is paused."""
        cdef int fd = -1 if self.is_lost or self.has_ended or readv is None else self.descriptor()
        cdef Py_ssize_t count = 1
        while count > 0 and fd >= 0 and not self.is_lost:
            try:
                count = readv(fd, (self.get_buffer(-1),))
            except BlockingIOError:
                count = -1      # the peer is there, but cannot be written to
            except OSError as error:
                self.close_with(error)
            if self.is_lost:
                count = -1
            elif count > 0:
                self.buffer_updated(count)
            elif count == 0:
                self.close_with(None)
        return 0

    cdef int let_transport_go(self) except -1:
        end_stream(self.descriptor())       # it is closed now, but a child may have a copy
        # An asyncio transport refers to itself, by the method that it reads with, and stays in
        # memory until garbage is collected: under a flood of connections, all the time. CPython
        # breaks the cycle in `close`, which does nothing else by now; before 3.12 nowhere.
        self.transport.close()
        if sys.version_info < (3, 12) and hasattr(self.transport, "_read_ready_cb"):
            self.transport._read_ready_cb = None

    # ---- what the engine and the base classes call

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        cdef Py_ssize_t taken = -1
        try:
            taken = self.write_out(vectors, count)
        except BaseException:
            pass
        if taken < 0:
            # After an error, most likely want of memory, it is unknown what has been written.
            self.give_up()
        return taken

    cdef Py_ssize_t write_out(self, const Vector* vectors, int count) except -2:
        """Give the asyncio transport as much as it takes; return -1 if it is closed."""
        cdef Py_ssize_t taken = 0
        cdef size_t start = 0
        cdef int i = 0
        if self.is_lost or self.transport.is_closing():
            return -1
        while i < count and not self.is_write_paused:
            piece = gather(vectors, count, &i, &start)
            self.transport.write(piece)
            taken += PyBytes_GET_SIZE(piece)
        return taken

    cdef void give_up(self) noexcept:
        end_stream(self.descriptor())
        self.transport.abort()

    cdef int descriptor(self) except -2:
        """Return the descriptor of the socket; -1 if it is closed."""
        sock = self.transport.get_extra_info("socket")
        return -1 if sock is None else sock.fileno()

    cdef bint is_flushed(self) noexcept:
        return self.backlog.count == 0 and not self.is_write_paused

    cdef uint32_t measure_untaken(self) except? 0:
        cdef uint32_t size = self.transport.get_write_buffer_size()
        return size + count_unsent(self.transport.get_extra_info("socket"))

    cdef bint find_silence(self, uint32_t* silence_ticks) except -1:
        sock = self.transport.get_extra_info("socket")
        # While reading is paused, the loop does not watch the socket and learns of no reset. The
        # aborted transport ends in the next turn: see `read_rest`.
        if is_broken(sock):
            self.transport.abort()
            silence_ticks[0] = 0
            return True
        silence_s = find_silence_s(sock)
        if silence_s is None:
            return False
        silence_ticks[0] = ticks_of(silence_s)
        return True

    cdef bint probe(self, const Probes* probes) except -1:
        return set_probes(self.transport.get_extra_info("socket"), probes)

    cdef int watch_readable(self, bint on) except -1:
        if self.transport.is_closing() or self.has_ended:
            return 0
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
        return 0

    cdef int send_fin(self) except -1:
        if self.transport.can_write_eof() and not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError as error:    # a reset that the loop has not reported yet
                self.close_with(error)
        return 0

    cdef int close_socket(self) except -1:
        if self.transport is not None:
            end_stream(self.descriptor())
            self.transport.abort()
        return 0

    cdef int abandon(self) except -1:
        if self.transport is not None:
            cover(self.descriptor())
            self.is_lost = True
            try:
                self.transport.abort()      # reaches no client now, and avoids a ResourceWarning
            except Exception:
                pass        # the loop ran in another thread, which the child does not have
        return Transport.abandon(self)

    cpdef object reset(self):
        try:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        except OSError:
            pass        # the socket is closed
        reset_stream(self.descriptor())     # also if another process has a copy
        self.close_with(None)

    def claim_address(self, str host, int port):
        self.claimed = (host, port) if host else ""

    @property
    def remote_address(self):
        return self._address("peername") if self.claimed is None else self.claimed

    @property
    def local_address(self):
        return self._address("sockname")

    def _address(self, end):
        address = self.transport.get_extra_info(end)
        # bytes: an abstract name of Linux (unix(7)).
        return address[:2] if isinstance(address, tuple) else os.fsdecode(address or "")


class TransportProtocol(AsyncioTransport, asyncio.BufferedProtocol):
    """The same with the type that asyncio looks for, to know that a protocol reads into a buffer of
    its own."""

    __slots__ = ()
