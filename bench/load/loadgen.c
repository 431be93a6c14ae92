/* The load generator: echo over many WebSocket connections from one thread, measured.
 *
 *     loadgen PORT PATH CONNECTIONS IN_FLIGHT SIZE WARM_UP_S SECONDS SERVER_PID
 *             [compressed] [mixed] [idle=N] [fanout] [socketio] [tls]
 *
 * Every connection keeps IN_FLIGHT messages of SIZE bytes on the way and sends the next as soon as
 * one comes back. They are binary, or, with "compressed", text messages of JSON; permessage-deflate
 * is then offered, they are sent compressed, and must come back so. "mixed": sizes between 16 bytes
 * and 64 KiB, mostly small ones, whatever SIZE is. N more connections are open and silent.
 * "fanout": only one connection sends, all of them receive, and the next message is sent when they
 * have. "socketio": messages are events of Socket.IO. "tls": over TLS. Prints one line of JSON:
 * messages per second, round-trip percentiles, the server's CPU time per message and memory per
 * connection, and how busy this program was itself. Exits with 1, and says so, when a peer answers
 * anything else than the echo.
 */
#include "figures.h"
#include "frames.h"
#include "line.h"
#include "options.h"

#include "fws.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define READ_SIZE (256 * 1024)
#define BATCH 512
#ifdef FWS_HAVE_OPENSSL
#define TLS_OPTION " [tls]"
#else
#define TLS_OPTION ""
#endif
/* Section 1.3 of RFC 6455 gives this pair, which saves this program a SHA-1. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef struct {
    load_line line;
    fws_connection protocol;
    uint64_t *sent_at; /* a ring: echoes come back in order */
    unsigned first, in_flight;
    unsigned next_sent, next_echo; /* which of the variants */
    size_t position;               /* in the stream of frames: what is sent next */
    size_t unsent;                 /* bytes of frames that the socket has not taken */
} peer;

load_options options;

/* What a browser offers, and what this program therefore understands. */
static const fws_deflate_parameters offered = {.server_max_window_bits = 15,
                                               .client_max_window_bits = 15};
static fws_deflate_pool pool;

static struct {
    peer *sender;
    unsigned missing;
    uint64_t sent_at;
} fanout;
static bool measuring;

/* Reads what the server answered to the offer. */
static void agree(peer *p, const char *answer)
{
    fws_deflate_parameters agreed;
    static const char name[] = "\nsec-websocket-extensions:";
    const char *found = strcasestr(answer, name), *value = found ? found + sizeof name - 1 : "";
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
            cursor = buffer;
            have = line_receive(&p->line, buffer, room, true);
        }
        if (event.length == 0 || event.data[0] != (uint8_t)expected)
            fail("Socket.IO was not opened as expected");
        if (expected == '0' && line_send(&p->line, connect, sizeof connect) != sizeof connect)
            fail("send");
        expected = expected == '0' ? '4' : '\0';
        have -= (size_t)(cursor - buffer);
        memmove(buffer, cursor, have);
    }
}

/* For the pongs that the state machine makes ready when the server pings; they are not sent. */
static void mask_with_zeros(uint8_t key[4])
{
    memset(key, 0, 4);
}

static void connect_peer(peer *p)
{
    line_open(&p->line, options.port, options.tls);
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
    if (line_send(&p->line, text, (size_t)size) != (size_t)size)
        fail("handshake");
    size_t have = 0;
    char *end;
    for (;;) {
        have += line_receive(&p->line, text + have, sizeof text - 1 - have, true);
        text[have] = '\0';
        if ((end = strstr(text, "\r\n\r\n")) != NULL)
            break;
    }
    errno = 0;
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 || strstr(text, ACCEPT) == NULL)
        fail("handshake was refused");
    fws_connection_init(&p->protocol, FWS_ROLE_CLIENT, &(fws_limits){0}, mask_with_zeros);
    if (options.compressed)
        agree(p, text);
    size_t head = (size_t)(end + 4 - text);
    if (options.socketio)
        join_namespace(p, (uint8_t *)text + head, have - head, sizeof text - head);
    else if (have > head)
        fail("the server spoke before the first message");
    p->sent_at = calloc(options.in_flight, sizeof *p->sent_at);
}

/* Writes the frames that are to be sent. */
static void flush(peer *p)
{
    while (p->unsent > 0) {
        size_t left = frames.stream_size - p->position;
        size_t size = p->unsent < left ? p->unsent : left;
        size_t sent = line_send(&p->line, frames.stream + p->position, size);
        if (sent == 0)
            return;
        p->unsent -= sent;
        p->position = (p->position + sent) % frames.stream_size;
    }
}

