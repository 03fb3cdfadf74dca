"""Tasks that wait until something has changed."""

from asyncio import get_running_loop

cdef enum:
    # An application that asks again and again although it is told that all is over must not keep
    # the loop from others: each time it has been told so often, it waits for the loop's next turn.
    # Not each time: one that polls, as Starlette's `is_disconnected` does, is told only what is
    # there at once.
    TOLD_COUNT = 64


cdef class Waiting:
    """Any number of tasks that look again when they are woken."""

    def __cinit__(self):
        self.futures = []

    async def wait(self):
        """Wait until `wake` is called."""
        future = get_running_loop().create_future()
        self.futures.append(future)
        try:
            await future
        finally:
            if future in self.futures:
                self.futures.remove(future)

    cpdef object wake(self):
        """Wake all tasks that wait."""
        futures, self.futures = self.futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

    cpdef bint is_pressed(self):
        """Count that a task is told that all is over; true now and then: it has to wait for the
        loop's next turn."""
        self.told_count += 1
        return self.told_count % TOLD_COUNT == 0
