/* Websockets whose callbacks are due, or over, first come, first served: linked through themselves,
 * so that to queue one cannot fail. One is in one such list at a time.
 *
 * Threads: no lock of its own; see who owns the list. Not to be copied.
 */
#ifndef FWS_WEBSOCKET_RUN_QUEUE_H
#define FWS_WEBSOCKET_RUN_QUEUE_H

#include <stddef.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    fws_websocket *first, **last; /* each with a reference */
    size_t count;
} fws_run_queue;

void fws_run_queue_init(fws_run_queue *due);
void fws_run_queue_push(fws_run_queue *due, fws_websocket *websocket);
/* NULL when it is empty. */
fws_websocket *fws_run_queue_pop(fws_run_queue *due);
/* All of `from` go behind those of `to`. */
void fws_run_queue_move(fws_run_queue *from, fws_run_queue *to);

#endif
