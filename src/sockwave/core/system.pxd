"""The system calls on sockets (Linux)."""

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
        unsigned int tcpi_last_ack_recv     # so many milliseconds ago

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCOUTQ

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int fd)

cdef extern from "poller.h" nogil:
    ctypedef struct poller_event:
        pass
    enum: POLL_READ, POLL_WRITE, POLL_BROKEN
    int poller_create()
    int poller_add(int poller, int fd, unsigned int interest, void* who)
    int poller_change(int poller, int fd, unsigned int interest, void* who)
    int poller_remove(int poller, int fd)
    int poller_wait(int poller, poller_event* events, int count, int timeout_ms)
    void* poller_who(const poller_event* event)
    unsigned int poller_what(const poller_event* event)
    void poller_forget(poller_event* event)
    void poller_close(int poller)
