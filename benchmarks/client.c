/* A WebSocket client that loads an echo server and checks every reply (RFC 6455, sections 4.1, 5).
 *
 * One thread, one epoll. Each connection sends a batch of `depth` messages in one write, waits for
 * all of the replies, and sends the next batch. Every message carries a stamp (its number and its
 * connection), so that a lost, doubled, swapped or stale reply is found; every reply is compared
 * byte by byte, frame header included. Frames are masked with a key of their own up to
 * FRESH_MASK_SIZE; above it each message of a batch keeps the key that it was given at the start,
 * because masking a large message anew would cost the client as much as the server, and no server
 * can see the difference.
 *
 * With --deflate the messages are JSON documents, compressed at the start, and every reply is
 * inflated and compared with its document (RFC 7692).
 *
 * With --idle the connections are opened, held, and closed; with --talk too, each sends one message
 * first.
 *
 * Prints one line of JSON per event on stdout ("open", then "result"); errors go to stderr, with
 * exit status 1.
 */
#define _GNU_SOURCE
#include "deflate.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_SIZE 8 /* bytes at the start of a payload that tell one message from another */
#define FRESH_MASK_SIZE 4096  /* payloads up to this size are masked anew for every message */
#define READ_SIZE (256 << 10) /* bytes asked of the kernel at once */
#define EVENT_COUNT 256       /* events taken from the kernel at once */
#define OPENING_COUNT 64      /* handshakes in flight, well under a listening socket's queue */
#define STALL_S 10            /* without any reply for so long the server is taken for dead */
#define REPLY_SLACK 256       /* bytes by which compressing may make a message longer */
#define MEMORY_LIMIT (1ull << 30)

#define NANOSECOND_BITS 40 /* latencies up to 18 minutes */
#define STEP_BITS 6        /* 64 histogram steps per power of two: at most 1.6 % wide */
#define STEP_COUNT (1 << STEP_BITS)

typedef struct {
    int fd;
    uint32_t index;
    uint32_t sent_count;  /* messages put into batches so far */
    uint32_t reply_count; /* whole replies checked so far */
    size_t write_at;      /* bytes of the batch that the kernel has taken */
    size_t reply_at;      /* bytes of the current reply that have been checked */
    uint64_t sent_ns;     /* when the batch was written */
    size_t batch_size;    /* bytes of the batch */
    uint8_t *batch;       /* `depth` masked frames */
    uint8_t *reply;       /* what has come of the current reply, with --deflate */
    z_stream *inflater;   /* what inflates the replies, with --deflate */
    bool wants_write, keeps_context;
} Connection;

typedef struct {
    double wall_s, client_s, server_s, server_user_s, server_system_s, server_waited_s;
    long server_pages;
} Sample;

static struct {
    const char *host;
    int port, connection_count, depth, address_count, server_pid;
    size_t size;
    bool binary, talk;
    const char *offer; /* of Sec-WebSocket-Extensions; NULL: none */
    double warmup_s, run_s, idle_s;
    uint64_t message_limit;
} options = {.host = "127.0.0.1",
             .connection_count = 64,
             .depth = 1,
             .address_count = 20000,
             .size = 20,
             .warmup_s = 0.5,
             .run_s = 3,
             .idle_s = -1,
             .message_limit = UINT64_MAX};

static Connection *connections;
static uint8_t *read_buffer, *payload;   /* payload: the bytes of every message behind its stamp */
static uint8_t *inflated;                /* the reply just inflated, and one byte more */
static uint8_t head[14], reply_head[10]; /* frame headers, the first without its masking key */
static size_t head_size, reply_head_size, stamp_size, frame_size, reply_size;
static size_t request_size;
static int poller, window_bits; /* the latter as agreed for what we compress; 0: not yet */
static bool measuring, stopping;
static uint64_t message_count, reply_bytes, latency_counts[NANOSECOND_BITS * STEP_COUNT], latency_max;

static _Noreturn void __attribute__((format(printf, 1, 2))) fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t draw_mask(void) {
    static uint64_t state;
    if (!state) state = now_ns() | 1;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16) | 1;
}

