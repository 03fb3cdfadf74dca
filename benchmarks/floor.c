/* A server in C with epoll that does as little as its protocol allows. For WebSockets (RFC 6455,
 * sections 4.2.2 and 5.2) it echoes, or sends what it is sent to everybody; for HTTP it answers every
 * request alike.
 *
 * It shows what the kernel costs: per readiness one recv and one send, frames unmasked into one
 * shared buffer, and nothing else. No UTF-8 check, no limits beyond MESSAGE_LIMIT, no fragments (a
 * fragmented message ends the connection), no pings. Of requests it parses nothing: it counts the
 * blank lines that end their heads (RFC 9112, section 2.1), and takes a body for one if it has any.
 *
 * With a certificate it speaks TLS, one SSL_read and one SSL_write in place of recv and send; then
 * it shows what the kernel and OpenSSL cost. Compiled with -DFLOOR_TLS, and -lssl -lcrypto.
 *
 * Use: floor PORT [--broadcast | --http [--close] [--body SIZE]] [--tls-cert FILE --tls-key FILE]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef FLOOR_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define READ_SIZE (512 << 10) /* bytes asked of the kernel at once */
#define EVENT_COUNT 256
#define HEAD_LIMIT 8192           /* bytes of an opening request */
#define MESSAGE_LIMIT (64u << 20) /* bytes of a message */
#define GREETING "Hello, world"
#define BLANK_LINE "\r\n\r\n" /* with the end of the line before it */

typedef struct {
    uint8_t *data;
    size_t size, capacity;
} Buffer;

typedef struct {
    Buffer partial;    /* a request or frame of which the rest is missing */
    Buffer backlog;    /* what the kernel did not take at once */
    size_t backlog_at; /* how much of it has been taken since */
    size_t place; /* in `everybody` */
    int fd;
    bool is_open;   /* the handshake is done */
    size_t matched; /* of HTTP: how much of a blank line came last */
#ifdef FLOOR_TLS
    SSL *tls;
#endif
} Connection;

static int poller;
#ifdef FLOOR_TLS
static SSL_CTX *tls_context; /* NULL: no TLS */
#endif
static bool to_everybody; /* what is sent to us goes to all that are open */
static bool speaks_http, closes; /* closes: a connection ends behind its answer */
static size_t body_size;         /* of HTTP's answer; 0: GREETING */
static Connection **everybody;
static size_t everybody_count, everybody_capacity;
static uint8_t *read_buffer;
static Buffer out; /* what the current connection will be sent at the end of its turn */
static Buffer fixed_answer; /* to every request; made anew when its Date is no longer true */
static time_t answered_s;

static void reserve(Buffer *b, size_t capacity) {
    if (capacity <= b->capacity) return;
    b->data = realloc(b->data, capacity);
    b->capacity = capacity;
    if (!b->data) exit(1);
}

