#include "notifier.h"

#include "internal.h"

#include "../io/wakeup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct fws_notifier {
    atomic_size_t references;
    pthread_mutex_t lock;
    fws_wakeup wakeup;    /* readable while `first` is not NULL */
    fws_websocket *first; /* changed and not yet drained; each with a reference */
    fws_websocket **last;
    bool closed;
    pid_t process; /* the process that made the notifier */
};

fws_notifier *fws_notifier_new(void)
{
    fws_notifier *notifier = calloc(1, sizeof *notifier);
    if (notifier == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (!fws_wakeup_open(&notifier->wakeup)) {
        free(notifier);
        return NULL;
    }
    atomic_init(&notifier->references, 1);
    notifier->process = getpid();
    pthread_mutex_init(&notifier->lock, NULL);
    notifier->last = &notifier->first;
    return notifier;
}

fws_notifier *fws_notifier_keep(fws_notifier *notifier)
{
    atomic_fetch_add_explicit(&notifier->references, 1, memory_order_relaxed);
    return notifier;
}

void fws_notifier_drop(fws_notifier *notifier)
{
    if (atomic_fetch_sub_explicit(&notifier->references, 1, memory_order_acq_rel) != 1)
        return;
    fws_wakeup_close(&notifier->wakeup);
    pthread_mutex_destroy(&notifier->lock);
    free(notifier);
}

void fws_notifier_push(fws_notifier *notifier, fws_websocket *websocket)
{
    bool was_empty = false;
    pthread_mutex_lock(&notifier->lock);
    if (!notifier->closed && !websocket->is_changed) {
        websocket->is_changed = true;
        websocket->next_changed = NULL;
        fws_websocket_keep(websocket);
        was_empty = notifier->first == NULL;
        *notifier->last = websocket;
        notifier->last = &websocket->next_changed;
    }
    pthread_mutex_unlock(&notifier->lock);
    if (was_empty)
        fws_wakeup_ring(&notifier->wakeup);
}

int fws_notifier_fd(const fws_notifier *notifier)
{
    return notifier->wakeup.read_fd;
}

size_t fws_notifier_drain(fws_notifier *notifier, fws_websocket **changed, size_t maximum)
{
    size_t count = 0;
    pthread_mutex_lock(&notifier->lock);
    while (count < maximum && notifier->first != NULL) {
        changed[count] = notifier->first;
        changed[count]->is_changed = false;
        notifier->first = changed[count++]->next_changed;
    }
    if (notifier->first == NULL) {
        notifier->last = &notifier->first;
        /* With the lock, so that no ring is lost: the next fws_notifier_push finds the list
         * empty and rings. */
        fws_wakeup_clear(&notifier->wakeup);
    }
    pthread_mutex_unlock(&notifier->lock);
    return count;
}

/* A thread of the parent may have held the lock and may have been changing the list. */
static void abandon(fws_notifier *notifier)
{
    pthread_mutex_init(&notifier->lock, NULL);
    notifier->closed = true;
    notifier->first = NULL;
    notifier->last = &notifier->first;
    notifier->process = getpid();
}

void fws_notifier_after_fork(fws_notifier *notifier)
{
    if (notifier->process != getpid())
        abandon(notifier);
    fws_notifier_drop(notifier);
}

void fws_notifier_close(fws_notifier *notifier)
{
    fws_websocket *changed[FWS_BATCH];
    size_t count;
    if (notifier->process != getpid())
        abandon(notifier);
    pthread_mutex_lock(&notifier->lock);
    notifier->closed = true;
    pthread_mutex_unlock(&notifier->lock);
    do { /* without the lock: the last reference to a websocket drops one to the notifier */
        count = fws_notifier_drain(notifier, changed, FWS_BATCH);
        for (size_t i = 0; i < count; i++)
            fws_websocket_drop(changed[i]);
    } while (count > 0);
    fws_notifier_drop(notifier);
}
