/* Prefetches memory that is about to be read into the cache. Does nothing for NULL, and where the
 * compiler cannot prefetch. */
#ifndef SOCKWAVE_FETCH_H
#define SOCKWAVE_FETCH_H

#include <stddef.h>

#define CACHE_LINE_SIZE 64

static inline void fetch(const void *data, size_t size)
{
#if defined(__GNUC__) || defined(__clang__)
    if (data == NULL)
        return;
    for (size_t i = 0; i < size; i += CACHE_LINE_SIZE)
        __builtin_prefetch((const char *)data + i);
#else
    (void)data;
    (void)size;
#endif
}

#endif
