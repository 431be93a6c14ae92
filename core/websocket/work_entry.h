/* The part of a websocket that fws_work lists: links, and its timer.
 *
 * Threads: the lock of fws_work protects it. Memory: part of the websocket.
 */
#ifndef FWS_WEBSOCKET_WORK_ENTRY_H
#define FWS_WEBSOCKET_WORK_ENTRY_H

#include "../io/timers.h"

#include <stdbool.h>

/* A place in a list; in at most one list at a time. */
typedef struct fws_work_link {
    struct fws_work_link *next;
} fws_work_link;

typedef struct fws_work_entry {
    struct fws_work_entry *previous, *next; /* in fws_work.all */
    struct fws_work_entry *older, *younger; /* in fws_work.unfreed */
    bool is_unfreed;                        /* it is in fws_work.unfreed */
    fws_work_link retired;
    fws_timer timer;
} fws_work_entry;

#endif
