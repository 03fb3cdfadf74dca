/* Faults for a server that is preloaded with this: allocations that fail, system calls that do.
 *
 * The test maps the file that SOCKWAVE_FAULTS names and turns the faults on and off there, while the
 * server runs: nothing goes wrong before, and nothing is asked of the server. Without the variable
 * everything is passed on. The layout of `struct control` is that of `shim.py`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ACCEPT, RECEIVE, SEND, WAIT, WATCH, CALL_COUNT };
enum { SHORT = -1 }; /* in place of an errno: the call is made, with one byte to a few */

struct call {
    _Atomic int32_t fault;     /* an errno, SHORT, or 0 for none */
    _Atomic uint32_t permille; /* how many of a thousand calls it befalls */
    _Atomic uint64_t count, fault_count;
};

static struct control {
    _Atomic uint64_t is_closed;      /* no allocation fails meanwhile: the server's own to say */
    _Atomic int64_t until_failure;   /* allocations until the first that fails; 0: none does */
    _Atomic int64_t failing_count;   /* how many fail from then on */
    _Atomic uint64_t allocation_count, failure_count; /* seen while one was due, and failed */
    _Atomic int64_t living_count;    /* blocks allocated and not freed, ever */
    _Atomic uint64_t random;
    struct call calls[CALL_COUNT];
} nothing, *control = &nothing;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

__attribute__((constructor)) static void attach(void) {
    const char *name = getenv("SOCKWAVE_FAULTS");
    int file = name == NULL ? -1 : open(name, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED)
        control = shared;
}

/* ---- allocations */

static bool allocation_fails(void) {
    int64_t left = atomic_load_explicit(&control->until_failure, memory_order_relaxed);
    if (left == 0 || control->is_closed)
        return false;
    control->allocation_count++;
    if (left > 1) {
        control->until_failure--;
        return false;
    }
    control->failure_count++;
    if (--control->failing_count <= 0)
        control->until_failure = 0;
    errno = ENOMEM;
    return true;
}

static void *counted(void *block) {
    if (block != NULL)
        atomic_fetch_add_explicit(&control->living_count, 1, memory_order_relaxed);
    return block;
}

void *malloc(size_t size) {
    return allocation_fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size) {
    if (allocation_fails())
        return NULL;
    void *grown = __libc_realloc(block, size);
    return block == NULL ? counted(grown) : grown;
}

void free(void *block) {
    if (block != NULL)
        atomic_fetch_sub_explicit(&control->living_count, 1, memory_order_relaxed);
    __libc_free(block);
}

/* ---- system calls */

static uint32_t draw(void) { /* xorshift: the seed is the test's */
    uint64_t x = control->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    control->random = x;
    return (uint32_t)(x >> 32);
}

/* Gives the fault that befalls this call, if one does. */
static int32_t fault_of(int which) {
    struct call *call = &control->calls[which];
    int32_t fault = atomic_load_explicit(&call->fault, memory_order_relaxed);
    if (fault == 0)
        return 0;
    call->count++;
    if (draw() % 1000 >= call->permille)
        return 0;
    call->fault_count++;
    if (fault > 0)
        errno = fault;
    return fault;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags) {
    static __typeof__(&accept4) next;
    next = next ? next : NEXT(accept4);
    return fault_of(ACCEPT) > 0 ? -1 : next(fd, address, size, flags);
}

ssize_t recv(int fd, void *data, size_t size, int flags) {
    static __typeof__(&recv) next;
    next = next ? next : NEXT(recv);
    int32_t fault = fault_of(RECEIVE);
    if (fault > 0)
        return -1;
    if (fault == SHORT && size > 1)
        size = 1 + draw() % (size < 64 ? size : 64);
    return next(fd, data, size, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    static __typeof__(&send) next;
    next = next ? next : NEXT(send);
    int32_t fault = fault_of(SEND);
    if (fault > 0)
        return -1;
    if (fault == SHORT && size > 1)
        size = 1 + draw() % size;
    return next(fd, data, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static __typeof__(&sendmsg) next;
    next = next ? next : NEXT(sendmsg);
    int32_t fault = fault_of(SEND);
    if (fault > 0)
        return -1;
    struct msghdr shorter = *message;
    struct iovec first;
    if (fault == SHORT && message->msg_iovlen) {
        first = message->msg_iov[0];
        first.iov_len = first.iov_len ? 1 + draw() % first.iov_len : 0;
        shorter.msg_iov = &first;
        shorter.msg_iovlen = 1;
    }
    return next(fd, &shorter, flags);
}

int epoll_wait(int poller, struct epoll_event *events, int count, int timeout_ms) {
    static __typeof__(&epoll_wait) next;
    next = next ? next : NEXT(epoll_wait);
    int32_t fault = fault_of(WAIT);
    if (fault > 0)
        return -1;
    return next(poller, events, fault == SHORT ? 1 : count, timeout_ms);
}

int epoll_ctl(int poller, int what, int fd, struct epoll_event *event) {
    static __typeof__(&epoll_ctl) next;
    next = next ? next : NEXT(epoll_ctl);
    if (what == EPOLL_CTL_ADD && fault_of(WATCH) > 0) /* the others need no memory */
        return -1;
    return next(poller, what, fd, event);
}
