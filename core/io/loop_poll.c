/* poll(2), for systems without epoll. The set of descriptors is an array, and every change
 * searches it: linear, as poll itself is. A system with many thousand connections should have
 * epoll. */
#include "loop.h"

#include "wakeup.h"

#include <pthread.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int fd;
    uint8_t events;
    void *owner;
} watched;

struct fws_loop {
    fws_wakeup wakeup;
    pthread_mutex_t lock; /* protects `set` */
    watched *set;
    size_t count;
    size_t capacity;
    /* Only the waiting thread uses these: its copy of `set`. */
    struct pollfd *polled;
    void **owners;
    size_t polled_capacity;
    size_t next_first; /* the first to be reported next time, so that none is always the last */
};

fws_loop *fws_loop_new(void)
{
    fws_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return NULL;
    pthread_mutex_init(&loop->lock, NULL);
    if (!fws_wakeup_open(&loop->wakeup)) {
        fws_loop_free(loop);
        return NULL;
    }
    return loop;
}

void fws_loop_free(fws_loop *loop)
{
    fws_wakeup_close(&loop->wakeup);
    pthread_mutex_destroy(&loop->lock);
    free(loop->set);
    free(loop->polled);
    free(loop->owners);
    free(loop);
}

static bool make_room(fws_loop *loop)
{
    if (loop->count < loop->capacity)
        return true;
    size_t capacity = loop->capacity ? loop->capacity * 2 : 1;
    watched *set = realloc(loop->set, capacity * sizeof *set);
    if (set == NULL)
        return false;
    loop->set = set;
    loop->capacity = capacity;
    return true;
}

static bool change(fws_loop *loop, int fd, uint8_t old_events, uint8_t new_events, void *owner)
{
    if (old_events == 0) {
        if (!make_room(loop))
            return false;
        loop->set[loop->count++] = (watched){.fd = fd, .events = new_events, .owner = owner};
        return true;
    }
    for (size_t i = 0; i < loop->count; i++) {
        if (loop->set[i].fd != fd)
            continue;
        if (new_events == 0)
            loop->set[i] = loop->set[--loop->count];
        else
            loop->set[i].events = new_events;
        return true;
    }
    return false;
}

bool fws_loop_watch(fws_loop *loop, int fd, uint8_t old_events, uint8_t new_events, void *owner)
{
    pthread_mutex_lock(&loop->lock);
    bool done = change(loop, fd, old_events, new_events, owner);
    pthread_mutex_unlock(&loop->lock);
    if (done)
        fws_loop_wake(loop); /* the sleeping thread polls the old set, and must copy it again */
    return done;
}

/* Copies the set, so that it may change while the thread sleeps. Returns its size. */
static size_t copy_set(fws_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    size_t count = loop->count;
    if (count + 1 > loop->polled_capacity) {
        size_t capacity = loop->capacity + 1;
        struct pollfd *polled = realloc(loop->polled, capacity * sizeof *polled);
        if (polled)
            loop->polled = polled;
        void **owners = realloc(loop->owners, capacity * sizeof *owners);
        if (owners)
            loop->owners = owners;
        if (polled && owners)
            loop->polled_capacity = capacity;
        if (loop->polled_capacity < count + 1) /* no memory: wait for those that fit */
            count = loop->polled_capacity ? loop->polled_capacity - 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
        short events = 0;
        if (loop->set[i].events & FWS_READABLE)
            events |= POLLIN;
        if (loop->set[i].events & FWS_WRITABLE)
            events |= POLLOUT;
        loop->polled[i] = (struct pollfd){.fd = loop->set[i].fd, .events = events};
        loop->owners[i] = loop->set[i].owner;
    }
    pthread_mutex_unlock(&loop->lock);
    return count;
}

int fws_loop_wait(fws_loop *loop, fws_readiness *ready, int maximum, fws_ns timeout)
{
    size_t count = copy_set(loop);
    struct pollfd alone;
    struct pollfd *polled = loop->polled_capacity ? loop->polled : &alone;
    polled[count] = (struct pollfd){.fd = loop->wakeup.read_fd, .events = POLLIN};
    struct timespec limit = fws_clock_timespec(timeout < 0 ? 0 : timeout);
    if (ppoll(polled, (nfds_t)count + 1, timeout < 0 ? NULL : &limit, NULL) <= 0)
        return 0;
    if (polled[count].revents)
        fws_wakeup_clear(&loop->wakeup);
    int used = 0;
    size_t first = loop->next_first;
    for (size_t n = 0; n < count && used < maximum; n++) {
        size_t i = (first + n) % count;
        loop->next_first = i + 1;
        short what = polled[i].revents;
        if (what == 0 || (what & POLLNVAL))
            continue; /* closed since the set was taken */
        ready[used].owner = loop->owners[i];
        ready[used].ready = 0;
        if (what & (POLLIN | POLLHUP | POLLERR))
            ready[used].ready |= FWS_READABLE;
        if (what & (POLLOUT | POLLHUP | POLLERR))
            ready[used].ready |= FWS_WRITABLE;
        if (what & (POLLHUP | POLLERR))
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
    return "poll";
}
