#include "transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

fws_transport_status fws_transport_receive(int fd, void *buffer, size_t size, size_t *moved)
{
    ssize_t received;
    do
        received = recv(fd, buffer, size, MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    if (received > 0) {
        *moved = (size_t)received;
        return FWS_TRANSPORT_OK;
    }
    *moved = 0;
    if (received == 0)
        return FWS_TRANSPORT_END;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return FWS_TRANSPORT_AGAIN;
    return FWS_TRANSPORT_BROKEN;
}

fws_transport_status fws_transport_send(int fd, struct iovec *vector, int count, size_t *moved)
{
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = (size_t)count};
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *moved = (size_t)sent;
        return FWS_TRANSPORT_OK;
    }
    *moved = 0;
    /* ENOBUFS: the kernel has no memory for it just now; the peer is not to blame. */
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
        return FWS_TRANSPORT_AGAIN;
    return FWS_TRANSPORT_BROKEN;
}

void fws_transport_prepare(int fd)
{
    int yes = 1;
    /* Fails on a Unix socket, which has no such delay. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

void fws_transport_end(int fd)
{
    shutdown(fd, SHUT_WR);
}
