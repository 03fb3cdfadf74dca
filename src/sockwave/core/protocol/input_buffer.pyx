"""Received bytes that cannot be read yet: a part of a frame, or what came while reading paused."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove


cdef class InputBuffer:
    """The bytes that one client has sent and the reader has not read yet."""

    def __dealloc__(self):
        free(self.kept)

    cdef int store(self, const Span* given) except -1:
        """Append bytes that could not be read to those that are kept."""
        cdef uint8_t* grown
        if given.size == 0:
            return 0
        if (
            self.lent is not NULL and self.lent <= given.data < self.lent + self.lent_size
            and given.size > self.lent_size / 2 and self.kept is NULL
        ):
            # The bytes are the end of the buffer that is being read: keep that buffer itself.
            # Copying a long rest after each small step would take quadratic time.
            self.kept = self.lent
            self.kept_start = given.data - self.lent
            self.kept_size = given.size
            self.lent = NULL
            self.lent_size = 0
            return 0
        if self.kept_start:
            memmove(self.kept, self.kept + self.kept_start, self.kept_size)
            self.kept_start = 0
        grown = <uint8_t*>realloc(self.kept, self.kept_size + given.size)
        if grown is NULL:
            raise MemoryError
        self.kept = grown
        memcpy(self.kept + self.kept_size, given.data, given.size)
        self.kept_size += given.size
        return 0

    cdef uint8_t* prepend_input(self, uint8_t* data) noexcept:
        """Copy the kept bytes in front of `data`, where the caller has room for them, and return
        the new beginning."""
        memcpy(data - self.kept_size, self.kept + self.kept_start, self.kept_size)
        data -= self.kept_size
        self.forget_input()
        return data

    cdef uint8_t* release_memory(self) noexcept:
        """Hand the buffer to the caller, who must free() it."""
        cdef uint8_t* kept = self.kept
        self.kept = NULL
        self.kept_size = 0
        self.kept_start = 0
        return kept

    cdef int forget_input(self) noexcept:
        free(self.release_memory())
        return 0

    cdef uint8_t* take_input(self, size_t* size) noexcept:
        """Hand the kept bytes to the caller, who must free() them."""
        if self.kept_start:
            memmove(self.kept, self.kept + self.kept_start, self.kept_size)
        size[0] = self.kept_size
        return self.release_memory()

    cdef int lend_input(self, Span* given) noexcept:
        """Let the caller read the kept bytes, until `take_back`. In between, the caller may pass
        the rest of them to `store`."""
        given.data = self.kept + self.kept_start
        given.size = self.kept_size
        self.lent_size = self.kept_start + self.kept_size
        self.lent = self.release_memory()
        return 0

    cdef int take_back(self) noexcept:
        """Free the lent buffer, unless `store` has kept it."""
        free(self.lent)
        self.lent = NULL
        self.lent_size = 0
        return 0
