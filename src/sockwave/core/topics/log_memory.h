/* A mapping of a memory file, and the one store that commits what was written to it. */
#ifndef SOCKWAVE_LOG_MEMORY_H
#define SOCKWAVE_LOG_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __linux__

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Map a file of which `size` bytes are needed; it is lengthened if it is new. NULL: it failed. */
static inline void *log_map(int fd, size_t size)
{
    struct stat found;
    void *data;
    if (fstat(fd, &found) || ((size_t)found.st_size < size && ftruncate(fd, (off_t)size)))
        return NULL;
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return data == MAP_FAILED ? NULL : data;
}

static inline void log_unmap(void *data, size_t size)
{
    munmap(data, size);
}

/* Give the memory of a part back; it reads as zeros then. */
static inline void log_free(void *data, size_t size)
{
    madvise(data, size, MADV_REMOVE);
}

#else /* other systems have no memory files: there is no log */

static inline void *log_map(int fd, size_t size)
{
    (void)fd, (void)size;
    return NULL;
}

static inline void log_unmap(void *data, size_t size)
{
    (void)data, (void)size;
}

static inline void log_free(void *data, size_t size)
{
    (void)data, (void)size;
}

#endif

/* The compiler moves no earlier store behind this one; a process that comes later sees all. */
static inline void log_commit(volatile uint64_t *place, uint64_t value)
{
#ifdef __GNUC__
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
#else
    *place = value;
#endif
}

#endif
