/* A client in C with epoll that does as little as a load needs: what `sockwave bench` is held against.
 *
 * Each connection sends a batch of masked frames (RFC 6455, section 5.2), which never changes, waits
 * for as many bytes as their echoes have, and sends it again. It compares nothing, measures no
 * latencies, and knows no TLS: what is left is what the kernel costs.
 *
 * Use: plain_client PORT CONNECTIONS SIZE DEPTH SECONDS
 * Prints the echoes, the seconds and the seconds of processor time. SIZE is at most 125.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (512 << 10)
#define EVENT_COUNT 256
#define SHORT_SIZE 125
#define WARMUP_S 0.5

typedef struct {
    int fd;
    size_t missing; /* bytes of the batch's echoes */
} Client;

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Connects, and shakes hands with the key of RFC 6455, section 1.3. */
static int open_client(int port) {
    char answer[4096];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    int size = snprintf(answer, sizeof answer,
                        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n",
                        port);
    if (send(fd, answer, (size_t)size, 0) != size) fail("send");
    size_t come = 0;
    while (!memmem(answer, come, "\r\n\r\n", 4)) {
        ssize_t count = recv(fd, answer + come, sizeof answer - come, 0);
        if (count <= 0) fail("the opening handshake");
        come += (size_t)count;
    }
    if (memcmp(answer, "HTTP/1.1 101 ", 13) != 0) fail("the opening handshake");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int port = atoi(argv[1]), count = atoi(argv[2]), size = atoi(argv[3]), depth = atoi(argv[4]);
    double seconds = atof(argv[5]);
    if (count < 1 || size < 0 || size > SHORT_SIZE || depth < 1) return 2;
    size_t frame_size = 6 + (size_t)size, batch_size = frame_size * (size_t)depth;
    size_t reply_size = 2 + (size_t)size, replies_size = reply_size * (size_t)depth;
    uint8_t *batch = malloc(batch_size), *buffer = malloc(READ_SIZE);
    Client *clients = calloc((size_t)count, sizeof *clients);
    int poller = epoll_create1(0);
    if (!batch || !buffer || !clients || poller < 0) fail("malloc");
    static const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
    for (size_t at = 0; at < batch_size; at += frame_size) {
        batch[at] = 0x81;
        batch[at + 1] = (uint8_t)(0x80 | size);
        memcpy(batch + at + 2, key, sizeof key);
        for (int i = 0; i < size; i++) batch[at + 6 + (size_t)i] = (uint8_t)('a' ^ key[i & 3]);
    }
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = open_client(port);
        epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    for (int i = 0; i < count; i++) {
        clients[i].missing = replies_size;
        if (send(clients[i].fd, batch, batch_size, 0) != (ssize_t)batch_size) fail("send");
    }
    double begin = now_s(CLOCK_MONOTONIC) + WARMUP_S, now, cpu = 0;
    uint64_t bytes = 0;
    int is_warm = 0;
    while ((now = now_s(CLOCK_MONOTONIC)) < begin + seconds) {
        if (!is_warm && now >= begin) {
            is_warm = 1;
            bytes = 0;
            begin = now;
            cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
        }
        struct epoll_event events[EVENT_COUNT];
        int ready = epoll_wait(poller, events, EVENT_COUNT, 100);
        for (int i = 0; i < ready; i++) {
            Client *client = events[i].data.ptr;
            ssize_t got = recv(client->fd, buffer, READ_SIZE, MSG_DONTWAIT);
            if (got <= 0 || (size_t)got > client->missing) fail("recv");
            bytes += (uint64_t)got;
            client->missing -= (size_t)got;
            if (client->missing == 0) {
                client->missing = replies_size;
                if (send(client->fd, batch, batch_size, 0) != (ssize_t)batch_size) fail("send");
            }
        }
    }
    printf("%llu %.6f %.6f\n", (unsigned long long)(bytes / reply_size), now - begin,
           now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
