/* The floors: the least that an echo server can do on this machine, with epoll, and with a thread
 * for each connection that sleeps in recv. One recv, one unmasking, one send per message; no queue,
 * no limit, no error handling beyond closing. It serves loadgen only: whole frames, and the
 * handshake key that loadgen always sends.
 *
 *     bare_echo PORT [threads]
 */
#include "fws.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512
#define READ_SIZE (256 * 1024)
#define THREAD_READ_SIZE 4096
#define THREAD_STACK (256 * 1024)

static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/* Turns the received frames into the echoed ones, in place; returns their size. */
static size_t echo(uint8_t *data, size_t size)
{
    uint8_t *from = data, *end = data + size, *to = data;
    fws_frame_header header;
    while (from < end &&
           fws_frame_decode(from, (size_t)(end - from), false, &header) == FWS_FRAME_OK &&
           header.length <= (uint64_t)(end - from) - header.size) {
        size_t length = (size_t)header.length;
        fws_mask_apply(from + header.size, length, header.key, 0);
        uint8_t out[FWS_FRAME_HEADER_MAX];
        size_t out_size = fws_frame_encode(out, true, header.opcode, length, NULL);
        memmove(to + out_size, from + header.size, length);
        memcpy(to, out, out_size);
        from += header.size + length;
        to += out_size + length;
    }
    return from == end ? (size_t)(to - data) : 0;
}

/* False when the connection has ended, and is closed. */
static bool serve(int fd, uint8_t *buffer, size_t room, int flags)
{
    ssize_t got = recv(fd, buffer, room, flags);
    const void *reply = buffer;
    size_t size;
    if (got > 4 && memcmp(buffer, "GET ", 4) == 0) {
        reply = answer;
        size = sizeof answer - 1;
    } else {
        size = got > 0 ? echo(buffer, (size_t)got) : 0;
    }
    if (size > 0 && send(fd, reply, size, MSG_NOSIGNAL) == (ssize_t)size)
        return true;
    close(fd);
    return false;
}

static void *serve_one(void *fd)
{
    uint8_t buffer[THREAD_READ_SIZE];
    while (serve((int)(intptr_t)fd, buffer, sizeof buffer, 0))
        ;
    return NULL;
}

static void start_thread(int fd)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    if (pthread_create(&thread, &attributes, serve_one, (void *)(intptr_t)fd) != 0)
        close(fd);
    else
        pthread_detach(thread);
    pthread_attr_destroy(&attributes);
}

static void run_threads(int listener)
{
    int fd, yes = 1;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        start_thread(fd);
    }
}

static void run_epoll(int listener)
{
    int yes = 1;
    uint8_t *buffer = malloc(READ_SIZE);
    int epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = listener}};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(epoll_fd, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd, buffer, READ_SIZE, MSG_DONTWAIT);
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            struct epoll_event added = {.events = EPOLLIN, .data = {.fd = fd}};
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &added);
        }
    }
}

int main(int count, char **values)
{
    bool threads = count == 3 && strcmp(values[2], "threads") == 0;
    if (count != 2 && !threads) {
        fprintf(stderr, "usage: bare_echo PORT [threads]\n");
        return 2;
    }
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(values[1])),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1024) < 0) {
        perror("bare_echo");
        return 1;
    }
    if (threads)
        run_threads(listener);
    else
        run_epoll(listener);
    return 1;
}
