#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* dup3 */
#endif

#include "transport.h"

#include "../tuning.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#elif defined(__FreeBSD__)
#include <sys/filio.h>
#include <sys/ioctl.h>
#endif

/* The system calls without libc: recv and send of libc are cancellation points, which costs two
 * atomic operations in a process with threads, some 30 ns for each call. No thread of ours is
 * ever cancelled. */
#if FWS_USE_RAW_CALLS && defined(SYS_recvfrom) && defined(SYS_sendto)
#define RECEIVE(fd_, data_, size_, flags_)                                                         \
    (ssize_t) syscall(SYS_recvfrom, fd_, data_, size_, flags_, NULL, NULL)
#define SEND(fd_, data_, size_, flags_)                                                            \
    (ssize_t) syscall(SYS_sendto, fd_, data_, size_, flags_, NULL, 0)
#else
#define RECEIVE recv
#define SEND send
#endif

static fws_transport_status status_of(ssize_t received, size_t *moved)
{
    if (received > 0) {
        *moved = (size_t)received;
        return FWS_TRANSPORT_OK;
    }
    *moved = 0;
    if (received == 0)
        return FWS_TRANSPORT_EOF;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return FWS_TRANSPORT_AGAIN;
    return FWS_TRANSPORT_BROKEN;
}

fws_transport_status fws_transport_receive(int fd, void *buffer, size_t size, size_t *moved)
{
    ssize_t received;
    do
        received = RECEIVE(fd, buffer, size, MSG_DONTWAIT);
    while (received < 0 && errno == EINTR);
    return status_of(received, moved);
}

bool fws_transport_allow_blocking(int fd, unsigned timeout_ms)
{
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0 &&
           (!(flags & O_NONBLOCK) || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0);
}

fws_transport_status fws_transport_receive_blocking(int fd, void *buffer, size_t size,
                                                    size_t *moved)
{
    ssize_t received = RECEIVE(fd, buffer, size, 0);
    if (received < 0 && errno == EINTR) {
        *moved = 0;
        return FWS_TRANSPORT_AGAIN;
    }
    return status_of(received, moved);
}

#ifndef MSG_MORE
#define MSG_MORE 0
#endif

fws_transport_status fws_transport_send(int fd, struct iovec *vector, int count, bool end_follows,
                                        size_t *moved)
{
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = (size_t)count};
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (end_follows ? MSG_MORE : 0);
    ssize_t sent;
    do
        sent = count == 1 ? SEND(fd, vector->iov_base, vector->iov_len, flags)
                          : sendmsg(fd, &message, flags);
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

size_t fws_transport_unsent(int fd)
{
    int unsent = 0;
#if defined(SIOCOUTQ)
    if (ioctl(fd, SIOCOUTQ, &unsent) < 0)
        return 0;
#elif defined(FIONWRITE)
    if (ioctl(fd, FIONWRITE, &unsent) < 0)
        return 0;
#elif defined(SO_NWRITE)
    socklen_t size = sizeof unsent;
    if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &unsent, &size) < 0)
        return 0;
#else
    (void)fd;
#endif
    return unsent > 0 ? (size_t)unsent : 0;
}

void fws_transport_set_no_delay(int fd)
{
    int yes = 1;
    /* Fails on a Unix socket, which does not delay small frames. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static bool pair(int ends[2])
{
#ifdef SOCK_CLOEXEC
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
#else
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return false;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return true;
#endif
}

/* dup2, with FD_CLOEXEC set in the same step where the system can do that, so that a program
 * that is started meanwhile does not inherit it. */
static bool replace(int fd, int by)
{
#ifdef __linux__
    return dup3(by, fd, O_CLOEXEC) >= 0;
#else
    return dup2(by, fd) >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) >= 0;
#endif
}

bool fws_transport_exchange(int fd, int by, int *ours)
{
    *ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (*ours < 0)
        return false;
    if (replace(fd, by))
        return true;
    int error = errno;
    close(*ours);
    errno = error;
    return false;
}

bool fws_transport_take_over(int fd, int *ours, int *far_end)
{
    int ends[2], flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !pair(ends))
        return false;
    shutdown(ends[1], SHUT_WR);
    /* The owner's socket keeps its flags: an owner that expects a non-blocking socket must not
     * be blocked by it. */
    bool done = (flags & O_NONBLOCK) == 0 || fcntl(ends[0], F_SETFL, flags) == 0;
    done = done && fws_transport_exchange(fd, ends[0], ours);
    int error = errno;
    close(ends[0]);
    if (!done)
        close(ends[1]);
    errno = error;
    *far_end = ends[1];
    return done;
}

void fws_transport_end_output(int fd)
{
    shutdown(fd, SHUT_WR);
}
