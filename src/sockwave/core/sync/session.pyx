"""A connection whose messages threads take."""

from time import monotonic

from libc.math cimport INFINITY

from sockwave.core.session.closing cimport CONNECTED, ENDED, closed_error
from sockwave.core.session.inbox cimport Inbox
from sockwave.core.sync.shared_loop cimport current_thread_id, time_left

from sockwave.errors import SockwaveError


cdef class ThreadSession(ClientConnection):
    """A client's connection on a shared loop."""

    def _share(self, SharedLoop shared):
        """Let threads use the connection, which has just been made."""
        self.shared = shared
        self.watchers = []
        # What nobody takes is kept: no listener could be added later.
        self.inbox = Inbox()
        self.inbox.is_wanted = True

    # ---- what the core tells

    cdef int queue(self, object message, size_t size) except -1:
        ClientConnection.queue(self, message, size)
        return 0 if self.reading is None else self.reading.ring()

    cdef bint may_be_streamed(self) except -1:
        return False

    cdef int may_send_again(self) except -1:
        return self.tell_watchers()

    cdef int entered(self, object state) except -1:
        ClientConnection.entered(self, state)
        return self.tell_watchers()

    cdef int ended(self) except -1:
        try:
            ClientConnection.ended(self)
        finally:
            if self.reading is not None:
                self.reading.ring()
                if not self.receiver:
                    self.reading.end()
            self.tell_watchers()
        return 0

    cdef int tell_watchers(self) except -1:
        """Wake the threads that wait for anything but messages."""
        cdef Reading watcher
        for watcher in self.watchers:
            watcher.ring()
        return 0

    # ---- messages out

    cdef int send_now(self, object message, object compress) except -1:
        """Send a message: what is written is sent at once, as in a turn of the connection's own."""
        if not self.shared.may_wait():
            return self.submit(message, compress, None, None)
        self.await_drain()      # what other threads have queued: all at once would be too much
        self.transport.take_cork()
        try:
            self.submit(message, compress, None, None)
        finally:
            self.transport.release_cork()
        return self.await_drain()

    cdef int await_drain(self) except -1:
        """Wait while more than the high-water mark waits for the server to take it."""
        while self.state == CONNECTED and (
            self.transport.backlog.size > self.transport.cork.marks.high_water
        ):
            self.await_change(-1)
            if self.state != CONNECTED:
                raise closed_error(self)
        return 0

    # ---- messages in

    cdef object take_next(self, double seconds):
        """Take the next message; wait for it for at most so many seconds. Raises TimeoutError."""
        if not self.inbox.count:
            if self.receiver:
                raise SockwaveError(
                    "recv: expected one thread at a time that receives from a connection, given a "
                    "second one"
                )
            self.receiver = current_thread_id()
            try:
                self.await_message(INFINITY if seconds < 0 else <double>monotonic() + seconds)
            finally:
                self.receiver = 0
                if self.watchers and self.reading is not None:
                    self.reading.give_back()        # the loop reads what other threads wait for
                if self.state == ENDED and self.reading is not None:
                    self.reading.end()
        return self.take_message()

    cdef bint await_message(self, double end) except -1:
        """Wait until there is a message. Raises TimeoutError, and ConnectionClosed if none comes.
        """
        cdef double left
        if self.reading is None:
            self.reading = self.shared.make_reading(self.transport)
        while not self.inbox.count:
            if self.state == ENDED:
                self.inbox.is_told = True
                raise closed_error(self)
            left = time_left(end)
            self.reading.wait(left)
            if left == 0 and not self.inbox.count and self.state != ENDED:
                raise TimeoutError("recv: expected a message within the timeout")
        return True

    # ---- all else that takes time

    cdef object await_future(self, object future):
        """Wait until a future of the loop is done; return its result."""
        future.add_done_callback(lambda _: self.tell_watchers())
        while not future.done():
            self.await_change(-1)
        return future.result()

    cdef int await_end_now(self) except -1:
        """Wait until the connection has ended; when the interpreter ends, end it."""
        if self.state != ENDED and self.shared.has_ended():
            # Our Close has been written, and leaves with the FIN: nobody waits for the server's.
            self.transport.flush()
            return self.transport.close_with(None)
        while self.state != ENDED:
            self.await_change(-1)
        return 0

    cdef int await_change(self, double seconds) except -1:
        """Wait until something about the connection may have changed."""
        cdef Reading watcher = Reading.__new__(Reading, self.shared)
        if self.reading is not None and self.receiver in (0, current_thread_id()):
            # The loop reads what is waited for. That the receiver itself waits for anything else
            # is so in the handler of a signal, which has interrupted it.
            self.reading.give_back()
        self.watchers.append(watcher)
        try:
            watcher.wait(seconds)
        finally:
            self.watchers.remove(watcher)
        return 0
