/* SHA-1 (FIPS 180-4, section 6.1) of what RFC 6455, section 1.3, has a server hash: not for
 * secrets, and of one short text, for which the set-up of a library's costs more than the hash. */
#ifndef SOCKWAVE_SHA1_H
#define SOCKWAVE_SHA1_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    SHA1_SIZE = 20,
    SHA1_TEXT_SIZE = 119, /* with the padding, two blocks */
};

static inline uint32_t sha1_rotate(uint32_t word, int count)
{
    return word << count | word >> (32 - count);
}

/* One round, after which the letters have moved on by one: five of them bring them back. */
#define SHA1_ROUND(f, k, a, b, c, d, e)             \
    e += sha1_rotate(a, 5) + f(b, c, d) + k + w[i++]; \
    b = sha1_rotate(b, 30);

#define SHA1_FIVE(f, k)                \
    {                                  \
        SHA1_ROUND(f, k, a, b, c, d, e) \
        SHA1_ROUND(f, k, e, a, b, c, d) \
        SHA1_ROUND(f, k, d, e, a, b, c) \
        SHA1_ROUND(f, k, c, d, e, a, b) \
        SHA1_ROUND(f, k, b, c, d, e, a) \
    }

#define SHA1_CHOOSE(b, c, d) (d ^ (b & (c ^ d)))
#define SHA1_PARITY(b, c, d) (b ^ c ^ d)
#define SHA1_MAJORITY(b, c, d) ((b & c) | (d & (b | c)))

static void sha1_add_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    int i;
    for (i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               block[3];
    for (; i < 80; i++) w[i] = sha1_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (i = 0; i < 20;) SHA1_FIVE(SHA1_CHOOSE, 0x5a827999)
    for (; i < 40;) SHA1_FIVE(SHA1_PARITY, 0x6ed9eba1)
    for (; i < 60;) SHA1_FIVE(SHA1_MAJORITY, 0x8f1bbcdc)
    for (; i < 80;) SHA1_FIVE(SHA1_PARITY, 0xca62c1d6)
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* Writes the digest of at most SHA1_TEXT_SIZE bytes. */
static void sha1_digest(uint8_t digest[SHA1_SIZE], const uint8_t *text, size_t size)
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    size_t at, total = size < 56 ? 64 : 128;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    blocks[total - 2] = (uint8_t)(size >> 5);
    blocks[total - 1] = (uint8_t)(size << 3);
    for (at = 0; at < total; at += 64) sha1_add_block(state, blocks + at);
    for (at = 0; at < SHA1_SIZE; at++)
        digest[at] = (uint8_t)(state[at / 4] >> (24 - 8 * (at % 4)));
}

#endif
