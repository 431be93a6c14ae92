/* Leader and followers, with a watchdog: the threads of one engine.
 *
 * One thread leads: it runs the loop (turn.h) and, between receiving and writing, the callbacks
 * that are to be run, as one batch (batch.h). Callbacks are the application's and may block, so
 * another thread, the watch, looks at the leader while it is inside them, and leads in its place
 * when one takes too long (watch.h). Callbacks of websockets that are known to block run apart, in
 * further threads (apart.h). This file has the threads themselves: how many there are, and which of
 * them does what next.
 *
 * Threads: the lock of fws_work protects all fields; every function expects it to be held, unless
 * it says otherwise. Memory: each thread holds one reference to fws_work, so the engine is freed
 * after its last thread has ended.
 *
 * Invariants, while the engine runs, whenever that lock is free (fws_crew_check asserts them):
 *
 * - At most one thread leads. When none does, a thread that is not inside callbacks is about to
 *   lead.
 * - The leader is inside callbacks only while a watch is appointed. The appointment holds for the
 *   whole batch: neither the watch itself nor another thread ends it meanwhile.
 * - There are at most `limit` + 1 threads. One of them leads, and is inside callbacks only while
 *   another watches. So at most `limit` are inside callbacks, and one is always left that can lead.
 *
 * What a thread does next, the first of these that applies: it takes up an appointment as the
 * watch; it leads, if no thread does; it watches, if callbacks are to be run and cannot be because
 * no thread watches; it runs callbacks apart; it becomes the watch, if there is none; it stands by.
 * Only a thread that was dismissed as the watch, for callbacks that run apart, runs one of those
 * first. So with two threads in all, the two kinds of callbacks are run alternately.
 */
#ifndef FWS_ENGINE_CREW_H
#define FWS_ENGINE_CREW_H

#include "apart.h"
#include "watch.h"

#include "../io/clock.h"
#include "../websocket/work.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fws_engine fws_engine;

typedef struct {
    uint32_t limit; /* threads that may be inside callbacks at once; constant */
    pthread_cond_t
        work; /* threads that stand by wait for an appointment, or for callbacks to run apart */
    pthread_cond_t
        quiet; /* fws_crew_drain and fws_crew_stop wait here until threads have less to do */
    uint32_t threads;
    uint32_t inside; /* how many of them are inside callbacks */
    uint32_t idle;   /* how many of them stand by, waiting for `work` */
    uint32_t coming; /* how many of them were started and do not run yet */
    bool led;        /* there is a leader */
    bool in_batch;   /* the leader is inside callbacks */
    bool draining;   /* fws_crew_drain waits */
    uint64_t term;   /* number of the present leader; a leader with a smaller number is deposed */
    uint64_t epoch;  /* number of forks before; threads with a smaller number are the parent's */
    fws_ns hire_at;  /* a thread could not be started: when to try again; 0: at any time */
    fws_ns enter_at; /* `enter` has failed: when to try again; 0: at any time */
    fws_watch watch; /* see watch.h */
    fws_apart apart; /* websockets whose callbacks run apart */
    fws_computing_entry *of_batch; /* the leader's, while it is inside callbacks: it counts once
                                      one of them is overtaken, until that has returned */
    fws_run_queue done; /* websockets whose callbacks were run in this batch, and which perhaps have
                           sent something */
    fws_websocket *overtaken; /* the websocket that was overtaken; the next leader writes what it
                                 has sent; a reference */
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

/* work.stopping is set: waits until the threads have ended, except those that are still inside
 * callbacks at `deadline`. These are deposed; when their callbacks have returned, they end as
 * well, and touch nothing but the websocket that they were called for, and the engine, to which
 * they have a reference. A thread that calls this from inside a callback does not wait for
 * itself. */
void fws_crew_stop(fws_engine *engine, fws_ns deadline);

/* ---- for the leader, before it sleeps ---- */

/* Tries again what could not be had, if the time for that has come. */
void fws_crew_try_again(fws_engine *engine);
/* When to call fws_crew_try_again next; FWS_FOREVER: nothing waits for that. */
fws_ns fws_crew_next_try(const fws_engine *engine);
/* The leader is about to sleep. */
void fws_crew_note_sleep(fws_crew *crew);

/* ---- for batch.c, watch.c and apart.c ---- */

/* Starts one thread more; false, with errno, when there are enough, or none can be had at
 * present. */
bool fws_crew_hire(fws_engine *engine);

/* How many threads stand by, or will in a moment, and have no appointment. */
uint32_t fws_crew_spare(const fws_crew *crew);

/* May a thread enter callbacks now? */
bool fws_crew_may_enter_callbacks(fws_engine *engine);

/* A thread inside callbacks, on its stack. */
typedef struct {
    fws_engine *engine;
    uint64_t epoch;
    fws_computing_entry entry;
} fws_crew_inside;

/* The thread has left callbacks. */
void fws_crew_leave_callbacks(fws_crew_inside *self);

/* For pthread_cleanup_push, around callbacks: when the interpreter ends, Python ends each thread
 * that asks for the GIL, wherever it is. Nothing may refer to its stack then, and a stop does not
 * wait for it; its reference to the engine is not given back. No lock. */
void fws_crew_end_inside(void *self);

/* fws_callbacks.enter has failed: no thread enters callbacks for FWS_RETRY_AFTER. */
void fws_crew_note_refusal(fws_engine *engine);

/* The present leader leads no longer, even if its thread is inside a callback. */
void fws_crew_depose(fws_engine *engine);

/* The callbacks of this websocket have returned: writes what they have sent, and drops a
 * reference. No lock. */
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
