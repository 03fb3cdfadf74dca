"""Which thread a server's loop runs in: most calls may be made in that thread only."""

import threading
from asyncio import _get_running_loop

from cpython.ref cimport Py_INCREF

from sockwave.errors import SockwaveError

# What another thread has to use instead, where that is not `server.call_threadsafe(call, ...)`.
ALTERNATIVES = {
    "server.broadcast": "server.broadcast_threadsafe(...)",
    "async for message in conn": "server.call_threadsafe(conn.receive)",
    "async for chunk in conn.stream()": "a task of that loop",
    "server.run": "one call of it",
    "server.start": "one call of it",
}

# The error for a call in a forked child, about a server that runs in the parent, …
FORKED = (
    "this process was forked while the server ran, and the server goes on in the parent alone: "
    "expected a new one here, or a fork before it runs"
)
# … except for these calls, which do nothing there: the child has closed its copies already, and
# such calls often clean up behind an exception.
HARMLESS = frozenset({"conn.close", "conn.abort", "stream.close"})

cdef enum:
    FOREIGN_ID = 1      # not 0, and not the id of any thread


def keep_for_ever(one):
    """Keep an object until the process is gone: not even the end of the interpreter frees it."""
    Py_INCREF(one)


cdef class LoopThread:
    """The thread of one loop: at first the thread that makes this object. Without a loop, any
    thread may call."""

    def __cinit__(self, loop=None):
        self.loop = loop
        if loop is not None:
            self.id = current_thread_id()

    cdef bint may_call(self) except -1:
        """Tell whether the calling thread is the loop's, or the loop does not run at all.

        A loop that has been run in one thread may later be run in another.
        """
        if _get_running_loop() is self.loop:
            self.follow()
            return True
        return not self.loop.is_running()

    cdef int check_again(self, str call) except -1:
        """Raise SockwaveError unless it is the loop's thread after all."""
        if self.is_abandoned:
            if call in HARMLESS:
                return 0
            raise SockwaveError(f"{call}: {FORKED}")
        if not self.may_call():
            other = ALTERNATIVES.get(call, f"server.call_threadsafe({call}, ...)")
            raise SockwaveError(
                f"{call}: expected the thread of the server's loop, given thread "
                f"{threading.current_thread().name!r}; elsewhere, it is {other}"
            )
        return 0

    cdef int follow(self) noexcept:
        """Note that the loop runs in the calling thread, unless calls are no longer checked."""
        if self.id and not self.is_abandoned:
            self.id = current_thread_id()
        return 0

    def check_call(self, str call):
        """Raise SockwaveError in any other thread; `call` is what the application called, for the
        message."""
        self.check(call)

    def is_current(self):
        """Tell whether the calling thread is the loop's, or the loop does not run at all."""
        return self.loop is None or self.id == current_thread_id() or self.may_call()

    def abandon(self):
        """Refuse all calls from now on: this is a forked child, and the loop runs in its parent."""
        self.is_abandoned = True
        self.id = FOREIGN_ID

    def release(self):
        """Allow calls in any thread from now on: the server has ended."""
        self.id = 0
