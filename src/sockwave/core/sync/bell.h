/* An eventfd by which one thread wakes another that waits in a poll (Linux). */
#ifndef SOCKWAVE_BELL_H
#define SOCKWAVE_BELL_H

#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static inline int bell_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static inline int bell_ring(int bell)
{
    uint64_t one = 1;
    return write(bell, &one, sizeof one) == sizeof one ? 0 : -1;
}

static inline int bell_clear(int bell)
{
    uint64_t count;
    return read(bell, &count, sizeof count) == sizeof count ? 0 : -1;
}

/* Wait until the socket can be read, or the bell has rung; a negative descriptor is not waited for.
 * Returns whether the socket can be read, or has failed; -1: a signal has come. */
static inline int bell_wait(int socket, int bell, int timeout_ms)
{
    struct pollfd both[2] = {{.fd = socket, .events = POLLIN}, {.fd = bell, .events = POLLIN}};
    int count = poll(both, 2, timeout_ms);
    if (count > 0 && both[1].revents) {
        bell_clear(bell);
    }
    return count < 0 ? -1 : count > 0 && both[0].revents != 0;
}

#endif
