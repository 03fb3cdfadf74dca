"""What `receive` returns where a message is there already."""

cdef class Received:
    """An awaitable that gives its message at once. To asyncio it is a coroutine."""
    cdef object message

cdef Received received(object message)
