/* The two ends of `sequencer.py`: they publish and receive, by our records or by hiredis.
 *
 *   sw-publish PATH TOPIC SIZE COUNT BURST     sw-receive PATH TOPIC COUNT     sw-hop PATH COUNT
 *   vk-publish PATH TOPIC SIZE COUNT BURST     vk-receive PATH TOPIC COUNT
 *
 * A publisher writes a burst, and waits until all of it has been acknowledged. A receiver prints a
 * line when it is subscribed. Both print the CPU time of what is between, in nanoseconds. A topic
 * whose name begins with "h" has a history of 1,000 messages.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_HIREDIS
#include <hiredis/hiredis.h>
#endif

enum { HELLO = 1, SETTINGS = 2, NAME = 3, PUB = 5, SUB = 6, WELCOME = 65, NAMED = 66, MSG = 67, ACK = 68, END = 69 };

struct head {
    uint32_t length;
    uint8_t type, flags;
    uint16_t worker;
    uint32_t topic, request;
    uint64_t epoch, offset, sequence;
} __attribute__((packed));

static char input[1 << 18];
static size_t begin, end;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static int open_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
        fail(path);
    return fd;
}

static void write_all(int fd, const void *data, size_t size)
{
    while (size) {
        ssize_t sent = write(fd, data, size);
        if (sent < 0)
            fail("write");
        data = (const char *)data + sent;
        size -= sent;
    }
}

static size_t put(char *place, int type, uint32_t topic, uint32_t request, uint64_t number,
                  const void *payload, size_t size)
{
    struct head head = {.length = sizeof(head) + size, .type = type, .topic = topic, .request = request};
    head.epoch = type == HELLO ? number : 0;
    head.sequence = type == PUB ? number : 0;
    memcpy(place, &head, sizeof(head));
    if (size)
        memcpy(place + sizeof(head), payload, size);
    return sizeof(head) + size;
}

/* Wait for the next record; it stays in `input` until the next call. */
static struct head *next_record(int fd)
{
    for (;;) {
        if (end - begin >= sizeof(struct head)) {
            struct head *head = (struct head *)(input + begin);
            if (end - begin >= head->length) {
                begin += head->length;
                return head;
            }
        }
        memmove(input, input + begin, end - begin);
        end -= begin;
        begin = 0;
        ssize_t got = read(fd, input + end, sizeof(input) - end);
        if (got <= 0)
            fail("read");
        end += got;
    }
}

static int greet(const char *path, const char *topic)
{
    static const char hello[] = "{\"pid\":1,\"kind\":\"worker\"}";
    static const char settings[] = "[[\"h/*\",{\"history_count\":1000}]]";
    char said[1024];
    int fd = open_unix(path);
    size_t size = put(said, HELLO, 0, 1, wall_ns() ^ (uint64_t)getpid() << 32, hello, strlen(hello));
    size += put(said + size, SETTINGS, 0, 0, 0, settings, strlen(settings));
    size += put(said + size, NAME, 1, 0, 0, topic, strlen(topic));
    write_all(fd, said, size);
    while (next_record(fd)->type != NAMED)
        ;
    return fd;
}

static void sw_publish(char **said)
{
    int fd = greet(said[0], said[1]);
    size_t size = atol(said[2]), count = atol(said[3]), burst = atol(said[4]);
    char *message = calloc(1, size), *output = malloc(burst * (size + sizeof(struct head)));
    uint64_t sequence = 0, cpu = cpu_ns(), wall = wall_ns();
    while (sequence < count) {
        size_t used = 0;
        for (size_t i = 0; i < burst; i++)
            used += put(output + used, PUB, 1, 0, ++sequence, message, size);
        write_all(fd, output, used);
        for (;;) {
            struct head *head = next_record(fd);
            if (head->type == ACK && head->sequence == sequence)
                break;
        }
    }
    printf("%lu %lu\n", (unsigned long)(cpu_ns() - cpu), (unsigned long)(wall_ns() - wall));
}

static void subscribe(int fd)
{
    char said[64];
    write_all(fd, said, put(said, SUB, 1, 1, 0, NULL, 0));
    while (next_record(fd)->type != END)
        ;
}

