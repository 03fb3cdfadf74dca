"""What `receive` returns where a message is there already."""

cimport cython


cdef Received received(object message):
    """Return an awaitable that gives `message` at once."""
    cdef Received awaitable = Received.__new__(Received)
    awaitable.message = message
    return awaitable


@cython.freelist(64)
cdef class Received:
    """An awaitable that gives its message at once. To asyncio it is a coroutine, so that
    `create_task` takes it."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        message, self.message = self.message, None
        raise StopIteration(message)

    def send(self, value):
        """Give the message; `value` is not used."""
        return self.__next__()

    def throw(self, *error):
        """Raise an error in place of the message."""
        self.message = None
        raise error[0]

    def close(self):
        """Drop the message."""
        self.message = None
