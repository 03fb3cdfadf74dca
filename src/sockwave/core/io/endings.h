/* Ends a connection although another process still holds its descriptor: a forked child, or one
 * that is about to exec another program. To close our descriptor alone would not tell the peer. */
#ifndef SOCKWAVE_ENDINGS_H
#define SOCKWAVE_ENDINGS_H

#ifdef _WIN32 /* no fork there, so no other process has our descriptors */

static inline int end_stream(int fd)
{
    (void)fd;
    return 0;
}

static inline int reset_stream(int fd) { return end_stream(fd); }

#else

#include <string.h>
#include <sys/socket.h>

/* The kernel sends what is queued, then FIN, and answers what the peer still sends with RST. */
static inline int end_stream(int fd) { return shutdown(fd, SHUT_RDWR); }

/* The kernel drops what is queued and sends RST at once, as SO_LINGER has it do at the last close.
 * Linux does that for a connect to AF_UNSPEC. A Unix socket, and one on another system, is ended as
 * by `end_stream`. */
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
