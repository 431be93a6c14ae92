/* What a websocket has to be listed by in fws_work: links, and its timer.
 *
 * Threads: protected by the lock of fws_work.
 */
#ifndef FWS_WEBSOCKET_WORK_ENTRY_H
#define FWS_WEBSOCKET_WORK_ENTRY_H

#include "../io/timers.h"

#include <stdbool.h>

/* A place in one list; in at most one at a time. */
typedef struct fws_work_link {
    struct fws_work_link *next;
} fws_work_link;

typedef struct fws_work_entry {
    struct fws_work_entry *previous, *next; /* in fws_work.all */
    struct fws_work_entry *older, *younger; /* in fws_work.unfreed */
    bool is_unfreed;                        /* is it there? */
    fws_work_link retired;
    fws_timer timer;
} fws_work_entry;

#endif
