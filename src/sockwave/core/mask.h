/* RFC 6455 section 5.3: removes the client's mask, in place.
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

/* From here on a vector loop pays for the call;
 * below, eight bytes at a time is as fast and is inlined. */
#define MASK_VECTOR_SIZE 128

SOCKWAVE_CLONES static void mask_vectors(uint8_t *data, size_t size, uint64_t key)
{
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= key;
        memcpy(data + i, &word, 8);
    }
}

static inline void mask_payload(uint8_t *data, size_t size, uint32_t key)
{
    uint64_t wide = ((uint64_t)key << 32) | key;
    uint8_t bytes[8];
    size_t i = 0;
    if (size >= MASK_VECTOR_SIZE) {
        mask_vectors(data, size & ~(size_t)7, wide);
        i = size & ~(size_t)7;
    }
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= wide;
        memcpy(data + i, &word, 8);
    }
    memcpy(bytes, &wide, 8);
    for (; i < size; i++)
        data[i] ^= bytes[i & 7];
}

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
