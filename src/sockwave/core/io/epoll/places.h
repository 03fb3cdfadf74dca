/* Finds the object that an event of an epoll is about: a table indexed by descriptor.
 *
 * For each socket the kernel keeps a mark, which it hands back with each of the socket's events:
 * its descriptor, and a serial number that the next socket with the same descriptor does not have.
 * So for an event that comes late, or for a closed socket of which another process (such as a
 * forked child) has a copy, the table finds no object. The kernel gets no pointers: it would keep
 * them when the objects are gone. */
#ifndef SOCKWAVE_PLACES_H
#define SOCKWAVE_PLACES_H

#include <stdint.h>
#include <stdlib.h>

enum { PLACE_MIN_ROOM = 64 };

/* Two arrays, as one of both would be a third larger. */
typedef struct {
    void **who; /* the object in each place; NULL: none */
    uint32_t *serials;
    uint32_t count, room; /* places that have been used; places that memory is allocated for */
} places;

static inline int places_grow(places *all, uint32_t needed)
{
    uint32_t room = all->room ? all->room : PLACE_MIN_ROOM;
    while (room < needed)
        room *= 2; /* the system provides memory only for the pages that are used */
    void **who = realloc(all->who, room * sizeof *who);
    if (who == NULL)
        return -1;
    all->who = who;
    uint32_t *serials = realloc(all->serials, room * sizeof *serials);
    if (serials == NULL)
        return -1;
    all->serials = serials;
    all->room = room;
    return 0;
}

/* Puts the object `who` in a descriptor's place; -1: there is no memory. */
static inline int places_enter(places *all, int fd, void *who)
{
    uint32_t at = (uint32_t)fd;
    if (at >= all->room && places_grow(all, at + 1) < 0)
        return -1;
    for (; all->count <= at; all->count++) {
        all->who[all->count] = NULL;
        all->serials[all->count] = 0;
    }
    all->who[at] = who;
    if (++all->serials[at] == 0)
        all->serials[at] = 1; /* 0 stands for no socket: see `places_find` */
    return 0;
}

/* Empties a descriptor's place, if `who` is in it. */
static inline void places_leave(places *all, int fd, const void *who)
{
    if (fd >= 0 && (uint32_t)fd < all->count && all->who[fd] == who)
        all->who[fd] = NULL;
}

static inline uint64_t places_mark(const places *all, int fd)
{
    return (uint64_t)all->serials[fd] << 32 | (uint32_t)fd;
}

/* Finds the object that a mark stands for; NULL: its place is empty, or another socket's by now. */
static inline void *places_find(const places *all, uint64_t mark)
{
    uint32_t at = (uint32_t)mark;
    return at < all->count && all->serials[at] == mark >> 32 ? all->who[at] : NULL;
}

static inline void places_free(places *all)
{
    free(all->who);
    free(all->serials);
}

#endif
