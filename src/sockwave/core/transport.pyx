"""The asyncio engine: the same core behind ordinary asyncio transports.

For loops that own their sockets, and for systems without epoll.
"""

import asyncio
import logging
import socket
import struct
import sys
from functools import partial

try:
    import fcntl
    import termios
except ImportError:             # Windows
    fcntl = termios = None

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from sockwave.core.carrier cimport HEADROOM_SIZE, READ_SIZE, TURN_MESSAGE_COUNT
from sockwave.core.receiver cimport Receiver
from sockwave.core.writer cimport Vector

logger = logging.getLogger("sockwave")


cdef bytes gather(const Vector* vectors, int count, int* at, size_t* start):
    """Copy what is next of the vectors, so that it leaves in one write, and move on behind it.

    A copy, as the cork is used again while the transport may still hold it.
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
    """Say how many bytes the kernel holds for the peer, where it tells."""
    if fcntl is None or sock is None or sock.fileno() < 0:
        return 0
    answer = b""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        pass
    return int.from_bytes(answer, sys.byteorder)


cdef bint set_probes(object sock, int idle_s, int interval_s, int count) except -1:
    """Let the kernel ask a quiet peer whether it is there; false where it cannot. On the same
    machine it knows."""
    if sock is None or not hasattr(socket, "TCP_KEEPIDLE"):
        return False
    if sock.family == getattr(socket, "AF_UNIX", None):
        return True
    # As in the epoll engine.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    patience_ms = 1000 * (idle_s + interval_s * count)
    if option is not None and sock.getsockopt(socket.IPPROTO_TCP, option) > patience_ms:
        sock.setsockopt(socket.IPPROTO_TCP, option, patience_ms)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
    return True


cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""

    def __cinit__(self):
        self.listeners = {}
        self.servers = []
        self.tasks = set()

    def attach(self):
        """Nothing to do: each transport is its own loop's affair."""

    async def listen(self, socket_, make=None):
        """Accept connections on a listening socket; `make` makes their carriers, where they are no
        plain ones.

        Accepting is done here where the loop can wait for a socket: of asyncio's own loops, those
        of CPython 3.11 to 3.13 log a hundred lines and set a hundred timers each time that
        descriptors are short.
        """
        self.listeners[socket_] = make = make or (lambda: TransportProtocol(self))
        try:
            self.loop.add_reader(socket_.fileno(), self._accept, socket_)
            return
        except NotImplementedError:
            del self.listeners[socket_]
        if socket_.family == getattr(socket, "AF_UNIX", None):
            create = self.loop.create_unix_server
        else:
            create = self.loop.create_server
        self.servers.append(await create(make, sock=socket_))

    def accept_again(self, socket_):
        """Take up accepting: at once, to know whether it is possible."""
        if socket_ in self.listeners:
            self.loop.add_reader(socket_.fileno(), self._accept, socket_)
            self._accept(socket_)

    def _accept(self, socket_):
        """Accept who waits."""
        for _ in range(ACCEPT_COUNT):
            if socket_ not in self.listeners:
                return
            error = connected = None
            try:
                connected, _ = socket_.accept()
            except OSError as refusal:
                error = refusal
            if isinstance(error, (ConnectionAbortedError, InterruptedError)):
                continue
            if error is not None and not isinstance(error, BlockingIOError):
                self.rest(socket_, error)
                return
            self.can_accept()           # the kernel looks for a descriptor first
            if connected is None:
                return
            connected.setblocking(False)
            task = self.loop.create_task(self._carry(connected, self.listeners[socket_]))
            self.tasks.add(task)
            task.add_done_callback(partial(self._carried, connected))

    async def _carry(self, connected, make):
        """Give a socket its transport."""
        try:
            await self.loop.connect_accepted_socket(make, connected)
        except OSError as error:        # it has gone already
            logger.debug("a connection was lost at once: %s", error)
            connected.close()

    def _carried(self, connected, task):
        self.tasks.discard(task)
        if task.cancelled():
            connected.close()       # the loop ends

    cdef int rest(self, object socket_, object error) except -1:
        # As in the epoll engine.
        self.loop.remove_reader(socket_.fileno())
        return self.rest_from_accepting(error.strerror, self.accept_again, socket_)

    def stop_listening(self):
        """Close the listening sockets."""
        self.is_ending = True
        for socket_ in self.listeners:
            self.loop.remove_reader(socket_.fileno())
            socket_.close()
        self.listeners = {}
        for server in self.servers:
            server.close()
        self.servers = []


cdef class TransportCarrier(Carrier):
    """A peer behind an asyncio transport."""

    def __cinit__(self, AsyncioEngine engine, *_):
        self.engine = engine
        self.cork = engine.cork

    # ---- what the transport calls

    def connection_made(self, transport):
        self.transport = transport
        if (<AsyncioEngine>self.engine).is_ending:
            self.is_lost = True         # it was under way when the server closed
            return transport.abort()
        try:
            # The backlog is kept in one place, and that is the writer's: the transport is not to
            # queue.
            transport.set_write_buffer_limits(0)
            self.engine.admit(self)
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
        self.engine.budget = TURN_MESSAGE_COUNT
        self.deliver(self.place, size)

    def eof_received(self):
        self.end_reading()
        return True             # the transport stays open for what we still have to say

    def pause_writing(self):
        self.is_write_paused = True
        self.begin_waiting()

    def resume_writing(self):
        self.is_write_paused = False
        self.moved = 0
        # Not at once: the transport calls this in the middle of its own affairs, which a listener
        # that ends the connection would bring out of step.
        self.engine.loop.call_soon(self._go_on_writing)

    def _go_on_writing(self):
        self.run_ready()

    def connection_lost(self, error):
        self.lose(error)

    # ---- what the carrier does

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        cdef Py_ssize_t taken = -1
        try:
            taken = self.write_out(vectors, count)
        except BaseException:
            pass
        if taken < 0:
            # Whatever it is, most likely want of memory, nobody knows what has been written.
            self.give_up()
        return taken

    cdef Py_ssize_t write_out(self, const Vector* vectors, int count) except -2:
        """Give the transport as much as it takes; -1: it has ended."""
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
        self.transport.abort()

    cdef bint is_flushed(self) noexcept:
        return self.count == 0 and not self.is_write_paused

    cdef uint32_t measure_untaken(self) except? 0:
        cdef uint32_t size = self.transport.get_write_buffer_size()
        return size + count_unsent(self.transport.get_extra_info("socket"))

    cdef bint probe(self, int idle_s, int interval_s, int count) except -1:
        return set_probes(self.transport.get_extra_info("socket"), idle_s, interval_s, count)

    cdef int watch_readable(self, bint on) except -1:
        if self.transport.is_closing() or self.has_ended:
            return 0
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
        return 0

    cdef int end_writing(self) except -1:
        if self.transport.can_write_eof() and not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError as error:    # a reset of which the loop has not yet told
                self.lose(error)
        return 0

    cdef int drop(self) except -1:
        if self.transport is not None:
            self.transport.abort()
        return 0

    cpdef object reset(self):
        try:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        except OSError:
            pass        # it is gone
        self.lose(None)

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
        return address[:2] if isinstance(address, tuple) else address or ""


class TransportProtocol(TransportCarrier, asyncio.BufferedProtocol):
    """What a transport takes for its protocol: asyncio looks for the type,
    to know that it has a buffer of its own."""

    __slots__ = ()
