/* Websockets whose callbacks are due, or over, first come, first served: linked through themselves,
 * so that to queue one cannot fail. One is in one such list at a time.
 *
 * Threads: no lock of its own; see who owns the list. Not to be copied.
 */
#ifndef FWS_ENGINE_DUE_H
#define FWS_ENGINE_DUE_H

#include <stddef.h>

typedef struct fws_websocket fws_websocket;

typedef struct {
    fws_websocket *first, **last; /* each with a reference */
    size_t count;
} fws_due;

void fws_due_init(fws_due *due);
void fws_due_push(fws_due *due, fws_websocket *websocket);
/* NULL when it is empty. */
fws_websocket *fws_due_pop(fws_due *due);
/* All of `from` go behind those of `to`. */
void fws_due_move(fws_due *from, fws_due *to);

#endif