/* ------------------------------------------------------------------ frames */

static size_t write_length(uint8_t *out, size_t size, uint8_t mask_bit) {
    if (size < 126) {
        out[0] = (uint8_t)(mask_bit | size);
        return 1;
    }
    int count = size < 65536 ? 2 : 8;
    out[0] = mask_bit | (count == 2 ? 126 : 127);
    for (int i = 0; i < count; i++) out[1 + i] = (uint8_t)((uint64_t)size >> 8 * (count - 1 - i));
    return 1 + (size_t)count;
}

static void prepare_frames(void) {
    uint8_t first = options.binary ? 0x82 : 0x81;
    head[0] = reply_head[0] = first;
    head_size = 1 + write_length(head + 1, options.size, 0x80);
    reply_head_size = 1 + write_length(reply_head + 1, options.size, 0);
    stamp_size = options.size < STAMP_SIZE ? options.size : STAMP_SIZE;
    frame_size = head_size + 4 + options.size;
    reply_size = reply_head_size + options.size;
    if (options.offer) {
        size_t body_size = make_documents(options.size, window_bits);
        if (!body_size) fail("zlib does not compress with %d window bits", window_bits);
        frame_size = sizeof head + body_size;
        reply_size = sizeof reply_head + 2 * options.size + REPLY_SLACK;
        inflated = malloc(options.size + 1);
    }
    uint64_t total = (uint64_t)frame_size * (uint64_t)options.depth +
                     (options.offer ? (uint64_t)reply_size : 0);
    total *= (uint64_t)options.connection_count;
    if (total > MEMORY_LIMIT)
        fail("connections x depth x size is %llu MiB; at most %llu MiB fit",
             (unsigned long long)total >> 20, MEMORY_LIMIT >> 20);
    payload = malloc(options.size + STAMP_SIZE);
    for (size_t i = 0; i < options.size; i++) payload[i] = (uint8_t)(' ' + i * 7 % 95);
}

/* Writes the number of the message and that of its connection, in printable characters. */
static inline void write_stamp(uint8_t out[STAMP_SIZE], uint32_t number, uint32_t index) {
    static const char digits[64] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-";
    for (int i = 0; i < 5; i++) out[i] = (uint8_t)digits[number >> 6 * i & 63];
    for (int i = 0; i < 3; i++) out[5 + i] = (uint8_t)digits[index >> 6 * i & 63];
}

static inline void mask_bytes(uint8_t *out, const uint8_t *in, size_t size, uint32_t key) {
    uint64_t wide = (uint64_t)key << 32 | key, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= wide;
        memcpy(out + i, &word, 8);
    }
    if (size - i >= 4) {
        uint32_t half;
        memcpy(&half, in + i, 4);
        half ^= key;
        memcpy(out + i, &half, 4);
        i += 4;
    }
    for (; i < size; i++) out[i] = in[i] ^ (uint8_t)(wide >> 8 * (i & 7));
}

/* Makes the next `depth` frames out of the documents that are due. */
static void build_deflated_batch(Connection *c) {
    uint8_t *out = c->batch;
    for (int i = 0; i < options.depth; i++) {
        const Document *d = choose_document(c->index, c->sent_count++);
        uint32_t key = draw_mask();
        out[0] = head[0] | DEFLATED;
        out += 1 + write_length(out + 1, d->body_size, 0x80);
        memcpy(out, &key, 4);
        mask_bytes(out + 4, d->body, d->body_size, key);
        out += 4 + d->body_size;
    }
    c->batch_size = (size_t)(out - c->batch);
    c->write_at = 0;
}

/* Makes the next `depth` frames: `whole` ones, or only with new stamps. */
static void build_batch(Connection *c, bool whole) {
    if (options.offer) {
        build_deflated_batch(c);
        return;
    }
    uint8_t *out = c->batch, stamp[STAMP_SIZE];
    for (int i = 0; i < options.depth; i++, out += frame_size) {
        uint8_t *body = out + head_size + 4;
        uint32_t key;
        write_stamp(stamp, c->sent_count++, c->index);
        if (whole) {
            key = draw_mask();
            memcpy(out, head, head_size);
            memcpy(out + head_size, &key, 4);
            mask_bytes(body + stamp_size, payload + stamp_size, options.size - stamp_size, key);
        } else {
            memcpy(&key, out + head_size, 4);
        }
        mask_bytes(body, stamp, stamp_size, key);
    }
    c->batch_size = frame_size * (size_t)options.depth;
    c->write_at = 0;
}

