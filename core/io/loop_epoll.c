#include "loop.h"

#include "wakeup.h"

#include "../tuning.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct fws_loop {
    int epoll_fd;
    fws_wakeup wakeup;
};

fws_loop *fws_loop_new(void)
{
    fws_loop *loop = malloc(sizeof *loop);
    if (loop == NULL)
        return NULL;
    loop->wakeup = FWS_WAKEUP_CLOSED;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (loop->epoll_fd < 0 || !fws_wakeup_open(&loop->wakeup) ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wakeup.read_fd, &event) < 0) {
        fws_loop_free(loop);
        return NULL;
    }
    return loop;
}

void fws_loop_free(fws_loop *loop)
{
    fws_wakeup_close(&loop->wakeup);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop);
}

bool fws_loop_watch(fws_loop *loop, int fd, uint8_t old_events, uint8_t new_events, void *owner)
{
    struct epoll_event event = {.data = {.ptr = owner}};
    if (new_events & FWS_READABLE)
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (new_events & FWS_WRITABLE)
        event.events |= EPOLLOUT;
    if (new_events & FWS_EDGE)
        event.events |= EPOLLET;
    int operation = EPOLL_CTL_MOD;
    if (old_events == 0)
        operation = EPOLL_CTL_ADD;
    else if (new_events == 0)
        operation = EPOLL_CTL_DEL;
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0;
}

/* Rounded up: if it were rounded down, the loop would spin through the last millisecond before a
 * deadline. */
static int milliseconds(fws_ns timeout)
{
    if (timeout < 0)
        return -1;
    fws_ns whole = (timeout + FWS_NS_PER_MS - 1) / FWS_NS_PER_MS;
    return whole > INT32_MAX ? INT32_MAX : (int)whole;
}

int fws_loop_wait(fws_loop *loop, fws_readiness *ready, int maximum, fws_ns timeout)
{
    struct epoll_event events[FWS_READY_MAX];
    int count =
        epoll_wait(loop->epoll_fd, events, maximum < FWS_READY_MAX ? maximum : FWS_READY_MAX,
                   milliseconds(timeout));
    int used = 0;
    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].events;
        if (events[i].data.ptr == NULL) {
            fws_wakeup_clear(&loop->wakeup);
            continue;
        }
        ready[used].owner = events[i].data.ptr;
        ready[used].ready = 0;
        if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            ready[used].ready |= FWS_READABLE;
        if (what & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            ready[used].ready |= FWS_WRITABLE;
        if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            ready[used].ready |= FWS_HUNG_UP;
        used++;
    }
    return used;
}

void fws_loop_wake(fws_loop *loop)
{
    fws_wakeup_ring(&loop->wakeup);
}

const char *fws_loop_name(void)
{
    return "epoll";
}
