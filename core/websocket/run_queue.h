/* Websockets whose callbacks are to be run, or have been, first come, first served: linked through
 * themselves, so that to queue one cannot fail. One is in one such queue at a time.
 *
 * Threads: no lock of its own; see who owns the queue. Not to be copied.
 */
#ifndef FWS_WEBSOCKET_RUN_QUEUE_H
#define FWS_WEBSOCKET_RUN_QUEUE_H

#include "work_entry.h"

#include <stddef.h>

typedef struct {
    fws_work_link *first, **last; /* each stands for a reference */
    size_t count;
} fws_run_queue;

void fws_run_queue_init(fws_run_queue *queue);
void fws_run_queue_push(fws_run_queue *queue, fws_work_link *link);
/* Before all others. */
void fws_run_queue_push_front(fws_run_queue *queue, fws_work_link *link);
/* NULL when it is empty. */
fws_work_link *fws_run_queue_pop(fws_run_queue *queue);
/* All of `from` go behind those of `to`. */
void fws_run_queue_move(fws_run_queue *from, fws_run_queue *to);

#endif
