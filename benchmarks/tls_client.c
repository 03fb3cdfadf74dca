/* A WebSocket client over TLS (RFC 6455 over RFC 8446): the small sibling of client.c.
 *
 * One thread, one epoll, one message in flight on each connection. Every reply is compared with its
 * message. With --idle the connections are opened, held for so many seconds or until stdin ends,
 * and closed; with --talk too, each sends one message first.
 *
 * Prints one line of JSON per event on stdout ("open", then "result"); errors go to stderr, with
 * exit status 1. Build: cc -O3 tls_client.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_SIZE 14 /* the longest frame header of a client */
#define EVENT_COUNT 256
#define STALL_S 10 /* without any reply for so long the server is taken for dead */

typedef struct {
    int fd;
    SSL *ssl;
    uint32_t number; /* of the message in flight; its first four bytes */
    size_t read_at;  /* bytes of the reply that have come */
    uint8_t *frame, *reply;
} Connection;

typedef struct {
    double wall_s, client_s, server_s;
} Sample;

static int port, connection_count = 64, server_pid, talk, stopping;
static size_t size = 1024, head_size, reply_head_size, request_size;
static double warmup_s = 0.5, run_s = 3, idle_s = -1;
static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
static uint8_t head[HEAD_SIZE], reply_head[10];
static uint64_t message_count;

static _Noreturn void __attribute__((format(printf, 1, 2))) fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("tls_client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t write_head(uint8_t *out, uint8_t mask_bit) {
    out[0] = 0x82;
    if (size < 126) {
        out[1] = (uint8_t)(mask_bit | size);
        return 2;
    }
    int count = size < 65536 ? 2 : 8;
    out[1] = mask_bit | (count == 2 ? 126 : 127);
    for (int i = 0; i < count; i++) out[2 + i] = (uint8_t)((uint64_t)size >> 8 * (count - 1 - i));
    return 2 + (size_t)count;
}

/* ------------------------------------------------------------------ opening */

static void upgrade(Connection *c) {
    char request[256], answer[4096];
    int used = 0, count =
        snprintf(request, sizeof request,
                 "GET / HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\n\r\n", port);
    request_size = (size_t)count;
    if (SSL_write(c->ssl, request, count) != count) fail("sending the opening request");
    do {
        int n = SSL_read(c->ssl, answer + used, (int)sizeof answer - 1 - used);
        if (n <= 0) fail("no opening answer");
        used += n;
        answer[used] = 0;
    } while (!strstr(answer, "\r\n\r\n"));
    if (strncmp(answer, "HTTP/1.1 101 ", 13)) fail("expected 101, got:\n%s", answer);
}

static void open_connection(Connection *c, SSL_CTX *context) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server))
        fail("connect: %s", strerror(errno));
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1) fail("no TLS handshake");
    upgrade(c);
}

/* ------------------------------------------------------------------ load */

static void send_message(Connection *c) {
    uint8_t *body = c->frame + head_size + 4;
    c->number++;
    for (size_t i = 0; i < sizeof c->number && i < size; i++)
        body[i] = ((uint8_t *)&c->number)[i] ^ mask[i];
    int count = (int)(head_size + 4 + size), written = 0;
    while (written < count) { /* what the server does not take is for its own measure */
        int n = SSL_write(c->ssl, c->frame + written, count - written);
        if (n > 0) written += n;
        else if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE) fail("send");
    }
}

static void read_reply(Connection *c) {
    size_t whole = reply_head_size + size;
    for (;;) {
        int n = SSL_read(c->ssl, c->reply + c->read_at, (int)(whole - c->read_at));
        if (n <= 0) {
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ) fail("the server has closed");
            return;
        }
        c->read_at += (size_t)n;
        if (c->read_at < whole) continue;
        if (memcmp(c->reply, reply_head, reply_head_size)) fail("a wrong frame header");
        for (size_t i = 0; i < size; i++)
            if (c->reply[reply_head_size + i] != (c->frame[head_size + 4 + i] ^ mask[i & 3]))
                fail("a reply differs from its message, at byte %zu", i);
        c->read_at = 0;
        message_count++;
        if (stopping) return;
        send_message(c);
        if (!SSL_has_pending(c->ssl)) return;
    }
}

