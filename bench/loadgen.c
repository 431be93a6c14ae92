/* The load generator: echo over many WebSocket connections from one thread, measured.
 *
 *     loadgen PORT PATH CONNECTIONS IN_FLIGHT SIZE WARM_UP_S SECONDS SERVER_PID
 *             [compressed] [mixed] [idle=N] [fanout] [socketio]
 *
 * Every connection keeps IN_FLIGHT messages of SIZE bytes on the way and sends the next as soon as
 * one comes back. They are binary, or, with "compressed", text messages of JSON; permessage-deflate
 * is then offered, they are sent compressed, and must come back so. "mixed": sizes between 16 bytes
 * and 64 KiB, mostly small ones, whatever SIZE is. N more connections are open and silent.
 * "fanout": only one connection sends, all of them receive, and the next message is sent when they
 * have. "socketio": messages are events of Socket.IO. Prints one line of JSON: messages per second,
 * round-trip percentiles, the server's CPU time per message and memory per connection, and how busy
 * this program was itself. Exits with 1, and says so, when a peer answers anything else than the
 * echo.
 *
 * The masking key is constant, so that each frame is made once: what is measured is the server.
 */
#include "sample.h"

#include "protocol/connection.h"
#include "protocol/mask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (256 * 1024)
#define BATCH 512
/* Round trips are counted in buckets of 1/64 of a power of two, in ns: 1.6 % apart. */
#define SUB_BUCKETS 64
#define BUCKETS (64 * SUB_BUCKETS)
/* Section 1.3 of RFC 6455 gives this pair, which saves this program a SHA-1. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef struct {
    int fd;
    fws_connection protocol;
    uint64_t *sent_at; /* a ring: echoes come back in order */
    unsigned first, in_flight;
    unsigned next_sent, next_echo; /* which of the variants */
    size_t position;               /* in the stream of frames: what is sent next */
    size_t unsent;                 /* bytes of frames that the socket has not taken */
} peer;

static struct {
    unsigned port, connections, in_flight;
    const char *path;
    size_t size;
    double warm_up, seconds;
    int server_pid;
    bool compressed, mixed, fanout, socketio;
    unsigned idle;
} options;

/* What a browser offers, and what this program therefore understands. */
static const fws_deflate_parameters offered = {.server_max_window_bits = 15,
                                               .client_max_window_bits = 15};
static fws_deflate_pool pool;

/* The messages that a connection sends in turn, and their frames one after the other. Compressed
 * ones differ, and are together larger than a compression window, so that a server with context
 * takeover does not meet the same text again. */
#define COMPRESSED_VARIANTS 64
#define MIXED_VARIANTS 64
static unsigned variants;
static uint8_t **payloads;
static uint8_t *stream;
static size_t *payload_sizes, *frame_sizes, stream_size;
static struct {
    peer *sender;
    unsigned missing;
    uint64_t sent_at;
} fanout;
static uint64_t histogram[BUCKETS];
static uint64_t messages;
static bool measuring;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "loadgen: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUB_BUCKETS)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (power - 5) * SUB_BUCKETS + (unsigned)(ns >> (power - 6)) % SUB_BUCKETS;
}

static double percentile_us(double part)
{
    uint64_t wanted = (uint64_t)((double)messages * part), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            if (i < SUB_BUCKETS)
                return i / 1e3;
            unsigned power = i / SUB_BUCKETS + 5;
            return (double)((uint64_t)(SUB_BUCKETS + i % SUB_BUCKETS) << (power - 6)) / 1e3;
        }
    }
    return 0;
}

