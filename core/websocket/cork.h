/* Sends of handlers that are written when the handler comes back for the next message.
 *
 * A handler that answers a message comes back at once, and gives the GIL away as it does. What it
 * has sent is written there: without the GIL, and several messages together. The loop looks, every
 * FWS_CORK_PATIENCE as long as there is anything, for what handlers have left that stay away; their
 * next sends are written at once, until they have been back FWS_QUICK_RETURNS times.
 *
 * Threads: no lock of its own; the lock of fws_work.
 */
#ifndef FWS_WEBSOCKET_CORK_H
#define FWS_WEBSOCKET_CORK_H

#include "work_entry.h"

#include "../io/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWS_CORK_PATIENCE (2 * FWS_NS_PER_MS)
#define FWS_CORK_MAX ((size_t)16 * 1024) /* bytes that may wait so, of one websocket */
#define FWS_QUICK_RETURNS 32

typedef struct {
    fws_work_link *first; /* each stands for a reference */
    fws_ns patience;
    fws_ns flush_at;       /* when the loop looks; 0: it does not */
    uint32_t empty_rounds; /* looks at nothing, in a row */
} fws_cork;

void fws_cork_init(fws_cork *cork);

/* Takes over a reference. True: the loop is to know of flush_at. */
bool fws_cork_push(fws_cork *cork, fws_work_link *flush);

/* They may not wait any longer. */
void fws_cork_expire(fws_cork *cork);

/* The list, if it is time to look at it, and NULL otherwise. */
fws_work_link *fws_cork_remove_overdue(fws_cork *cork);

/* The list, and there is none any more. */
fws_work_link *fws_cork_remove_all(fws_cork *cork);

#endif