static Sample take_sample(void) {
    Sample s = {.wall_s = now_s()};
    struct rusage usage;
    struct timespec t;
    clockid_t clock;
    getrusage(RUSAGE_SELF, &usage);
    s.client_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    if (server_pid) {
        if (clock_getcpuclockid(server_pid, &clock) || clock_gettime(clock, &t))
            fail("cannot read the CPU time of process %d", server_pid);
        s.server_s = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    }
    return s;
}

static void run_until(int poller, double end) {
    struct epoll_event events[EVENT_COUNT];
    double last = now_s();
    while (now_s() < end) {
        int count = epoll_wait(poller, events, EVENT_COUNT, 100);
        for (int i = 0; i < count; i++) read_reply(events[i].data.ptr);
        if (count > 0) last = now_s();
        if (now_s() - last > STALL_S) fail("no reply for %d s", STALL_S);
    }
}

/* Sends the first message on every connection; returns what tells of the replies. */
static int start_load(Connection *connections) {
    int poller = epoll_create1(EPOLL_CLOEXEC);
    head_size = write_head(head, 0x80);
    reply_head_size = write_head(reply_head, 0);
    for (int i = 0; i < connection_count; i++) {
        Connection *c = &connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->frame = malloc(head_size + 4 + size);
        c->reply = malloc(reply_head_size + size);
        memcpy(c->frame, head, head_size);
        memcpy(c->frame + head_size, mask, 4);
        for (size_t j = 0; j < size; j++)
            c->frame[head_size + 4 + j] = (uint8_t)(' ' + j * 7 % 95) ^ mask[j & 3];
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
        send_message(c);
    }
    return poller;
}

static void run_load(Connection *connections) {
    int poller = start_load(connections);
    run_until(poller, now_s() + warmup_s);
    Sample from = take_sample();
    message_count = 0;
    run_until(poller, from.wall_s + run_s);
    Sample to = take_sample();
    printf("{\"event\": \"result\", \"messages\": %llu, \"seconds\": %.6f, "
           "\"client_cpu_s\": %.6f, \"server_cpu_s\": %.6f}\n",
           (unsigned long long)message_count, to.wall_s - from.wall_s, to.client_s - from.client_s,
           to.server_s - from.server_s);
}

/* Lets each connection send one message and read its reply. */
static void exchange_one(Connection *connections) {
    stopping = 1;
    int poller = start_load(connections);
    while (message_count < (uint64_t)connection_count) run_until(poller, now_s() + 0.01);
}

/* Holds the connections until the time is over or stdin says something or ends. */
static void hold_connections(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&input, 1, (int)(idle_s * 1e3));
}

int main(int argc, char **argv) {
    static const struct option table[] = {
        {"port", 1, 0, 'p'},   {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'}, {"warmup", 1, 0, 'w'},
        {"seconds", 1, 0, 't'}, {"server-pid", 1, 0, 'P'}, {"idle", 1, 0, 'i'}, {"talk", 0, 0, 'k'}, {0, 0, 0, 0}};
    int which;
    while ((which = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (which) {
        case 'p': port = atoi(optarg); break;
        case 'c': connection_count = atoi(optarg); break;
        case 's': size = (size_t)atol(optarg); break;
        case 'w': warmup_s = atof(optarg); break;
        case 't': run_s = atof(optarg); break;
        case 'P': server_pid = atoi(optarg); break;
        case 'i': idle_s = atof(optarg); break;
        case 'k': talk = 1; break;
        default: exit(2);
        }
    }
    if (!port) fail("--port is missing");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    Connection *connections = calloc((size_t)connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) open_connection(&connections[i], context);
    if (talk) exchange_one(connections);
    printf("{\"event\": \"open\", \"connections\": %d, \"request_size\": %zu}\n",
           connection_count, request_size);
    fflush(stdout);
    if (idle_s >= 0)
        hold_connections();
    else
        run_load(connections);
    return 0;
}
