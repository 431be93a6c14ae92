#include "wakeups.h"

void fws_wakeups_init(fws_wakeups *wakeups)
{
    pthread_mutex_init(&wakeups->lock, NULL);
    wakeups->wanted = false;
    wakeups->count = 0;
}

bool fws_wakeups_take(fws_wakeups *wakeups, fws_wakeup *wakeup)
{
    pthread_mutex_lock(&wakeups->lock);
    wakeups->wanted = true;
    bool kept = wakeups->count > 0;
    if (kept)
        *wakeup = wakeups->kept[--wakeups->count];
    pthread_mutex_unlock(&wakeups->lock);
    return kept || fws_wakeup_open(wakeup);
}

void fws_wakeups_return(fws_wakeups *wakeups, fws_wakeup *wakeup)
{
    pthread_mutex_lock(&wakeups->lock);
    if (wakeups->wanted && wakeups->count < FWS_WAKEUPS_KEPT) {
        wakeups->kept[wakeups->count++] = *wakeup;
        *wakeup = FWS_WAKEUP_CLOSED;
    }
    pthread_mutex_unlock(&wakeups->lock);
    fws_wakeup_close(wakeup);
}

void fws_wakeups_close(fws_wakeups *wakeups)
{
    pthread_mutex_lock(&wakeups->lock);
    wakeups->wanted = false;
    while (wakeups->count > 0)
        fws_wakeup_close(&wakeups->kept[--wakeups->count]);
    pthread_mutex_unlock(&wakeups->lock);
}

void fws_wakeups_after_fork(fws_wakeups *wakeups)
{
    pthread_mutex_init(&wakeups->lock, NULL); /* a thread of the parent may have held it */
    fws_wakeups_close(wakeups);
}
