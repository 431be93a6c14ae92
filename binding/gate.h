/* A lock for threads that wake by the hundred and each need the same thing for a moment.
 *
 * Whoever comes while it is free goes in, also before threads that sleep at it: it runs already,
 * and to let it run on is cheaper than to wake another. But nobody sleeps for longer than
 * FWS_GATE_PATIENCE (and one turn of each who has slept as long): then it is handed over in the
 * order of arrival.
 *
 * That thing may be wanted by others too, who do not come through here: each of them would get as
 * many turns as all who do. So where one is inside for longer than FWS_GATE_STALL while others
 * sleep, FWS_GATE_WIDE may be inside, and one less again for each who has been there for less.
 *
 * Threads: enter and leave from any, leave from one that is inside. Not to be copied.
 */
#ifndef FWS_BINDING_GATE_H
#define FWS_BINDING_GATE_H

#include "../core/fws.h"

#include <pthread.h>
#include <stdbool.h>

#define FWS_GATE_PATIENCE (40 * FWS_NS_PER_MS)
#define FWS_GATE_STALL (5 * FWS_NS_PER_MS)
#define FWS_GATE_WIDE 16

typedef struct fws_gate_sleeper fws_gate_sleeper;

typedef struct {
    pthread_mutex_t lock; /* protects all fields, and the sleepers */
    unsigned width;       /* so many may be inside */
    unsigned inside;
    fws_ns blocked_since; /* somebody sleeps, and nobody has come out; or 0 */
    bool calling;         /* the first sleeper is called, and has not come yet */
    fws_gate_sleeper *first, **last;
} fws_gate;

/* Also in a forked child, where nobody is inside or asleep. */
void fws_gate_init(fws_gate *gate);

/* Gives what leave needs. */
fws_ns fws_gate_enter(fws_gate *gate);
void fws_gate_leave(fws_gate *gate, fws_ns entered);

#endif
