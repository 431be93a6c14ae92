/* A first-in, first-out queue of websockets whose callbacks are to be run, or have been run. The
 * websockets are linked through themselves, so that queueing needs no memory and cannot fail. A
 * websocket is in at most one such queue.
 *
 * Threads: no lock of its own; the owner of the queue says which lock protects it. Memory: each
 * entry stands for one reference. A queue must not be copied, because `last` may point into it.
 */
#ifndef FWS_WEBSOCKET_RUN_QUEUE_H
#define FWS_WEBSOCKET_RUN_QUEUE_H

#include "work_entry.h"

#include <stddef.h>

typedef struct {
    fws_work_link *first, **last; /* each entry stands for one reference */
    size_t count;
} fws_run_queue;

void fws_run_queue_init(fws_run_queue *queue);
void fws_run_queue_push(fws_run_queue *queue, fws_work_link *link);
/* Puts it in front of all others. */
void fws_run_queue_push_front(fws_run_queue *queue, fws_work_link *link);
/* NULL when it is empty. */
fws_work_link *fws_run_queue_pop(fws_run_queue *queue);
/* All of `from` go behind those of `to`. */
void fws_run_queue_move(fws_run_queue *from, fws_run_queue *to);

#endif
