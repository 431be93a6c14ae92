/* Wake-ups that nobody needs at the moment, for the next handlers: to open one for each connection
 * and to close it would be two system calls for each.
 *
 * Threads: any; its own lock, which may be taken under any other.
 */
#ifndef FWS_ENGINE_WAKEUPS_H
#define FWS_ENGINE_WAKEUPS_H

#include "wakeup.h"

#include <pthread.h>

#define FWS_WAKEUPS_KEPT 32

typedef struct {
    pthread_mutex_t lock; /* protects what follows */
    bool wanted;          /* some have been taken, and fws_wakeups_close has not been called */
    int count;
    fws_wakeup kept[FWS_WAKEUPS_KEPT];
} fws_wakeups;

void fws_wakeups_init(fws_wakeups *wakeups);

/* One that is kept, or a new one; false with errno. */
bool fws_wakeups_take(fws_wakeups *wakeups, fws_wakeup *wakeup);

/* Keeps or closes it. It has not been rung, and nobody polls it. */
void fws_wakeups_return(fws_wakeups *wakeups, fws_wakeup *wakeup);

/* Closes all that are kept, and keeps none until one is taken. */
void fws_wakeups_close(fws_wakeups *wakeups);

/* In a forked child, which has copies of the parent's. */
void fws_wakeups_after_fork(fws_wakeups *wakeups);

#endif
