"""The asyncio engine: the same core on top of ordinary asyncio transports.

For loops that own their sockets, and for systems without epoll.
"""

import gc
import logging
import socket
from functools import partial

from sockwave.core.io.asyncio.transport cimport AsyncioTransport, cover
from sockwave.core.io.endings cimport end_stream
from sockwave.core.io.writer cimport Writer

from sockwave.core.io.asyncio.transport import TransportProtocol

logger = logging.getLogger("sockwave")

cdef enum:
    # So many newcomers have 400 objects that the garbage collector tracks, which it looks through
    # in 0.1 ms. By itself it runs when 700 more objects were made than freed: while as many clients
    # leave as come, it then looks through those of a thousand newcomers at once, for 3 ms.
    COLLECTION_SIZE = 32


cdef class AsyncioEngine(Engine):
    """Serves clients by the transports of the loop that it runs in, of any kind."""

    def __cinit__(self):
        self.listeners = {}
        self.servers = []
        self.transports = []
        self.tasks = {}

    def attach(self):
        """Do nothing: the loop watches each transport itself."""

    async def listen(self, socket_, make=None):
        """Accept connections on a listening socket; `make` makes their transports, None: plain
        ones.

        If the loop can watch a socket, connections are accepted here and not by the loop: the loops
        of asyncio in CPython 3.11 to 3.13 log a hundred lines and set a hundred timers each time
        that descriptors are short.
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

    async def carry(self, socket_, AsyncioTransport transport):
        """Have a new transport carry the bytes of a socket that is connected, and own it from now
        on. Raises OSError."""
        if socket_.family == getattr(socket, "AF_UNIX", None):
            create = self.loop.create_unix_connection
        else:
            create = self.loop.create_connection
        await create(lambda: transport, sock=socket_)

    cdef int admit(self, Writer writer, double now) except -1:
        cdef AsyncioTransport transport = <AsyncioTransport>writer
        if self.is_ending:
            transport.is_lost = True      # its task was under way when the server closed
            return transport.close_socket()
        try:
            self.hold(transport)
        except BaseException:
            transport.is_lost = True      # it has not been counted either
            raise
        Engine.admit(self, transport, now)
        self.young_count += 1
        if self.young_count >= COLLECTION_SIZE and gc.isenabled():
            self.young_count = 0
            gc.collect(0)
        return 0

    cdef int hold(self, AsyncioTransport transport) except -1:
        """Keep a reference to a transport until it is closed. There may be no other: a loop has one
        only while it watches the socket, so neither while reading is paused nor after the peer's
        FIN."""
        if self.held_count == len(self.transports):
            self.transports.append(transport)
        else:
            self.transports[self.held_count] = transport
        transport.held_at = self.held_count
        self.held_count += 1
        return 0

    cdef int release(self, AsyncioTransport transport) noexcept:
        """Remove the reference to a transport. The last transport of the list takes its place, and
        the list keeps its length: that takes no memory."""
        cdef AsyncioTransport last
        self.held_count -= 1
        last = <AsyncioTransport>self.transports[self.held_count]
        last.held_at = transport.held_at
        self.transports[transport.held_at] = last
        self.transports[self.held_count] = None
        return 0

    cdef int forget(self, Writer transport) except -1:
        self.release(<AsyncioTransport>transport)
        return Engine.forget(self, transport)

    def accept_again(self, socket_):
        """Accept again after a pause, and try it at once, to know whether it is possible."""
        if socket_ in self.listeners:
            self.loop.add_reader(socket_.fileno(), self._accept, socket_)
            self._accept(socket_)

    def _accept(self, socket_):
        """Accept one of the clients that wait. Only one: each costs a task, a transport and seven
        calls in the next few turns of the loop, 0.1 ms in which all other clients wait."""
        error = connected = None
        if socket_ not in self.listeners:
            return
        try:
            connected, _ = socket_.accept()
        except OSError as refusal:
            error = refusal
        if isinstance(error, (ConnectionAbortedError, InterruptedError)):
            return
        if error is not None and not isinstance(error, BlockingIOError):
            self.pause_accepting(socket_, error)
            return
        # To find that no client waits, too, the kernel has needed a descriptor.
        self.accept_pause.can_accept()
        if connected is None:
            return
        task = self.loop.create_task(
            self.loop.connect_accepted_socket(self.listeners[socket_], connected)
        )
        self.tasks[task] = connected
        task.add_done_callback(partial(self._carried, connected))

    def _carried(self, connected, task):
        """Called when the task that makes a transport is done: close the socket if it has
        failed."""
        self.tasks.pop(task, None)
        error = None
        if not task.cancelled():        # else the loop is closing
            error = task.exception()
            if error is None:
                return
        if isinstance(error, OSError):
            logger.debug("a connection was lost at once: %s", error)
        elif error is not None:
            self.tell(error, None)
        end_stream(connected.fileno())
        connected.close()

    cdef int pause_accepting(self, object socket_, object error) except -1:
        # As in the epoll engine.
        self.accept_pause.begin(error.strerror, self.accept_again, socket_)
        self.loop.remove_reader(socket_.fileno())
        return 0

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

    def abandon(self):
        """As in every engine. Descriptors that asyncio's objects use are replaced: see `cover`."""
        for transport in self.transports[:self.held_count]:
            (<AsyncioTransport>transport).abandon()
        for connected in self.tasks.values():
            cover(connected.fileno())
        for socket_ in self.listeners:
            socket_.close()
        for server in self.servers:
            for socket_ in server.sockets:
                cover(socket_.fileno())
        self.listeners = {}
        super().abandon()
