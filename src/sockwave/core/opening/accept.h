/* RFC 6455, section 4.2.2: the value of Sec-WebSocket-Accept, by which a server shows that it has
 * read the opening request: the SHA-1 (FIPS 180-4, 6.1) of its key and a GUID, in base64.
 *
 * It is written here because it is much of the work of an opening handshake: `hashlib` and
 * `binascii`, with the objects that they make, take three times as long. No secret depends on it.
 */
#ifndef SOCKWAVE_ACCEPT_H
#define SOCKWAVE_ACCEPT_H

#include <stdint.h>
#include <string.h>

#define ACCEPT_KEY_SIZE 24
#define ACCEPT_SIZE 28 /* base64 of 20 bytes */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

static inline uint32_t rotate_left(uint32_t word, int count)
{
    return word << count | word >> (32 - count);
}

/* 6.1.3: the message schedule, of which only sixteen words are needed at a time. */
#define SHA1_NEW_WORD(t)                                                                           \
    (words[(t) % 16] = rotate_left(words[((t) + 13) % 16] ^ words[((t) + 8) % 16] ^                \
                                       words[((t) + 2) % 16] ^ words[(t) % 16], 1))
#define SHA1_WORD(t) ((t) < 16 ? words[t] : SHA1_NEW_WORD(t))

/* One of eighty steps. The five variables change places with each step. With the steps written out
 * in a row that costs nothing; a loop takes three times as long. */
#define SHA1_STEP(mix, a, b, c, d, e, t)                                                           \
    e += rotate_left(a, 5) + (mix(b, c, d) + SHA1_WORD(t));                                        \
    b = rotate_left(b, 30);
#define SHA1_FIVE(mix, t)                                                                          \
    SHA1_STEP(mix, a, b, c, d, e, t)                                                               \
    SHA1_STEP(mix, e, a, b, c, d, (t) + 1)                                                         \
    SHA1_STEP(mix, d, e, a, b, c, (t) + 2)                                                         \
    SHA1_STEP(mix, c, d, e, a, b, (t) + 3)                                                         \
    SHA1_STEP(mix, b, c, d, e, a, (t) + 4)
#define SHA1_TWENTY(mix, t)                                                                        \
    SHA1_FIVE(mix, t) SHA1_FIVE(mix, (t) + 5) SHA1_FIVE(mix, (t) + 10) SHA1_FIVE(mix, (t) + 15)

/* 4.1.1 and 4.2.1: the functions and constants of the steps. */
#define SHA1_CHOICE(b, c, d) ((d ^ (b & (c ^ d))) + 0x5a827999)
#define SHA1_PARITY(b, c, d) ((b ^ c ^ d) + 0x6ed9eba1)
#define SHA1_MAJORITY(b, c, d) (((b & c) | (d & (b | c))) + 0x8f1bbcdc)
#define SHA1_LAST_PARITY(b, c, d) ((b ^ c ^ d) + 0xca62c1d6)

/* Adds the next block of a message to its hash; `words` is overwritten. */
static void sha1_take(uint32_t hash[5], uint32_t words[16])
{
    uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4];
    SHA1_TWENTY(SHA1_CHOICE, 0)
    SHA1_TWENTY(SHA1_PARITY, 20)
    SHA1_TWENTY(SHA1_MAJORITY, 40)
    SHA1_TWENTY(SHA1_LAST_PARITY, 60)
    hash[0] += a;
    hash[1] += b;
    hash[2] += c;
    hash[3] += d;
    hash[4] += e;
}

/* Writes ACCEPT_SIZE characters for a key of ACCEPT_KEY_SIZE. */
static inline void write_accept(char *to, const char *key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t hash[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    /* 5.1.1: behind the message come a bit that is set and, in eight bytes, the length of the
     * message in bits. The length does not fit into the first block: it is the second one's end. */
    uint8_t message[64] = {0};
    uint32_t first[16], last[16] = {[15] = 8 * (ACCEPT_KEY_SIZE + sizeof ACCEPT_GUID - 1)};
    memcpy(message, key, ACCEPT_KEY_SIZE);
    memcpy(message + ACCEPT_KEY_SIZE, ACCEPT_GUID "\x80", sizeof ACCEPT_GUID);
    for (int i = 0; i < 16; i++)
        first[i] = (uint32_t)message[4 * i] << 24 | (uint32_t)message[4 * i + 1] << 16 |
                   (uint32_t)message[4 * i + 2] << 8 | message[4 * i + 3];
    sha1_take(hash, first);
    sha1_take(hash, last);
    /* Six bits for each character, from one word or across two; the last ones are padded with
     * zeros. */
    for (int i = 0; i < ACCEPT_SIZE - 1; i++) {
        uint64_t two = (uint64_t)hash[6 * i / 32] << 32 | (6 * i < 128 ? hash[6 * i / 32 + 1] : 0);
        to[i] = digits[two >> (58 - 6 * i % 32) & 63];
    }
    to[ACCEPT_SIZE - 1] = '=';
}

#endif
