/* RFC 3629 section 4: checks UTF-8 as it arrives, in pieces of any size.
 *
 * The state between two pieces says what the next byte may be. The text is whole when the state is
 * UTF8_COMPLETE; UTF8_INVALID is final and is reached at the first byte that no UTF-8 text can have
 * there. */
#ifndef SOCKWAVE_UTF8_H
#define SOCKWAVE_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum utf8_state {
    UTF8_COMPLETE,      /* at a character boundary */
    UTF8_INVALID,
    UTF8_ONE_MORE,      /* one, two, three continuation bytes 80..BF are due */
    UTF8_TWO_MORE,
    UTF8_THREE_MORE,
    UTF8_AFTER_E0,      /* A0..BF: anything lower would be an overlong form */
    UTF8_AFTER_ED,      /* 80..9F: anything higher would be a surrogate */
    UTF8_AFTER_F0,      /* 90..BF: anything lower would be an overlong form */
    UTF8_AFTER_F4,      /* 80..8F: nothing is above U+10FFFF */
};

static inline size_t utf8_ascii_prefix(const uint8_t *data, size_t size)
{
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        uint64_t words[4];
        memcpy(words, data + i, 32);
        if ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080ULL)
            break;
    }
    while (i < size && data[i] < 0x80)
        i++;
    return i;
}

static inline uint8_t utf8_after_lead(uint8_t byte)
{
    if (byte < 0xC2) return UTF8_INVALID;
    if (byte < 0xE0) return UTF8_ONE_MORE;
    if (byte == 0xE0) return UTF8_AFTER_E0;
    if (byte == 0xED) return UTF8_AFTER_ED;
    if (byte < 0xF0) return UTF8_TWO_MORE;
    if (byte == 0xF0) return UTF8_AFTER_F0;
    if (byte < 0xF4) return UTF8_THREE_MORE;
    if (byte == 0xF4) return UTF8_AFTER_F4;
    return UTF8_INVALID;
}

static inline uint8_t utf8_check(uint8_t state, const uint8_t *data, size_t size)
{
    static const struct { uint8_t low, high, next; } rules[] = {
        [UTF8_ONE_MORE] = {0x80, 0xBF, UTF8_COMPLETE},
        [UTF8_TWO_MORE] = {0x80, 0xBF, UTF8_ONE_MORE},
        [UTF8_THREE_MORE] = {0x80, 0xBF, UTF8_TWO_MORE},
        [UTF8_AFTER_E0] = {0xA0, 0xBF, UTF8_ONE_MORE},
        [UTF8_AFTER_ED] = {0x80, 0x9F, UTF8_ONE_MORE},
        [UTF8_AFTER_F0] = {0x90, 0xBF, UTF8_TWO_MORE},
        [UTF8_AFTER_F4] = {0x80, 0x8F, UTF8_TWO_MORE},
    };
    size_t i = 0;
    while (i < size && state != UTF8_INVALID) {
        if (state == UTF8_COMPLETE) {
            i += utf8_ascii_prefix(data + i, size - i);
            if (i < size)
                state = utf8_after_lead(data[i++]);
        } else {
            uint8_t byte = data[i++];
            state = byte >= rules[state].low && byte <= rules[state].high ? rules[state].next
                                                                          : UTF8_INVALID;
        }
    }
    return state;
}

#endif
