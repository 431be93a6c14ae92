#include "wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>

bool fws_wakeup_open(fws_wakeup *wakeup)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    wakeup->read_fd = wakeup->write_fd = fd;
    return fd >= 0;
}

#else

bool fws_wakeup_open(fws_wakeup *wakeup)
{
    int ends[2];
    if (pipe(ends) < 0) {
        *wakeup = FWS_WAKEUP_CLOSED;
        return false;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    wakeup->read_fd = ends[0];
    wakeup->write_fd = ends[1];
    return true;
}

#endif

void fws_wakeup_close(fws_wakeup *wakeup)
{
    fws_wakeup old = *wakeup;
    *wakeup = FWS_WAKEUP_CLOSED; /* first, because another thread may get the same numbers once they
                                    are closed */
    if (old.read_fd >= 0)
        close(old.read_fd);
    if (old.write_fd >= 0 && old.write_fd != old.read_fd)
        close(old.write_fd);
}

void fws_wakeup_ring(const fws_wakeup *wakeup)
{
    const uint64_t one = 1;
    /* A full counter or pipe (EAGAIN) is readable already. */
    while (write(wakeup->write_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void fws_wakeup_clear(const fws_wakeup *wakeup)
{
    uint64_t buffer[16];
    ssize_t size;
    do
        size = read(wakeup->read_fd, buffer, sizeof buffer);
    while (size == (ssize_t)sizeof buffer || (size < 0 && errno == EINTR));
}
