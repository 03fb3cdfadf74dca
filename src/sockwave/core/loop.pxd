"""The epoll engine: accept, recv, send and epoll. Every system call of the core stands here."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sockwave.core.carrier cimport Carrier, Engine

cdef extern from "poller.h" nogil:
    ctypedef struct poller_event:
        pass

cdef enum:
    BATCH_COUNT = 256           # events taken from the kernel at once
    ACCEPT_COUNT = 64           # connections accepted in a row
    ADDRESS_SIZE = 28           # of a struct sockaddr_in6; a Unix peer's is not kept
    OWN_ADDRESS_SIZE = 128      # of any: that of a struct sockaddr_storage

cdef class Listener:
    """A listening socket."""
    cdef readonly object socket
    cdef int fd
    cdef bint rests             # for want of descriptors or memory
    cdef object make            # makes the carrier of a connection; None: an EpollSocket

cdef class EpollEngine(Engine):
    """Serves its sockets by an epoll of its own,
    behind one descriptor that any loop can wait for."""
    cdef int poller
    cdef poller_event batch[BATCH_COUNT]
    # What the last wait found, and how much of it has been dealt with.
    cdef int batch_size, position
    cdef bint is_nested_ready           # a descriptor of the surrounding loop is ready
    cdef bint owns_loop                 # the loop waits in `wait`
    cdef dict listeners                 # fd → Listener

    cdef int serve(self, int timeout_ms) except -1
    cdef int serve_event(self, void* who, uint32_t events) except -1
    cdef int forget(self, void* who) noexcept
    cdef int watch(self, Listener listener) noexcept
    cdef int accept(self, Listener listener) except -1
    cdef int welcome_socket(self, int fd, Listener listener, const uint8_t* address) except -1
    cdef int rest(self, Listener listener, int error) except -1

cdef class EpollSocket(Carrier):
    """A TCP or Unix socket in the engine's epoll."""
    cdef int fd
    cdef uint32_t interest
    cdef uint8_t address[ADDRESS_SIZE]

    cdef int set_interest(self, uint32_t interest) except -1
    cdef uint16_t find_own_address(self, uint8_t* address) noexcept
    cdef int ready(self, uint32_t events) except -1
    cdef bint set_option(self, int level, int option, int value) noexcept
    cdef int readable(self) except -1
