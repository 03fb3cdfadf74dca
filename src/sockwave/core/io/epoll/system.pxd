"""The system calls on sockets (Linux)."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct msghdr:
        void* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send_bytes "send"(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t size)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* size)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    struct linger_option "linger":
        int l_onoff
        int l_linger
    int SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SHUT_RDWR
    int AF_INET, AF_INET6, AF_UNIX, SOL_SOCKET, SO_KEEPALIVE, SO_LINGER

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_INFO, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT
    struct tcp_info:
        unsigned int tcpi_last_ack_recv     # milliseconds since the last ACK

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCOUTQ

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int fd)

cdef extern from "places.h" nogil:
    ctypedef struct places:
        void** who
        uint32_t count
    int places_enter(places* all, int fd, void* who)
    void places_leave(places* all, int fd, const void* who)
    uint64_t places_mark(const places* all, int fd)
    void* places_find(const places* all, uint64_t mark)
    void places_free(places* all)

cdef extern from "poller.h" nogil:
    ctypedef struct poller_event:
        pass
    enum: POLL_READ, POLL_WRITE, POLL_BROKEN
    int poller_create()
    int poller_add(int poller, int fd, unsigned int interest, uint64_t mark)
    int poller_change(int poller, int fd, unsigned int interest, uint64_t mark)
    int poller_remove(int poller, int fd)
    int poller_wait(int poller, poller_event* events, int count, int timeout_ms)
    uint64_t poller_mark(const poller_event* event)
    unsigned int poller_what(const poller_event* event)
    void poller_close(int poller)