/* CPU time of the server process, all threads, in seconds. */
static double server_cpu(void)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(options.server_pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        fail("the server is gone");
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* Resident memory of the server process, in bytes. */
static double server_memory(void)
{
    char name[64];
    long pages = 0;
    snprintf(name, sizeof name, "/proc/%d/statm", options.server_pid);
    FILE *file = fopen(name, "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        fail("cannot read the server's memory");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double own_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Reads what the server answered to the offer. */
static void agree(peer *p, const char *answer)
{
    fws_deflate_parameters agreed;
    static const char name[] = "\nsec-websocket-extensions:";
    const char *line = strcasestr(answer, name), *value = line ? line + sizeof name - 1 : "";
    if (fws_negotiation_confirm(value, strcspn(value, "\r"), &offered, &agreed) !=
        FWS_NEGOTIATION_AGREED)
        fail("the server did not agree on compression");
    if (!fws_connection_use_compression(&p->protocol, &pool, &agreed))
        fail("out of memory");
}

/* Socket.IO 5 on Engine.IO 4: the server opens with "0{...}", and answers "40" with "40{...}". */
static void join_namespace(peer *p, uint8_t *buffer, size_t have, size_t room)
{
    static const uint8_t connect[] = {0x81, 0x82, 0, 0, 0, 0, '4', '0'};
    for (char expected = '0'; expected != '\0';) {
        fws_event event;
        uint8_t *cursor = buffer;
        while (fws_connection_receive(&p->protocol, &cursor, buffer + have, &event) ==
               FWS_EVENT_NONE) {
            ssize_t got = recv(p->fd, buffer, room, 0);
            if (got <= 0)
                fail("Socket.IO was not opened");
            cursor = buffer;
            have = (size_t)got;
        }
        if (event.length == 0 || event.data[0] != (uint8_t)expected)
            fail("Socket.IO was not opened as expected");
        if (expected == '0' && send(p->fd, connect, sizeof connect, 0) != sizeof connect)
            fail("send");
        expected = expected == '0' ? '4' : '\0';
        have -= (size_t)(cursor - buffer);
        memmove(buffer, cursor, have);
    }
}

static void connect_peer(peer *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    int yes = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    char text[4096], offer[FWS_NEGOTIATION_TEXT_MAX + 40] = "";
    if (options.compressed) {
        char value[FWS_NEGOTIATION_TEXT_MAX];
        fws_negotiation_offer(&offered, value);
        snprintf(offer, sizeof offer, "Sec-WebSocket-Extensions: %s\r\n", value);
    }
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY
                        "\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                        options.path, options.port, offer);
    if (send(p->fd, text, (size_t)size, 0) != size)
        fail("handshake");
    size_t have = 0;
    char *end;
    for (;;) {
        ssize_t got = recv(p->fd, text + have, sizeof text - 1 - have, 0);
        if (got <= 0)
            fail("handshake was not answered");
        have += (size_t)got;
        text[have] = '\0';
        if ((end = strstr(text, "\r\n\r\n")) != NULL)
            break;
    }
    errno = 0;
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 || strstr(text, ACCEPT) == NULL)
        fail("handshake was refused");
    fws_connection_init(&p->protocol, FWS_ROLE_CLIENT, &(fws_limits){0}, NULL);
    if (options.compressed)
        agree(p, text);
    size_t head = (size_t)(end + 4 - text);
    if (options.socketio)
        join_namespace(p, (uint8_t *)text + head, have - head, sizeof text - head);
    else if (have > head)
        fail("the server spoke before the first message");
    p->sent_at = calloc(options.in_flight, sizeof *p->sent_at);
}

/* Writes what is owed. */
static void flush(peer *p)
{
    while (p->unsent > 0) {
        size_t left = stream_size - p->position;
        size_t size = p->unsent < left ? p->unsent : left;
        ssize_t sent = send(p->fd, stream + p->position, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0)
            fail("send");
        p->unsent -= (size_t)sent;
        p->position = (p->position + (size_t)sent) % stream_size;
    }
}

static void send_frames(peer *p, unsigned count)
{
    uint64_t now = now_ns();
    for (unsigned i = 0; i < count; i++) {
        p->sent_at[(p->first + p->in_flight++) % options.in_flight] = now;
        p->unsent += frame_sizes[p->next_sent];
        p->next_sent = (p->next_sent + 1) % variants;
    }
    flush(p);
}

/* A delivery to one of all; true when it was the last. */
static bool count_delivery(uint64_t now)
{
    if (measuring) {
        messages++;
        histogram[bucket_of(now - fanout.sent_at)]++;
    }
    return --fanout.missing == 0;
}

static void count_echo(peer *p, const fws_event *event, uint64_t now)
{
    errno = 0;
    if (event->type != FWS_EVENT_MESSAGE || event->length != payload_sizes[p->next_echo] ||
        memcmp(event->data, payloads[p->next_echo], event->length) != 0)
        fail("a peer answered something else than the echo");
    p->next_echo = (p->next_echo + 1) % variants;
    if (options.fanout)
        return;
    uint64_t sent_at = p->sent_at[p->first];
    p->first = (p->first + 1) % options.in_flight;
    p->in_flight--;
    if (measuring) {
        messages++;
        histogram[bucket_of(now - sent_at)]++;
    }
}

static void send_to_all(void)
{
    fanout.missing = options.connections;
    fanout.sent_at = now_ns();
    fanout.sender->unsent += frame_sizes[0];
    flush(fanout.sender);
}

/* One read; true when there may be more (the events are edges, so all has to be read). */
static bool receive(peer *p, uint8_t *buffer)
{
    ssize_t got = recv(p->fd, buffer, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0)
        fail("a connection was lost");
    uint64_t now = now_ns();
    uint8_t *cursor = buffer;
    fws_event event;
    unsigned echoes = 0;
    while (fws_connection_receive(&p->protocol, &cursor, buffer + got, &event) != FWS_EVENT_NONE) {
        if (options.compressed && event.type == FWS_EVENT_MESSAGE &&
            p->protocol.compressed_size >= options.size)
            fail("a peer answered without compression");
        if (event.type == FWS_EVENT_PING)
            continue; /* the measurement is shorter than any ping timeout */
        count_echo(p, &event, now);
        if (options.fanout && count_delivery(now))
            send_to_all();
        echoes++;
    }
    if (echoes > 0 && !options.fanout)
        send_frames(p, echoes);
    return got == READ_SIZE;
}

static void run_until(int epoll_fd, uint64_t deadline, uint8_t *buffer)
{
    struct epoll_event events[BATCH];
    while (now_ns() < deadline) {
        int count = epoll_wait(epoll_fd, events, BATCH, 100);
        for (int i = 0; i < count; i++) {
            peer *p = events[i].data.ptr;
            if (p->unsent > 0)
                flush(p);
            while (receive(p, buffer))
                ;
        }
    }
}

static void read_options(int count, char **values)
{
    if (count < 9)
        fail("usage: loadgen PORT PATH CONNECTIONS IN_FLIGHT SIZE WARM_UP_S SECONDS SERVER_PID "
             "[compressed] [mixed] [idle=N] [fanout] [socketio]");
    options.port = (unsigned)atoi(values[1]);
    options.path = values[2];
    options.connections = (unsigned)atoi(values[3]);
    options.in_flight = (unsigned)atoi(values[4]);
    options.size = (size_t)atol(values[5]);
    options.warm_up = atof(values[6]);
    options.seconds = atof(values[7]);
    options.server_pid = atoi(values[8]);
    for (int i = 9; i < count; i++) {
        if (strcmp(values[i], "compressed") == 0)
            options.compressed = true;
        else if (strcmp(values[i], "mixed") == 0)
            options.mixed = true;
        else if (strcmp(values[i], "fanout") == 0)
            options.fanout = true;
        else if (strcmp(values[i], "socketio") == 0)
            options.socketio = true;
        else if (sscanf(values[i], "idle=%u", &options.idle) != 1)
            fail("unknown option");
    }
    if (options.socketio)
        options.path = "/socket.io/?EIO=4&transport=websocket";
    if (options.connections == 0 || options.in_flight == 0)
        fail("CONNECTIONS and IN_FLIGHT are at least 1");
}

/* Appends the frame of a payload to the stream. */
static void add_frame(unsigned index, const uint8_t *payload)
{
    const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t *frame = stream + stream_size, *compressed = NULL;
    const uint8_t *data = payload;
    size_t size = payload_sizes[index];
    if (options.compressed) {
        data = compressed = malloc(size);
        if (!fws_deflate_pool_compress(&pool, 15, payload, size, compressed, size, &size))
            fail("the message does not compress");
    }
    bool text = options.compressed || options.socketio;
    fws_opcode opcode = text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
    size_t header_size = fws_frame_encode(frame, true, opcode, size, key);
    if (options.compressed)
        fws_frame_mark_compressed(frame);
    memcpy(frame + header_size, data, size);
    fws_mask_apply(frame + header_size, size, key, 0);
    free(compressed);
    frame_sizes[index] = header_size + size;
    stream_size += header_size + size;
}

/* Of 64 messages, one has 64 KiB, three have 4 KiB, and the others 16 to 256 bytes. */
static size_t mixed_size(unsigned index)
{
    if (index % 64 == 37)
        return 65536;
    return index % 20 == 11 ? 4096 : (size_t)16 << (index * 7 % 5);
}

/* The letters become the argument of an event. */
static void make_event(uint8_t *payload, size_t size)
{
    static const char before[] = "42[\"m\",\"", after[] = "\"]";
    if (size < sizeof before + sizeof after)
        fail("SIZE is too small for an event");
    memcpy(payload, before, sizeof before - 1);
    memcpy(payload + size - (sizeof after - 1), after, sizeof after - 1);
}

static void make_frames(void)
{
    variants = options.compressed ? COMPRESSED_VARIANTS : options.in_flight;
    if (options.fanout)
        variants = 1;
    if (options.mixed)
        variants = MIXED_VARIANTS;
    payloads = malloc(variants * sizeof *payloads);
    payload_sizes = malloc(variants * sizeof *payload_sizes);
    frame_sizes = malloc(variants * sizeof *frame_sizes);
    size_t whole = 0;
    for (unsigned i = 0; i < variants; i++) {
        payload_sizes[i] = options.mixed ? mixed_size(i) : options.size;
        whole += payload_sizes[i] + FWS_FRAME_HEADER_MAX;
    }
    stream = malloc(whole);
    for (unsigned i = 0; i < variants; i++) {
        payloads[i] = malloc(payload_sizes[i] + 1);
        if (options.compressed)
            fws_sample_json(payloads[i], payload_sizes[i], i);
        else
            for (size_t k = 0; k < payload_sizes[i]; k++)
                payloads[i][k] = (uint8_t)('a' + k % 26);
        if (options.socketio)
            make_event(payloads[i], payload_sizes[i]);
        add_frame(i, payloads[i]);
    }
}

int main(int count, char **values)
{
    errno = 0;
    read_options(count, values);
    fws_deflate_pool_init(&pool, 6);
    make_frames();
    double memory_before = server_memory();
    int epoll_fd = epoll_create1(0);
    peer *peers = calloc(options.connections, sizeof *peers);
    uint8_t *buffer = malloc(READ_SIZE);
    uint64_t begun = now_ns();
    for (unsigned i = 0; i < options.idle; i++)
        connect_peer(&(peer){0});
    for (unsigned i = 0; i < options.connections; i++) {
        connect_peer(&peers[i]);
        /* Edge-triggered, so that watching for writability costs nothing. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                    .data = {.ptr = &peers[i]}};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peers[i].fd, &event) < 0)
            fail("epoll_ctl");
    }
    double connecting = (double)(now_ns() - begun) / 1e9;
    fanout.sender = &peers[0];
    if (options.fanout)
        send_to_all();
    for (unsigned i = 0; !options.fanout && i < options.connections; i++)
        send_frames(&peers[i], options.in_flight);
    run_until(epoll_fd, now_ns() + (uint64_t)(options.warm_up * 1e9), buffer);

    measuring = true;
    double server_before = server_cpu(), own_before = own_cpu();
    uint64_t start = now_ns();
    run_until(epoll_fd, start + (uint64_t)(options.seconds * 1e9), buffer);
    double elapsed = (double)(now_ns() - start) / 1e9;
    double server_used = server_cpu() - server_before, own_used = own_cpu() - own_before;
    double memory = (server_memory() - memory_before) / (options.connections + options.idle);
    errno = 0;
    if (messages == 0)
        fail("not one message came back");
    printf("{\"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us\": %.2f, "
           "\"server_cpu\": %.3f, \"load_cpu\": %.3f, \"connect_rate\": %.1f, "
           "\"memory\": %.0f}\n",
           (double)messages / elapsed, percentile_us(0.50), percentile_us(0.99),
           server_used * 1e6 / (double)messages, server_used / elapsed, own_used / elapsed,
           (options.connections + options.idle) / connecting, memory);
    return 0;
}
