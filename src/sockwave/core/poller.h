/* Small functions over epoll: what the loop asks of the kernel to know which sockets are ready. */
#ifndef SOCKWAVE_POLLER_H
#define SOCKWAVE_POLLER_H

#include <sys/epoll.h>
#include <unistd.h>

enum {
    POLL_READ = EPOLLIN,
    POLL_WRITE = EPOLLOUT,
    POLL_BROKEN = EPOLLERR | EPOLLHUP, /* always reported, asked for or not */
};

typedef struct epoll_event poller_event;

static inline int poller_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline int poller_control(int poller, int operation, int fd, unsigned interest, void *who)
{
    struct epoll_event event;
    event.events = interest;
    event.data.ptr = who;
    return epoll_ctl(poller, operation, fd, &event);
}

static inline int poller_add(int poller, int fd, unsigned interest, void *who)
{
    return poller_control(poller, EPOLL_CTL_ADD, fd, interest, who);
}

static inline int poller_change(int poller, int fd, unsigned interest, void *who)
{
    return poller_control(poller, EPOLL_CTL_MOD, fd, interest, who);
}

static inline int poller_remove(int poller, int fd)
{
    return poller_control(poller, EPOLL_CTL_DEL, fd, 0, NULL);
}

static inline int poller_wait(int poller, poller_event *events, int count, int timeout_ms)
{
    return epoll_wait(poller, events, count, timeout_ms);
}

static inline void *poller_who(const poller_event *event) { return event->data.ptr; }

static inline unsigned poller_what(const poller_event *event) { return event->events; }

/* Lets an event that was taken from the kernel be about nothing: its socket has ended since. */
static inline void poller_forget(poller_event *event) { event->events = 0; }

static inline void poller_close(int poller) { close(poller); }

#endif
