"""Span that waits: a part of a frame, or all that has come since reading was paused."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove


cdef class InputBuffer:
    """What one peer has sent and nobody could read yet."""

    def __dealloc__(self):
        free(self.held)

    cdef int store(self, const Span* given) except -1:
        """Keep what could not be read, behind what is kept already."""
        cdef uint8_t* grown
        if given.size == 0:
            return 0
        if (
            self.lent is not NULL and self.lent <= given.data < self.lent + self.lent_size
            and given.size > self.lent_size / 2 and self.held is NULL
        ):
            # Where it is read in small steps, the long rest of it stays where it lies.
            self.held = self.lent
            self.held_start = given.data - self.lent
            self.held_size = given.size
            self.lent = NULL
            self.lent_size = 0
            return 0
        if self.held_start:
            memmove(self.held, self.held + self.held_start, self.held_size)
            self.held_start = 0
        grown = <uint8_t*>realloc(self.held, self.held_size + given.size)
        if grown is NULL:
            raise MemoryError
        self.held = grown
        memcpy(self.held + self.held_size, given.data, given.size)
        self.held_size += given.size
        return 0

    cdef uint8_t* prepend_input(self, uint8_t* data) noexcept:
        """Move the little that is kept in front of `data`, and give the new beginning."""
        memcpy(data - self.held_size, self.held + self.held_start, self.held_size)
        data -= self.held_size
        self.forget_input()
        return data

    cdef uint8_t* release_memory(self) noexcept:
        """Have nothing kept any more, and give where it lies; the caller frees it."""
        cdef uint8_t* held = self.held
        self.held = NULL
        self.held_size = 0
        self.held_start = 0
        return held

    cdef int forget_input(self) noexcept:
        free(self.release_memory())
        return 0

    cdef uint8_t* take_input(self, size_t* size) noexcept:
        """Give away what is kept; the caller frees it."""
        if self.held_start:
            memmove(self.held, self.held + self.held_start, self.held_size)
        size[0] = self.held_size
        return self.release_memory()

    cdef int lend_input(self, Span* given) noexcept:
        """Read what is kept, until `take_back`; in between, `hold` may keep the rest of it."""
        given.data = self.held + self.held_start
        given.size = self.held_size
        self.lent_size = self.held_start + self.held_size
        self.lent = self.release_memory()
        return 0

    cdef int take_back(self) noexcept:
        free(self.lent)
        self.lent = NULL
        self.lent_size = 0
        return 0