static void append(Buffer *b, const void *data, size_t size) {
    reserve(b, b->size + size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* Writes the SHA-1 of at most 119 bytes (FIPS 180-4). */
static void write_sha1(uint8_t digest[20], const char *text, size_t size) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
    uint8_t blocks[128] = {0};
    size_t total = size < 56 ? 64 : 128;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    blocks[total - 2] = (uint8_t)(size >> 5);
    blocks[total - 1] = (uint8_t)(size << 3);
    for (size_t at = 0; at < total; at += 64) {
        for (int i = 0; i < 16; i++) {
            uint32_t word;
            memcpy(&word, blocks + at + 4 * i, 4);
            w[i] = ntohl(word);
        }
        for (int i = 16; i < 80; i++) {
            uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = x << 1 | x >> 31;
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
            uint32_t next = (a << 5 | a >> 27) + f + e + w[i];
            e = d, d = c, c = b << 30 | b >> 2, b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Writes 28 characters: the base64 of 20 bytes. */
static void write_base64(char text[28], const uint8_t digest[20]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, o = 0; i < 20; i += 3, o += 4) {
        uint32_t x = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 |
                     (i + 2 < 20 ? digest[i + 2] : 0);
        for (int k = 0; k < 4; k++) text[o + k] = digits[x >> (18 - 6 * k) & 63];
    }
    text[27] = '=';
}

/* Answers an opening request once it is whole. Returns the bytes used, 0 when more are needed,
 * -1 to end the connection. */
static ssize_t answer_request(Connection *c, const uint8_t *data, size_t size) {
    static const char name[] = "Sec-WebSocket-Key: ";
    char keyed[60] = "", answer[200];
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return size < HEAD_LIMIT ? 0 : -1;
    const char *key = memmem(data, (size_t)(end - data), name, sizeof name - 1);
    if (!key || (const char *)end - key < (ptrdiff_t)(sizeof name - 1) + 24) return -1;
    memcpy(keyed, key + sizeof name - 1, 24);
    memcpy(keyed + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    uint8_t digest[20];
    char accept[28];
    write_sha1(digest, keyed, sizeof keyed);
    write_base64(accept, digest);
    int length =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %.28s\r\n\r\n",
                 accept);
    append(&out, answer, (size_t)length);
    c->is_open = true;
    if (everybody_count == everybody_capacity) {
        everybody_capacity = everybody_capacity ? 2 * everybody_capacity : 1024;
        everybody = realloc(everybody, everybody_capacity * sizeof *everybody);
        if (!everybody) exit(1);
    }
    c->place = everybody_count;
    everybody[everybody_count++] = c;
    return end + 4 - data;
}

static void unmask(uint8_t *to, const uint8_t *from, size_t size, const uint8_t key[4]) {
    uint32_t k;
    memcpy(&k, key, 4);
    uint64_t wide = (uint64_t)k << 32 | k, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++) to[i] = from[i] ^ key[i & 3];
}

/* Echoes one frame once it is whole. Returns as answer_request does; *wanted is the size of the
 * frame when it is known. */
static ssize_t echo_frame(const uint8_t *data, size_t size, size_t *wanted) {
    if (size < 6) return 0;
    size_t length = data[1] & 127, head_size = 6;
    if (length == 126) {
        if (size < 8) return 0;
        length = (size_t)data[2] << 8 | data[3];
        head_size = 8;
    } else if (length == 127) {
        if (size < 14) return 0;
        length = 0;
        for (int i = 0; i < 8; i++) length = length << 8 | data[2 + i];
        head_size = 14;
    }
    if ((data[0] != 0x81 && data[0] != 0x82) || !(data[1] & 128) || length > MESSAGE_LIMIT)
        return -1;
    *wanted = head_size + length;
    if (size < *wanted) return 0;
    reserve(&out, out.size + *wanted);
    uint8_t *reply = out.data + out.size;
    memcpy(reply, data, head_size - 4);
    reply[1] &= 127;
    unmask(reply + head_size - 4, data + head_size, length, data + head_size - 4);
    out.size += head_size - 4 + length;
    return (ssize_t)*wanted;
}

/* Writes the answer to every request, with the Date of this second (RFC 9110, section 6.6.1). */
static void refresh_answer(void) {
    char head[200], date[40];
    time_t now_s = time(NULL);
    size_t size = body_size ? body_size : sizeof GREETING - 1;
    if (now_s == answered_s) return;
    answered_s = now_s;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now_s));
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                          "Content-Length: %zu\r\n%s\r\n",
                          date, size, closes ? "Connection: close\r\n" : "");
    fixed_answer.size = 0;
    append(&fixed_answer, head, (size_t)length);
    reserve(&fixed_answer, fixed_answer.size + size);
    if (body_size)
        memset(fixed_answer.data + fixed_answer.size, 'x', size);
    else
        memcpy(fixed_answer.data + fixed_answer.size, GREETING, size);
    fixed_answer.size += size;
}

