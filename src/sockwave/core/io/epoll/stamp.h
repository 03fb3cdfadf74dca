/* Received bytes with the time at which the kernel has received them: SO_TIMESTAMPNS of Linux. */
#ifndef SOCKWAVE_STAMP_H
#define SOCKWAVE_STAMP_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* Like recv. `at_s` becomes the time of the last of the bytes, in seconds since 1970; 0: unknown. */
static inline ssize_t receive_stamped(int fd, void *place, size_t size, double *at_s)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec vector = {.iov_base = place, .iov_len = size};
    struct msghdr message;
    struct cmsghdr *found;
    struct timespec time;
    ssize_t count;
    memset(&message, 0, sizeof(message));
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.room;
    message.msg_controllen = sizeof(control.room);
    count = recvmsg(fd, &message, 0);
    *at_s = 0;
    if (count <= 0)
        return count;
    for (found = CMSG_FIRSTHDR(&message); found; found = CMSG_NXTHDR(&message, found)) {
        if (found->cmsg_level == SOL_SOCKET && found->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&time, CMSG_DATA(found), sizeof(time));
            *at_s = time.tv_sec + time.tv_nsec / 1e9;
        }
    }
    return count;
}

static inline int ask_for_stamps(int fd)
{
    int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
}

#endif
