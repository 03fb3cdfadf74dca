"""What `publish` returns: an awaitable of where the message stands, and for how many it is."""

import asyncio

cimport cython

from sockwave.deliveries import Position, Published


@cython.freelist(16)
cdef class Publication:
    """A message that was published; awaited, it gives a `Published`."""

    cdef int finish(self, uint64_t epoch, uint64_t offset, Py_ssize_t local_count) except -1:
        """It stands at a position, and is on its way."""
        if self.is_done:
            return 0
        self.epoch, self.offset = epoch, offset
        self.local_count = local_count
        self.is_done = True
        self.besides = None
        self.payload = None
        self.topic = None
        if self.future is not None and not self.future.done():
            self.future.set_result(self.outcome())
        return self.tell()

    cdef object outcome(self):
        """Return the Published, which most publishers never ask for."""
        return Published(
            Position(self.epoch, self.offset) if self.epoch else None, self.local_count
        )

    cdef int tell(self) except -1:
        """Call what was to be called now."""
        callbacks, self.callbacks = self.callbacks, None
        if self.future is not None:
            self.report = None
        if callbacks is not None:
            self.report = None
            if self.error is None:
                callbacks[0](self.outcome())
            else:
                callbacks[1](self.error)
        return 0

    cdef int fail(self, object error, object report) except -1:
        """It has not been published: `error` is raised in the task that waits. If none ever does,
        `report` gets it."""
        if self.is_done:
            return 0
        self.error = error
        self.report = report
        self.is_done = True
        self.besides = None
        self.payload = None
        self.topic = None
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)
        return self.tell()

    def __del__(self):
        if self.report is not None:
            self.report(self.error)

    def when_done(self, done, failed):
        """Call `done` with a Published, or `failed` with an error: now, or as soon as it is known.
        """
        self.callbacks = (done, failed)
        if self.is_done:
            self.tell()

    def done(self):
        """Tell whether it is known what became of the message."""
        return self.is_done

    def __await__(self):
        self.report = None
        if self.is_done:
            return self
        if self.future is None:
            self.future = asyncio.get_running_loop().create_future()
        # Shielded: a task that is cancelled while it waits cancels its waiting alone.
        return asyncio.shield(self.future).__await__()

    def __iter__(self):
        return self

    def __next__(self):
        if self.error is not None:
            raise self.error
        raise StopIteration(self.outcome())

    def __repr__(self):
        state = "published" if self.is_done else "on its way"
        return f"<Publication {state}>"


cdef class Subscribing:
    """An awaitable that is done: what `subscribe` returns in the usual case."""

    def __cinit__(self, result):
        self.result = result

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration(self.result)