/* Compares as memcmp does; 8 to 16 bytes, the bulk of what is compared, without a call. */
static inline bool differs(const uint8_t *a, const uint8_t *b, size_t size) {
    if (size < 8 || size > 16) return memcmp(a, b, size) != 0;
    uint64_t words[4];
    memcpy(&words[0], a, 8);
    memcpy(&words[1], b, 8);
    memcpy(&words[2], a + size - 8, 8);
    memcpy(&words[3], b + size - 8, 8);
    return ((words[0] ^ words[1]) | (words[2] ^ words[3])) != 0;
}

static _Noreturn void report_wrong_reply(Connection *c, size_t at, const uint8_t *data,
                                         size_t size) {
    char text[3 * 16 + 1] = "";
    for (size_t i = 0; i < size && i < 16; i++) snprintf(text + 3 * i, 4, "%02x ", data[i]);
    fail("connection %u: reply %u differs from its message, from byte %zu of the frame or later: "
         "expected a %s frame of %zu bytes with header byte %02x, got %s",
         c->index, c->reply_count, c->reply_at + at, options.binary ? "binary" : "text",
         options.size, reply_head[0], text);
}

static inline void finish_reply(Connection *c) {
    if (measuring) reply_bytes += c->reply_at;
    c->reply_at = 0;
    c->reply_count++;
}

/* Checks what is there of the current reply, at most to its end; returns the bytes used. */
static inline size_t check_reply(Connection *c, const uint8_t *data, size_t size) {
    uint8_t start[sizeof reply_head + STAMP_SIZE];
    size_t start_size = reply_head_size + stamp_size, used = 0;
    if (size > reply_size - c->reply_at) size = reply_size - c->reply_at;
    if (c->reply_at < start_size) {
        memcpy(start, reply_head, reply_head_size);
        write_stamp(start + reply_head_size, c->reply_count, c->index);
        used = start_size - c->reply_at < size ? start_size - c->reply_at : size;
        if (differs(data, start + c->reply_at, used)) report_wrong_reply(c, 0, data, size);
    }
    if (used < size &&
        differs(data + used, payload + (c->reply_at + used - reply_head_size), size - used))
        report_wrong_reply(c, used, data + used, size - used);
    c->reply_at += size;
    if (c->reply_at == reply_size) finish_reply(c);
    return size;
}

/* Returns how long the current reply is, or its header where too little of that is there. */
static size_t measure_reply(const Connection *c) {
    if (c->reply_at < 2) return 2;
    if (c->reply[1] < 126) return 2 + (size_t)c->reply[1];
    size_t count = c->reply[1] == 126 ? 2 : 8, size = 0;
    if (c->reply_at < 2 + count) return 2 + count;
    for (size_t i = 0; i < count; i++) size = size << 8 | c->reply[2 + i];
    return size < reply_size ? 2 + count + size : SIZE_MAX;
}

/* Compares a whole reply with its document, inflated if it is compressed. */
static void judge_deflated_reply(Connection *c, size_t whole) {
    const Document *d = choose_document(c->index, c->reply_count);
    size_t at = c->reply[1] < 126 ? 2 : c->reply[1] == 126 ? 4 : 10, size = whole - at;
    const uint8_t *text = c->reply + at;
    if ((c->reply[0] & ~DEFLATED) != reply_head[0])
        fail("connection %u: reply %u: expected a whole message with header byte %02x or %02x, "
             "got %02x",
             c->index, c->reply_count, reply_head[0], reply_head[0] | DEFLATED, c->reply[0]);
    if (c->reply[0] & DEFLATED) {
        size = inflate_body(c->inflater, c->keeps_context, text, size, inflated, options.size + 1);
        text = inflated;
    }
    if (size != options.size || memcmp(text, d->text, size))
        fail("connection %u: reply %u is not its document", c->index, c->reply_count);
}