static void send_frames(peer *p, unsigned count)
{
    uint64_t now = now_ns();
    for (unsigned i = 0; i < count; i++) {
        p->sent_at[(p->first + p->in_flight++) % options.in_flight] = now;
        p->unsent += frames.frame_sizes[p->next_sent];
        p->next_sent = (p->next_sent + 1) % frames.variants;
    }
    flush(p);
}

/* Counts a delivery to one of the connections; true when it was the last of this message. */
static bool count_delivery(uint64_t now)
{
    if (measuring)
        figures_count(now - fanout.sent_at);
    return --fanout.missing == 0;
}

static void count_echo(peer *p, const fws_event *event, uint64_t now)
{
    errno = 0;
    if (event->type != FWS_EVENT_MESSAGE || event->length != frames.payload_sizes[p->next_echo] ||
        memcmp(event->data, frames.payloads[p->next_echo], event->length) != 0)
        fail("a peer answered something else than the echo");
    p->next_echo = (p->next_echo + 1) % frames.variants;
    if (options.fanout)
        return;
    uint64_t sent_at = p->sent_at[p->first];
    p->first = (p->first + 1) % options.in_flight;
    p->in_flight--;
    if (measuring)
        figures_count(now - sent_at);
}

static void send_to_all(void)
{
    fanout.missing = options.connections;
    fanout.sent_at = now_ns();
    fanout.sender->unsent += frames.frame_sizes[0];
    flush(fanout.sender);
}

/* One read; true when there may be more (the events are edges, so all has to be read). */
static bool receive(peer *p, uint8_t *buffer)
{
    size_t got = line_receive(&p->line, buffer, READ_SIZE, false);
    if (got == 0)
        return false;
    uint64_t now = now_ns();
    uint8_t *cursor = buffer;
    fws_event event;
    unsigned echoes = 0;
    while (fws_connection_receive(&p->protocol, &cursor, buffer + got, &event) != FWS_EVENT_NONE) {
        if (options.compressed && event.type == FWS_EVENT_MESSAGE &&
            p->protocol.compressed_size >= options.size)
            fail("a peer answered without compression");
        if (event.type == FWS_EVENT_PING || event.type == FWS_EVENT_MORE)
            continue; /* the measurement is shorter than any ping timeout */
        count_echo(p, &event, now);
        if (options.fanout && count_delivery(now))
            send_to_all();
        echoes++;
    }
    if (echoes > 0 && !options.fanout)
        send_frames(p, echoes);
    return line_may_have_more(&p->line, got, READ_SIZE);
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
             "[compressed] [mixed] [idle=N] [fanout] [socketio]" TLS_OPTION);
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
        else if (strcmp(values[i], "tls") == 0)
            options.tls = true;
        else if (sscanf(values[i], "idle=%u", &options.idle) != 1)
            fail("unknown option");
    }
    if (options.socketio)
        options.path = "/socket.io/?EIO=4&transport=websocket";
    if (options.connections == 0 || options.in_flight == 0)
        fail("CONNECTIONS and IN_FLIGHT are at least 1");
}

int main(int count, char **values)
{
    errno = 0;
    read_options(count, values);
    fws_deflate_pool_init(&pool, 6);
    frames_make(&pool);
    double memory_before = memory_of(options.server_pid);
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
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peers[i].line.fd, &event) < 0)
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
    double server_before = cpu_of(options.server_pid), own_before = own_cpu();
    uint64_t start = now_ns();
    run_until(epoll_fd, start + (uint64_t)(options.seconds * 1e9), buffer);
    double elapsed = (double)(now_ns() - start) / 1e9;
    double server_used = cpu_of(options.server_pid) - server_before,
           own_used = own_cpu() - own_before;
    double memory =
        (memory_of(options.server_pid) - memory_before) / (options.connections + options.idle);
    errno = 0;
    uint64_t messages = figures_messages();
    if (messages == 0)
        fail("not one message came back");
    printf("{\"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us\": %.2f, "
           "\"server_cpu\": %.3f, \"load_cpu\": %.3f, \"connect_rate\": %.1f, "
           "\"memory\": %.0f}\n",
           (double)messages / elapsed, figures_percentile_us(0.50), figures_percentile_us(0.99),
           server_used * 1e6 / (double)messages, server_used / elapsed, own_used / elapsed,
           (options.connections + options.idle) / connecting, memory);
    return 0;
}
