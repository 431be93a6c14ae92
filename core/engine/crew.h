/* Leader and followers, with a watchdog: the threads of one engine.
 *
 * One thread leads: it runs the loop (turn.h) and, between receiving and writing, the callbacks
 * that are due, as one batch (batch.h). Callbacks are the application's and may block, so another
 * thread watches the leader while it is inside them, and leads in its place when one takes too long
 * (watch.h). Websockets whose callbacks block have them run apart, by further threads (apart.h).
 * This file has the threads themselves: how many there are, and which of them does what next.
 *
 * Threads: the lock of fws_work protects all fields; every function expects it to be held, unless
 * it says otherwise.
 *
 * Invariants, while the engine runs, whenever that lock is free (fws_crew_check asserts them):
 * - At most one thread leads. When none does, a thread that is not inside callbacks is on its way
 * to.
 * - The leader is inside callbacks only while a watch is appointed. The appointment stands for the
 *   whole batch: neither the watch itself nor anybody else ends it meanwhile.
 * - There are at most `limit` + 1 threads. One of them leads, and is inside callbacks only while
 *   another watches; so at most `limit` are inside callbacks, and one is always left to lead.
 *
 * What a thread does next: it takes up an appointment as the watch; else it leads, if nobody does;
 * else it watches, if callbacks are due that nobody could watch; else it runs callbacks apart; else
 * it stands by, as the watch if there is none. Only whoever was dismissed as the watch for
 * callbacks that run apart runs one of those first: so with two threads in all, the two kinds of
 * callbacks take turns.
 */
#ifndef FWS_ENGINE_CREW_H
#define FWS_ENGINE_CREW_H

#include "watch.h"

#include "../io/clock.h"
#include "../websocket/work.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* When a thread, or what callbacks need in one (fws_callbacks.enter), could not be had, it is tried
 * again after this. Shorter costs system calls that fail while the system is short of threads;
 * longer delays callbacks once it no longer is. */
#define FWS_RETRY_AFTER (100 * FWS_NS_PER_MS)

typedef struct fws_engine fws_engine;

typedef struct {
    uint32_t limit;       /* threads that may be inside callbacks at once; constant */
    pthread_cond_t work;  /* for threads that stand by: an appointment, or something to run apart */
    pthread_cond_t quiet; /* for fws_crew_drain and fws_crew_stop: a thread has less to do */
    uint32_t threads;
    uint32_t inside;          /* of them, inside callbacks */
    uint32_t idle;            /* of them, standing by for `work` */
    uint32_t coming;          /* of them, just hired and not here yet */
    bool led;                 /* there is a leader */
    bool in_batch;            /* the leader is inside callbacks */
    bool draining;            /* fws_crew_drain waits */
    uint64_t term;            /* of the present leader; one of an earlier term is deposed */
    uint64_t epoch;           /* forks survived: threads of an earlier one are the parent's */
    fws_ns hire_at;           /* a thread could not be hired: when to try again; 0: at any time */
    fws_ns enter_at;          /* callbacks could not be entered: the same */
    fws_watch watch;          /* see watch.h */
    fws_run_queue apart;      /* whose callbacks others than the leader are to run */
    fws_run_queue done;       /* who was called in this batch, and perhaps has sent something */
    fws_websocket *overtaken; /* what it has sent is written by the next leader; a reference */
    fws_ns overtaken_at;      /* when a callback was overtaken last; 0: never */
} fws_crew;

/* `limit`: threads that may be inside callbacks at once, at least 1. No lock. */
void fws_crew_init(fws_crew *crew, uint32_t limit);
void fws_crew_destroy(fws_crew *crew);
/* In a forked child: there are no threads. No lock. */
void fws_crew_after_fork(fws_crew *crew);

/* Starts the first thread; false with errno. */
bool fws_crew_start(fws_engine *engine);

/* Waits until no callback is due or runs, and the leader sleeps; at most until `deadline`. */
void fws_crew_drain(fws_engine *engine, fws_ns deadline);

/* work.stopping is set: waits until the threads have ended, but for those that are still inside
 * callbacks at `deadline`. Those find themselves deposed when they come back, and end as well: they
 * touch nothing but the websocket that they were called for, and the engine they have a reference
 * to. A thread that calls this from inside a callback does not wait for itself. */
void fws_crew_stop(fws_engine *engine, fws_ns deadline);

/* ---- for the leader, before it sleeps ---- */

/* What could not be had, and whose time has come, is tried again. */
void fws_crew_try_again(fws_engine *engine);
/* When to do that next; FWS_FOREVER: nothing waits for it. */
fws_ns fws_crew_next_try(const fws_engine *engine);
/* It is about to sleep. */
void fws_crew_note_sleep(fws_crew *crew);

/* ---- for batch.c, watch.c and apart.c ---- */

/* One thread more; false, with errno, when there are enough, or none can be had at present. */
bool fws_crew_hire(fws_engine *engine);

/* Threads that stand by, or will in a moment, and that no appointment is for. */
uint32_t fws_crew_spare(const fws_crew *crew);

/* May a thread go inside callbacks now? */
bool fws_crew_may_enter_callbacks(fws_engine *engine);

/* A thread of `epoch` is inside callbacks no longer. */
void fws_crew_leave_callbacks(fws_engine *engine, uint64_t epoch);

/* fws_callbacks.enter has failed: nobody enters for FWS_RETRY_AFTER. */
void fws_crew_note_refusal(fws_engine *engine);

/* The leader of this term leads no longer, wherever its thread is. */
void fws_crew_depose(fws_engine *engine);

/* The turn of this websocket is over: writes what its callbacks have sent. Gives back a reference.
 * No lock. */
void fws_crew_release_callbacks(fws_websocket *websocket);

/* Asserts the invariants, in builds with FWS_CHECKS (the build option `checks`, and with every
 * sanitizer). */
#ifdef FWS_CHECKS
void fws_crew_check(const fws_engine *engine);
#else
static inline void fws_crew_check(const fws_engine *engine)
{
    (void)engine;
}
#endif

#endif
