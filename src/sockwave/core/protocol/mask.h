/* RFC 6455 section 5.3: removes the client's mask, in place or while copying, and tells in the same
 * pass whether the result is ASCII.
 *
 * `key` holds the four masking bytes as they lie in memory. A payload that arrives in pieces is
 * unmasked piece by piece: mask_rotate gives the key for the byte behind a piece. */
#ifndef SOCKWAVE_MASK_H
#define SOCKWAVE_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Function multiversioning needs ifunc,
 * which musl and compilers other than GCC and Clang on x86-64 lack. */
#if defined(__x86_64__) && defined(__GLIBC__) && (defined(__GNUC__) || defined(__clang__))
#define SOCKWAVE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SOCKWAVE_CLONES
#endif

/* From this size on a call of the vector loop pays; below it, the inlined loop of eight bytes at a
 * time is as fast. */
#define MASK_VECTOR_SIZE 128

/* Two loops, in place and copying: a compiler vectorises neither if source and destination might
 * overlap in part. Each returns the bitwise "or" of all the words that it wrote. */
SOCKWAVE_CLONES static uint64_t mask_vectors_in_place(uint8_t *data, size_t size, uint64_t key)
{
    uint64_t seen = 0;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= key;
        seen |= word;
        memcpy(data + i, &word, 8);
    }
    return seen;
}

SOCKWAVE_CLONES static uint64_t mask_vectors(uint8_t *restrict to, const uint8_t *restrict from,
                                             size_t size, uint64_t key)
{
    uint64_t seen = 0;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        word ^= key;
        seen |= word;
        memcpy(to + i, &word, 8);
    }
    return seen;
}

/* `to` is `from` itself, or does not overlap it. Returns whether all the bytes are ASCII. */
static inline int unmask(uint8_t *to, const uint8_t *from, size_t size, uint32_t key)
{
    uint64_t wide = ((uint64_t)key << 32) | key;
    uint64_t seen = 0;
    uint8_t bytes[4];
    size_t i = 0;
    if (size >= MASK_VECTOR_SIZE) {
        i = size & ~(size_t)7;
        seen = to == from ? mask_vectors_in_place(to, i, wide) : mask_vectors(to, from, i, wide);
    }
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        word ^= wide;
        seen |= word;
        memcpy(to + i, &word, 8);
    }
    if (i + 4 <= size) {
        uint32_t word;
        memcpy(&word, from + i, 4);
        word ^= key;
        seen |= word;
        memcpy(to + i, &word, 4);
        i += 4;
    }
    memcpy(bytes, &key, 4);
    for (; i < size; i++) {
        to[i] = from[i] ^ bytes[i & 3];
        seen |= to[i];
    }
    return !(seen & 0x8080808080808080ULL);
}

/* Returns the key for the byte behind `count` bytes. */
static inline uint32_t mask_rotate(uint32_t key, size_t count)
{
    uint8_t from[4], to[4];
    memcpy(from, &key, 4);
    for (size_t i = 0; i < 4; i++)
        to[i] = from[(i + count) & 3];
    memcpy(&key, to, 4);
    return key;
}

#endif
