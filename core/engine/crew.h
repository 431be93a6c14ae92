/* The threads of one engine: one of them leads, the others stand by.
 *
 * The leader runs the loop: it waits for readiness, receives, runs the callbacks that are due, and
 * writes what they have queued (turn.c). Function views need no more than it.
 *
 * Callbacks of event-driven websockets are the application's, and may block. So a thread runs them
 * only while another one stands by and watches: when a callback has taken FWS_CALLBACK_PATIENCE,
 * the watch deposes the leader and leads itself, and the deposed one stands by when its callback
 * has ended. A websocket whose callback was overtaken, and those that are as yet unknown while that
 * is recent, have their callbacks run apart, by threads that stand by, until they prove fast.
 *
 * Nothing polls: the watch looks every few milliseconds while callbacks run, and sleeps when they
 * have not for a while.
 *
 * Threads: the lock of fws_work protects all fields that are not atomic; the functions expect it to
 * be held unless they say otherwise.
 */
#ifndef FWS_ENGINE_CREW_H
#define FWS_ENGINE_CREW_H

#include "../io/clock.h"
#include "../websocket/work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FWS_CALLBACK_PATIENCE (3 * FWS_NS_PER_MS)

typedef struct fws_engine fws_engine;

typedef struct {
    uint32_t maximum;     /* threads; constant */
    pthread_cond_t watch; /* the watch is to look */
    pthread_cond_t work;  /* there is something to run apart, or to watch */
    pthread_cond_t left;  /* a thread has ended */
    uint32_t threads;
    uint32_t calling;    /* of them, inside callbacks */
    uint32_t idle;       /* of them, standing by for `work` */
    bool led;            /* there is a leader */
    bool watched;        /* there is a watch */
    uint64_t term;       /* of the present leader; one of an earlier term is deposed */
    uint64_t epoch;      /* forks survived: threads of an earlier one are the parent's */
    fws_run_queue apart; /* for the others */
    fws_run_queue done;  /* whose turn has ended, and who have perhaps something to be written */
    _Atomic(fws_ns) running_since; /* 0: no callback of the leader's is running */
    atomic_bool dozing;            /* the watch sleeps until it is called */
    atomic_uint_least64_t batches; /* of callbacks, run by leaders */
    fws_ns overtaken_at;           /* when a callback was overtaken last */
    fws_websocket *overtaken;      /* by the next leader; with a reference */
} fws_crew;

/* `callback_threads`: that may be inside callbacks at once. */
void fws_crew_init(fws_crew *crew, uint32_t callback_threads);
void fws_crew_destroy(fws_crew *crew);
/* In a forked child: there are no threads. */
void fws_crew_after_fork(fws_crew *crew);

/* Starts the first thread, if there is none; false with errno. */
bool fws_crew_start(fws_engine *engine);

/* The engine is stopping: calls all threads out of their sleep and waits until they have ended, but
 * for those whose callbacks do not end within `timeout`. */
void fws_crew_stop(fws_engine *engine, fws_ns timeout);

/* Could callbacks be run: are there any, and does somebody stand by? */
bool fws_crew_is_due(fws_engine *engine);

/* By the leader, without the lock: the loop has reported something, and it receives. What comes due
 * meanwhile, it runs itself. */
void fws_crew_begin_receiving(fws_engine *engine);

/* By the leader of `term`, without the lock: runs what is due at this moment, and then writes what
 * was sent. False when it was deposed meanwhile. */
bool fws_crew_run(fws_engine *engine, uint64_t term, void **thread);

#endif