/* As check_reply, with --deflate: what has come is kept until the reply is whole. */
static size_t check_deflated_reply(Connection *c, const uint8_t *data, size_t size) {
    size_t used = 0;
    while (used < size) {
        size_t whole = measure_reply(c), part = size - used;
        if (whole > reply_size)
            fail("connection %u: reply %u is far longer than its message", c->index,
                 c->reply_count);
        if (part > whole - c->reply_at) part = whole - c->reply_at;
        memcpy(c->reply + c->reply_at, data + used, part);
        c->reply_at += part;
        used += part;
        if (c->reply_at == measure_reply(c)) {
            judge_deflated_reply(c, c->reply_at);
            finish_reply(c);
            break;
        }
    }
    return used;
}

/* ------------------------------------------------------------------ opening */

/* Sends an opening request; the key is the sample of RFC 6455 section 1.3, of known answer. */
static void send_request(Connection *c) {
    char request[1024];
    int size =
        snprintf(request, sizeof request,
                 "GET / HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                 "%s%s%s\r\n",
                 options.host, options.port, options.offer ? "Sec-WebSocket-Extensions: " : "",
                 options.offer ? options.offer : "", options.offer ? "\r\n" : "");
    request_size = (size_t)size;
    if (send(c->fd, request, request_size, MSG_NOSIGNAL) != size)
        fail("connection %u: sending the opening request: %s", c->index, strerror(errno));
}

static void connect_one(Connection *c) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)},
                       own = {.sin_family = AF_INET};
    struct timeval timeout = {.tv_sec = STALL_S};
    int one = 1;
    if (inet_pton(AF_INET, options.host, &server.sin_addr) != 1)
        fail("expected an IPv4 address, got %s", options.host);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("connection %u: %s", c->index, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    uint32_t address = c->index / (uint32_t)options.address_count;
    if (address) { /* an address has about 28,000 ports to connect from: take 127.0.0.2, ... */
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + address);
        if (bind(c->fd, (struct sockaddr *)&own, sizeof own))
            fail("connection %u: bind: %s", c->index, strerror(errno));
    }
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server))
        fail("connection %u: connect: %s", c->index, strerror(errno));
}

/* Takes over what the server's answer says of permessage-deflate (RFC 7692, section 7.1). */
static void read_agreement(Connection *c, char *answer) {
    char *value = strcasestr(answer, "\r\nSec-WebSocket-Extensions:");
    if (!value) fail("connection %u: the server agreed on no compression", c->index);
    value[strcspn(value + 2, "\r") + 2] = 0;
    if (!strstr(value, "permessage-deflate"))
        fail("connection %u: expected permessage-deflate, got%s", c->index, value + 1);
    c->keeps_context = !strstr(value, "server_no_context_takeover");
    char *bits_text = strstr(value, "client_max_window_bits=");
    int bits = bits_text ? atoi(strchr(bits_text, '=') + 1) : 15;
    if (window_bits && window_bits != bits)
        fail("connection %u: %d window bits, others %d", c->index, bits, window_bits);
    window_bits = bits;
}