static void sw_receive(char **said)
{
    int fd = greet(said[0], said[1]);
    size_t count = atol(said[2]);
    uint64_t cpu, got = 0, sum = 0;
    subscribe(fd);
    puts("ready");
    fflush(stdout);
    cpu = cpu_ns();
    while (got < count) {
        struct head *head = next_record(fd);
        if (head->type != MSG)
            continue;
        if (head->sequence != ++got)
            fail("a hole");
        sum += ((char *)head)[head->length - 1];
    }
    printf("%lu %lu\n", (unsigned long)(cpu_ns() - cpu), (unsigned long)sum);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* One message at a time, from one link to another one; prints the median in nanoseconds. */
static void sw_hop(char **said)
{
    int from = greet(said[0], "hop"), to = greet(said[0], "hop");
    size_t count = atol(said[1]);
    uint64_t *times = malloc(count * sizeof(*times));
    char record[256], message[128] = {0};
    subscribe(to);
    for (size_t i = 0; i < count; i++) {
        size_t size = put(record, PUB, 1, 0, i + 1, message, sizeof(message));
        uint64_t begun = wall_ns();
        write_all(from, record, size);
        begin = end = 0; /* one buffer: each link has taken all that came */
        while (next_record(to)->type != MSG)
            ;
        times[i] = wall_ns() - begun;
        begin = end = 0;
        while (next_record(from)->type != ACK)
            ;
        begin = end = 0;
    }
    qsort(times, count, sizeof(*times), compare);
    printf("%lu\n", (unsigned long)times[count / 2]);
}

#ifdef WITH_HIREDIS

static const char *const SCRIPT =
    "local n = redis.call('INCR', KEYS[1] .. ':top') "
    "redis.call('XADD', KEYS[1] .. ':log', 'MAXLEN', '~', 1000, n .. '-0', 'm', ARGV[1]) "
    "redis.call('PUBLISH', KEYS[1], n .. ':' .. ARGV[1]) return n";

static redisContext *open_valkey(const char *path)
{
    redisContext *valkey = redisConnectUnix(path);
    if (valkey == NULL || valkey->err)
        fail(path);
    return valkey;
}

static void vk_publish(char **said)
{
    redisContext *valkey = open_valkey(said[0]);
    size_t size = atol(said[2]), count = atol(said[3]), burst = atol(said[4]), sent = 0;
    char *message = calloc(1, size);
    redisReply *reply = redisCommand(valkey, "SCRIPT LOAD %s", SCRIPT);
    char *script = strdup(reply->str);
    freeReplyObject(reply);
    const char *publish[] = {"PUBLISH", said[1], message};
    const char *evaluate[] = {"EVALSHA", script, "1", said[1], message};
    size_t publish_sizes[] = {7, strlen(said[1]), size};
    size_t evaluate_sizes[] = {7, strlen(script), 1, strlen(said[1]), size};
    uint64_t cpu = cpu_ns(), wall = wall_ns();
    while (sent < count) {
        for (size_t i = 0; i < burst; i++)
            if (said[1][0] == 'h')
                redisAppendCommandArgv(valkey, 5, evaluate, evaluate_sizes);
            else
                redisAppendCommandArgv(valkey, 3, publish, publish_sizes);
        for (size_t i = 0; i < burst; i++) {
            if (redisGetReply(valkey, (void **)&reply) || reply->type != REDIS_REPLY_INTEGER)
                fail("reply");
            freeReplyObject(reply);
        }
        sent += burst;
    }
    printf("%lu %lu\n", (unsigned long)(cpu_ns() - cpu), (unsigned long)(wall_ns() - wall));
}

static void vk_receive(char **said)
{
    redisContext *valkey = open_valkey(said[0]);
    size_t count = atol(said[2]), got = 0;
    redisReply *reply = redisCommand(valkey, "SUBSCRIBE %s", said[1]);
    uint64_t cpu, sum = 0;
    freeReplyObject(reply);
    puts("ready");
    fflush(stdout);
    cpu = cpu_ns();
    while (got < count) {
        if (redisGetReply(valkey, (void **)&reply))
            fail("reply");
        got++;
        sum += reply->element[2]->str[reply->element[2]->len - 1];
        freeReplyObject(reply);
    }
    printf("%lu %lu\n", (unsigned long)(cpu_ns() - cpu), (unsigned long)sum);
}

#endif

int main(int count, char **said)
{
    static const struct {
        const char *name;
        int count;
        void (*run)(char **);
    } commands[] = {
        {"sw-publish", 5, sw_publish},
        {"sw-receive", 3, sw_receive},
        {"sw-hop", 2, sw_hop},
#ifdef WITH_HIREDIS
        {"vk-publish", 5, vk_publish},
        {"vk-receive", 3, vk_receive},
#endif
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (count >= 2 && !strcmp(said[1], commands[i].name) && count == commands[i].count + 2) {
            commands[i].run(said + 2);
            return 0;
        }
    fputs("sequencer_ends: expected a command, see its source\n", stderr);
    return 2;
}
