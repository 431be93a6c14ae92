/* A lock for threads that wake by the hundred and each need the GIL for a moment.
 *
 * A thread that comes while the gate is free goes in, also before threads that sleep at the gate:
 * it is running already, and that is cheaper than to wake another one. But no thread sleeps for
 * much longer than FWS_GATE_PATIENCE: then the gate is handed to the threads that have slept so
 * long, in the order of their arrival.
 *
 * Other threads take the GIL without this gate, and each of them would get the GIL as often as all
 * threads of the gate together. So when a thread is inside for longer than FWS_GATE_STALL while
 * others sleep, up to `widest` threads may be inside; and one less again for each thread that
 * was inside for less.
 *
 * A thread may take the GIL without the gate, and close the gate while it waits for it: the one
 * that all others depend on, the leader of an engine. A thread that has given the GIL back is still
 * running, and would take it again before one that must be woken for it. Who has slept at the gate
 * for FWS_GATE_PATIENCE does not mind that it is closed.
 *
 * Threads: fws_gate_close from any thread, without the GIL, and fws_gate_open from the same one,
 * with it: while several have closed it, as several engines share it, it stays so for each of them;
 * fws_gate_enter from any thread, without the GIL; fws_gate_leave from the thread that has
 * entered. The lock protects all fields. Memory: the sleepers lie on the stacks of their threads. A
 * gate must not be copied, because `last` may point into it.
 */
#ifndef FWS_BINDING_GATE_H
#define FWS_BINDING_GATE_H

#include "../core/fws.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct fws_gate_sleeper fws_gate_sleeper;

typedef struct {
    pthread_mutex_t lock; /* protects all fields, and the sleepers */
    unsigned widest;      /* constant: what `width` is at most */
    unsigned width;       /* how many threads may be inside */
    unsigned inside;
    fws_ns
        blocked_since; /* since when a thread sleeps and none has left the gate; 0: none sleeps */
    bool calling;      /* the first sleeper was signalled and has not run yet */
    fws_gate_sleeper *first, **last;
    atomic_uint closed;   /* how many threads have closed it, and not opened it again */
    atomic_uint sleepers; /* how many sleep, or are about to; written with the lock, read without */
} fws_gate;

/* Also for a forked child, where no thread is inside or asleep. */
void fws_gate_init(fws_gate *gate, unsigned widest);

/* Returns what fws_gate_leave needs. */
fws_ns fws_gate_enter(fws_gate *gate);
void fws_gate_leave(fws_gate *gate, fws_ns entered);

void fws_gate_close(fws_gate *gate);
void fws_gate_open(fws_gate *gate);

#endif
