"""The asyncio engine: the same core behind ordinary asyncio transports.

For loops that own their sockets, and for systems without epoll.
"""

import gc
import logging
import socket
from functools import partial

from sockwave.core.io.asyncio.transport cimport AsyncioTransport, cover
from sockwave.core.io.writer cimport Writer

from sockwave.core.io.asyncio.transport import TransportProtocol

logger = logging.getLogger("sockwave")

cdef extern from "endings.h" nogil:
    int end_stream(int fd)

cdef enum:
    # So many newcomers have 400 objects that the collector of garbage knows, which it looks through
    # in 0.1 ms. Left to itself it does when 700 more have come than gone: where as many go as come,
    # it then looks through those of a thousand newcomers at once, for 3 ms.
    COLLECTION_SIZE = 32


cdef class AsyncioEngine(Engine):
    """Serves transports of whatever loop it runs in."""

    def __cinit__(self):
        self.listeners = {}
        self.servers = []
        self.transports = []
        self.tasks = {}

    def attach(self):
        """Nothing to do: each transport is its own loop's affair."""

    async def listen(self, socket_, make=None):
        """Accept connections on a listening socket; `make` makes their transports, where they are no
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

    cdef int admit(self, Writer writer, double now) except -1:
        cdef AsyncioTransport transport = <AsyncioTransport>writer
        if self.is_ending:
            transport.is_lost = True      # it was under way when the server closed
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
        """Keep a transport until it is gone. Nobody else may: a loop holds a transport while it
        watches its socket, so neither while reading is paused nor behind the peer's FIN."""
        if self.held_count == len(self.transports):
            self.transports.append(transport)
        else:
            self.transports[self.held_count] = transport
        transport.held_at = self.held_count
        self.held_count += 1
        return 0

    cdef int release(self, AsyncioTransport transport) noexcept:
        """Hold a transport no more. The last one takes its place, and the list stays as long as it
        is: that takes no memory."""
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
        """Take up accepting: at once, to know whether it is possible."""
        if socket_ in self.listeners:
            self.loop.add_reader(socket_.fileno(), self._accept, socket_)
            self._accept(socket_)

    def _accept(self, socket_):
        """Accept one of those who wait: each costs a task, a transport and seven calls in the next
        few turns of the loop, which everybody waits for: 0.1 ms."""
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
        self.accept_pause.can_accept()           # the kernel looks for a descriptor first
        if connected is None:
            return
        task = self.loop.create_task(
            self.loop.connect_accepted_socket(self.listeners[socket_], connected)
        )
        self.tasks[task] = connected
        task.add_done_callback(partial(self._carried, connected))

    def _carried(self, connected, task):
        """Take note that a socket has its transport, or never will."""
        self.tasks.pop(task, None)
        error = None
        if not task.cancelled():        # or the loop ends
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
        """As every engine; the sockets of its transports are closed under them."""
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
