/* Receiving and sending on a stream socket, without waiting and without SIGPIPE. */
#ifndef SOCKWAVE_LINK_SOCKET_H
#define SOCKWAVE_LINK_SOCKET_H

#include <errno.h>
#include <stddef.h>

#ifdef _WIN32 /* there, a server is one process: its link is in memory */

static inline ptrdiff_t link_receive(int fd, void *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    errno = ENOSYS;
    return -1;
}

static inline ptrdiff_t link_send(int fd, const void *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    errno = ENOSYS;
    return -1;
}

#else

#include <sys/socket.h>

#ifndef MSG_NOSIGNAL /* macOS: SO_NOSIGPIPE, and Python ignores the signal anyway */
#define MSG_NOSIGNAL 0
#endif

static inline ptrdiff_t link_receive(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_DONTWAIT);
}

static inline ptrdiff_t link_send(int fd, const void *data, size_t size)
{
    return send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

#endif
#endif
