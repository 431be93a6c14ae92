#include "line.h"

#include "figures.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#ifdef FWS_HAVE_OPENSSL
#include <openssl/ssl.h>

static void *begin_tls(int fd)
{
    static SSL_CTX *context;
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    SSL *tls = SSL_new(context);
    if (tls == NULL || !SSL_set_fd(tls, fd) || SSL_connect(tls) != 1)
        fail("TLS handshake");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return tls;
}

/* 0: not now. */
static size_t result_of(SSL *tls, int result, const char *what)
{
    if (result > 0)
        return (size_t)result;
    int error = SSL_get_error(tls, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail(what);
    return 0;
}

static size_t tls_send(load_line *line, const void *data, size_t size)
{
    return result_of(line->tls, SSL_write(line->tls, data, (int)size), "send");
}

static size_t tls_receive(load_line *line, void *data, size_t size)
{
    return result_of(line->tls, SSL_read(line->tls, data, (int)size), "a connection was lost");
}
#else
static void *begin_tls(int fd)
{
    (void)fd;
    errno = 0;
    fail("built without TLS: libssl-dev was missing");
}

static size_t tls_send(load_line *line, const void *data, size_t size)
{
    (void)line, (void)data, (void)size;
    return 0;
}

static size_t tls_receive(load_line *line, void *data, size_t size)
{
    (void)line, (void)data, (void)size;
    return 0;
}
#endif

void line_open(load_line *line, unsigned port, bool tls)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    line->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (line->fd < 0 || connect(line->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    int yes = 1;
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    line->tls = tls ? begin_tls(line->fd) : NULL;
}

size_t line_send(load_line *line, const void *data, size_t size)
{
    if (line->tls != NULL)
        return tls_send(line, data, size);
    ssize_t sent = send(line->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    if (sent <= 0)
        fail("send");
    return (size_t)sent;
}

static size_t receive_now(load_line *line, void *data, size_t size)
{
    if (line->tls != NULL)
        return tls_receive(line, data, size);
    ssize_t got = recv(line->fd, data, size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        fail("a connection was lost");
    return (size_t)got;
}

size_t line_receive(load_line *line, void *data, size_t size, bool wait)
{
    size_t got;
    while ((got = receive_now(line, data, size)) == 0 && wait)
        poll(&(struct pollfd){.fd = line->fd, .events = POLLIN}, 1, -1);
    return got;
}

bool line_may_have_more(const load_line *line, size_t size, size_t room)
{
    return line->tls != NULL ? size > 0 : size == room; /* TLS gives one record at a time */
}