static void read_answer(Connection *c) {
    char answer[4096] = "";
    size_t size = 0;
    char *end = NULL;
    while (!(end = strstr(answer, "\r\n\r\n"))) {
        if (size == sizeof answer - 1)
            fail("connection %u: the opening answer is longer than %zu bytes", c->index, size);
        ssize_t n = recv(c->fd, answer + size, sizeof answer - 1 - size, 0);
        if (n <= 0)
            fail("connection %u: no opening answer: %s", c->index,
                 n ? strerror(errno) : "the server closed");
        size += (size_t)n;
        answer[size] = 0;
    }
    if (strncmp(answer, "HTTP/1.1 101 ", 13) || !strstr(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") ||
        end + 4 != answer + size)
        fail("connection %u: expected 101 with the right Sec-WebSocket-Accept and nothing behind, "
             "got:\n%s",
             c->index, answer);
    if (options.offer) read_agreement(c, answer);
}

static void open_connections(void) {
    for (int first = 0; first < options.connection_count; first += OPENING_COUNT) {
        int last = first + OPENING_COUNT < options.connection_count ? first + OPENING_COUNT
                                                                    : options.connection_count;
        for (int i = first; i < last; i++) {
            connections[i].index = (uint32_t)i;
            connect_one(&connections[i]);
            send_request(&connections[i]);
        }
        for (int i = first; i < last; i++) read_answer(&connections[i]);
    }
}

static void report_open(void) {
    printf("{\"event\": \"open\", \"connections\": %d, \"request_size\": %zu}\n",
           options.connection_count, request_size);
    fflush(stdout);
}

/* Holds the connections until the time is over or stdin says something or ends. */
static void hold_connections(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&input, 1, (int)(options.idle_s * 1e3));
    for (int i = 0; i < options.connection_count; i++) {
        char byte;
        ssize_t n = recv(connections[i].fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        if (n == 0 || (n < 0 && errno != EAGAIN)) fail("connection %d was lost while idle", i);
    }
}

/* ------------------------------------------------------------------ load */

static void watch(Connection *c, bool write, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    c->wants_write = write;
}

static void write_batch(Connection *c) {
    while (c->write_at < c->batch_size) {
        ssize_t n = send(c->fd, c->batch + c->write_at, c->batch_size - c->write_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            if (!c->wants_write) watch(c, true, EPOLL_CTL_MOD);
            return;
        }
        if (n < 0) fail("connection %u: send: %s", c->index, strerror(errno));
        c->write_at += (size_t)n;
    }
    if (c->wants_write) watch(c, false, EPOLL_CTL_MOD);
}

static inline void count_replies(uint64_t count, uint64_t ns) {
    if (!measuring || !count) return;
    message_count += count;
    if (ns > latency_max) latency_max = ns;
    int power = 63 - __builtin_clzll(ns | STEP_COUNT) - STEP_BITS;
    size_t step = ((size_t)power << STEP_BITS) + (ns >> power);
    latency_counts[step < NANOSECOND_BITS * STEP_COUNT ? step : NANOSECOND_BITS * STEP_COUNT - 1] +=
        count;
}

static void read_replies(Connection *c) {
    ssize_t n = recv(c->fd, read_buffer, READ_SIZE, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0)
        fail("connection %u: %s after %u replies", c->index,
             n ? strerror(errno) : "closed by the server", c->reply_count);
    uint64_t now = now_ns();
    uint32_t before = c->reply_count;
    for (size_t at = 0; at < (size_t)n;) {
        if (c->reply_count == c->sent_count)
            fail("connection %u: bytes behind the last reply", c->index);
        at += options.offer ? check_deflated_reply(c, read_buffer + at, (size_t)n - at)
                            : check_reply(c, read_buffer + at, (size_t)n - at);
    }
    count_replies(c->reply_count - before, now - c->sent_ns);
    if (c->reply_count != c->sent_count || stopping) return;
    build_batch(c, options.size <= FRESH_MASK_SIZE);
    c->sent_ns = now;
    write_batch(c);
}

/* Waits for events at most 100 ms and serves them; returns the time. */
static uint64_t serve_events(void) {
    static uint64_t last_ns;
    struct epoll_event events[EVENT_COUNT];
    int count = epoll_wait(poller, events, EVENT_COUNT, 100);
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) write_batch(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT) read_replies(c);
    }
    uint64_t now = now_ns();
    if (count > 0 || !last_ns) last_ns = now;
    if (now - last_ns > STALL_S * 1000000000ull) fail("no reply for %d s", STALL_S);
    return now;
}

