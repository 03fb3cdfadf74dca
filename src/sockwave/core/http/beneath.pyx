"""The folder below a folder that a path names: openat2 of Linux 5.6, by which no path leads out.

The C library has no function for it, and old headers do not know it. Its number and its structure
are the same on all architectures but Alpha.
"""

from cpython.bytes cimport PyBytes_AS_STRING

import os

cdef extern from *:
    """
    #include <errno.h>
    #ifdef __linux__
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #ifndef SYS_openat2
    #define SYS_openat2 437
    #endif

    enum {
        SOCKWAVE_NO_SYMLINKS = 0x04, /* RESOLVE_NO_SYMLINKS, which has no magic links either */
        SOCKWAVE_BENEATH = 0x08,     /* RESOLVE_BENEATH */
    };

    struct sockwave_open_how { /* open_how, of linux/openat2.h */
        uint64_t flags, mode, resolve;
    };

    /* Return a descriptor, or the number of an error, negative. */
    static int sockwave_open_beneath(int root, const char *path)
    {
        struct sockwave_open_how how = {
            O_PATH | O_DIRECTORY | O_CLOEXEC, 0, SOCKWAVE_NO_SYMLINKS | SOCKWAVE_BENEATH,
        };
        long opened;
        Py_BEGIN_ALLOW_THREADS
        do
            opened = syscall(SYS_openat2, root, path, &how, sizeof how);
        while (opened < 0 && errno == EINTR);
        if (opened < 0)
            opened = -errno;
        Py_END_ALLOW_THREADS
        return (int)opened;
    }
    #else
    static int sockwave_open_beneath(int root, const char *path)
    {
        (void)root, (void)path;
        return -ENOSYS;
    }
    #endif
    """
    int sockwave_open_beneath(int root, const char* path)


def open_beneath(int root, bytes path):
    """Return a descriptor of the folder that `path` names below the folder `root`, without any
    symbolic link. Raises OSError, which is ENOSYS or EPERM where the kernel, or a sandbox, does not
    have the call; ValueError for a path with a NUL."""
    cdef int opened
    if b"\0" in path:
        raise ValueError("path: expected none with a NUL")
    opened = sockwave_open_beneath(root, PyBytes_AS_STRING(path))
    if opened < 0:
        raise OSError(-opened, os.strerror(-opened))
    return opened
