/* Compressed messages for client.c: JSON documents made at the start, and the check of a reply
 * (RFC 7692, section 7.2).
 *
 * The documents differ from one another and are the same in every run. Each is compressed by itself,
 * which suits a server whether or not it would remember the one before.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define DOCUMENT_COUNT 64
#define DEFLATED 0x40       /* RSV1, the "Per-Message Compressed" bit */
#define TAIL "\x00\x00\xff\xff" /* what 7.2.1 takes off a message, and 7.2.2 puts back */
#define TAIL_SIZE 4
#define LEAST_WINDOW_BITS 9 /* zlib makes no raw stream with fewer */

typedef struct {
    uint8_t *text, *body; /* body: the text, compressed */
    size_t body_size;
} Document;

static Document documents[DOCUMENT_COUNT];

/* Returns the document that a connection sends as its message of that number. */
static inline const Document *choose_document(uint32_t index, uint32_t number) {
    return &documents[(index * 7 + number) % DOCUMENT_COUNT];
}

static uint32_t draw_number(uint32_t *state, uint32_t below) {
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)*state * below >> 32);
}

/* Fills `text` with exactly `size` bytes of JSON: a list of trades, its end made up with words. */
static void write_document(char *text, size_t size, uint32_t seed) {
    static const char *const symbols[] = {"EURUSD", "GBPJPY", "AUDCAD", "USDCHF", "NZDUSD"};
    static const char *const venues[] = {"london", "frankfurt", "new york", "tokyo"};
    static const char *const words[] = {"late ", "partial ", "amended ", "checked "};
    size_t at = 0;
    uint32_t s = seed * 2654435761u;
    for (;;) {
        char record[256];
        size_t count = (size_t)snprintf(
            record, sizeof record,
            "%c{\"id\":%u,\"symbol\":\"%s\",\"bid\":1.%05u,\"ask\":1.%05u,\"size\":%u,"
            "\"side\":\"%s\",\"venue\":\"%s\"}",
            at ? ',' : '[', 100000 + draw_number(&s, 900000), symbols[draw_number(&s, 5)],
            draw_number(&s, 100000), draw_number(&s, 100000), 100 * (1 + draw_number(&s, 99)),
            draw_number(&s, 2) ? "buy" : "sell", venues[draw_number(&s, 4)]);
        if (at + count + 4 > size) break; /* room for ,"" and ] */
        memcpy(text + at, record, count);
        at += count;
    }
    bool is_list = at > 0;
    if (is_list) text[at++] = ',';
    if (size < at + 2) {
        memset(text, '1', size); /* JSON too, and no string would fit */
        return;
    }
    size_t end = size - (is_list ? 2 : 1);
    text[at++] = '"';
    while (at < end) {
        const char *word = words[draw_number(&s, 4)];
        size_t count = strlen(word) < end - at ? strlen(word) : end - at;
        memcpy(text + at, word, count);
        at += count;
    }
    text[at++] = '"';
    if (is_list) text[at] = ']';
}

/* Makes all the documents; returns the size of the largest compressed one, 0 if zlib failed. */
static size_t make_documents(size_t size, int window_bits) {
    size_t largest = 0;
    z_stream z = {0};
    if (window_bits < LEAST_WINDOW_BITS) window_bits = LEAST_WINDOW_BITS;
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -window_bits, 8, 0) != Z_OK) return 0;
    size_t bound = deflateBound(&z, size) + 16; /* the flush, too */
    for (uint32_t i = 0; i < DOCUMENT_COUNT; i++) {
        Document *d = &documents[i];
        d->text = malloc(size);
        d->body = malloc(bound);
        write_document((char *)d->text, size, i + 1);
        z.next_in = d->text, z.avail_in = (uInt)size;
        z.next_out = d->body, z.avail_out = (uInt)bound;
        if (deflate(&z, Z_SYNC_FLUSH) != Z_OK || !z.avail_out) return 0;
        d->body_size = bound - z.avail_out - TAIL_SIZE;
        if (d->body_size > largest) largest = d->body_size;
        deflateReset(&z);
    }
    deflateEnd(&z);
    return largest;
}

static z_stream *make_inflater(void) {
    z_stream *z = calloc(1, sizeof *z);
    if (inflateInit2(z, -MAX_WBITS) != Z_OK) abort();
    return z;
}

/* Inflates a message into `out`; returns its size, `out_size` if it is as large or larger, or
 * SIZE_MAX if it is none. */
static size_t inflate_body(z_stream *z, bool keeps_context, const uint8_t *body, size_t size,
                           uint8_t *out, size_t out_size) {
    if (!keeps_context) inflateReset(z);
    z->next_out = out, z->avail_out = (uInt)out_size;
    const uint8_t *parts[] = {body, (const uint8_t *)TAIL};
    size_t sizes[] = {size, TAIL_SIZE};
    for (int i = 0; i < 2; i++) {
        z->next_in = (uint8_t *)parts[i], z->avail_in = (uInt)sizes[i];
        int status = inflate(z, Z_SYNC_FLUSH);
        if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) return SIZE_MAX;
    }
    return out_size - z->avail_out;
}