static void read_server(Sample *s) {
    char path[64], line[1024];
    clockid_t clock;
    struct timespec t;
    unsigned long user = 0, system = 0;
    unsigned long long waited_ns = 0;
    if (clock_getcpuclockid(options.server_pid, &clock) || clock_gettime(clock, &t))
        fail("cannot read the CPU time of process %d", options.server_pid);
    s->server_s = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    snprintf(path, sizeof path, "/proc/%d/stat", options.server_pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file) ||
        sscanf(strrchr(line, ')') + 2,
               "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u "
               "%*u %ld",
               &user, &system, &s->server_pages) != 3)
        fail("cannot read %s", path);
    fclose(file);
    snprintf(path, sizeof path, "/proc/%d/schedstat", options.server_pid);
    if ((file = fopen(path, "r"))) { /* absent from some kernels */
        if (fscanf(file, "%*u %llu", &waited_ns) != 1) waited_ns = 0;
        fclose(file);
    }
    s->server_waited_s = (double)waited_ns * 1e-9;
    s->server_user_s = (double)user / (double)sysconf(_SC_CLK_TCK);
    s->server_system_s = (double)system / (double)sysconf(_SC_CLK_TCK);
}

static Sample take_sample(void) {
    Sample s = {0};
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    s.client_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    if (options.server_pid) read_server(&s);
    s.wall_s = (double)now_ns() * 1e-9;
    return s;
}

/* Returns the latency in microseconds that `share` of the messages stayed under, to the width of a
 * histogram step. */
static double find_percentile(double share) {
    uint64_t wanted = (uint64_t)(share * (double)message_count), seen = 0;
    for (size_t i = 0; i < NANOSECOND_BITS * STEP_COUNT; i++) {
        seen += latency_counts[i];
        if (seen <= wanted) continue;
        size_t power = i < 2 * STEP_COUNT ? 0 : i / STEP_COUNT - 1;
        return ((double)((uint64_t)(i - power * STEP_COUNT) << power) +
                (double)(1ull << power) / 2) *
               1e-3;
    }
    return (double)latency_max * 1e-3;
}

static void print_result(const Sample *from, const Sample *to) {
    double seconds = to->wall_s - from->wall_s, server_s = to->server_s - from->server_s;
    double ticks =
        to->server_user_s + to->server_system_s - from->server_user_s - from->server_system_s;
    double user_share = ticks > 0 ? (to->server_user_s - from->server_user_s) / ticks : 0;
    printf("{\"event\": \"result\", \"messages\": %llu, \"seconds\": %.6f, \"client_cpu_s\": %.6f, "
           "\"server_cpu_s\": %.6f, "
           "\"server_user_s\": %.6f, \"server_system_s\": %.6f, \"server_waited_s\": %.6f, "
           "\"server_rss_bytes\": %lld, \"reply_bytes\": %llu, \"latency_us\": {\"p50\": %.2f, "
           "\"p99\": %.2f, \"p99.9\": %.2f, \"max\": %.2f}}\n",
           (unsigned long long)message_count, seconds, to->client_s - from->client_s, server_s,
           server_s * user_share, server_s * (1 - user_share),
           to->server_waited_s - from->server_waited_s,
           (long long)to->server_pages * sysconf(_SC_PAGESIZE), (unsigned long long)reply_bytes,
           find_percentile(0.5), find_percentile(0.99), find_percentile(0.999), (double)latency_max * 1e-3);
    fflush(stdout);
}

/* Gives a connection what it needs to send, and to check what comes. */
static void prepare_connection(Connection *c) {
    static z_stream *shared; /* by those that remember nothing */
    c->batch = malloc(frame_size * (size_t)options.depth);
    if (options.offer) {
        if (!shared) shared = make_inflater();
        c->reply = malloc(reply_size);
        c->inflater = c->keeps_context ? make_inflater() : shared;
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) fail("fcntl: %s", strerror(errno));
    watch(c, false, EPOLL_CTL_ADD);
    build_batch(c, true);
}

/* Sends the first batch on these connections. */
static void start_load(int first, int last) {
    for (int i = first; i < last; i++) prepare_connection(&connections[i]);
    for (int i = first; i < last; i++) {
        connections[i].sent_ns = now_ns();
        write_batch(&connections[i]);
    }
}

/* Lets the replies under way arrive, at most 5 s, and sends nothing more. */
static void finish_load(int first, int last) {
    uint64_t end = now_ns() + 5000000000u;
    stopping = true;
    for (int i = first; i < last; i++)
        while (connections[i].reply_count != connections[i].sent_count)
            if (serve_events() > end) fail("replies were still missing 5 s after the end");
}