/* Counts the blank lines; of one that is not whole, c->matched tells how much has come. */
static size_t count_requests(Connection *c, const uint8_t *data, size_t size) {
    const uint8_t *end = data + size, *found;
    size_t count = 0;
    for (; c->matched && data < end; data++) {
        if (*data == (uint8_t)BLANK_LINE[c->matched])
            c->matched++;
        else
            c->matched = *data == '\r';
        if (c->matched < 4) continue;
        count++;
        c->matched = 0;
    }
    while ((found = memmem(data, (size_t)(end - data), BLANK_LINE, 4))) {
        count++;
        data = found + 4;
    }
    for (size_t part = 3; part && !c->matched; part--)
        if ((size_t)(end - data) >= part && !memcmp(end - part, BLANK_LINE, part))
            c->matched = part;
    return count;
}

static void end_connection(Connection *c) {
    if (c->is_open) {
        everybody[c->place] = everybody[--everybody_count];
        everybody[c->place]->place = c->place;
    }
#ifdef FLOOR_TLS
    if (c->tls) {
        SSL_free(c->tls);
        ERR_clear_error();
    }
#endif
    close(c->fd);
    free(c->partial.data);
    free(c->backlog.data);
    free(c);
}

static void watch(Connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends, and returns what was taken; fails as send does. */
static ssize_t put(Connection *c, const uint8_t *data, size_t size) {
#ifdef FLOOR_TLS
    if (c->tls) {
        size_t taken = 0;
        int n = 1;
        while (taken < size && (n = SSL_write(c->tls, data + taken, (int)(size - taken))) > 0)
            taken += (size_t)n;
        if (taken) return (ssize_t)taken;
        errno = SSL_get_error(c->tls, n) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
        return -1;
    }
#endif
    return send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Receives as recv does. What TLS has had from the kernel beyond a record, epoll knows nothing of:
 * then *more becomes true. */
static ssize_t take(Connection *c, uint8_t *to, size_t room, bool *more) {
#ifdef FLOOR_TLS
    if (c->tls) {
        int n = SSL_read(c->tls, to, (int)room);
        *more = n > 0 && SSL_has_pending(c->tls);
        if (n > 0) return n;
        errno = SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
        return -1;
    }
#endif
    *more = false;
    return recv(c->fd, to, room, MSG_DONTWAIT);
}

/* Sends what is queued; what the kernel does not take becomes the backlog, and nothing is read
 * while there is one. False: the connection is to end. */
static bool send_queued(Connection *c) {
    if (c->backlog.size) {
        append(&c->backlog, out.data, out.size);
        return true;
    }
    ssize_t n = put(c, out.data, out.size);
    if (n < 0 && errno != EAGAIN) return false;
    size_t taken = n < 0 ? 0 : (size_t)n;
    if (taken == out.size) return true;
    append(&c->backlog, out.data + taken, out.size - taken);
    watch(c, EPOLLOUT);
    return true;
}

static bool send_backlog(Connection *c) {
    ssize_t n = put(c, c->backlog.data + c->backlog_at, c->backlog.size - c->backlog_at);
    if (n < 0) return errno == EAGAIN;
    c->backlog_at += (size_t)n;
    if (c->backlog_at < c->backlog.size) return true;
    c->backlog.size = c->backlog_at = 0;
    watch(c, EPOLLIN);
    return true;
}

/* Sends what is queued to all that are open; where it fails, the next event tells. */
static void send_to_everybody(void) {
    for (size_t i = 0; i < everybody_count; i++) send_queued(everybody[i]);
}

/* Serves what has arrived. False: the connection is to end. */
static bool serve_bytes(Connection *c, const uint8_t *data, size_t size) {
    size_t at = 0, wanted = 0;
    bool is_message = c->is_open;
    while (at < size) {
        wanted = 0;
        ssize_t used = c->is_open ? echo_frame(data + at, size - at, &wanted)
                                  : answer_request(c, data + at, size - at);
        if (used < 0) return false;
        if (!used) break;
        at += (size_t)used;
    }
    if (data == c->partial.data) {
        c->partial.size = size - at;
        if (at) memmove(c->partial.data, data + at, size - at);
    } else if (at < size) {
        reserve(&c->partial, wanted);
        append(&c->partial, data + at, size - at);
    }
    if (c->partial.size) reserve(&c->partial, wanted);
    if (out.size && is_message && to_everybody) {
        send_to_everybody();
        return true;
    }
    return !out.size || send_queued(c);
}

/* Answers the requests that have arrived, all in one write. False: the connection is to end. */
static bool serve_requests(Connection *c, const uint8_t *data, size_t size) {
    size_t count = count_requests(c, data, size);
    if (!count) return true;
    refresh_answer();
    if (closes) count = 1;
    while (count--) append(&out, fixed_answer.data, fixed_answer.size);
    return send_queued(c) && !closes;
}

static bool serve_readable(Connection *c, bool *more) {
    uint8_t *to = read_buffer;
    size_t room = READ_SIZE;
    if (c->partial.size) { /* into the frame's own buffer, not past its end when that is known */
        if (c->partial.capacity == c->partial.size) reserve(&c->partial, c->partial.size + 4096);
        to = c->partial.data + c->partial.size;
        room = c->partial.capacity - c->partial.size;
    }
    ssize_t n = take(c, to, room, more);
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    if (speaks_http) return serve_requests(c, to, (size_t)n);
    if (to == read_buffer) return serve_bytes(c, to, (size_t)n);
    c->partial.size += (size_t)n;
    return serve_bytes(c, c->partial.data, c->partial.size);
}

/* Serves what the kernel has, and each record of it. False: the connection is to end. */
static bool serve_records(Connection *c) {
    bool more;
    do {
        out.size = 0;
        if (!serve_readable(c, &more)) return false;
    } while (more);
    return true;
}

static void accept_connections(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = fd;
#ifdef FLOOR_TLS
        if (tls_context) {
            c->tls = SSL_new(tls_context);
            SSL_set_fd(c->tls, fd);
            SSL_set_accept_state(c->tls);
        }
#endif
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Reads the certificate. One call of the kernel's is to bring a whole record, not one its header and
 * another the rest. */
static bool prepare_tls(const char *cert, const char *key) {
#ifdef FLOOR_TLS
    tls_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_read_ahead(tls_context, 1);
    SSL_CTX_set_mode(tls_context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    signal(SIGPIPE, SIG_IGN);
    return SSL_CTX_use_certificate_chain_file(tls_context, cert) == 1 &&
           SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) == 1;
#else
    (void)cert, (void)key;
    return false;
#endif
}

/* Reads the command line. Returns the port, or -1. */
static int read_arguments(int argc, char **argv) {
    static const struct option options[] = {
        {"broadcast", no_argument, NULL, 'b'}, {"http", no_argument, NULL, 'h'},
        {"close", no_argument, NULL, 'c'},     {"body", required_argument, NULL, 's'},
        {"tls-cert", required_argument, NULL, 'x'}, {"tls-key", required_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    const char *cert = NULL, *key = NULL;
    int chosen;
    while ((chosen = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (chosen == 'b') to_everybody = true;
        else if (chosen == 'h') speaks_http = true;
        else if (chosen == 'c') closes = true;
        else if (chosen == 's') body_size = (size_t)atol(optarg);
        else if (chosen == 'x') cert = optarg;
        else if (chosen == 'k') key = optarg;
        else return -1;
    }
    if (optind != argc - 1 || !cert != !key || (cert && !prepare_tls(cert, key))) return -1;
    return atoi(argv[optind]);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENT_COUNT], event = {.events = EPOLLIN};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int port = read_arguments(argc, argv);
    address.sin_port = htons((uint16_t)port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (port < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, 4096)) {
        perror("floor PORT [--broadcast | --http [--close] [--body SIZE]] "
               "[--tls-cert FILE --tls-key FILE]");
        return 1;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    read_buffer = malloc(READ_SIZE);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poller, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            Connection *c = events[i].data.ptr;
            out.size = 0;
            if (!c)
                accept_connections(listener);
            else if (!(events[i].events & EPOLLOUT ? send_backlog(c) : serve_records(c)))
                end_connection(c);
        }
    }
}
