"""A TCP or Unix socket in the epoll engine: recv and send."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sockwave.core.io.transport cimport Transport

cdef enum:
    ADDRESS_SIZE = 128          # room for any struct sockaddr: that of a sockaddr_storage
    # Beside the events in `interest`:
    IS_WATCHED = 0x80           # the socket is in the epoll
    IS_TAKEN = 0x40             # a thread waits for it by itself: the epoll reports no bytes

cdef class EpollSocket(Transport):
    """A TCP or Unix socket in the engine's epoll."""
    cdef int fd
    cdef uint8_t interest       # the events that are asked for, and IS_WATCHED
    cdef uint8_t host_size      # of the peer's IP address, in bytes; 0: it has none
    cdef uint16_t port
    cdef uint8_t host[16]

    cdef int keep_address(self, const uint8_t* address) noexcept
    cdef int set_interest(self, uint32_t interest) except -1
    cdef uint16_t find_own_address(self, uint8_t* address) noexcept
    cdef int ready(self, uint32_t events) except -1
    cdef int peer_has_gone(self) except -1
    cdef int call_prompt(self, bint is_prompt) noexcept
    cdef bint set_option(self, int level, int option, int value) noexcept
    cdef ssize_t take(self, uint8_t* place, size_t size) noexcept
    cdef int readable(self) except -1
