/* Small functions over epoll, by which the kernel tells the engine which sockets are ready. */
#ifndef SOCKWAVE_POLLER_H
#define SOCKWAVE_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    POLL_READ = EPOLLIN,
    POLL_WRITE = EPOLLOUT,
    POLL_BROKEN = EPOLLERR | EPOLLHUP, /* always reported, even if not asked for */
};

typedef struct epoll_event poller_event;

static inline int poller_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline int poller_control(int poller, int operation, int fd, unsigned interest,
                                 uint64_t mark)
{
    struct epoll_event event;
    event.events = interest;
    event.data.u64 = mark;
    return epoll_ctl(poller, operation, fd, &event);
}

static inline int poller_add(int poller, int fd, unsigned interest, uint64_t mark)
{
    return poller_control(poller, EPOLL_CTL_ADD, fd, interest, mark);
}

static inline int poller_change(int poller, int fd, unsigned interest, uint64_t mark)
{
    return poller_control(poller, EPOLL_CTL_MOD, fd, interest, mark);
}

/* Call this before closing the descriptor: while another process, such as a forked child, has a
 * copy of it, closing alone does not take it out of the epoll. */
static inline int poller_remove(int poller, int fd)
{
    return poller_control(poller, EPOLL_CTL_DEL, fd, 0, 0);
}

static inline int poller_wait(int poller, poller_event *events, int count, int timeout_ms)
{
    return epoll_wait(poller, events, count, timeout_ms);
}

static inline uint64_t poller_mark(const poller_event *event) { return event->data.u64; }

static inline unsigned poller_what(const poller_event *event) { return event->events; }

static inline void poller_close(int poller) { close(poller); }

#endif