/* Lets each connection send one batch and read its replies, a few connections at a time. */
static void talk(void) {
    for (int first = 0; first < options.connection_count; first += OPENING_COUNT) {
        int last = first + OPENING_COUNT < options.connection_count ? first + OPENING_COUNT
                                                                    : options.connection_count;
        stopping = true;
        start_load(first, last);
        finish_load(first, last);
    }
}

/* Sends a Close on every connection. */
static void say_goodbye(void) {
    static const uint8_t close_frame[] = {0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2};
    for (int i = 0; i < options.connection_count; i++)
        send(connections[i].fd, close_frame, sizeof close_frame, MSG_NOSIGNAL | MSG_DONTWAIT);
    usleep(100000);
}

static void run_load(void) {
    start_load(0, options.connection_count);
    uint64_t end = now_ns() + (uint64_t)(options.warmup_s * 1e9);
    while (serve_events() < end) {}
    Sample from = take_sample();
    measuring = true;
    end = now_ns() + (uint64_t)(options.run_s * 1e9);
    while (serve_events() < end && message_count < options.message_limit) {}
    measuring = false;
    Sample to = take_sample();
    finish_load(0, options.connection_count);
    say_goodbye();
    print_result(&from, &to);
}

/* ------------------------------------------------------------------ command line */

static double read_number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || value < least || value > most)
        fail("--%s: expected %g to %g, got %s", name, least, most, text);
    return value;
}

static void read_options(int argc, char **argv) {
    static const struct option table[] = {{"host", 1, 0, 'H'},
                                          {"port", 1, 0, 'p'},
                                          {"connections", 1, 0, 'c'},
                                          {"size", 1, 0, 's'},
                                          {"depth", 1, 0, 'd'},
                                          {"binary", 0, 0, 'b'},
                                          {"warmup", 1, 0, 'w'},
                                          {"seconds", 1, 0, 't'},
                                          {"messages", 1, 0, 'm'},
                                          {"server-pid", 1, 0, 'P'},
                                          {"idle", 1, 0, 'i'},
                                          {"per-address", 1, 0, 'a'},
                                          {"deflate", 1, 0, 'z'},
                                          {"talk", 0, 0, 'k'},
                                          {0, 0, 0, 0}};
    int which, index = 0;
    while ((which = getopt_long(argc, argv, "", table, &index)) != -1) {
        const char *name = table[index].name;
        switch (which) {
        case 'H': options.host = optarg; break;
        case 'p': options.port = (int)read_number(name, optarg, 1, 65535); break;
        case 'c': options.connection_count = (int)read_number(name, optarg, 1, 250000); break;
        case 's': options.size = (size_t)read_number(name, optarg, 1, 64 << 20); break;
        case 'd': options.depth = (int)read_number(name, optarg, 1, 4096); break;
        case 'b': options.binary = true; break;
        case 'w': options.warmup_s = read_number(name, optarg, 0, 600); break;
        case 't': options.run_s = read_number(name, optarg, 0.01, 600); break;
        case 'm': options.message_limit = (uint64_t)read_number(name, optarg, 1, 1e15); break;
        case 'P': options.server_pid = (int)read_number(name, optarg, 1, INT32_MAX); break;
        case 'i': options.idle_s = read_number(name, optarg, 0, 3600); break;
        case 'a': options.address_count = (int)read_number(name, optarg, 1, 28000); break;
        case 'z': options.offer = optarg; break;
        case 'k': options.talk = true; break;
        default: exit(2);
        }
    }
    if (!options.port) fail("--port is missing");
    if (optind < argc) fail("unexpected argument %s", argv[optind]);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    connections = calloc((size_t)options.connection_count, sizeof *connections);
    open_connections();
    if (options.idle_s < 0 || options.talk) prepare_frames();
    poller = epoll_create1(EPOLL_CLOEXEC);
    read_buffer = malloc(READ_SIZE);
    if (options.talk) talk();
    report_open();
    if (options.idle_s < 0)
        run_load();
    else
        hold_connections();
    for (int i = 0; i < options.connection_count; i++) close(connections[i].fd);
    return 0;
}
