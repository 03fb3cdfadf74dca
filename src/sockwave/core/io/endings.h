/* How a stream ends although somebody else still holds its descriptor: a forked child, or one that
 * is about to become another program. Closing ours would tell the peer nothing then. */
#ifndef SOCKWAVE_ENDINGS_H
#define SOCKWAVE_ENDINGS_H

#ifdef _WIN32 /* where no process has another's descriptors by being forked */

static inline int end_stream(int fd)
{
    (void)fd;
    return 0;
}

static inline int reset_stream(int fd) { return end_stream(fd); }

#else

#include <string.h>
#include <sys/socket.h>

/* What is queued leaves, then FIN; what the peer still sends is answered by RST. */
static inline int end_stream(int fd) { return shutdown(fd, SHUT_RDWR); }

/* What is queued is dropped, and RST leaves at once: what SO_LINGER promises for the last close.
 * Linux does it for a connect to nowhere; a Unix socket, and other systems, just end. */
static inline int reset_stream(int fd)
{
#ifdef __linux__
    struct sockaddr nowhere;
    memset(&nowhere, 0, sizeof nowhere);
    nowhere.sa_family = AF_UNSPEC;
    if (connect(fd, &nowhere, sizeof nowhere) == 0)
        return 0;
#endif
    return end_stream(fd);
}

#endif
#endif
