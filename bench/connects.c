/* How fast a server takes up connections: connect, handshake, one echo, closing handshake, again.
 *
 *     connects PORT PATH AT_ONCE STAY_S WARM_UP_S SECONDS [page]
 *
 * With "page", an ordinary page instead: connect, GET, read it, again; what the server needs for
 * that. AT_ONCE threads do so one connection after the other, and stay for STAY_S after the echo.
 * Prints one line of JSON: connections per second, and how busy this program was itself. Exits with
 * 1, and says so, at any other answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The pair of RFC 6455 section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static unsigned port;
static const char *path;
static double stay;
static bool page;
static atomic_ulong done;
static atomic_bool stopping;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "connects: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void send_all(int fd, const void *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("send");
}

static void receive_exactly(int fd, void *buffer, size_t size, const char *what)
{
    ssize_t got = recv(fd, buffer, size, MSG_WAITALL);
    if (got >= 0)
        errno = 0;
    if (got != (ssize_t)size)
        fail(what);
}

static void shake_hands(int fd)
{
    char text[4096];
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY
                        "\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        path, port);
    send_all(fd, text, (size_t)size);
    size_t have = 0;
    do { /* no server sends anything before the first message, so nothing follows the headers */
        ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
        if (got <= 0)
            fail("handshake was not answered");
        have += (size_t)got;
        text[have] = '\0';
    } while (strstr(text, "\r\n\r\n") == NULL);
    errno = 0;
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 || strstr(text, ACCEPT) == NULL)
        fail("handshake was refused");
}

static void sleep_for(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* Masked with the key 0. */
static const unsigned char message[] = {0x82, 0x84, 0, 0, 0, 0, 'e', 'c', 'h', 'o'};
static const unsigned char echo[] = {0x82, 0x04, 'e', 'c', 'h', 'o'};
static const unsigned char bye[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};

static int connect_to_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void one_connection(void)
{
    unsigned char answer[sizeof echo], rest[256];
    int fd = connect_to_server();
    shake_hands(fd);
    send_all(fd, message, sizeof message);
    receive_exactly(fd, answer, sizeof answer, "a message was not answered");
    if (memcmp(answer, echo, sizeof echo) != 0)
        fail("a peer answered something else than the echo");
    sleep_for(stay);
    send_all(fd, bye, sizeof bye);
    /* The server ends the connection (RFC 6455 section 7.1.1). Whether it sends a close frame
     * first is not checked: flask-sock does so only sometimes. */
    while (recv(fd, rest, sizeof rest, 0) > 0)
        ;
    close(fd);
}

static void one_page(void)
{
    char text[4096];
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                        "Connection: close\r\n\r\n",
                        path, port);
    int fd = connect_to_server();
    send_all(fd, text, (size_t)size);
    ssize_t got = recv(fd, text, sizeof text, MSG_WAITALL);
    errno = 0;
    if (got < 12 || strncmp(text, "HTTP/1.1 200", 12) != 0)
        fail("a page was not answered with 200");
    close(fd);
}

static void *run(void *argument)
{
    (void)argument;
    while (!atomic_load(&stopping)) {
        if (page)
            one_page();
        else
            one_connection();
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

static double cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **values)
{
    errno = 0;
    page = count == 8 && strcmp(values[7], "page") == 0;
    if (count != 7 && !page)
        fail("usage: connects PORT PATH AT_ONCE STAY_S WARM_UP_S SECONDS [page]");
    port = (unsigned)atoi(values[1]);
    path = values[2];
    int at_once = atoi(values[3]);
    stay = atof(values[4]);
    double seconds = atof(values[6]);
    for (int i = 0; i < at_once; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, run, NULL);
    }
    sleep_for(atof(values[5]));
    unsigned long before = atomic_load(&done);
    double cpu_before = cpu();
    sleep_for(seconds);
    unsigned long connections = atomic_load(&done) - before;
    printf("{\"connect_rate\": %.1f, \"load_cpu\": %.3f}\n", (double)connections / seconds,
           (cpu() - cpu_before) / seconds);
    return 0;
}
