/* The list of corked websockets: what their handlers have sent is queued, and is written when the
 * handler calls receive again.
 *
 * A handler that answers a message usually calls receive again at once, and releases the GIL there.
 * What it has sent is written at that moment: without the GIL, and several messages in one system
 * call. For handlers that do not call receive, the loop thread writes the list every
 * FWS_LOOK_INTERVAL, as long as something is corked. corking.h decides which websockets are corked.
 *
 * Threads: no lock of its own; the lock of fws_work protects it. Memory: each entry of the list
 * stands for one reference to its websocket.
 */
#ifndef FWS_WEBSOCKET_CORK_H
#define FWS_WEBSOCKET_CORK_H

#include "work_entry.h"

#include "../io/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    fws_work_link *first; /* each entry stands for one reference */
    fws_ns patience;
    fws_ns flush_at;       /* when the loop thread writes the list; 0: never */
    uint32_t empty_rounds; /* times in a row that the loop thread found the list empty */
} fws_cork;

void fws_cork_init(fws_cork *cork);

/* Adds an entry and takes over a reference. True: flush_at was set, and the loop thread has to
 * wake by then. */
bool fws_cork_push(fws_cork *cork, fws_work_link *flush);

/* Sets flush_at to a time that has passed: the list is to be written at once. */
void fws_cork_expire(fws_cork *cork);

/* Empties and returns the list if flush_at has passed, and sets the next flush_at; else NULL. */
fws_work_link *fws_cork_remove_overdue(fws_cork *cork);

/* Empties and returns the list. */
fws_work_link *fws_cork_remove_all(fws_cork *cork);

#endif
