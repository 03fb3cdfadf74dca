"""Which thread a server's loop runs in: most calls are for that thread alone."""

import threading
from asyncio import _get_running_loop

from sockwave.errors import SockwaveError

# What another thread calls in place of what it may not, where that has a name of its own.
OTHER_WAYS = {
    "server.broadcast": "server.broadcast_threadsafe(...)",
    "async for message in conn": "server.call_threadsafe(conn.receive)",
    "async for chunk in conn.stream()": "a task of that loop",
    "server.run": "one call of it",
    "server.start": "one call of it",
}

# What is said in a forked child to who asks something of a server that runs in the parent, …
FORKED = (
    "this process was forked while the server ran, and the server goes on in the parent alone: "
    "expected a new one here, or a fork before it runs"
)
# … but for what has been done there anyway, and often follows an exception.
HARMLESS = frozenset({"conn.close", "conn.abort", "stream.close"})

cdef enum:
    FOREIGN_ID = 1      # no thread's, and not 0


cdef class LoopThread:
    """The thread of one loop: at first the one that it was made in, without a loop any."""

    def __cinit__(self, loop=None):
        self.loop = loop
        if loop is not None:
            self.id = current_thread_id()

    cdef bint is_present(self) except -1:
        """Tell whether the calling thread is the loop's, or nothing runs that it could disturb.

        A loop that has begun in one thread may be run on in another.
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
        if not self.is_present():
            other = OTHER_WAYS.get(call, f"server.call_threadsafe({call}, ...)")
            raise SockwaveError(
                f"{call}: expected the thread of the server's loop, given thread "
                f"{threading.current_thread().name!r}; elsewhere, it is {other}"
            )
        return 0

    cdef int follow(self) noexcept:
        """Note that the loop runs in the calling thread, if it still matters."""
        if self.id and not self.is_abandoned:
            self.id = current_thread_id()
        return 0

    def check_call(self, str call):
        """Raise SockwaveError in any other thread; `call` is what was called, for the message."""
        self.check(call)

    def is_here(self):
        """Tell whether the calling thread is the loop's, or nothing runs that it could disturb."""
        return self.loop is None or self.id == current_thread_id() or self.is_present()

    def abandon(self):
        """Let nothing be called any more: this is a forked child, and the loop its parent's."""
        self.is_abandoned = True
        self.id = FOREIGN_ID

    def let_go(self):
        """Let any thread call from now on: the server has ended."""
        self.id = 0
